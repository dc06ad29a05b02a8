"""A site's rules for headers: the modalities that it scores, and its own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .words import Words, words

#: Projection radiographs, always scored.
ALWAYS_ACCEPTED_MODALITIES: Final = frozenset({"CR", "DX"})
#: Fluoroscopy systems and film digitisers write chest films under these; a site may allow them.
OPTIONAL_MODALITIES: Final = frozenset({"RF", "SC"})


@dataclass(frozen=True)
class HeaderRules:
    """The rules for the header of every film.

    Attributes
    ----------
    modalities : frozenset of str
        Values of Modality (0008,0060) that are scored.
    word_changes : tuple of str
        Changes in the form of ``words``: ``chest+TRX``, ``lateral-PERFIL``.
    refuse_hiding : bool
        Whether a window or LUT that hides much of the film is refused; otherwise it is noted.
    """

    modalities: frozenset[str] = ALWAYS_ACCEPTED_MODALITIES
    word_changes: tuple[str, ...] = ()
    refuse_hiding: bool = False

    @property
    def words(self) -> Words:
        """The listed words with these changes.

        Raises
        ------
        WordsError
        """
        return words(self.word_changes)


DEFAULT_RULES: Final = HeaderRules()
