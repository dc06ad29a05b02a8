"""``cxr-gate forward``: its options, and its life from start to signal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import fields
from typing import Final

import httpx
from prometheus_client import start_http_server

from app.configuration import Setting, declared, shown, unknown
from app.logs import configure_logging
from app.tracing import Tracing

from . import books
from .answers import open_client
from .aside import Aside, path_beside
from .books import Books
from .checkpoint import Checkpoint
from .errors import ForwardError, Misconfigured
from .forwarder import Forwarder, ForwardOptions
from .metrics import ForwardMetrics
from .orthanc import Orthanc
from .service import Service
from .settings import PREFIX, ForwardSettings

DESCRIPTION = """\
Follow Orthanc's log of changes, post each new chest film to the service, and store the report that comes back (a DICOM SR)
beside the film, in the same study. A rejected film gets a report too, which says that there is no result. A film that the
service cannot score (not a frontal chest film, damaged, too large) gets none; it is counted, and is on a list with the
reason (cxr-gate given-up).

A crash or restart of the forwarder, the service or Orthanc loses nothing and leaves one report for each film: the state file
moves on only when a report is in Orthanc, and a repeated report has the same SOPInstanceUID. (Orthanc's OverwriteInstances
should be false.) While the service or Orthanc is away or overloaded, the forwarder asks again for ever. A film that fails
while others may not is set aside, tried again later and later, and given up on in the end; then it is on the list. The
forwarder notices an Orthanc that was restored from a backup, and finds films that the log of changes does not name by listing
all that Orthanc has.
"""
#: Secrets have no option: a command line is seen by every user of the machine.
SECRETS: Final = "\n".join(
    f"  {name:<30}{setting.help}" for name, setting, _ in declared(ForwardSettings, PREFIX) if setting.secret
)
EPILOG = f"""\
Each option can be set in the environment too, by {PREFIX} and its name in capitals ({PREFIX}ORTHANC_URL).
Secrets can be set only there:
{SECRETS}

SIGTERM or SIGINT finishes the films that are being worked on, then ends with 0. The exit code is 1 if a person is needed: for
wrong credentials or addresses, a state file of another Orthanc, or a disk that cannot be written to.

example, for an Orthanc and a service on this machine:
  {PREFIX}ORTHANC_PASSWORD=... cxr-gate forward --orthanc-user forwarder --state /var/lib/cxr-gate/forward.json
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], environment: Mapping[str, str]) -> None:
    """Add ``forward`` to the commands; options that are not given come from `environment`."""
    parser = commands.add_parser(
        "forward",
        help="post Orthanc's new chest films to the service, and store the reports in Orthanc",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for variable, setting, field in declared(ForwardSettings, PREFIX):
        if setting.secret:
            parser.set_defaults(**{field.name: environment.get(variable, field.default)})
            continue
        default = shown(field.default)
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            default=environment.get(variable, field.default),
            required=setting.required and variable not in environment,
            type=_reader(setting),
            help=setting.help.replace("%", "%%")
            + (f" (default: {default})" if default and not setting.required else ""),
        )
    known = {variable: setting for variable, setting, _ in declared(ForwardSettings, PREFIX)}
    misspelt = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    parser.set_defaults(unknown=unknown(misspelt[0], known) if misspelt else None)


def _reader(setting: Setting) -> Callable[[str], object]:
    """A reader for an option. argparse shows the message only of this kind of error, and names the option before it."""

    def read(text: str) -> object:
        try:
            return setting.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error) if setting.address else f"{text!r} {error}") from None

    return read


def run(parsed: argparse.Namespace) -> int:
    """Forward until a signal; the exit code is 0 after one, 1 if a person is needed."""
    configure_logging()
    try:
        if parsed.unknown:
            raise Misconfigured(f"{parsed.unknown} (cxr-gate forward --help lists all)")
        settings = {field.name: getattr(parsed, field.name) for field in fields(ForwardSettings)}
        asyncio.run(_forward(ForwardSettings(**settings)))
    except* ForwardError as group:
        print(f"cxr-gate: {_first(group)}", file=sys.stderr)
        return_code = 1
    else:
        return_code = 0
    return return_code


async def _forward(settings: ForwardSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = ForwardMetrics()
    login = httpx.BasicAuth(settings.orthanc_user, settings.orthanc_password) if settings.orthanc_user else None
    token = {"Authorization": f"Bearer {settings.service_token}"} if settings.service_token else None
    with ExitStack() as stack:
        checkpoint = Checkpoint(settings.state)
        stack.callback(checkpoint.close)
        aside = Aside(path_beside(settings.state), make=True)
        stack.callback(aside.close)
        done = Books(books.path_beside(settings.state))
        stack.callback(done.close)
        if settings.metrics_port:
            stack.callback(_serve_metrics(settings.metrics_host, settings.metrics_port, metrics))
        async with AsyncExitStack() as clients:
            orthanc = await clients.enter_async_context(open_client(settings.orthanc_url, auth=login))
            service = await clients.enter_async_context(open_client(settings.service_url, headers=token))
            options = ForwardOptions(
                *(settings.modalities, settings.start, settings.in_flight, settings.poll_seconds),
                give_up_seconds=3600 * settings.give_up_hours,
                keep_given_up=settings.keep_given_up,
                reconcile_seconds=3600 * settings.reconcile_hours,
            )
            tracing = Tracing.from_environment(os.environ, "cxr-gate-forwarder")
            clients.callback(tracing.close)
            pacs = Orthanc(orthanc, settings.max_film_mb * 2**20)
            forwarder = Forwarder(pacs, Service(service), checkpoint, aside, done, options, metrics, tracing)
            await forwarder.run(stop)
    logging.getLogger("cxr_forward").info("stopped", extra={"checkpoint": checkpoint.last})


def _serve_metrics(host: str, port: int, metrics: ForwardMetrics) -> Callable[[], None]:
    """Serve the metrics in a thread; returns the function that ends it."""
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise Misconfigured(
            f"metrics cannot be served at --metrics-host and --metrics-port ({error.strerror})"
        ) from None

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
