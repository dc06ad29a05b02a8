"""Between the HTTP surface and the pipeline: admission, decoding in threads, batches on the devices.

screen -> admitted? -> read the body -> decode (threads) -> ready queue -> a device's thread takes all that waits -> future
"""

from .engine import Engine, Screened
from .errors import DeadlinePassed, EngineError, InferenceFailed, NotReady, Overloaded
from .place import Place
from .shadow import Comparison, Shadow
from .version import Version

__all__ = [
    "Comparison",
    "DeadlinePassed",
    "Engine",
    "EngineError",
    "InferenceFailed",
    "NotReady",
    "Overloaded",
    "Place",
    "Screened",
    "Shadow",
    "Version",
]
