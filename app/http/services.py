"""The services that the routes of one application share: made by the settings, and run while the application serves."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.access import Callers, KeysFileError, Quota
from app.access.oidc import OidcError, Provider, parse_scopes
from app.engine import Engine, Version
from app.metrics import Metrics
from app.pipeline import Screener
from app.quarantine import open_quarantine
from app.records import Repeats, Writer, open_record
from app.screening import QueryGuard, Reports, Screening
from app.settings import Settings, SettingsError
from app.tracing import Tracing
from app.versions import Catalogue, ChoiceFile, Versions, load

from .idempotency import FilmsOfKeys
from .problems import SENDER_FAULTS
from .security import Access

log = logging.getLogger("cxr_gate")


class Services:
    """The services of one application.

    Parameters
    ----------
    screeners : sequence of Screener
        The screeners of the version that is active at first.
    previous : Version or None
        The version that was active before, on the same devices.

    Raises
    ------
    SettingsError
    """

    def __init__(self, screeners: Sequence[Screener], settings: Settings, previous: Version | None) -> None:
        self.settings = settings
        self.previous = previous
        self.provider = provider = _provider(settings)
        quota = Quota(settings.quota_per_minute, settings.quota_burst) if settings.quota_per_minute else None
        self.access = Access(_callers(settings), quota, provider, metrics_open=settings.metrics_open)
        self.films_of_keys = FilmsOfKeys()
        self.metrics = Metrics(SENDER_FAULTS)
        if provider:
            self.metrics.oidc_keys_fetched.set_function(lambda: provider.fetched_at)
        self.tracing = Tracing.from_environment(os.environ, "cxr-gate")
        self.engine = Engine(Version(tuple(screeners)), settings, self.metrics)
        self.record = open_record(settings.record_url, settings.record_key_file)
        self.reports = Reports(settings, self.metrics, self.record.key.of_reports)
        self.writer = Writer(self.record, self.metrics, optional=settings.record_optional, days=settings.record_days)
        self.versions = Versions(
            self.engine,
            previous,
            Catalogue(settings),
            ChoiceFile(settings.versions_file),
            load=lambda folder: load(folder, settings),
            announce=self._describe,
            record=self.writer.note_version,
            metrics=self.metrics,
        )
        self.quarantine = open_quarantine(settings, self.record, self.writer, self.metrics)
        self.screening = Screening(
            self.engine,
            QueryGuard.of(settings, self.metrics),
            self.record.key,
            Repeats(self.record, optional=settings.record_optional),
            self.writer,
            self.quarantine,
            self.reports,
            self.metrics,
        )

    @staticmethod
    def of(request: Request) -> Services:
        """The services of the application that answers a request."""
        services: Services = request.app.state.services
        return services

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the services, and stop them at the end.

        Raises
        ------
        BundleError
            The golden outputs were not reproduced.
        """
        await run_in_threadpool(self.writer.start)
        await run_in_threadpool(self.engine.start)
        self.reports.start()
        if self.provider:
            self.provider.fetch()
        if self.quarantine:
            self.quarantine.start()
        if self.previous:
            self.metrics.introduce(self.previous.bundle)
        active = self.engine.active
        self._describe(active)
        log.info(
            "ready",
            extra={
                "model_version": active.name,
                "signed": active.bundle.signed_by is not None,
                "signed_by": active.bundle.signed_by,
                "backends": [backend.description for backend in active.backends],
            },
        )
        yield
        if self.provider:
            await self.provider.stop()
        await run_in_threadpool(self.engine.stop)
        await run_in_threadpool(self.reports.stop)
        if self.quarantine:
            await self.quarantine.stop()
        await run_in_threadpool(self.writer.stop)
        self.record.close()
        await run_in_threadpool(self.tracing.close)

    def _describe(self, version: Version) -> None:
        self.metrics.describe(version.bundle, version.backends, self.settings.max_waiting)


def _callers(settings: Settings) -> Callers | None:
    try:
        return Callers(Path(settings.keys_file)) if settings.keys_file else None
    except KeysFileError as error:
        raise SettingsError(f"CXR_KEYS_FILE: {error}") from error


def _provider(settings: Settings) -> Provider | None:
    if not settings.oidc_issuer:
        if settings.oidc_audience or settings.oidc_jwks_url or settings.oidc_scopes:
            raise SettingsError("CXR_OIDC_AUDIENCE, CXR_OIDC_JWKS_URL and CXR_OIDC_SCOPES need CXR_OIDC_ISSUER")
        return None
    try:
        scopes = parse_scopes(settings.oidc_scopes)
        return Provider(settings.oidc_issuer, settings.oidc_audience, settings.oidc_jwks_url, scopes)
    except OidcError as error:
        raise SettingsError(str(error)) from error
