"""The server's time, known here without asking for it each time.

Every answer that carries the server's time narrows down how far it is from this machine's monotonic clock: it was read
between sending and receiving. Where two answers contradict one another, a clock was set, and the newer one holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lash.stores.clock import system_ms


class Clock:
    """``given``: epoch milliseconds, for tests; then the server's time counts for nothing."""

    def __init__(self, given: Callable[[], int] | None = None) -> None:
        self.given = given
        self._least_ms = float("-inf")
        self._most_ms = float("inf")

    def now_ms(self) -> int:
        if self.given is not None:
            return self.given()
        if not self.known:
            return system_ms()
        return round(local_ms() + (self._least_ms + self._most_ms) / 2)

    @property
    def known(self) -> bool:
        """Whether any answer told the server's time."""
        return self._most_ms < float("inf")

    def heard(self, server_ms: int, sent_ms: float) -> None:
        """An answer that just came, to what was sent at that ``local_ms``; ``server_ms`` is a whole number, cut off."""
        least_ms, most_ms = server_ms - local_ms(), server_ms + 1 - sent_ms
        least_ms, most_ms = max(least_ms, self._least_ms), min(most_ms, self._most_ms)
        if least_ms > most_ms:
            least_ms, most_ms = server_ms - local_ms(), server_ms + 1 - sent_ms
        self._least_ms, self._most_ms = least_ms, most_ms


def local_ms() -> float:
    return time.monotonic() * 1_000
