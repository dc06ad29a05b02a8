"""The process from which decoding processes are forked, one for each film.

It has the decoders in memory, but no threads, no sockets, no patient data and no key. So a fork is quick and begins
clean. It ends with the service, however that ends, and takes its children with it. Each child goes behind the walls
of ``sandbox`` before it reads a byte of its film, so the server loads everything that a decoder may need later.

    request over the control socket                answer
    "fork", with a socket                          process id; the child decodes the film that comes over the socket
    process id                                     exit code, and seconds of CPU time that the child spent; it is killed
                                                   first, if it still runs

Only ``DecodePool`` runs it, as ``python -m app.decoding.fork_server CONTROL OPTIONS``.
"""

from __future__ import annotations

import codecs
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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import numpy as np
from PIL import Image
from pydicom.charset import python_encoding

from app.pipeline.decode import decode
from app.pipeline.dicom.rules import HeaderRules
from app.pipeline.errors import InputError

from . import sandbox
from .exchange import KINDS, LENGTH, NO_MEMORY, header_of

#: The reason why its children are not confined follows, if they are not.
READY: Final = b"ready"
FORK: Final = b"fork"
#: Stands in place of an exit code if the child belonged to another fork server.
UNKNOWN: Final = b"unknown"
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True)
class DecodeOptions:
    """The options that hold for every film.

    Attributes
    ----------
    max_pixels : int
    rules : HeaderRules
    memory_bytes : int
        A child's private memory (RLIMIT_DATA), of which it has some 70 MiB from birth; its address space may grow by as
        much (RLIMIT_AS).
    cpu_seconds : int
        A child's CPU time (RLIMIT_CPU), which the kernel counts in whole seconds. Waiting does not count.
    sandbox : {"try", "require", "off"}
        Whether a filter of system calls confines a child: if the system has one, always, or never.
    """

    max_pixels: int
    rules: HeaderRules
    memory_bytes: int
    cpu_seconds: int
    sandbox: str = "try"

    def as_json(self) -> str:
        """The options for the command line."""
        return json.dumps(asdict(self), default=sorted)  # the set of modalities

    @classmethod
    def of_json(cls, text: str) -> DecodeOptions:
        """Read the output of ``as_json``."""
        told = json.loads(text)
        rules = told.pop("rules")
        return cls(
            rules=HeaderRules(frozenset(rules["modalities"]), tuple(rules["word_changes"]), rules["refuse_hiding"]),
            **told,
        )


def main(arguments: list[str]) -> None:
    """Fork until the control socket is closed."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # signals may reach the whole group, but the service drains first
        signal.signal(stop, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # a hostile file must not write to the service's log
    logging.disable()
    control = socket.socket(fileno=int(arguments[0]))
    options = DecodeOptions.of_json(arguments[1])
    _ = options.rules.words  # read once, for all children
    _load_all()
    born_bytes = _address_space()
    sandbox.make_unreadable()
    unconfined = "CXR_DECODE_SANDBOX is off" if options.sandbox == "off" else sandbox.fault()
    gc.freeze()  # a garbage collection in a child would copy all shared pages
    children: set[int] = set()
    control.send(READY + (unconfined or "").encode())
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not request:
            return
        if request == FORK:
            limit = partial(_limit, options, born_bytes)
            control.send(_fork(options, children, *descriptors, limit=limit, confined=unconfined is None))
            continue
        pid = int(request)
        told = UNKNOWN
        if pid in children:  # otherwise it belonged to another fork server, and died with it
            os.kill(pid, signal.SIGKILL)
            _, status, spent = os.wait4(pid, 0)
            told = f"{os.waitstatus_to_exitcode(status)} {spent.ru_utime + spent.ru_stime:.3f}".encode()
            children.remove(pid)
        control.send(told)


def _load_all() -> None:
    """Load the modules that decoders load at their first film of some kind: a child can open no file."""
    for name in {*python_encoding.values()}:
        codecs.lookup(name)
    Image.preinit()


def _address_space() -> int:
    """Bytes of this process's address space, which its children start with."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _fork(
    options: DecodeOptions, children: set[int], service: int, *, limit: Callable[[], None], confined: bool
) -> bytes:
    fork_server = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        return str(error).encode()
    else:
        if pid == 0:
            code = 1
            try:
                sandbox.drop_rights(service)
                _end_with(fork_server)  # after dropping rights: a process that becomes another user loses this setting
                limit()
                answer = socket.socket(fileno=service)
                if confined:
                    sandbox.confine()
                _decode(answer, options)
                code = 0
            finally:
                os._exit(code)
        children.add(pid)
        return str(pid).encode()
    finally:
        os.close(service)


def _end_with(fork_server: int) -> None:
    """Be killed when the fork server ends, whatever code runs in this process then."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != fork_server:
        os._exit(1)


def _limit(options: DecodeOptions, born_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (options.memory_bytes, options.memory_bytes))
    # RLIMIT_DATA counts neither memory that is mapped as a stack (MAP_GROWSDOWN) nor page tables of memory that is only read.
    most = born_bytes + options.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # SIGXCPU at the first, SIGKILL at the second, whatever code runs by then.
    resource.setrlimit(resource.RLIMIT_CPU, (options.cpu_seconds, options.cpu_seconds + 1))


def _decode(service: socket.socket, options: DecodeOptions) -> None:
    header: dict[str, object]
    pixels: bytes | memoryview = b""
    try:
        kind = KINDS[service.recv(1)[0]]
        image = decode(
            b"".join(iter(lambda: service.recv(2**20), b"")),
            kind=kind,
            max_pixels=options.max_pixels,
            rules=options.rules,
        )
        header = header_of(image)
        pixels = np.ascontiguousarray(image.pixels).data
    except InputError as error:
        header = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        header = {"error": NO_MEMORY, "message": ""}
    encoded = json.dumps(header).encode()
    service.sendall(LENGTH.pack(len(encoded)) + encoded)
    service.sendall(pixels)


if __name__ == "__main__":
    main(sys.argv[1:])
