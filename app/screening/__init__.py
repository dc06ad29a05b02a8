"""What becomes of a posted film, between the routes and the engine."""

from .decisions import Asked, Decisions
from .query_guard import QueryGuard
from .reports import Reports
from .screening import Screening

__all__ = ["Asked", "Decisions", "QueryGuard", "Reports", "Screening"]
