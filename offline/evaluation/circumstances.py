"""The time and the machine of a report."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch


def circumstances(device: torch.device) -> dict[str, str]:
    """``created``, UTC, ISO 8601 to the second; ``machine``, with torch's threads and the device."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {device}",
    }
