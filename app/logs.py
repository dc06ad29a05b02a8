"""JSON log lines on standard error."""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from datetime import UTC, datetime
from types import TracebackType

from app.tracing import here

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, the fields of ``extra``, and the present request and its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := here():
            told = {
                "request_id": trace.request_id,
                "caller_request_id": trace.caller_request_id,
                "trace_id": trace.trace_id,
                "span_id": trace.span_id,
            }
            line.update({key: value for key, value in told.items() if value})
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

    def formatException(  # noqa: N802  # logging's name
        self, exception: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """The traceback and the class of an error. Its text is left out: libraries quote their input there."""
        causes = []
        error, seen = exception[1], set[int]()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            raised = "".join(traceback.format_tb(error.__traceback__))
            causes.append(f"Traceback (most recent call last):\n{raised}{type(error).__qualname__}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nraised while handling, or because of:\n".join(causes)


def configure_logging() -> None:
    """Send everything to standard error as JSON; replaces what uvicorn would set up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # httpx writes down every address that it asks: for DICOMweb these hold UIDs, for Orthanc hashes of patients' identifiers.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # The messages of these libraries may quote values of tags.
    for library in ("pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
