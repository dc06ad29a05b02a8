"""The forwarder: follows Orthanc's log of changes, and puts a report of the service beside each new chest film.

    Orthanc /changes -> film -> service POST /v1/score -> report (DICOM SR) -> Orthanc /instances -> checkpoint

The checkpoint moves only over changes that are done with, and after the report is in Orthanc, or the film is on the list of those
that are set aside. So a crash of any side loses nothing. What is repeated after one is invisible: the service names the same
report by the same SOPInstanceUID, and Orthanc keeps the one that it has. Nothing here imports torch: a forwarder is small, and
starts at once.
"""

from .aside import Aside
from .books import Books
from .checkpoint import Checkpoint
from .forwarder import Forwarder
from .orthanc import Orthanc
from .service import Service

__all__ = ["Aside", "Books", "Checkpoint", "Forwarder", "Orthanc", "Service"]
