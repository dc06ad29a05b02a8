"""What the routes of one application share, made as the settings say, and run while it serves."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.access import Callers, KeysFileError, Quota
from app.access.oidc import OidcError, Provider, parse_scopes
from app.engine import Engine, Version
from app.metrics import Metrics
from app.pipeline import Screener
from app.quarantine import Quarantine, open_quarantine
from app.records import Record, Repeats, Writer, open_record
from app.screening import QueryGuard, Reports, Screening
from app.settings import Settings, SettingsError
from app.tracing import Tracing
from app.versions import Catalogue, ChoiceFile, Versions, load

from .security import Access

log = logging.getLogger("cxr_gate")


@dataclass(frozen=True)
class Services:
    """Of one application.

    Attributes
    ----------
    provider : Provider or None
        Of identities; None: tokens are not taken.
    previous : Version or None
        What was active before, on the same devices.
    quarantine : Quarantine or None
        None: rejected films are not kept.
    """

    settings: Settings
    metrics: Metrics
    tracing: Tracing
    provider: Provider | None
    access: Access
    engine: Engine
    previous: Version | None
    record: Record
    writer: Writer
    reports: Reports
    versions: Versions
    quarantine: Quarantine | None
    screening: Screening

    @classmethod
    def of(cls, request: Request) -> Services:
        """Those of the application that answers a request."""
        services: Services = request.app.state.services
        return services

    @classmethod
    def make(cls, screeners: Sequence[Screener], settings: Settings, previous: Version | None) -> Services:
        """As the settings say.

        Raises
        ------
        SettingsError
        """
        quota = Quota(settings.quota_per_minute, settings.quota_burst) if settings.quota_per_minute else None
        provider = _provider(settings)
        access = Access(_callers(settings), quota, provider, metrics_open=settings.metrics_open)
        metrics = Metrics()
        if provider:
            metrics.oidc_keys_fetched.set_function(lambda: provider.fetched_at)
        tracing = Tracing.from_environment(os.environ, "cxr-gate")
        engine = Engine(Version(tuple(screeners)), settings, metrics)
        record = open_record(settings.record_url, settings.record_key_file)
        reports = Reports(settings, metrics, record.key.of_reports)
        writer = Writer(record, metrics, optional=settings.record_optional, days=settings.record_days)
        versions = Versions(
            engine,
            previous,
            Catalogue(settings),
            ChoiceFile(settings.versions_file),
            load=lambda folder: load(folder, settings),
            announce=lambda version: _describe(version, settings, metrics),
            record=writer.note_version,
            metrics=metrics,
        )
        quarantine = open_quarantine(settings, record, writer, metrics)
        guard, repeats = QueryGuard.of(settings, metrics), Repeats(record, optional=settings.record_optional)
        screening = Screening(engine, guard, record.key, repeats, writer, quarantine, reports, metrics)
        return cls(
            settings,
            metrics,
            tracing,
            provider,
            access,
            engine,
            previous,
            record,
            writer,
            reports,
            versions,
            quarantine,
            screening,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start them, and stop them at the end.

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
        _describe(active, self.settings, self.metrics)
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


def _describe(version: Version, settings: Settings, metrics: Metrics) -> None:
    metrics.describe(version.bundle, version.backends, settings.max_waiting)


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
