"""What a worker tells about itself: one report per pass, and counters for as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """Infrastructure trouble met while running a process; the process stays claimable."""

    process_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """One pass of the worker.

    ``claimed`` ids now run here; ``deferred`` ids were not run, with the reason; ``faults`` have happened since the
    last pass.
    """

    claimed: tuple[str, ...] = ()
    deferred: dict[str, str] = field(default_factory=dict[str, str])
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True)
class Counters:
    """Since the worker was opened."""

    drives: int = 0
    claimed: int = 0
    ended: int = 0
    parked: int = 0
    resumed_resident: int = 0
    replayed_effects: int = 0
    performed_steps: int = 0
    refused_writes: int = 0
    """Writes the store refused because another worker owns the process: a zombie's count."""
    turns: int = 0
    """Turns of sessions committed."""
    diverged: int = 0
    leases_lost: int = 0
