"""Decoding in processes: starts and ends them, and believes nothing that they say before it is checked."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from app.pipeline.dicom.suitability import EXPECTED_TAGS
from app.pipeline.errors import ImageTooLarge, MalformedImage, UnsuitableImage, UnsupportedMedia
from app.pipeline.image import DecodedImage

from .memory import pixels, sealed
from .zygote import FORK, MAX_ANSWER_BYTES, NO_MEMORY, READY, Options

log = logging.getLogger("cxr_gate")

Failure = Literal["crash", "memory", "timeout"]

#: Of the zygote, which imports for less than a second and then answers within milliseconds.
ZYGOTE_SECONDS: Final = 30.0
#: The first crash may be the kernel's doing, where the machine is short of memory; a second one is the film's.
ATTEMPTS: Final = 2
_ROOT: Final = Path(__file__).resolve().parents[2]
_ERRORS: Final = {kind.__name__: kind for kind in (MalformedImage, UnsuitableImage, UnsupportedMedia, ImageTooLarge)}
_CRASHED: Final = (
    "the DICOM file could not be decoded: its decoder crashed or exceeded memory; send it as Explicit VR Little Endian"
)


class DecodingUnavailable(Exception):
    """The service cannot start a process to decode in; no fault of the film."""


class MemoryLimitMet(Exception):
    """A process says so of itself."""


def read_answer(answer: bytes, descriptors: list[int], max_pixels: int) -> DecodedImage | None:
    """Check what a process said, and make of it what ``decode`` gives or raises; None for what no sound process says.

    Parameters
    ----------
    answer : bytes
        JSON: an image's shape, notes and missing tags, or the name of an error and its message.
    descriptors : list of int
        An image's pixels. The caller closes them.
    max_pixels : int

    Raises
    ------
    InputError
        As the process did.
    MemoryLimitMet
    """
    try:
        told = json.loads(answer)
        if "error" not in told:
            rows, columns = map(int, told["shape"])
            if rows <= 0 or columns <= 0 or rows * columns > max_pixels:
                return None
            (memory,) = descriptors
            missing = tuple(tag for tag in EXPECTED_TAGS if tag in told["missing_tags"])  # they label a metric
            return DecodedImage(pixels(memory, rows, columns), "dicom", tuple(map(str, told["notes"])), missing)
        error = MemoryLimitMet() if told["error"] == NO_MEMORY else _ERRORS[told["error"]](str(told["message"]))
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return None
    raise error


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

        The image's pixels are not checked for range: what comes of a decoder that was taken over is an image at worst.

        Raises
        ------
        InputError
            From the pipeline; and ``MalformedImage`` for a film that crashes its decoder, needs more memory than is allowed,
            or takes too long.
        DecodingUnavailable
        """
        for _ in range(ATTEMPTS):
            try:
                outcome = self._attempt(data)
            except TimeoutError:
                self._failed("timeout")
                raise MalformedImage(
                    f"the DICOM file could not be decoded within {self._seconds:g} s; send it as Explicit VR Little Endian"
                ) from None
            except MemoryLimitMet:
                self._failed("memory")
                raise MalformedImage(_CRASHED) from None
            except OSError as error:
                raise DecodingUnavailable(f"no process could be started ({error.strerror}); try again") from error
            if outcome is not None:
                return outcome
            self._failed("crash")
        raise MalformedImage(_CRASHED)

    def _attempt(self, data: bytes) -> DecodedImage | None:
        """Decode in one process; None if it crashed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                film = sealed(data)
                try:
                    pid = int(self._ask(FORK, theirs.fileno(), film))
                except ValueError as error:  # the system's reason in its place
                    raise DecodingUnavailable(f"no process could be started ({error}); try again") from None
                finally:
                    os.close(film)
            ours.settimeout(self._seconds)
            try:
                answer, descriptors, _, _ = socket.recv_fds(ours, MAX_ANSWER_BYTES, 1)
            finally:
                code = int(self._ask(str(pid).encode()))
        try:
            if answer:
                return read_answer(answer, descriptors, self._options.max_pixels)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        log.warning("a decoder crashed", extra={"error": signal.Signals(-code).name if code < 0 else f"exit {code}"})
        return None

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
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a process of several is not to be forked
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "app.decoding.zygote", str(theirs.fileno()), self._options.as_json()],
                env={**os.environ, **one_thread, "PYTHONPATH": path},
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
