"""Rejected films, kept until a person has looked at them: at 5 % false rejection nearly every one is a false alarm.

    a rejection -> Vault (encrypted, on the disk) -> the record's entry, which names the film -> the answer
    a reviewer  -> looks, releases or confirms -> an entry each -> the sender may have the probabilities of a released film

The folder holds only films. Only the record of decisions says what was decided on each, so that the two cannot disagree
(docs/quarantine.md).
"""

from .keys import QuarantineKeyError, QuarantineKeys
from .open import keys_of, open_quarantine
from .quarantine import AlreadyDecided, NoSuchFilm, Quarantine, QuarantineUnavailable
from .vault import FilmUnreadable, Vault, is_film_id

__all__ = [
    "AlreadyDecided",
    "FilmUnreadable",
    "NoSuchFilm",
    "Quarantine",
    "QuarantineKeyError",
    "QuarantineKeys",
    "QuarantineUnavailable",
    "Vault",
    "is_film_id",
    "keys_of",
    "open_quarantine",
]
