"""An environment for each peer: its own packages first, then the project's (torch, numpy, pydicom, app)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

FOLDER = Path("build/bench")
PEERS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 420


def executables(peer: str) -> Path:
    """The folder of the environment's commands."""
    return (FOLDER / peer / "bin").absolute()


def prepare(peer: str) -> str | None:
    """Make the environment unless it is up to date; returns the reason if it cannot be made."""
    folder = FOLDER / peer
    requirements = PEERS / peer / "requirements.txt"
    borrowed = f"{sysconfig.get_path('purelib')}\n{Path.cwd()}\n"
    stamp, wanted = folder / "installed", requirements.read_text() + borrowed
    if stamp.is_file() and stamp.read_text() == wanted:
        return None
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run(sys.executable, "-m", "venv", str(folder))
        python = str(folder / "bin/python")
        _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements))
        # The peer's own packages come first; all others come from the project's environment.
        packages = next((folder / "lib").glob("python3.*")) / "site-packages"
        (packages / "project.pth").write_text(borrowed)
        _run(python, "-c", "import benchmarks.peers.pipeline")
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
        return f"does not install: {said[-1] if said else error}"[:300]
    stamp.write_text(wanted)
    return None


def version(peer: str) -> str:
    """``name version`` of the first package that the peer asks for."""
    name = (PEERS / peer / "requirements.txt").read_text().split("\n")[0]
    return " ".join(name.split("[")[0].split("==")[:1]) + " " + name.split("==")[1]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
