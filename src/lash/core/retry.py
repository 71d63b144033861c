"""When a failed step is tried again, and after what pause. A value; the shell performs it."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        if not isinstance(self.attempts, int) or not 1 <= self.attempts <= RETRY_ATTEMPTS_MAX:
            raise InvalidArguments(f"Retry attempts must be 1 to {RETRY_ATTEMPTS_MAX}, not {self.attempts!r}.")
        if not self.factor >= 1:
            raise InvalidArguments(f"Retry factor must be 1 or more, not {self.factor!r}.")
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in self.on):
            raise InvalidArguments("Retry on=(...) takes exception classes, subclasses of Exception.")
        object.__setattr__(self, "initial_ms", duration_ms(self.initial, "initial"))
        object.__setattr__(self, "maximum_ms", duration_ms(self.maximum, "maximum"))

    def pause_ms(self, failed: int, error: BaseException) -> int | None:
        """Milliseconds before attempt ``failed + 1``, or None when ``error`` after ``failed`` attempts is final."""
        if failed >= self.attempts or isinstance(error, Terminal) or not isinstance(error, self.on):
            return None
        return backoff_ms(failed, self.initial_ms, self.factor, self.maximum_ms)


NO_RETRY = Retry(attempts=1)
