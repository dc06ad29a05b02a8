"""A decoder that was taken over, and the service that it would rob.

``python -m tests.decoding.thief rob WALLS USER FOLDER`` is the service: it holds a secret in its memory, its environment and two
files in FOLDER, has one film "decoded", and prints what the decoder got, as JSON. As a fork server the module gives every child a
decoder that tries each of ``WAYS``, by the C library and past Python. Both become USER once all is loaded, since Python may lie
where root alone gets to.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.decoding import fork_server, sandbox
from app.decoding.decode_pool import DecodePool
from app.decoding.fork_server import DecodeOptions
from app.pipeline.dicom.rules import DEFAULT_RULES
from app.pipeline.exposed_field import ExposedField
from app.pipeline.image import DecodedImage

SECRET: Final = b"the key of the quarantine"
#: In place of "try", "require" or "off": no wall of any kind, so that the ways are known to lead somewhere.
BARE: Final = "bare"
_C: Final = ctypes.CDLL(None, use_errno=True)
_SEIZE: Final = 0x4206
_IO_URING_SETUP, _PIDFD_OPEN, _PIDFD_GETFD = 425, 434, 438  # the same on x86-64 and AArch64
_READ_WRITE_RUN, _PRIVATE_ANONYMOUS = 7, 0x22
_READ, _READ_WRITE, _GROWS_DOWN, _NO_RESERVE = 1, 3, 0x100, 0x4000
#: Of a child, in ``rob``.
_MEMORY: Final = 2**30


class _Part(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _content(path: str) -> bytes:
    descriptor = _checked(_C.open(path.encode(), os.O_RDONLY))
    buffer = ctypes.create_string_buffer(2**16)
    _checked(_C.read(descriptor, buffer, len(buffer)))
    return buffer.raw.rstrip(b"\0")


def _memory(told: dict[str, Any]) -> bytes:
    descriptor = _checked(_C.open(f"/proc/{told['service']}/mem".encode(), os.O_RDONLY))
    buffer = ctypes.create_string_buffer(len(SECRET))
    _checked(_C.pread(descriptor, buffer, len(SECRET), ctypes.c_long(told["address"])))
    return buffer.raw


def _memory_by_call(told: dict[str, Any]) -> bytes:
    buffer = ctypes.create_string_buffer(len(SECRET))
    ours = _Part(ctypes.addressof(buffer), len(SECRET))
    theirs = _Part(told["address"], len(SECRET))
    _checked(_C.process_vm_readv(told["service"], ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0))
    return buffer.raw


def _attach(told: dict[str, Any]) -> bytes:
    _checked(_C.ptrace(_SEIZE, told["service"], None, None))  # it is let go when this process ends
    return SECRET


def _connect(told: dict[str, Any]) -> bytes:
    with socket.create_connection(("127.0.0.1", told["port"]), 5) as connection:
        return connection.recv(100)


def _connect_by_name(told: dict[str, Any]) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{told['folder']}/socket")
    return SECRET


def _fork(_: dict[str, Any]) -> bytes:
    if _checked(_C.fork()) == 0:
        os._exit(0)
    return SECRET


def _run(_: dict[str, Any]) -> bytes:
    try:
        _checked(_C.execv(b"/there/is/no/such/program", None))
    except OSError as error:
        if error.errno != errno.ENOENT:  # else it was looked for
            raise
    return SECRET


def _write(told: dict[str, Any]) -> bytes:
    _checked(_C.open(f"{told['folder']}/written".encode(), os.O_WRONLY | os.O_CREAT, 0o600))
    return SECRET


def _delete(told: dict[str, Any]) -> bytes:
    _checked(_C.unlink(f"{told['folder']}/a.film".encode()))
    return SECRET


def _steal_descriptor(told: dict[str, Any]) -> bytes:
    pidfd = _checked(_C.syscall(_PIDFD_OPEN, told["service"], 0))
    _checked(_C.syscall(_PIDFD_GETFD, pidfd, told["record"], 0))
    return SECRET


def _run_memory(_: dict[str, Any]) -> bytes:
    _C.mmap.restype = ctypes.c_void_p
    given = _C.mmap(None, 4096, _READ_WRITE_RUN, _PRIVATE_ANONYMOUS, -1, 0)
    if given == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    return SECRET


def _map(size: int, protection: int, flags: int) -> bytes:
    _C.mmap.restype = ctypes.c_void_p
    given = _C.mmap(
        None, ctypes.c_size_t(size), protection, _PRIVATE_ANONYMOUS | _NO_RESERVE | flags, -1, ctypes.c_long(0)
    )
    if given == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    return SECRET


def _signal(told: dict[str, Any]) -> bytes:
    _checked(_C.kill(told["service"], 0))
    return SECRET


#: Each gives the secret, where it leads to one, or stands for harm that could be done.
WAYS: Final[dict[str, Callable[[dict[str, Any]], bytes]]] = {
    "read the key's file": lambda told: _content(f"{told['folder']}/quarantine.key"),
    "read the record": lambda told: _content(f"{told['folder']}/record.sqlite"),
    "read the service's memory in /proc": _memory,
    "read the service's memory by a system call": _memory_by_call,
    "read the service's environment in /proc": lambda told: _content(f"/proc/{told['service']}/environ"),
    "attach to the service as a debugger": _attach,
    "take a descriptor of the service": _steal_descriptor,
    "signal the service": _signal,
    "signal the fork server": lambda told: _signal({"service": os.getppid()}),
    "connect to the loopback": _connect,
    "connect to a socket in the file system": _connect_by_name,
    "make a process": _fork,
    "run a program": _run,
    "read /etc/passwd": lambda told: SECRET if _content("/etc/passwd") else b"",
    "write a file": _write,
    "delete a film": _delete,
    "map memory that can be run": _run_memory,
    "take memory over the limit": lambda _: _map(2 * _MEMORY, _READ_WRITE, 0),
    "take memory over the limit as a stack": lambda _: _map(2 * _MEMORY, _READ_WRITE, _GROWS_DOWN),
    # Who reads a byte of each 2 MiB has the kernel spend 4 KiB on page tables: a gigabyte a second.
    "take memory as page tables": lambda _: _map(2**40, _READ, 0),
    "look into its own environment": lambda told: os.environ.get("SECRET", "").encode(),
}


def decode(film: bytes, **_: object) -> DecodedImage:
    told = json.loads(film)
    notes = []
    for name, way in WAYS.items():
        try:
            notes.append(json.dumps([name, SECRET in way(told), ""]))
        except OSError as error:
            notes.append(json.dumps([name, False, error.strerror]))
    return DecodedImage(np.ones((2, 3), np.float32), ExposedField.whole(2, 3), "dicom", tuple(notes))


def become(user: int) -> None:
    """Another user from now on, in a process as readable as one that began so."""
    if user != os.geteuid():
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        _C.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which the change of user took


def rob(walls: str, user: int, folder: Path) -> None:
    """Be the service, and print {way: [whether it led to the secret, why not]}."""
    secret = ctypes.create_string_buffer(SECRET)
    pool = DecodePool(DecodeOptions(10**6, DEFAULT_RULES, _MEMORY, 10, f"{walls} {user}"), print)
    pool.program = "tests.decoding.thief"
    pool.start()
    become(user)
    record = os.open(folder / "record.sqlite", os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as named:
        named.bind(f"{folder}/socket")
        named.listen()
        told = {
            "service": os.getpid(),
            "address": ctypes.addressof(secret),
            "record": record,
            "port": server.getsockname()[1],
            "folder": str(folder),
        }
        if os.fork() == 0:  # whoever connects is told the secret
            while True:
                server.accept()[0].sendall(SECRET)
        try:
            notes = pool.decode(json.dumps(told).encode(), time.monotonic() + 30).notes
        finally:
            pool.stop()
    print(json.dumps({name: [got, why] for name, got, why in map(json.loads, notes)}), flush=True)
    os.killpg(0, 9)  # the one that tells the secret, too


def main(arguments: list[str]) -> None:
    if arguments[0] == "rob":
        rob(arguments[1], int(arguments[2]), Path(arguments[3]))
    fork_server.decode = decode  # type: ignore[assignment]
    options = json.loads(arguments[1])
    options["sandbox"], user = options["sandbox"].split()
    fork_server._load_all()
    become(int(user))
    if options["sandbox"] == BARE:
        for wall in ("make_unreadable", "drop_rights", "confine"):
            setattr(sandbox, wall, lambda *_: None)
        sandbox.fault = lambda: None
        fork_server._limit = lambda *_: None
    fork_server.main([arguments[0], json.dumps(options)])


if __name__ == "__main__":
    main(sys.argv[1:])
