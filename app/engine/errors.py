"""Every error that the engine raises.

EngineError            the service, not the image, is the reason that there is no verdict
├── Overloaded         too many requests wait already
├── NotReady           starting, stopping, or the golden check failed
├── DeadlinePassed     no verdict within the deadline
└── InferenceFailed    the device failed on this image alone
"""

from __future__ import annotations


class EngineError(Exception):
    """The service, not the image, is the reason that there is no verdict."""


class Overloaded(EngineError):
    """Too many requests wait already."""


class NotReady(EngineError):
    """Starting, stopping, or the golden check failed."""


class DeadlinePassed(EngineError):
    """No verdict within the deadline."""


class InferenceFailed(EngineError):
    """The device failed on this image alone."""
