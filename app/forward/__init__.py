"""The forwarder follows Orthanc's log of changes, and puts a report of the service beside each new chest film.

    Orthanc /changes -> film -> service POST /v1/score -> report (DICOM SR) -> Orthanc /instances -> checkpoint

The checkpoint moves only over finished changes: those whose report is in Orthanc, or whose film is on the list of
films set aside. So a crash of any side loses nothing. A repeat after a crash changes nothing: the service gives the
same report the same SOPInstanceUID, and Orthanc keeps the one that it has. Nothing here imports torch: a forwarder
is small, and starts at once.
"""

from .aside import Aside
from .books import Books
from .checkpoint import Checkpoint
from .forwarder import Forwarder
from .orthanc import Orthanc
from .service import Service

__all__ = ["Aside", "Books", "Checkpoint", "Forwarder", "Orthanc", "Service"]
