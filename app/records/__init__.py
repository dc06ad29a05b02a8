"""What was decided, kept so that the same instance is answered again and not judged again.

    image -> RecordKey (keyed hashes) -> Repeats: found in the Record? -> its Verdict
                                                  else judge -> Record.keep -> the Verdict

No identifier enters the record in clear, and none of its hashes can be made without its key.
"""

from .key import RecordKey
from .open import open_record
from .record import Record, RecordUnavailable, Subject
from .repeats import Recalled, Repeats

__all__ = ["Recalled", "Record", "RecordKey", "RecordUnavailable", "Repeats", "Subject", "open_record"]
