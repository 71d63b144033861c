"""Rounds: within a round every workload in turn, within a workload every contender in turn, told are medians.

A contender that fails at a workload is told with its reason and not asked for that workload again; the others go on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from benchmarks.child import MeasurementFailed
from benchmarks.peers.contenders import Contender
from benchmarks.peers.measure import Values

Ask: TypeAlias = Callable[[Contender, str], Values]


@dataclass(slots=True)
class Row:
    """One contender over all rounds: its values by key, what failed by workload, or why there is nothing."""

    contender: Contender
    missing: str = ""
    values: Values = field(default_factory=dict[str, list[float]])
    faults: dict[str, str] = field(default_factory=dict[str, str])

    def median(self, key: str) -> float | None:
        found = self.values.get(key)
        return statistics.median(found) if found else None

    def comparable(self, workload: str) -> bool:
        return workload not in self.contender.apart and workload not in self.faults

    def add(self, values: Values) -> None:
        for key, more in values.items():
            self.values.setdefault(key, []).extend(more)


def run_rounds(
    rows: Sequence[Row], workloads: Sequence[str], repeats: int, ask: Ask, say: Callable[[str], None]
) -> None:
    """Fill the rows. W5 is measured in the first round only; its program makes as many batches as there are rounds."""
    for turn in range(repeats):
        for workload in workloads:
            if workload == "W5" and turn:
                continue
            for row in rows:
                if due(row, workload):
                    say(f"round {turn + 1} of {repeats}: {workload} {row.contender.name}")
                    measure_one(row, workload, ask, say)


def due(row: Row, workload: str) -> bool:
    return not row.missing and workload in row.contender.workloads and workload not in row.faults


def measure_one(row: Row, workload: str, ask: Ask, say: Callable[[str], None]) -> None:
    try:
        row.add(ask(row.contender, workload))
    except MeasurementFailed as error:
        row.faults[workload] = str(error)
        say(f"  {row.contender.name} failed: {error}")
