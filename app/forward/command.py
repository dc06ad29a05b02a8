"""``cxr-gate forward``: its options, and its life from start to signal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from prometheus_client import start_http_server

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
from .orthanc import MOST_FILM_BYTES, Orthanc
from .service import Service

PREFIX: Final = "CXR_FORWARD_"
#: Without a flag: a command line is seen by every user of the machine.
SECRETS: Final = (PREFIX + "ORTHANC_PASSWORD", PREFIX + "SERVICE_TOKEN")

DESCRIPTION = """\
Follow Orthanc's log of changes, post each new chest film to the service, and store the report that it gives (a DICOM SR)
beside the film, in the same study. Rejected films get a report too, which says that there is no result; films that the
service cannot score (not a frontal chest film, damaged, too large) get none, are counted, and are on a list with the reason
(cxr-gate given-up).

A crash or restart of the forwarder, the service or Orthanc loses nothing, and leaves one report a film: the state file
moves on only when a report is in Orthanc, and what is repeated has the same SOPInstanceUID. (Orthanc's
OverwriteInstances should be false.) While the service or Orthanc is away or overloaded, it is asked again for ever. A film that
fails while others may not is set aside, tried again later and later, and given up on in the end; the list has it then. An Orthanc
that was restored from a backup is noticed, and what its log of changes does not tell is found by listing.
"""
EPILOG = f"""\
Each option can be set in the environment too, by {PREFIX} and its name in capitals ({PREFIX}ORTHANC_URL).
Secrets are set there alone:
  {PREFIX}ORTHANC_PASSWORD   password of --orthanc-user
  {PREFIX}SERVICE_TOKEN      key for the service, with the scope score (cxr-gate new-key --help)

SIGTERM or SIGINT finishes the films in hand, then ends with 0. The exit code is 1 where a person is needed: wrong
credentials or addresses, a state file of another Orthanc, or a disk that cannot be written to.

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

    def option(name: str, default: str | None, help: str, **more: object) -> None:
        value = environment.get(PREFIX + name.upper().replace("-", "_"), default)
        shown = f" (default: {default})" if default else ""
        parser.add_argument("--" + name, default=value, required=value is None, help=help + shown, **more)  # type: ignore[arg-type]

    option(
        "state",
        None,
        "file that remembers how far the forwarder is, with two more beside it (.films, .done); its folder must exist",
        type=Path,
    )
    option("orthanc-url", "http://127.0.0.1:8042", "Orthanc's REST interface", type=_url)
    option("orthanc-user", "", "one of Orthanc's RegisteredUsers; leave it out where Orthanc asks for none")
    option("service-url", "http://127.0.0.1:8000", "the service", type=_url)
    option("modalities", "CR,DX", "post instances of these; the service must accept them too", type=_modalities)
    option(
        "start",
        "beginning",
        "where to start while there is no state file: beginning (all that Orthanc has), now, or after the change of "
        "this number",
        type=_start,
    )
    option("in-flight", "4", "films in hand at once, each held in memory", type=_positive(int))
    option(
        "max-film-mb",
        str(MOST_FILM_BYTES // 2**20),
        "MiB; a film that has more is not fetched, and is on the list of those given up on. Keep it over the service's "
        "CXR_MAX_BODY_BYTES",
        type=_positive(int),
    )
    option(
        "give-up-hours",
        "24",
        "a film that fails again and again is given up on, so long after its first failure; see cxr-gate given-up",
        type=_positive(float),
    )
    option(
        "keep-given-up",
        "10000",
        "how many of the films that were given up on are listed, the newest; those before are counted, and named by the log",
        type=_positive(int),
    )
    option(
        "reconcile-hours",
        "6",
        "how often, and at the start, to list all that Orthanc has, for instances of which its log of changes did not tell",
        type=_positive(float),
    )
    option("poll-seconds", "2", "how often to look for new changes", type=_positive(float))
    option("metrics-host", "127.0.0.1", "address of Prometheus metrics")
    option("metrics-port", "0", "port of Prometheus metrics (/metrics); 0 serves none", type=_port)
    parser.set_defaults(orthanc_password=environment.get(SECRETS[0], ""), service_token=environment.get(SECRETS[1], ""))
    known = {PREFIX + action.dest.upper() for action in parser._actions} | set(SECRETS)
    parser.set_defaults(unknown=sorted(name for name in environment if name.startswith(PREFIX) and name not in known))


def run(parsed: argparse.Namespace) -> int:
    """Forward until a signal; the exit code is 0 after one, 1 where a person is needed."""
    configure_logging()
    try:
        if parsed.unknown:
            raise Misconfigured(f"unknown setting {parsed.unknown[0]}; cxr-gate forward --help lists them")
        asyncio.run(_forward(parsed))
    except* ForwardError as group:
        print(f"cxr-gate: {_first(group)}", file=sys.stderr)
        return_code = 1
    else:
        return_code = 0
    return return_code


async def _forward(parsed: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = ForwardMetrics()
    login = httpx.BasicAuth(parsed.orthanc_user, parsed.orthanc_password) if parsed.orthanc_user else None
    token = {"Authorization": f"Bearer {parsed.service_token}"} if parsed.service_token else None
    with ExitStack() as stack:
        checkpoint = Checkpoint(parsed.state)
        stack.callback(checkpoint.close)
        aside = Aside(path_beside(parsed.state), make=True)
        stack.callback(aside.close)
        done = Books(books.path_beside(parsed.state))
        stack.callback(done.close)
        if parsed.metrics_port:
            stack.callback(_serve_metrics(parsed.metrics_host, parsed.metrics_port, metrics))
        async with AsyncExitStack() as clients:
            orthanc = await clients.enter_async_context(open_client(parsed.orthanc_url, auth=login))
            service = await clients.enter_async_context(open_client(parsed.service_url, headers=token))
            options = ForwardOptions(
                *(parsed.modalities, parsed.start, parsed.in_flight, parsed.poll_seconds),
                give_up_seconds=3600 * parsed.give_up_hours,
                keep_given_up=parsed.keep_given_up,
                reconcile_seconds=3600 * parsed.reconcile_hours,
            )
            tracing = Tracing.from_environment(os.environ, "cxr-gate-forwarder")
            clients.callback(tracing.close)
            pacs = Orthanc(orthanc, parsed.max_film_mb * 2**20)
            forwarder = Forwarder(pacs, Service(service), checkpoint, aside, done, options, metrics, tracing)
            await forwarder.run(stop)
    logging.getLogger("cxr_forward").info("stopped", extra={"checkpoint": checkpoint.last})


def _serve_metrics(host: str, port: int, metrics: ForwardMetrics) -> Callable[[], None]:
    """Serve them in a thread; returns what ends it."""
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


def _url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query or url.fragment:
        raise argparse.ArgumentTypeError("an address is http://HOST:PORT or https://HOST, with a path if need be")
    return text


def _modalities(text: str) -> frozenset[str]:
    found = frozenset(text.upper().replace(" ", "").split(","))
    if not all(re.fullmatch("[A-Z]{2,16}", modality) for modality in found) or "SR" in found:
        raise argparse.ArgumentTypeError("modalities are such as CR,DX; SR, which reports are, cannot be one")
    return found


def _start(text: str) -> str:
    if text not in {"beginning", "now"} and not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError("a start is beginning, now, or the number of a change")
    return text


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"'{text}' is no {kind.__name__} over 0")
        return value

    return convert
