"""Rounds: every workload in turn, and that several times, so that a noisy minute spoils a round and no workload.

Each round begins with the floors. What is told is the median, with the smallest and the largest.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.child import Values, ask
from benchmarks.workloads import FLOORS, WORKLOADS, Metric, SizeName, Workload


@dataclass(frozen=True, slots=True)
class Finding:
    """One metric over all rounds."""

    metric: Metric
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is no goal."""
        return None if self.metric.goal is None else self.metric.goal.met(self.median)


@dataclass(slots=True)
class Measured:
    """One workload over all rounds."""

    workload: Workload
    rounds: list[Values] = field(default_factory=list[Values])

    def findings(self) -> list[Finding]:
        return [
            Finding(metric, tuple(values[metric.key] for values in self.rounds)) for metric in self.workload.metrics
        ]


def run_rounds(
    names: Sequence[str], repeats: int, size: SizeName, folder: Path, say: Callable[[str], None]
) -> list[Measured]:
    """Measure the workloads ``repeats`` times in ``folder``, each in a folder of its own, after a warm-up."""
    chosen = [FLOORS, *(WORKLOADS[name] for name in names)]
    all_measured = {item.name: Measured(item) for item in chosen}
    warm_up(chosen, folder)
    for turn in range(repeats):
        for workload in chosen:
            say(f"round {turn + 1} of {repeats}: {workload.name}")
            values = ask(workload.module, folder / workload.name, workload.sizes[size])
            all_measured[workload.name].rounds.append(values)
    return list(all_measured.values())


def warm_up(chosen: Sequence[Workload], folder: Path) -> None:
    """Have the byte code written and the interpreter's files in memory."""
    for workload in chosen:
        ask(workload.module, folder / "warm-up", workload.sizes["tiny"])
    shutil.rmtree(folder / "warm-up")
