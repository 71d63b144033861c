"""When a failed step is tried again, and after what pause. A value; the shell performs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import cast

from lash.core.schedule import Duration, backoff_ms, duration_ms
from lash.errors import InvalidArguments, Terminal
from lash.limits import RETRY_ATTEMPTS_MAX


@dataclass(frozen=True, slots=True)
class Retry:
    """``attempts`` in all (1 = no retry); pauses grow from ``initial`` by ``factor`` up to ``maximum``.

    ``on`` names the exceptions worth another try; ``Terminal`` never is. Each failed attempt is kept in the journal,
    so the count and the due time of the next one survive a crash.
    """

    attempts: int = 3
    initial: Duration = "500ms"
    factor: float = 2.0
    maximum: Duration = "5m"
    on: tuple[type[Exception], ...] = (Exception,)
    initial_ms: int = field(init=False, repr=False)
    maximum_ms: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise InvalidArguments(f"Retry attempts must be a whole number, not {self.attempts!r}.")
        if not 1 <= self.attempts <= RETRY_ATTEMPTS_MAX:
            raise InvalidArguments(f"Retry attempts must be 1 to {RETRY_ATTEMPTS_MAX}, not {self.attempts!r}.")
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)) or not 1 <= self.factor < inf:
            raise InvalidArguments(f"Retry factor must be a number of 1 or more, not {self.factor!r}.")
        object.__setattr__(self, "on", kinds_of(self.on))
        object.__setattr__(self, "initial_ms", duration_ms(self.initial, "initial"))
        object.__setattr__(self, "maximum_ms", duration_ms(self.maximum, "maximum"))

    def pause_ms(self, failed: int, error: BaseException) -> int | None:
        """Milliseconds before attempt ``failed + 1``, or None when ``error`` after ``failed`` attempts is final."""
        if failed >= self.attempts or isinstance(error, Terminal) or not isinstance(error, self.on):
            return None
        return backoff_ms(failed, self.initial_ms, self.factor, self.maximum_ms)


def kinds_of(on: object) -> tuple[type[Exception], ...]:
    """One class or several, as ``except`` takes them."""
    kinds = tuple(cast("Sequence[object]", on)) if isinstance(on, (tuple, list)) else (on,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise InvalidArguments(f"Retry on=(...) takes exception classes, subclasses of Exception, not {on!r}.")
    return cast("tuple[type[Exception], ...]", kinds)


NO_RETRY = Retry(attempts=1)
