"""Look for constructions that a reader must decode: ``python -m scripts.check_prose [FILE...]``.

It reads the pages (Markdown), and the docstrings, comments and messages (strings of several words) of Python. Each rule says
why its construction is hard to read and what to write instead. A rule belongs here if it finds real sentences and hardly ever
a good one. A reader of the page has to see the faults that no rule can find.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A sentence with more words holds more than one idea.
MAX_WORDS: Final = 55
#: A sentence with more semicolons is a list.
MAX_SEMICOLONS: Final = 4
#: A string of the code with so many words counts as a message.
MESSAGE_WORDS: Final = 4
#: Pages that no person writes, and pages of history.
PASSED_OVER: Final = re.compile(
    r"^(CHANGELOG\.md|reports/|artifacts/\w+/|benchmarks/results/|docs/day\.md|offline/bundles/templates/)"
)
PYTHON: Final = re.compile(r"^(app|offline|research|benchmarks|scripts)/.*\.py$")


@dataclass(frozen=True)
class Rule:
    """A construction, why it is hard to read, and what to write instead."""

    pattern: re.Pattern[str]
    reason: str
    instead: str


def _rule(pattern: str, reason: str, instead: str) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), reason, instead)


RULES: Final = (
    _rule(
        r"\b(?:is|are|was|were|be|being|been)\s+(?:\w+\s+)?told\b",
        "nobody is seen to speak",
        "gets 503; the message says",
    ),
    _rule(r"\b(?:tells?|told) of\b", "an old verb", "reports; names; says that"),
    _rule(
        r"\b(?:becomes?|became|came)\s+of\s+(?:it|them|that|this|these|(?:a |the )?films?)\b",
        "an idiom, and usually inside out",
        "what happens to it; the answer; the result",
    ),
    _rule(r"\bbut for\b", "it reads as 'if it were not for'", "except"),
    _rule(r"\bat hand\b", "an idiom", "available"),
    _rule(r"\bas [^;:,()]{1,40} ha(?:s|ve) it\b", "an idiom", "as X says"),
    _rule(r"\b(?:nobody|anybody|somebody)'s doing\b", "an idiom", "by itself; without a person"),
    _rule(
        r"\b(?:for|of) want of\b|\bby way of\b|\bthe one or the other\b|\blies? in hand\b",
        "an idiom",
        "for lack of; through; one of",
    ),
    _rule(
        r"\b(?:lest|thereof|therein|whereof|thereby|wherein|whence|thence|albeit|whereupon|thereupon|herein|ere|unto|betwixt)\b",
        "an old word",
        "the plain one: so that not, of it, in it, although",
    ),
    _rule(r"\bis what (?:is|was|are|the|a|an|it|they|he|one)\b", "a noun is missing", "name the thing"),
    _rule(r"\b(?:the former|the latter)\b", "the reader must look back", "repeat the noun"),
    _rule(r"^(?-i:Of) [^,;.]{3,80} (?:is|are|was|were) ", "the subject comes last", "subject first"),
    _rule(
        r"^(?:Who|What) (?:is|are|was|were|has|have|had|goes|go|comes?|came|lies|remains?|sends?|asks?|knows?|changes?|happens)"
        r"(?: [^\s?]+){3,}[^?]\.$",
        "a question that is none: a noun is missing",
        "a caller who; the film that; the value that",
    ),
)


def _plain(text: str) -> str:
    """Markdown or reStructuredText without its marks. Code becomes a word, since it stands for a noun."""
    text = re.sub(r"``[^`]+``|`[^`]+`", "X", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^>]+>", "X", text)
    return re.sub(r"\*\*|(?<!\w)[*_]|[*_](?!\w)", "", text)


def _sentences(line: int, text: str) -> Iterator[tuple[int, str]]:
    for sentence in re.split(r"(?<=[.?!:]) (?=[A-Z(*\"'])", " ".join(_plain(text).split())):
        if sentence:
            yield line, sentence


def of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of a page and their lines, without code and generated tables; other tables are read cell by cell."""
    blank = re.sub(r"^```.*?^```|<!-- ([\w-]+) -->.*?<!-- (?:/\1|end[\w ]*) -->", _lines_alone, text, flags=re.M | re.S)
    begin, paragraph = 0, ""
    for number, line in enumerate([*blank.splitlines(), ""], 1):
        stripped = line.strip()
        starts = re.match(r"(?:[-*]|\d+\.) |#", stripped)
        if paragraph and (not stripped or starts or stripped.startswith("|")):
            yield from _sentences(begin, paragraph)
            paragraph = ""
        if stripped.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", stripped.strip("|")):
                yield from _sentences(number, cell)
        elif stripped and not stripped.startswith("#") and not line.startswith("    " * 2):
            if not paragraph:
                begin = number
            paragraph += " " + re.sub(r"^(?:[-*]|\d+\.) ", "", stripped)


def _lines_alone(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def of_python(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of docstrings, comments and messages, and their lines."""
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and node.body and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            docstrings.add(first.value if isinstance(first, ast.Expr) else first)
            for part in re.split(r"\n\s*\n|\n(?=\s*[-*] )", ast.get_docstring(node) or ""):
                if not re.search(r"^\s*-{3,}$", part, re.MULTILINE) and "    " not in part:
                    yield from _sentences(first.lineno, part)
    inside = {child for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for child in node.values}
    for node in ast.walk(tree):
        if node in docstrings or node in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            message = node.value
        elif isinstance(node, ast.JoinedStr):
            message = "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
        else:
            continue
        if len(message.split()) >= MESSAGE_WORDS and "\n" not in message.strip():
            yield from _sentences(node.lineno, message)
    yield from _comments(text)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    begin, last, block = 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(?:noqa|type:|fmt:|!)", token.string):
            continue
        if block and token.start[0] != last + 1:
            yield from _sentences(begin, block)
            block = ""
        begin, last = begin if block else token.start[0], token.start[0]
        block += " " + token.string.lstrip("#: ")
    if block:
        yield from _sentences(begin, block)


def faults(path: str, text: str) -> list[str]:
    """What to change in a file, a line each."""
    found = []
    markdown = path.endswith(".md")
    for line, sentence in of_markdown(text) if markdown else of_python(text):
        for rule in RULES:
            if match := rule.pattern.search(sentence):
                shown = match.group() if len(match.group()) < 60 else match.group()[:57] + "..."
                found.append(f"{path}:{line}: {shown!r}: {rule.reason}; write: {rule.instead}")
        if markdown and (words := len(sentence.split())) > MAX_WORDS and sentence.count(",") < words / 6:
            found.append(f"{path}:{line}: a sentence of {words} words ({sentence[:40]}...): one idea a sentence")
        if markdown and sentence.count(";") > MAX_SEMICOLONS:
            found.append(
                f"{path}:{line}: {sentence.count(';')} semicolons in a sentence ({sentence[:40]}...): make a list"
            )
    return found


def main() -> int:
    """Check the files that are named, or all that are tracked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*")
    named = parser.parse_args().files
    if not named:
        named = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    wanted = [name for name in named if PYTHON.match(name) or (name.endswith(".md") and not PASSED_OVER.match(name))]
    found = [fault for name in wanted if Path(name).is_file() for fault in faults(name, Path(name).read_text())]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
