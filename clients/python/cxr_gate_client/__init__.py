"""A typed client of cxr-gate. Not a medical device.

Problem                 every answer that is no result; ``type`` and ``status`` say which
├── Unauthenticated     401: no key, or an unknown one
├── Forbidden           403
├── QuotaExceeded       429, at every try
└── Unavailable         503 and 504, at every try
"""

from ._answers import Accepted, Call, Rejected, Result
from ._client import AsyncClient, Client
from ._problems import Forbidden, Problem, QuotaExceeded, Unauthenticated, Unavailable
from ._retries import Retries

__all__ = [
    "Accepted",
    "AsyncClient",
    "Call",
    "Client",
    "Forbidden",
    "Problem",
    "QuotaExceeded",
    "Rejected",
    "Result",
    "Retries",
    "Unauthenticated",
    "Unavailable",
]
