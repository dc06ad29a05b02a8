"""How long to wait if another side asks for a wait: as long as it says, up to a limit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

#: The longest wait, whatever the other side asks for.
MOST_RETRY_AFTER_SECONDS: Final = 3600.0


def parse_retry_after(text: str) -> float:
    """Seconds from now of a Retry-After (RFC 9110 section 10.2.3), at most an hour; 0 where it is neither number nor date."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
            seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):  # OverflowError: a year that no date has
            return 0.0
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else 0.0
