"""Every error that the engine raises.

EngineError            the service, not the image, is the reason that there is no verdict
├── Overloaded         too much waits already
├── NotReady           starting, stopping, or no device is in service
├── DeadlinePassed     no verdict within the deadline
└── InferenceFailed    the device failed on this image alone
"""

from __future__ import annotations


class EngineError(Exception):
    """The service, not the image, is the reason that there is no verdict."""


class Overloaded(EngineError):
    """Too many requests or bytes wait already, or the work that waits takes longer than the deadline leaves.

    Attributes
    ----------
    retry_after : int
        Estimated seconds until the waiting requests are done; at least 1.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(EngineError):
    """The service is starting or stopping, or no device is in service."""


class DeadlinePassed(EngineError):
    """There was no verdict within the deadline."""


class InferenceFailed(EngineError):
    """The device failed on this image alone."""
