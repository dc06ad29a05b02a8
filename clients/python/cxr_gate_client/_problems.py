"""Answers that are no results (RFC 9457)."""

from __future__ import annotations

import httpx


class Problem(Exception):
    """The service did not answer what was asked.

    Attributes
    ----------
    status : int
    type : str
        Which problem it is, and the path of its page at the service; ``about:blank`` where something else answered.
    title, detail : str
        For people.
    request_id : str
        By which the service's log knows the request; empty where it is not known.
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
    """401: there was no key, or none that is known."""


class Forbidden(Problem):
    """403: the key is not good for what was asked, or the service does not answer this host."""


class QuotaExceeded(Problem):
    """429: the caller asks more than its quota."""


class Unavailable(Problem):
    """503 or 504: the service has too much to do, or lacks something; it passes."""


_KINDS: dict[int, type[Problem]] = {
    401: Unauthenticated,
    403: Forbidden,
    429: QuotaExceeded,
    503: Unavailable,
    504: Unavailable,
}


def problem(answer: httpx.Response) -> Problem:
    """The problem of an answer."""
    return _KINDS.get(answer.status_code, Problem)(answer)


def retry_after(answer: httpx.Response) -> float | None:
    """What Retry-After says, in seconds. The service sends no dates."""
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() else None
