"""Durations and back-off as pure numbers: milliseconds in, milliseconds out.

Users write seconds (``1.5``), ``timedelta`` or text such as ``"250ms"``, ``"10s"``, ``"5m"``, ``"24h"``, ``"3d"``,
``"2w"``, also chained (``"1h30m"``).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

from lash.errors import InvalidArguments
from lash.limits import BACKOFF_FREE_ATTEMPTS, BACKOFF_INITIAL_MS, BACKOFF_MAX_MS

Duration: TypeAlias = "str | int | float | timedelta"

UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
DURATION_MS_MAX = 100 * 365 * 86_400_000


def duration_ms(value: Duration, what: str = "duration") -> int:
    """``value`` in whole milliseconds, rounded up. Raises ``InvalidArguments`` for anything else, also negatives."""
    if isinstance(value, timedelta):
        amount: float = value.total_seconds() * 1_000
    elif isinstance(value, str):
        amount = text_ms(value, what)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        amount = value * 1_000
    else:
        raise InvalidArguments(
            f"The {what} must be seconds, a timedelta or text such as '10s', not {value!r}.", what=what
        )
    if not 0 <= amount <= DURATION_MS_MAX:
        raise InvalidArguments(f"The {what} {value!r} is not between 0 and 100 years.", what=what)
    whole = int(amount)
    return whole if whole == amount else whole + 1


def text_ms(text: str, what: str) -> float:
    compact = text.replace(" ", "")
    parts = PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise InvalidArguments(
            f"The {what} {text!r} is not understood. Write a number and a unit: ms, s, m, h, d, w (as in '1h30m').",
            what=what,
        )
    return sum(float(number) * UNIT_MS[unit] for number, unit in parts)


def backoff_ms(
    failures: int, initial_ms: int = BACKOFF_INITIAL_MS, factor: float = 2.0, maximum_ms: int = BACKOFF_MAX_MS
) -> int:
    """The pause after the ``failures``-th failure (from 1): ``initial``, then times ``factor``, up to ``maximum``."""
    if failures <= 0:
        return 0
    return int(min(initial_ms * factor ** min(failures - 1, 64), maximum_ms))


def takeover_pause_ms(attempts: int) -> int:
    """The pause before a process whose worker was lost for the ``attempts``-th time runs again."""
    return backoff_ms(attempts - BACKOFF_FREE_ATTEMPTS)


def show_ms(amount_ms: float) -> str:
    """A duration for people: ``850ms``, ``12.3s``, ``4m05s``, ``3h20m``, ``2d04h``."""
    if amount_ms < 1_000:
        return f"{amount_ms:.0f}ms"
    if amount_ms < 60_000:
        return f"{amount_ms / 1_000:.1f}s"
    minutes, seconds = divmod(round(amount_ms / 1_000), 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h"
