"""Every error of the forwarder.

ForwardError
├── Passing         the other side is away or overloaded, whatever the film; tried again for ever
├── Fault           this film failed, perhaps this one alone; tried again a few times, then set aside
├── TooLarge        the answer has more bytes than the limit; a film is given up at once
├── Misconfigured   needs a person: credentials, addresses, the state file; the forwarder stops
└── Stopping        the forwarder is to stop while something had to be tried again

No message holds an address of a resource: Orthanc's names of resources are hashes of patients' identifiers.
"""

from __future__ import annotations


class ForwardError(Exception):
    """Base of all errors here; ``str(error)`` is fit to be logged."""


class Passing(ForwardError):
    """A fault that may pass; ``retry_after`` has the seconds that the other side asked for."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fault(ForwardError):
    """The other side failed on this film, perhaps on it alone.

    Attributes
    ----------
    status : int
        The HTTP status; 0 if there was no answer.
    reason : str
        The name of the service's problem; ``unnamed`` if it has none; ``no-answer``; or ``orthanc``.
    request_id : str
    retry_after : float
        The seconds that the other side asked for.
    """

    def __init__(
        self, message: str, reason: str, status: int = 0, request_id: str = "none", retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class TooLarge(ForwardError):
    """The answer has more bytes than the forwarder fetches. Asking again would only cost them again."""


class Misconfigured(ForwardError):
    """A fault that no retry repairs; the message says what to set."""


class Stopping(ForwardError):
    """Given up for now, since the forwarder is to stop."""
