"""How much is asked of a provider at most. A value; whoever asks keeps to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lash.core.schedule import Duration, duration_ms
from lash.errors import InvalidArguments


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``concurrent`` calls at once; ``requests`` calls begun, and ``tokens`` sent and written, in any ``per``.

    None leaves one unbounded; at least one must be given. Raises ``InvalidArguments``.
    """

    concurrent: int | None = None
    requests: int | None = None
    tokens: int | None = None
    per: Duration = "1m"
    per_ms: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bounds = {"concurrent": self.concurrent, "requests": self.requests, "tokens": self.tokens}
        for name, bound in bounds.items():
            if bound is not None and (type(bound) is not int or bound < 1):
                raise InvalidArguments(f"RateLimit {name} must be a whole number from 1, not {bound!r}.", what=name)
        if all(bound is None for bound in bounds.values()):
            raise InvalidArguments("This RateLimit limits nothing: give concurrent=, requests= or tokens=.")
        object.__setattr__(self, "per_ms", duration_ms(self.per, "per of a RateLimit"))
        if not self.per_ms:
            raise InvalidArguments(
                f"RateLimit per must be longer than 0, not {self.per!r}; write a number and a unit, as in '1m'.",
                what="per",
            )
