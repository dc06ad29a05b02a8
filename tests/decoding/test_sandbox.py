"""A decoder that was taken over gets at nothing: tried from inside, as root and as another user, with and without the walls."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.decoding import sandbox
from app.decoding.decode_pool import DecodingUnavailable, Unconfined
from app.pipeline import decode
from app.pipeline.errors import InputError
from tests.pipeline.mutants import mutants, valid_films

from .processes import small_film
from .test_decode_pool import running
from .thief import BARE, SECRET, WAYS

ROOT = Path(__file__).parents[2]
OTHER_USER = 54321
#: What Linux may forbid to a user against a process of the same user (kernel.yama.ptrace_scope).
OF_DEBUGGERS = {
    "read the service's memory in /proc",
    "read the service's memory by a system call",
    "attach to the service as a debugger",
    "take a descriptor of the service",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where others than root get to, too."""
    made = Path(tempfile.mkdtemp())
    for name in ("quarantine.key", "record.sqlite", "a.film"):
        (made / name).write_bytes(SECRET)
        (made / name).chmod(0o600)
    yield made
    shutil.rmtree(made)


def robbed(walls: str, folder: Path, user: int | None = None) -> dict[str, tuple[bool, str]]:
    if user is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, user, user)
    environment = {**os.environ, "SECRET": SECRET.decode()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.decoding.thief", "rob", walls, str(user or os.geteuid()), str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found: dict[str, tuple[bool, str]] = json.loads(done.stdout)
    assert found.keys() == WAYS.keys()
    return found


def led_somewhere(found: dict[str, tuple[bool, str]]) -> set[str]:
    return {way for way, (got, _) in found.items() if got}


def users() -> list[int | None]:
    return [None, OTHER_USER] if os.geteuid() == 0 else [None]


@pytest.mark.parametrize("user", users())
def test_no_way_leads_to_a_secret(folder: Path, user: int | None) -> None:
    assert len(WAYS) >= 12
    found = robbed("require", folder, user)
    assert led_somewhere(found) == set(), found
    assert (folder / "a.film").exists()


@pytest.mark.parametrize("user", users())
def test_without_the_walls_they_do(folder: Path, user: int | None) -> None:
    """Else the test above would show nothing. The environment alone is bare of secrets without any wall."""
    found = robbed(BARE, folder, user)
    expected = WAYS.keys() - {"look into its own environment"}
    if os.geteuid() != 0 or user is not None:
        expected -= OF_DEBUGGERS
    assert led_somewhere(found) >= expected, found


@pytest.mark.parametrize("user", users())
def test_where_there_is_no_filter_the_other_walls_keep_the_secrets(folder: Path, user: int | None) -> None:
    """What is left is to be a nuisance: root's decoder is nobody's, another user's may signal and run programs."""
    found = led_somewhere(robbed("off", folder, user))
    nuisances = {"signal the service", "signal the fork server", "run a program", "map memory that can be run"}
    assert found <= nuisances | OF_DEBUGGERS | {"make a process", "delete a film"}, found
    if os.geteuid() == 0 and user is None:
        assert found <= {"run a program", "map memory that can be run", "make a process"}


def test_no_film_asks_for_more_than_is_allowed(tmp_path: Path) -> None:
    """Each syntax, and films with any kind of damage, where what is not allowed kills: decoders load nothing late."""
    films = valid_films(tmp_path)
    with running(program="tests.decoding.strict") as pool:
        for name, data in films.items():
            assert pool.decode(data).pixels.shape == decode(data).pixels.shape, name
        for mutant in mutants(films, 100):
            with suppress(InputError):
                pool.decode(mutant.data)
            assert "crash" not in pool.failures, mutant


@pytest.mark.parametrize("encoding", ["ISO_IR 13", "ISO_IR 126", "ISO 2022 IR 149", "GB18030", "ISO 2022 IR 87"])
def test_names_of_any_encoding_are_read(tmp_path: Path, encoding: str) -> None:
    film = valid_films(tmp_path)["jpeg-ls"]
    film = film.replace(
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"\x08\x00\x05\x00CS\x0a\x00" + encoding.encode()[:10].ljust(10)
    )
    with running(program="tests.decoding.strict") as pool:
        assert pool.decode(film).notes == decode(film).notes


def test_a_machine_that_cannot_confine_is_warned_of_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    """As a fork server says so of itself."""
    with caplog.at_level(logging.WARNING, "cxr_gate"):
        with running(sandbox="off") as pool:
            assert pool.decode(small_film()).pixels.shape == (256, 256)
        assert "not confined by a filter" in caplog.text
        caplog.clear()
        with running() as pool:
            pool.decode(small_film())
        assert "not confined" not in caplog.text
    refused = running(program="tests.decoding.unconfinable", sandbox="require")
    with pytest.raises(Unconfined, match="CXR_DECODE_SANDBOX=try"), refused:
        pass
    assert issubclass(Unconfined, DecodingUnavailable)
    with running(program="tests.decoding.unconfinable") as pool:
        assert pool.decode(small_film()).pixels.shape == (256, 256)


def test_this_machine_can_confine() -> None:
    assert sandbox.fault() is None


def test_another_architecture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(sandbox.SandboxError, match="riscv64"):
        sandbox.confine()


ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def outcome(machine: str, number: int, *arguments: int, architecture: int | None = None, process: int = 7) -> int:
    """What the filter says to a call, by a machine of BPF of our own (linux/filter.h)."""
    data = struct.pack(
        "<iIQ6Q", number, architecture or ARCHITECTURES[machine], 0, *arguments, *[0] * (6 - len(arguments))
    )
    code = list(struct.iter_unpack("=HBBI", sandbox.filter_of(machine, process)))
    at = accumulator = 0
    while True:
        kind, if_true, if_false, value = code[at]
        at += 1
        match kind:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return value
            case _:
                raise AssertionError(kind)


#: From the tables of Linux (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
NUMBERS = {
    "x86_64": {
        "read": 0,
        "open": 2,
        "mmap": 9,
        "mprotect": 10,
        "socket": 41,
        "clone": 56,
        "fork": 57,
        "execve": 59,
        "kill": 62,
    }
    | {"ptrace": 101, "prctl": 157, "tgkill": 234, "openat": 257, "process_vm_readv": 310, "execveat": 322}
    | {"io_uring_setup": 425, "pidfd_open": 434, "clone3": 435, "openat2": 437, "exit_group": 231, "futex": 202},
    "aarch64": {"read": 63, "mmap": 222, "mprotect": 226, "socket": 198, "clone": 220, "execve": 221, "kill": 129}
    | {"ptrace": 117, "prctl": 167, "tgkill": 131, "openat": 56, "process_vm_readv": 270, "execveat": 281}
    | {"io_uring_setup": 425, "pidfd_open": 434, "clone3": 435, "openat2": 437, "exit_group": 94, "futex": 98},
}


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_of_each_machine(machine: str) -> None:
    numbers = NUMBERS[machine]
    for name in ("read", "exit_group", "futex"):
        assert outcome(machine, numbers[name]) == ALLOW, name
    for name in numbers.keys() - {"read", "exit_group", "futex", "mmap", "mprotect", "kill", "tgkill"}:
        assert outcome(machine, numbers[name]) == REFUSE, name
    private, shared, validated = 0x22, 0x21, 0x23
    assert outcome(machine, numbers["mprotect"], 0, 4096, 3) == ALLOW
    assert outcome(machine, numbers["mprotect"], 0, 4096, 7) == REFUSE
    assert outcome(machine, numbers["mmap"], 0, 4096, 3, private) == ALLOW
    assert outcome(machine, numbers["mmap"], 0, 4096, 7, private) == REFUSE
    for flags in (shared, validated):  # which no limit of memory counts
        assert outcome(machine, numbers["mmap"], 0, 4096, 3, flags) == REFUSE
    for name in ("kill", "tgkill"):
        assert outcome(machine, numbers[name], 7, 6) == ALLOW
        for other in (1, 0, 2**64 - 1, 8):
            assert outcome(machine, numbers[name], other, 6) == REFUSE
    other = next(value for name, value in ARCHITECTURES.items() if name != machine)
    assert outcome(machine, numbers["read"], architecture=other) == KILL
    if machine == "x86_64":
        assert outcome(machine, 0x40000000) == REFUSE  # read of the x32 ABI


def knock(way: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.decoding.knocker", way],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_other_call_that_has_a_number_is_refused() -> None:
    """As the kernel does it, and not by the rules alone: io_uring, clone3, userfaultfd, memfd and whatever may come."""
    done = knock("numbers")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this machine has no entrance for programs of 32 bits")
def test_the_entrance_for_programs_of_32_bits_is_death() -> None:
    done = knock("int80")
    if "without the filter" not in done.stdout:
        pytest.skip("this kernel runs no calls of 32 bits")
    assert done.returncode == -signal.SIGSYS, done
    assert "and with it" not in done.stdout


def test_the_fork_server_loads_nothing_of_keys_or_records() -> None:
    code = (
        "import sys, app.decoding.fork_server; "
        "print([name for name in sys.modules if name.startswith(('app.records', 'app.quarantine', 'app.access', 'sqlalchemy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
