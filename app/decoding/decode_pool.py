"""Decoding in processes: starts and ends them, and checks everything that they say."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NoReturn

from app.pipeline.errors import MalformedImage
from app.pipeline.image import DecodedImage, SourceKind

from .exchange import MemoryLimitMet, NoAnswer, exchange
from .fork_server import FORK, READY, UNKNOWN, DecodeOptions
from .machine import Machine
from .turns import Turns

log = logging.getLogger("cxr_gate")

#: Why a process gave no answer; see docs/monitoring.md.
Failure = Literal["crash", "memory", "cpu", "starved"]

#: Seconds for the fork server, which imports for less than a second and then answers within milliseconds.
FORK_SERVER_SECONDS: Final = 30.0
#: How often a dead fork server is asked, the first time included.
ASKED: Final = 2
#: A film is at fault after so many deaths of its decoder in a row, each on an idle machine.
DEATHS: Final = 2
TOO_BUSY: Final = "the machine was too busy to decode the film in time; try again later"
#: Remedies for a film that cannot be decoded.
REMEDY: Final[dict[SourceKind, str]] = {
    "dicom": "send it as Explicit VR Little Endian",
    "png": "save it anew, with fewer pixels",
    "jpeg": "save it anew, with fewer pixels and not as progressive",
}
#: Variables, and beginnings of names, that the fork server gets from the environment. Any other may hold a password.
INHERITED: Final = frozenset({"HOME", "LANG", "LANGUAGE", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"})
INHERITED_FAMILIES: Final = ("LC_", "LD_", "MALLOC_", "GLIBC_", "PYTHON")
_ROOT: Final = Path(__file__).resolve().parents[2]


class DecodingUnavailable(Exception):
    """The machine, not the film, is the reason that the film was not decoded; it may be sent again."""


class Unconfined(DecodingUnavailable):
    """Decoders cannot be confined here, but the settings require it."""


class _Died(Exception):
    """A process ended without an answer; ``exit_code`` is None if nobody knows it any more."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__()
        self.exit_code = exit_code


class _CpuLimitMet(Exception):
    """The kernel ended a process that had spent its CPU time."""


class DecodePool:
    """Decodes each film in a process of its own, for several threads; ``start`` before use, ``stop`` after.

    Parameters
    ----------
    options : DecodeOptions
    failed : callable
        Called for each process that gave no answer, with the reason.
    machine : Machine
        Says whether it is idle.
    """

    #: The module of the fork server. Tests replace it by one whose decoders misbehave.
    program = "app.decoding.fork_server"

    def __init__(
        self, options: DecodeOptions, failed: Callable[[Failure], None], machine: Machine | None = None
    ) -> None:
        self._options = options
        self._failed = failed
        self._machine = machine or Machine()
        self._turns = Turns()
        self._lock = threading.Lock()  # of the two below; one request at a time
        self._fork_server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start the fork server and wait until it is ready.

        Raises
        ------
        DecodingUnavailable
        """
        with self._lock:
            self._start()

    def stop(self) -> None:
        """End the fork server, and with it all decoding that still goes on."""
        with self._lock:
            self._stop()

    def decode(self, data: bytes, until: float, kind: SourceKind = "dicom") -> DecodedImage:
        """Decode a film; see ``app.pipeline.decode`` for its errors.

        A film whose decoder died is decoded again, alone. It is refused for good once its decoder has died twice in a row on
        an idle machine: no other film was decoded at the time, and there was CPU time and memory to spare.

        Parameters
        ----------
        data : bytes
        until : float
            When to give up, in ``time.monotonic()`` seconds.
        kind : SourceKind
            The declared kind.

        Raises
        ------
        InputError
            From the pipeline; and ``MalformedImage`` for a film that spends its CPU time, needs more memory than is allowed,
            or kills its decoder.
        DecodingUnavailable
            No process could be started, the film was not decoded before `until`, or its decoder died on a busy machine.
        """
        film, remedy = f"the {kind.upper()} file", REMEDY[kind]
        try:
            kills = self._machine.memory_kills()
            with self._turns.beside_others(until) as turn:
                try:
                    return self._attempt(data, until, kind)
                except _Died as death:
                    may_count = death.exit_code is not None
            with self._turns.alone(until):
                deaths = int(may_count and not turn.had_company and self._machine.is_idle(kills))
                while deaths < DEATHS:
                    kills = self._machine.memory_kills()
                    try:
                        return self._attempt(data, until, kind)
                    except _Died as death:
                        if death.exit_code is None or not self._machine.is_idle(kills):
                            raise DecodingUnavailable(
                                f"{film}'s decoder died while the machine was busy or short of memory; try again"
                            ) from None
                        deaths += 1
        except MemoryLimitMet:
            self._failed("memory")
            raise MalformedImage(
                f"{film} needs more than {self._options.memory_bytes >> 20:,} MiB of memory to be decoded; {remedy}"
            ) from None
        except _CpuLimitMet:
            self._failed("cpu")
            raise MalformedImage(
                f"{film} was not decoded within {self._options.cpu_seconds} s of CPU time; {remedy}"
            ) from None
        except TimeoutError:  # also when its turn did not come
            raise DecodingUnavailable(TOO_BUSY) from None
        raise MalformedImage(f"{film} could not be decoded: its decoder crashed on an idle machine, twice; {remedy}")

    def _attempt(self, data: bytes, until: float, kind: SourceKind) -> DecodedImage:
        """Decode in one process.

        Raises
        ------
        InputError, MemoryLimitMet
            From ``exchange``.
        TimeoutError, DecodingUnavailable, _CpuLimitMet, _Died
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise DecodingUnavailable(f"no process could be reached ({error.strerror}); try again") from error
        with ours:
            with theirs:
                process = self._ask(FORK, theirs.fileno())
            if not process.isdigit():  # the system's reason in place of a process id
                raise DecodingUnavailable(f"no process could be started ({process.decode()}); try again")
            try:
                image = exchange(ours, data, until, self._options.max_pixels, kind)
            except NoAnswer as error:
                self._explain(self._end(process), str(error))
            except TimeoutError:
                _, seconds = self._end(process)
                self._failed("starved")
                log.warning("a film was not decoded in time", extra={"cpu_seconds": seconds})
                raise
            except BaseException:
                self._end(process)
                raise
            self._end(process)
            return image

    def _explain(self, ended: tuple[int | None, float], error: str) -> NoReturn:
        """Say why a process gave no answer.

        Raises
        ------
        _CpuLimitMet, _Died
        """
        code, seconds = ended
        log.warning("a decoder gave no answer", extra={"error": error, "exit_code": code, "cpu_seconds": seconds})
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and seconds >= self._options.cpu_seconds):
            raise _CpuLimitMet
        self._failed("crash")
        raise _Died(code)

    def _end(self, process: bytes) -> tuple[int | None, float]:
        """End a process that still runs. Returns its exit code, or None if nobody knows it, and the CPU time that it spent."""
        told = self._ask(process)
        if told == UNKNOWN:
            return None, 0.0
        code, seconds = told.split()
        return int(code), float(seconds)

    def _ask(self, request: bytes, *descriptors: int) -> bytes:
        """Ask the fork server; one that has died is replaced, once.

        Raises
        ------
        DecodingUnavailable
        """
        with self._lock:
            for _ in range(ASKED):
                try:
                    if self._control is None:
                        self._start()
                    assert self._control is not None
                    socket.send_fds(self._control, [request], list(descriptors))
                    if answer := self._control.recv(256):
                        return answer
                except OSError:
                    pass  # dead or deaf
                self._stop()
            raise DecodingUnavailable("the process that starts decoders does not answer; try again")

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(FORK_SERVER_SECONDS)
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in INHERITED or name.startswith(INHERITED_FAMILIES)
        }
        one_thread = {
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }  # a process with several threads must not be forked
        with theirs:
            self._fork_server = subprocess.Popen(
                [sys.executable, "-m", self.program, str(theirs.fileno()), self._options.as_json()],
                env={**inherited, **one_thread, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._control = ours
        try:
            told = ours.recv(1024).decode(errors="replace")
        except OSError:
            told = ""
        if not told.startswith(READY.decode()):
            self._stop()
            raise DecodingUnavailable("the process that starts decoders did not start; try again")
        self._judge(told.removeprefix(READY.decode()))

    def _judge(self, unconfined: str) -> None:
        """Warn that decoders are not confined, or refuse to start.

        Raises
        ------
        Unconfined
        """
        if not unconfined:
            return
        if self._options.sandbox == "require":
            self._stop()
            raise Unconfined(
                f"decoding processes cannot be confined on this machine ({unconfined}). CXR_DECODE_SANDBOX=try starts all the "
                "same; see docs/threat-model.md for what a film that takes its decoder over can reach then"
            )
        log.warning(
            "decoding processes are not confined by a filter of system calls: a film that takes its decoder over can reach more. "
            "CXR_DECODE_SANDBOX=require refuses to start then",
            extra={"reason": unconfined},
        )

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._fork_server is not None:
            try:
                self._fork_server.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                self._fork_server.kill()
                self._fork_server.wait()
            self._fork_server = None
