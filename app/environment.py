"""Removes secrets from the environment once they are read: the kernel shows a process's first environment until it ends."""

from __future__ import annotations

import ctypes
import logging
import os
import re
from pathlib import Path

from app.configuration import declared
from app.settings import PREFIX, Settings

log = logging.getLogger("cxr_gate")

_ENV_START, _ENV_END = 50, 51  # fields of /proc/self/stat (proc_pid_stat(5)), counted from 1


def forget_secrets() -> None:
    """Remove the secrets from this process's environment, also from the block that ``/proc/PID/environ`` shows.

    Call once the settings are read. If the block cannot be found, the secrets still leave ``os.environ``.
    """
    named = []
    for name, setting, _ in declared(Settings, PREFIX):
        value = os.environ.get(name, "")
        if value and (setting.secret or (setting.address and re.search(r"://[^/]*:[^/]*@", value))):
            named.append(name)
    if not named:
        return
    for name in named:
        del os.environ[name]
    try:
        _wipe(named)
    except (OSError, ValueError, IndexError) as error:
        log.warning("secrets may still be read in /proc/PID/environ", extra={"error": type(error).__name__})


def _wipe(names: list[str]) -> None:
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()  # from the third field on
    start, end = int(fields[_ENV_START - 3]), int(fields[_ENV_END - 3])
    if not 0 < start < end:
        raise ValueError("no block")
    block = ctypes.string_at(start, end - start)
    for name in names:
        for found in re.finditer(rb"(?:^|\0)" + name.encode() + rb"=([^\0]*)", block):
            ctypes.memset(start + found.start(1), ord("x"), len(found[1]))
