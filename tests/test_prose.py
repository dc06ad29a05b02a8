"""The prose check finds sentences that a reader must decode, and leaves good ones alone."""

from __future__ import annotations

import pytest

from scripts.check_prose import RULES, faults, of_markdown, of_python

#: A bad sentence for each rule, and the same said plainly.
PAIRS = [
    ("A caller who asks too much is told 429.", "A caller who asks too much gets 429."),
    ("The alert tells of a report that waits.", "The alert reports a report that waits."),
    ("The page shows what became of a film.", "The page shows the decision on a film."),
    ("All is as before but for the header.", "All is as before except the header."),
    ("No GPU was at hand.", "No GPU was available."),
    ("The body is read as PS3.18 has it.", "The body is read as PS3.18 says."),
    ("A replica is replaced without anybody's doing.", "A replica is replaced by itself."),
    ("It was refused for want of memory.", "It was refused for lack of memory."),
    ("The table, and the rows therein.", "The table, and its rows."),
    ("A bundle is what the gate is.", "A bundle holds the gate."),
    ("Of a GPU and a CPU, the latter is slower.", "Of a GPU and a CPU, the CPU is slower."),
    ("Of the ridge a tenth is kept.", "A tenth of the ridge is kept."),
    ("What is decoded or judged is taken from nobody.", "A film that is decoded or judged is taken from nobody."),
    (
        "Who has the key can write any record that they like.",
        "Somebody who has the key can write any record that they like.",
    ),
]


def test_every_rule_has_a_sentence_that_breaks_it() -> None:
    assert [rule.instead for rule in RULES if not any(rule.pattern.search(bad) for bad, _ in PAIRS)] == []


@pytest.mark.parametrize(("bad", "good"), PAIRS)
def test_a_bad_sentence_is_found_wherever_it_stands(bad: str, good: str) -> None:
    for before, after in (("", ""), ("- ", ""), ("| ", " | cell |"), ("First. ", " Last.")):
        assert faults("page.md", f"# A page\n\n{before}{bad}{after}\n")
        assert faults("page.md", f"# A page\n\n{before}{good}{after}\n") == []
    for code in ('"""{}"""\n', "# {}\n", "def function() -> None:\n    '''{}'''\n", "raise ValueError('{}')\n"):
        assert faults("module.py", code.format(bad.replace("'", "\\'") if "Error" in code else bad))
        assert faults("module.py", code.format(good.replace("'", "\\'") if "Error" in code else good)) == []


def test_the_line_of_a_fault_is_named() -> None:
    assert faults("page.md", "One.\n\nTwo.\n\nNo GPU\nwas at hand.\n")[0].startswith("page.md:5: 'at hand'")
    assert faults("module.py", "X = 1\n\n\ndef f() -> None:\n    # No GPU was at hand.\n    ...\n")[0].startswith(
        "module.py:5:"
    )


def test_code_and_generated_tables_are_passed_over() -> None:
    page = "```\nnot at hand\n```\n\n`at hand`\n\n<!-- t -->\n| at hand |\n<!-- /t -->\n"
    assert faults("page.md", page) == []
    assert faults("module.py", "x = 'at hand'\nat_hand = 1  # noqa: at hand\n") == []


def test_headings_and_questions_may_begin_with_what_and_who() -> None:
    assert faults("page.md", "# What is kept, and when it goes away\n\nWhat is kept, and when does it go away?\n") == []


def test_long_sentences_and_lists_in_one_are_found() -> None:
    assert "one idea a sentence" in faults("page.md", " ".join(["word"] * 60) + ".\n")[0]
    assert "make a list" in faults("page.md", "one; two; three; four; five; six.\n")[0]


def test_paragraphs_are_read_across_lines() -> None:
    assert [sentence for _, sentence in of_markdown("One\nsentence. Two\n\n- a *list*\n  of [links](x.md)\n")] == [
        "One sentence.",
        "Two",
        "a list of links",
    ]
    comment = "# One\n# comment.\nx = f'a message with {x} in it'\n"
    assert sorted(sentence for _, sentence in of_python(comment)) == ["One comment.", "a message with X in it"]
