"""Decoding in processes: starts and ends them, and believes nothing that they say before it is checked."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from app.pipeline.errors import MalformedImage
from app.pipeline.image import DecodedImage

from .exchange import MemoryLimitMet, NoAnswer, exchange
from .zygote import FORK, READY, Options

log = logging.getLogger("cxr_gate")

Failure = Literal["crash", "memory", "timeout"]

#: Of the zygote, which imports for less than a second and then answers within milliseconds.
ZYGOTE_SECONDS: Final = 30.0
#: The first crash may be the kernel's doing, where the machine is short of memory; a second one is the film's.
ATTEMPTS: Final = 2
_ROOT: Final = Path(__file__).resolve().parents[2]


class DecodingUnavailable(Exception):
    """The service cannot start a process to decode in; no fault of the film."""


class Nursery:
    """Decodes each film in a process of its own, for several threads; ``start`` before use, ``stop`` after.

    Parameters
    ----------
    options : Options
    seconds : float
        From the start of a film's process to its end by force.
    failed : callable
        Is told of each process that gave no answer, and why.
    """

    def __init__(self, options: Options, seconds: float, failed: Callable[[Failure], None]) -> None:
        self._options = options
        self._seconds = seconds
        self._failed = failed
        self._lock = threading.Lock()  # of the two below; one request at a time
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start the zygote and wait until it is ready.

        Raises
        ------
        DecodingUnavailable
        """
        with self._lock:
            self._start()

    def stop(self) -> None:
        """End the zygote, and with it whatever is still being decoded."""
        with self._lock:
            self._stop()

    def decode(self, data: bytes) -> DecodedImage:
        """Decode a DICOM film; see ``app.pipeline.decode`` for its errors.

        Raises
        ------
        InputError
            From the pipeline; and ``MalformedImage`` for a film that crashes its decoder, needs more memory than is allowed,
            or takes too long.
        DecodingUnavailable
        """
        for _ in range(ATTEMPTS):
            try:
                return self._attempt(data)
            except NoAnswer:
                self._failed("crash")
            except MemoryLimitMet:
                self._failed("memory")
                break  # a second attempt would meet it too, or the time limit
            except TimeoutError:
                self._failed("timeout")
                raise MalformedImage(
                    f"the DICOM file could not be decoded within {self._seconds:g} s; send it as Explicit VR Little Endian"
                ) from None
        raise MalformedImage(
            "the DICOM file could not be decoded: its decoder crashed or exceeded memory; send it as Explicit VR Little Endian"
        )

    def _attempt(self, data: bytes) -> DecodedImage:
        """Decode in one process; see ``exchange`` for what is raised."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise DecodingUnavailable(f"no process could be reached ({error.strerror}); try again") from error
        with ours:
            with theirs:
                answer = self._ask(FORK, theirs.fileno())
            if not answer.isdigit():  # the system's reason in place of a process id
                raise DecodingUnavailable(f"no process could be started ({answer.decode()}); try again")
            code = b""
            try:
                return exchange(ours, data, self._seconds, self._options.max_pixels)
            except NoAnswer as error:
                code = self._ask(answer)
                log.warning("a decoder gave no answer", extra={"error": str(error), "exit_code": int(code)})
                raise
            finally:
                if not code:
                    self._ask(answer)

    def _ask(self, request: bytes, *descriptors: int) -> bytes:
        """Have the zygote answer; one that has died is replaced, once.

        Raises
        ------
        DecodingUnavailable
        """
        with self._lock:
            for _ in range(ATTEMPTS):
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
        ours.settimeout(ZYGOTE_SECONDS)
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # Passwords and addresses are nothing for a decoder.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a process of several is not to be forked
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "app.decoding.zygote", str(theirs.fileno()), self._options.as_json()],
                env={**inherited, **one_thread, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._control = ours
        try:
            ready = ours.recv(len(READY)) == READY
        except OSError:
            ready = False
        if not ready:
            self._stop()
            raise DecodingUnavailable("the process that starts decoders did not start; try again")

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._zygote is not None:
            try:
                self._zygote.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                self._zygote.kill()
                self._zygote.wait()
            self._zygote = None
