"""One function from a posted film's bytes to its report, for every route that judges films."""

from .film import Origin, PostedFilm, Screened
from .query_guard import QueryGuard
from .reports import Reports
from .screening import Screening

__all__ = ["Origin", "PostedFilm", "QueryGuard", "Reports", "Screened", "Screening"]
