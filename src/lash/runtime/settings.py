"""The numbers a runtime is opened with, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from lash.core.ids import check_name
from lash.core.schedule import Duration, duration_ms
from lash.errors import InvalidArguments
from lash.limits import LEASE_TTL_MIN_MS


@dataclass(frozen=True, slots=True)
class Settings:
    concurrency: int
    """Bodies at work at once."""
    lease_ttl_ms: int
    linger_ms: int
    """How long a body that only waits keeps its lease before it parks."""
    resident: int
    """Parked bodies kept in memory."""
    drain_ms: int
    """How long steps in flight may finish when the runtime closes."""
    host_profile: str
    retention_ms: int | None
    """Ended processes older than this are pruned; None keeps them."""


def settings_of(
    concurrency: int,
    lease_ttl: Duration,
    linger: Duration,
    resident: int,
    drain: Duration,
    host_profile: str,
    retention: Duration | None,
) -> Settings:
    """Raises ``InvalidArguments`` for a number out of range."""
    for name, value, least in (("concurrency", concurrency, 1), ("resident", resident, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidArguments(f"{name} must be a whole number of at least {least}, not {value!r}.")
    ttl_ms = duration_ms(lease_ttl, "lease_ttl")
    if ttl_ms < LEASE_TTL_MIN_MS:
        raise InvalidArguments(f"lease_ttl must be at least {LEASE_TTL_MIN_MS} ms, not {lease_ttl!r}.")
    return Settings(
        concurrency,
        ttl_ms,
        duration_ms(linger, "linger"),
        resident,
        duration_ms(drain, "drain"),
        check_name(host_profile, "host profile") if host_profile else "",
        None if retention is None else duration_ms(retention, "retention"),
    )
