"""Words of free text -> the kinds of things that they name: the chest, another region, a frontal, a lateral or
another view, or nothing.

The words are data, in ``words.csv``. Text is compared word by word, without case and accents.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

#: `silent` words name neither a region nor a view (UNKNOWN, PORTABLE). `unlisted` ones are in no list.
Listed = Literal["chest", "region", "frontal", "lateral", "view", "silent"]
Kind = Listed | Literal["unlisted"]
KINDS: Final[tuple[Listed, ...]] = get_args(Listed)

_CHANGE: Final = re.compile(rf"({'|'.join(KINDS)})([+-])(.+)")
_HUMP: Final = re.compile("(?<=[a-z])(?=[A-Z])")  # chestLAT is two words
_LETTERS: Final = re.compile(r"[^\W\d_]+")

Phrase = tuple[str, ...]


class WordsError(ValueError):
    """A change of the words makes no sense; the message says which, and why."""


@dataclass(frozen=True)
class Words:
    """Phrases of one or more words, each of one kind."""

    phrases: Mapping[Phrase, Listed]

    def kinds(self, text: str) -> frozenset[Kind]:
        """The kinds of things that the words of a text name; empty if it has no letters.

        The longest phrase that fits is taken first, so that LATERAL DECUBITUS is no lateral.
        """
        return frozenset(self._found(split(text)))

    def _found(self, words: Phrase) -> Iterator[Kind]:
        longest = max(map(len, self.phrases))
        start = 0
        while start < len(words):
            ends = range(min(start + longest, len(words)), start, -1)
            end = next((end for end in ends if words[start:end] in self.phrases), None)
            if end is None:
                yield from self._fused(words[start])
                start += 1
            else:
                yield self.phrases[words[start:end]]
                start = end

    def _fused(self, word: str) -> tuple[Kind, ...]:
        """Two listed words in one, one of them for the chest: CHESTPA."""
        for middle in range(2, len(word) - 1):
            halves = (self.phrases.get((word[:middle],)), self.phrases.get((word[middle:],)))
            if "chest" in halves and halves[0] and halves[1]:
                return halves[0], halves[1]
        return ("unlisted",)


def split(text: str) -> Phrase:
    """The words of a text: runs of letters, in capitals and without accents."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return tuple(_LETTERS.findall(_HUMP.sub(" ", plain).upper()))


def rows() -> list[dict[str, str]]:
    """The rows of ``words.csv``: kind, word, language, meaning."""
    table = files(__package__).joinpath("words.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(table.splitlines()))


@cache
def words(changes: tuple[str, ...] = ()) -> Words:
    """The listed words with a site's changes; read once.

    Parameters
    ----------
    changes : tuple of str
        ``KIND+WORD`` adds a word or phrase, ``KIND-WORD`` removes one. Words are removed before others are added.

    Raises
    ------
    WordsError
    """
    phrases: dict[Phrase, Listed] = {split(row["word"]): _kind(row["kind"]) for row in rows()}
    added: list[tuple[str, Listed, Phrase]] = []
    for change in changes:
        kind, sign, phrase = _parsed(change)
        if sign == "+":
            added.append((change, kind, phrase))
        elif phrases.pop(phrase, None) != kind:
            raise WordsError(f"{change!r} removes a word that is not in the list {kind}")
    for change, kind, phrase in added:
        if (other := phrases.setdefault(phrase, kind)) != kind:
            raise WordsError(f"{change!r} adds a word that is in the list {other}; remove it there too")
    return Words(phrases)


def _parsed(change: str) -> tuple[Listed, str, Phrase]:
    match = _CHANGE.fullmatch(change)
    phrase = split(match[3]) if match else ()
    if match is None or not phrase:
        raise WordsError(f"{change!r} is not KIND+WORD or KIND-WORD, where KIND is {_listed(KINDS)}")
    return _kind(match[1]), match[2], phrase


def _kind(text: str) -> Listed:
    return KINDS[KINDS.index(text)]


def _listed(kinds: Iterable[str]) -> str:
    *most, last = kinds
    return f"{', '.join(most)} or {last}"
