"""This machine's time, for stores that live on it."""

from __future__ import annotations

import time


def system_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
