"""A clock that stands still until the test moves it: time passes because the test says so, never by waiting."""

from __future__ import annotations

from datetime import UTC, datetime

from lash.core.schedule import Duration, duration_ms

START_MS = 1_700_000_000_000
"""Where test clocks begin: 2023-11-14T22:13:20Z, an ordinary moment."""


class Clock:
    """Epoch milliseconds that only ``advance`` and ``set`` change; hand it to ``Runtime(..., clock=clock)``.

    >>> clock = Clock()
    >>> clock.advance("1h30m")
    1700005400000
    >>> clock() - START_MS
    5400000
    """

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, duration: Duration) -> int:
        """Move forward, and return the new time. Raises ``InvalidArguments`` for anything that is no duration."""
        self.now_ms += duration_ms(duration)
        return self.now_ms

    def set(self, moment: datetime) -> int:
        """Move to ``moment`` (aware), also backwards, as clocks of real machines do."""
        self.now_ms = round(moment.timestamp() * 1_000)
        return self.now_ms

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1_000, UTC)
