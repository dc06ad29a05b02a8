"""Between the HTTP surface and the pipeline: admission, decoding in threads, batches on one device.

screen -> admitted? -> read the body -> decode (threads) -> ready queue -> one device thread takes all that waits -> future
"""

from .admission import Place
from .engine import Engine, Screened
from .errors import DeadlinePassed, EngineError, InferenceFailed, NotReady, Overloaded

__all__ = [
    "DeadlinePassed",
    "Engine",
    "EngineError",
    "InferenceFailed",
    "NotReady",
    "Overloaded",
    "Place",
    "Screened",
]
