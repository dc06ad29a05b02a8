"""The version of the code that made a bundle."""

from __future__ import annotations

import subprocess
from pathlib import Path

from app import __version__


def code_version() -> str:
    """The package's version; from a git checkout also the commit, and whether files differ from it."""
    here = Path(__file__).resolve().parent
    # If the package is installed, a repository around it belongs to another project.
    if not (here.parent / ".git").exists():
        return __version__
    git = ["git", "-C", str(here.parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "app", "offline"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} ({commit.strip()}{', changed' if changed.strip() else ''})"
