"""Every error that the pipeline raises.

PipelineError
├── InputError              the caller's bytes; never the server's fault
│   ├── MalformedImage      empty, truncated or undecodable
│   ├── UnsuitableImage     decodes, but is no frontal chest radiograph of usable size
│   ├── UnsupportedMedia    a file format or transfer syntax that is not read here
│   └── ImageTooLarge       more pixels than the limit; found before decompression
├── BackendError            the backend or device is not there, or cannot start here
├── BundleError             a bundle that does not verify; the message says which file and why
├── SiteTableError          a site's table of prevalences and points; the message says which line and why
└── NumericalError          a result that is not finite

The pipeline knows no HTTP; ``app.http.problems`` maps these to statuses.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of all errors here; ``str(error)`` may be shown: it has no identifier, value or path of a patient."""


class InputError(PipelineError):
    """The caller's bytes cannot be scored."""


class MalformedImage(InputError):
    """Empty, truncated or undecodable bytes."""


class UnsuitableImage(InputError):
    """A readable image that is not a frontal chest radiograph of usable size."""


class UnsupportedMedia(InputError):
    """A file format or DICOM transfer syntax that is not supported."""


class ImageTooLarge(InputError):
    """The image claims more pixels than the limit."""


class BackendError(PipelineError):
    """The backend or device that was named is not there, or cannot be used here."""


class BundleError(PipelineError):
    """The bundle is incomplete, altered, or was not made for this code."""


class NumericalError(PipelineError):
    """The network or the gate returned a number that is not finite."""


class SiteTableError(PipelineError):
    """A site's table of prevalences and points cannot be used."""
