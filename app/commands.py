"""The commands that load torch: serve, score, check-bundle, verify-bundle, verify-record, export-quarantine,
check-headers."""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from app.environment import forget_secrets
from app.headers import TableError, checked
from app.http.application import create_application
from app.http.security import is_loopback
from app.http.wire.protocol import guarded
from app.logs import configure_logging
from app.pipeline import Verdict, decode, film_tensor
from app.pipeline.errors import PipelineError
from app.quarantine import Vault, keys_of
from app.quarantine.export import export_films
from app.records import EMPTY, Head, RecordUnavailable, open_for_reading, open_record
from app.settings import Settings, SettingsError
from app.tls import Renewal, Tls
from app.versions import load_chosen, proven_screeners, trusted_keys
from app.versions.verification import verification

log = logging.getLogger("cxr_gate")

#: Most open connections, if the machine allows so many. Many machines start services with 1,024, which idle senders would fill.
OPEN_FILES = 65_536
#: The variable with addresses of proxies, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto uvicorn believes.
PROXIES = "FORWARDED_ALLOW_IPS"


def run(parsed: argparse.Namespace) -> int:
    """Run the command; the exit code is 0, or 1 where something was refused."""
    try:
        tls = ("tls_certificate", "tls_key", "tls_client_ca")
        same = {name: name for name in ("bundle", "backend", "device", "trusted_keys", *tls)}
        options = {**same, "url": "record_url", "key_file": "record_key_file"}
        given = {field: getattr(parsed, option, None) for option, field in options.items()}
        settings = replace(Settings.from_environment(), **{k: v for k, v in given.items() if v})
        commands = {
            "serve": _serve,
            "score": _score,
            "check-bundle": _check_bundle,
            "verify-bundle": _verify_bundle,
            "verify-record": _verify_record,
            "export-quarantine": _export_quarantine,
            "check-headers": _check_headers,
        }
        command = commands[parsed.command]
        return command(parsed, settings)
    except (PipelineError, SettingsError, RecordUnavailable, TableError) as error:
        print(f"cxr-gate: {error}", file=sys.stderr)
        return 1


def make_application(settings: Settings) -> FastAPI:
    """The service as the settings say, its active version proven on each of its devices and warmed up.

    Raises
    ------
    PipelineError, SettingsError
    """
    active, previous = load_chosen(settings)
    return create_application(active.screeners, settings, previous)


def _serve(parsed: argparse.Namespace, settings: Settings) -> int:
    configure_logging()
    forget_secrets()
    if not settings.has_callers and not is_loopback(parsed.host):
        log.warning(
            "ANYBODY WHO REACHES THIS SERVICE MAY USE IT: it listens on more than this machine, and has no keys. Set "
            "CXR_KEYS_FILE and make keys (cxr-gate new-key), or CXR_OIDC_ISSUER, or see to it that a proxy in front "
            "authenticates; without keys it answers to the names of this machine and of CXR_ALLOWED_HOSTS alone",
            extra={"allowed_hosts": settings.allowed_hosts},
        )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most), most)
    )
    tls = Tls.of(settings)
    application = make_application(settings)
    secured = {}
    if tls:
        ends = application.state.metrics.tls_certificate_ends
        ends.set(tls.ends)
        renewal = Renewal(settings, tls, lambda renewed: ends.set(renewed.ends))
        secured = {**tls.options(), "ssl_context_factory": renewal.context}
    uvicorn.run(
        application,
        host=parsed.host,
        port=parsed.port,
        http=guarded(application.state.metrics, application.state.origins),
        ws="none",
        log_config=None,
        access_log=False,  # the middleware logs each answer, without addresses or paths
        timeout_graceful_shutdown=settings.drain_seconds,
        server_header=False,
        # By default uvicorn believes X-Forwarded-For from this machine, so each request could claim another caller.
        proxy_headers=bool(os.environ.get(PROXIES)),
        **secured,
    )
    return 0


def _score(parsed: argparse.Namespace, settings: Settings) -> int:
    screener = proven_screeners(settings.bundle, settings)[0]
    failed = False
    for path in parsed.files:
        answer: dict[str, object] = {"file": str(path)}
        try:
            image = decode(path.read_bytes(), max_pixels=settings.max_pixels, rules=settings.header_rules)
            verdict = screener.screen(film_tensor(image))[0]
            if not isinstance(verdict, Verdict):
                raise verdict
            answer["verdict"] = "accepted" if verdict.accepted else "rejected as adversarial"
            if verdict.probabilities is not None:
                called = screener.bundle.calls.of(verdict.probabilities)
                answer["probabilities"] = {one.name: round(one.probability, 4) for one in called}
                answer["calls"] = {one.name: one.call for one in called}
                answer["percentiles"] = {one.name: one.percentile for one in called}
        except (PipelineError, OSError) as error:
            failed = True
            answer["error"] = str(error)
        print(json.dumps(answer))
    return 1 if failed else 0


def _check_headers(parsed: argparse.Namespace, settings: Settings) -> int:
    for line in checked(parsed.table, settings.header_rules):
        print(line)
    return 0


def _check_bundle(parsed: argparse.Namespace, settings: Settings) -> int:
    for screener in proven_screeners(settings.bundle, settings):
        version = screener.bundle.manifest.model_version
        print(
            f"{settings.bundle}: {version} verifies, and reproduces its golden outputs on {screener.backend.description}"
        )
    return 0


def _verify_bundle(parsed: argparse.Namespace, settings: Settings) -> int:
    print("\n".join(verification(settings.bundle, trusted_keys(settings))))
    return 0


def _verify_record(parsed: argparse.Namespace, settings: Settings) -> int:
    try:
        expected = Head.parse(parsed.expect_head) if parsed.expect_head else None
    except ValueError as error:
        raise SettingsError(f"--expect-head: {error}") from error
    record = open_for_reading(settings.record_url, settings.record_key_file)
    try:
        verified = record.verify(expected)
    finally:
        record.close()
    for fault in verified.faults:
        print(fault)
    if more := verified.fault_count - len(verified.faults):
        print(f"and {more} faults more")
    if verified.fault_count:
        print(f"{verified.count} entries: the record does NOT verify")
        return 1
    kept = f", {verified.first.id} to {verified.head.id}" if verified.first and verified.head else ""
    gone = f"; 1 to {verified.removed_through} were removed by retention" if verified.removed_through else ""
    print(f"{verified.count} entries{kept}: the record verifies{gone}")
    print(f"head {verified.head or EMPTY}")
    return 0


def _export_quarantine(parsed: argparse.Namespace, settings: Settings) -> int:
    folder = Path(settings.quarantine_folder)
    if not settings.quarantine_folder or not folder.is_dir():
        raise SettingsError("CXR_QUARANTINE_FOLDER does not name the folder of a quarantine")
    open_for_reading(
        settings.record_url, settings.record_key_file
    ).close()  # the record must be there: a new one knows no film
    record = open_record(settings.record_url, settings.record_key_file)
    try:
        written, faults = export_films(record, Vault(folder, keys_of(settings)), parsed.state, parsed.out)
    except OSError as error:
        raise SettingsError(f"--out {parsed.out}: {error.strerror}") from error
    finally:
        record.close()
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{written} {parsed.state} films written to {parsed.out}")
    return 1 if faults else 0
