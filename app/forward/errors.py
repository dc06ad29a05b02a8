"""Every error of the forwarder.

ForwardError
├── Passing         may pass by itself: no connection, overloaded, starting; tried again for ever
├── Fault           an answer that nobody should give; tried again a few times, then the film is passed over
├── Misconfigured   needs a person: credentials, addresses, the state file; the forwarder stops
└── Stopping        a stop was asked for while something had to be tried again

No message holds an address of a resource: Orthanc's names of resources are hashes of patients' identifiers.
"""

from __future__ import annotations


class ForwardError(Exception):
    """Base of all errors here; ``str(error)`` is fit to be logged."""


class Passing(ForwardError):
    """A fault that may pass; ``retry_after`` is the seconds that the other side asked for."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fault(ForwardError):
    """An answer that says that the other side is broken, perhaps on this film alone."""


class Misconfigured(ForwardError):
    """What no retry mends; the message says what to set."""


class Stopping(ForwardError):
    """Given up for now, because the forwarder is to stop."""
