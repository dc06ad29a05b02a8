"""The walls around a process that decodes one film: a film that takes its decoder over reaches only its own answer.

    no new files        RLIMIT_NOFILE of 0, and every descriptor closed except the one for the answer
    no new rights       no_new_privs; root becomes nobody
    not to be read      not dumpable: no process of the same user reads its memory, or attaches to it
    few system calls    a seccomp filter allows what computing needs (memory, time, the socket), and refuses all else with EPERM

The filter lists the allowed calls, so it also refuses calls that Linux adds later. It is written by hand, in the
instructions of classic BPF (seccomp(2)): a library would have to be installed in the right version, and be trusted with this.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Mapping
from typing import Final

#: The user that root becomes: the kernel's overflow user, who owns nothing.
NOBODY: Final = 65534

# linux/prctl.h, linux/seccomp.h
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000  # the whole process
_REFUSE: Final = 0x00050000 | 1  # with EPERM

# linux/bpf_common.h: load a word of seccomp_data, jump, return
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_SET: Final = 0x45
_RETURN: Final = 0x06
# Offsets in seccomp_data; of an argument, its lower half (both machines are little endian).
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_FIRST_ARGUMENT: Final = 16
_THIRD_ARGUMENT: Final = 32
_FOURTH_ARGUMENT: Final = 40
_PROT_EXEC: Final = 4
_MAP_SHARED: Final = 1  # a bit of MAP_SHARED_VALIDATE, too


#: Numbers of system calls on x86-64, and on AArch64: allowed whatever the arguments are.
_FREE: Final[Mapping[str, tuple[int, int]]] = {
    # memory
    "brk": (12, 214),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    # the socket: there is no other descriptor
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    # time, random numbers, and the process's own ids
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "sched_getaffinity": (204, 123),
    # locks, signals' handlers, and the end
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
#: Flags of private memory that cannot be executed.
_MMAP: Final = (9, 222)
_MPROTECT: Final = (10, 226)
#: Signals to the process itself, as abort(3) needs.
_SIGNALS: Final[Mapping[str, tuple[int, int]]] = {"kill": (62, 129), "tgkill": (234, 131)}
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def filter_of(machine: str, process: int, otherwise: int = _REFUSE) -> bytes:
    """The filter as instructions of classic BPF (struct sock_filter).

    Parameters
    ----------
    machine : {"x86_64", "aarch64"}
    process : int
        Its id: it may send signals only to itself.
    otherwise : int
        The filter's answer to every other call.

    Raises
    ------
    KeyError
        Another machine, whose numbers are not known.
    """
    architecture = _ARCHITECTURES[machine]
    column = list(_ARCHITECTURES).index(machine)
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),  # the same numbers mean other calls there
        (_LOAD, 0, 0, _NUMBER),
    ]
    for numbers in _FREE.values():
        code += [(_JUMP_IF_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    code += [
        (_JUMP_IF_EQUAL, 0, 4, _MPROTECT[column]),
        (_LOAD, 0, 0, _THIRD_ARGUMENT),
        (_JUMP_IF_SET, 1, 0, _PROT_EXEC),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, otherwise),
        (_JUMP_IF_EQUAL, 0, 6, _MMAP[column]),
        (_LOAD, 0, 0, _THIRD_ARGUMENT),
        (_JUMP_IF_SET, 3, 0, _PROT_EXEC),
        (_LOAD, 0, 0, _FOURTH_ARGUMENT),
        (_JUMP_IF_SET, 1, 0, _MAP_SHARED),  # RLIMIT_DATA does not count shared memory
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, otherwise),
    ]
    for numbers in _SIGNALS.values():
        code += [
            (_JUMP_IF_EQUAL, 0, 4, numbers[column]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_JUMP_IF_EQUAL, 0, 1, process),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, otherwise),
        ]
    code.append((_RETURN, 0, 0, otherwise))
    return b"".join(struct.pack("=HBBI", *each) for each in code)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class SandboxError(Exception):
    """The walls cannot be put up here; the message says which, and why."""


def make_unreadable() -> None:
    """Let no process of the same user read this one's memory, environment or descriptors, or attach to it.

    Raises
    ------
    SandboxError
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def drop_rights(keep: int) -> None:
    """Close all descriptors but one, open none from now on, and become nobody if this was root.

    Parameters
    ----------
    keep : int
        The descriptor that stays open.
    """
    os.closerange(0, keep)
    os.closerange(keep + 1, max(keep + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    # Queued signals, whose limit all processes of a user share.
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_SIGPENDING):
        resource.setrlimit(limit, (0, 0))
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:  # a container may not know this user; the filter stands all the same
            pass
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def confine(otherwise: int = _REFUSE) -> None:
    """From now on allow this process only the system calls that computing needs.

    Parameters
    ----------
    otherwise : int
        The answer to other calls; tests let them kill the process.

    Raises
    ------
    SandboxError
    """
    try:
        code = filter_of(platform.machine(), os.getpid(), otherwise)
    except KeyError:
        raise SandboxError(f"no filter of system calls is known for {platform.machine()}") from None
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    program = _Program(len(code) // 8, code)
    _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program))


def fault() -> str | None:
    """Why a process cannot be confined here; None if it can. It is tried in a child, which may be forked here."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        told = "it ended before it could say"
        try:
            confine()
            try:
                os.close(os.open("/", os.O_RDONLY))
                told = "the kernel took a filter of system calls, and lets them pass all the same"
            except PermissionError:
                told = ""
        except SandboxError as error:
            told = str(error)
        finally:
            os.write(theirs, told.encode())
            os._exit(0 if told else 7)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        why = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return None if os.waitstatus_to_exitcode(status) == 7 else why or "a process ended when it was to be confined"


def _prctl(option: int, argument: int, more: int = 0) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (argument, more, 0, 0)]
    if library.prctl(ctypes.c_int(option), *words) != 0:
        raise SandboxError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")
