"""Reports of verdicts on DICOM films: for callers who accept them, and for the DICOMweb server that is configured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from app.engine import NotReady
from app.metrics import Metrics
from app.results import (
    Delivery,
    DicomwebServer,
    Outbox,
    UnreportableSource,
    make_report,
    make_secondary_capture,
    pixels_digest,
    read_source,
    to_part10,
)
from app.settings import Settings, SettingsError
from app.tracing import span

from .film import Screened


class Reports:
    """Makes reports, and delivers them if a server is configured; ``start`` before use, ``stop`` after.

    Parameters
    ----------
    key : bytes
        The key for the UIDs of reports (``RecordKey.of_reports``).

    Raises
    ------
    SettingsError
        The folder where reports wait cannot be written to.
    """

    def __init__(self, settings: Settings, metrics: Metrics, key: bytes) -> None:
        self._metrics = metrics
        self._key = key
        self._delivery = _delivery(settings, metrics, key) if settings.results_url else None

    def start(self) -> None:
        """Begin to deliver."""
        if self._delivery:
            self._delivery.start()

    def stop(self) -> None:
        """End after the present attempt."""
        if self._delivery:
            self._delivery.stop()

    async def with_report(self, screened: Screened, *, wanted: bool) -> Screened:
        """A copy with the report, if the sender wants it and the film is DICOM. A report for delivery is then in the outbox.

        Raises
        ------
        UnreportableSource
            The sender wants a report, and the film's header cannot carry one.
        NotReady
            The report could not be put into the outbox, so the answer would promise a delivery that never comes.
        """
        if screened.film.kind != "dicom" or not (wanted or self._delivery):
            return screened
        with span("report"):
            return replace(screened, report=await run_in_threadpool(self._make, screened, wanted))

    def heatmap_of(self, screened: Screened, finding: str) -> bytes:
        """The heatmap of a DICOM film as a DICOM file.

        Raises
        ------
        UnreportableSource
        """
        assert screened.heatmap is not None
        capture = make_secondary_capture(
            read_source(screened.film.data),
            screened.image,
            screened.heatmap,
            finding,
            key=self._key,
            pixels_digest=pixels_digest(screened.image.pixels),
            model_version=screened.version.name,
            made=datetime.now(UTC),
        )
        return to_part10(capture)

    def _make(self, screened: Screened, wanted: bool) -> bytes | None:
        try:
            source = read_source(screened.film.data)
        except UnreportableSource:
            if wanted:
                raise
            self._metrics.results.labels("unreportable").inc()
            return None
        report = make_report(
            source,
            screened.verdict,
            key=self._key,
            pixels_digest=pixels_digest(screened.image.pixels),
            manifest=screened.version.manifest,
            made=datetime.now(UTC),
            presentation=screened.image.presentation,
        )
        written = to_part10(report)
        if self._delivery:
            try:
                self._delivery.put(report.SOPInstanceUID, written)
            except OSError as error:
                raise NotReady("the result cannot be kept for its delivery; try again shortly") from error
        return written if wanted else None


def _delivery(settings: Settings, metrics: Metrics, key: bytes) -> Delivery:
    try:
        outbox = Outbox(settings.results_folder)
    except OSError as error:
        raise SettingsError(
            f"CXR_RESULTS_FOLDER={str(settings.results_folder)!r} cannot be written to ({error.strerror}); name a folder "
            "that outlives the process"
        ) from error
    server = DicomwebServer(settings.results_url, settings.results_user, settings.results_password, key=key)
    return Delivery(outbox, server, metrics)
