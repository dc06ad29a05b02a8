"""A real Orthanc with its DICOMweb plugin, on loopback, in a folder of its own; and a wire to it that can be cut."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "results", "secret of the tests"
START_SECONDS = 60.0


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A running Orthanc."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/dicom-web"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=(USER, PASSWORD), timeout=30)

    def instances(self) -> list[str]:
        """SOPInstanceUIDs, by QIDO-RS."""
        found = self.client.get("/dicom-web/instances", headers={"Accept": "application/dicom+json"})
        return [instance["00080018"]["Value"][0] for instance in found.json()]


@contextmanager
def running_orthanc(folder: Path, port: int | None = None) -> Iterator[Orthanc]:
    """An Orthanc until the block ends; the same folder again has what it had."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, "Orthanc is missing; scripts/debian-packages.sh installs what the tests need"
    assert PLUGIN.exists(), "Orthanc's DICOMweb plugin is missing; scripts/debian-packages.sh installs it"
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(port or free_port())
    settings = {
        "StorageDirectory": str(folder / "db"),
        "HttpPort": server.port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "OverwriteInstances": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(httpx.TransportError):
                if server.client.get("/system").status_code == 200:
                    break
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.1)
        yield server
    finally:
        server.client.close()
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


class Wire:
    """Carries connections to a port, and loses the answer to the first `losing` STOW requests after the server gave it."""

    def __init__(self, to: int, losing: int = 0) -> None:
        self._to = to
        self._losing = losing
        self.stored = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/dicom-web"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def _carry(self, caller: socket.socket) -> None:
        """One connection: requests as they come; each answer whole, or the end."""
        with caller, socket.create_connection(("127.0.0.1", self._to)) as server, suppress(OSError):
            storing = False
            threading.Thread(target=self._back, args=(server, caller), daemon=True).start()
            while data := caller.recv(65536):
                if data.startswith(b"POST") and not storing:
                    storing = True
                    self.stored += 1
                server.sendall(data)

    def _back(self, server: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self._losing and self.stored and self.stored <= self._losing:
                    caller.shutdown(socket.SHUT_RDWR)
                    return
                caller.sendall(data)
