"""The process that decoding processes are forked from, one a film.

It has the decoders in memory, and neither threads nor sockets nor anything of a patient, so that a fork takes a
millisecond or two and begins clean. It ends with the service, however that ends, and takes its children with it.

    request over the control socket                answer
    "fork", with two descriptors                   process id; the child decodes the film in the second (memory), and
                                                   answers on the first (a socket)
    process id                                     exit code; the child is killed first, if it still runs

Run as ``python -m app.decoding.zygote CONTROL OPTIONS``, by ``Nursery`` alone.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import warnings
from dataclasses import asdict, dataclass
from typing import Final

from app.pipeline.decode import decode
from app.pipeline.errors import InputError

from .memory import contents, sealed

READY: Final = b"ready"
FORK: Final = b"fork"
#: In place of an error's name: the memory limit was met.
NO_MEMORY: Final = "MemoryError"
MAX_ANSWER_BYTES: Final = 64 * 1024
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True)
class Options:
    """What holds for every film.

    Attributes
    ----------
    max_pixels : int
    accepted_modalities : tuple of str
    memory_bytes : int
        A child's private memory (RLIMIT_DATA), some 70 MiB of which it is born with.
    """

    max_pixels: int
    accepted_modalities: tuple[str, ...]
    memory_bytes: int

    def as_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def main(arguments: list[str]) -> None:
    """Fork until the control socket is closed."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # they may reach the whole group; the service drains first
        signal.signal(stop, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # a hostile file shall not write to the service's log
    logging.disable()
    control = socket.socket(fileno=int(arguments[0]))
    options = Options(**json.loads(arguments[1]))
    gc.freeze()  # a collection in a child would copy the pages of all that is shared
    children: set[int] = set()
    control.send(READY)
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 64, 2)
        if not request:
            return
        if request == FORK:
            control.send(_fork(control, options, children, *descriptors))
            continue
        pid = int(request)
        code = 0
        if pid in children:  # else it was another zygote's, which took it along
            os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            children.remove(pid)
        control.send(str(code).encode())


def _fork(control: socket.socket, options: Options, children: set[int], answer: int, film: int) -> bytes:
    zygote = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        return str(error).encode()
    else:
        if pid == 0:
            code = 1
            try:
                control.close()
                _end_with(zygote)
                _limit(options)
                _decode(socket.socket(fileno=answer), film, options)
                code = 0
            finally:
                os._exit(code)
        children.add(pid)
        return str(pid).encode()
    finally:
        os.close(answer)
        os.close(film)


def _end_with(zygote: int) -> None:
    """Be killed when the zygote ends, in whatever code this process is then."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != zygote:
        os._exit(1)


def _limit(options: Options) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (options.memory_bytes, options.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would be a film on the disk


def _decode(answer: socket.socket, film: int, options: Options) -> None:
    told: dict[str, object]
    descriptors: list[int] = []
    try:
        image = decode(
            contents(film),
            max_pixels=options.max_pixels,
            accepted_modalities=frozenset(options.accepted_modalities),
        )
        descriptors = [sealed(image.pixels.data)]
        told = {"shape": image.pixels.shape, "notes": image.notes, "missing_tags": image.missing_tags}
    except InputError as error:
        told = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        told = {"error": NO_MEMORY}
    socket.send_fds(answer, [json.dumps(told).encode()], descriptors)


if __name__ == "__main__":
    main(sys.argv[1:])
