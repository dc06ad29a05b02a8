"""Answers that are no results (RFC 9457)."""

from __future__ import annotations

import httpx


class Problem(Exception):
    """The service gave no result.

    Attributes
    ----------
    status : int
    type : str
        Which problem it is, and the path of its page at the service; ``about:blank`` if something else answered.
    title, detail : str
        For people.
    request_id : str
        Id of the request in the service's log; empty if it is not known.
    retry_after : float or None
        Seconds.
    """

    def __init__(self, answer: httpx.Response) -> None:
        try:
            body = answer.json()
        except ValueError:  # a proxy's page
            body = {}
        if not isinstance(body, dict):
            body = {}
        self.status = answer.status_code
        self.type = str(body.get("type", "about:blank"))
        self.title = str(body.get("title", answer.reason_phrase))
        self.detail = str(body.get("detail", "the answer is none of cxr-gate's; look at what stands in front of it"))
        self.request_id = str(body.get("request_id") or answer.headers.get("x-request-id", ""))
        self.retry_after = retry_after(answer)
        super().__init__(f"{self.status} {self.title}: {self.detail}")


class Unauthenticated(Problem):
    """401: the request had no key, or an unknown one."""


class Forbidden(Problem):
    """403: the key does not allow this request, or the service does not answer this host."""


class QuotaExceeded(Problem):
    """429: the caller makes more requests than its quota allows."""


class Unavailable(Problem):
    """503 or 504: the service has too much to do, or lacks something; this passes."""


_KINDS: dict[int, type[Problem]] = {
    401: Unauthenticated,
    403: Forbidden,
    429: QuotaExceeded,
    503: Unavailable,
    504: Unavailable,
}


def problem(answer: httpx.Response) -> Problem:
    """The exception for an answer that is no result."""
    return _KINDS.get(answer.status_code, Problem)(answer)


def retry_after(answer: httpx.Response) -> float | None:
    """What Retry-After says, in seconds. The service sends no dates."""
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() else None
