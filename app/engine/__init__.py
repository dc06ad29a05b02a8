"""Between the HTTP surface and the pipeline: admission, decoding in threads, batches on the devices.

place (admitted?) -> the body is read -> decode (threads) -> ready queue -> a device's thread takes all that waits -> Judged
"""

from .engine import Deadline, Engine
from .errors import DeadlinePassed, EngineError, InferenceFailed, NotReady, Overloaded
from .place import Place
from .ready import Judged
from .shadow import Comparison, Shadow
from .version import Version

__all__ = [
    "Comparison",
    "Deadline",
    "DeadlinePassed",
    "Engine",
    "EngineError",
    "InferenceFailed",
    "Judged",
    "NotReady",
    "Overloaded",
    "Place",
    "Shadow",
    "Version",
]
