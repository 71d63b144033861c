"""What is compared: one figure per column, with the direction that is better. W5, T1 and DISK have two.

Processes and agents have a table each: nobody but lash is in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """``title`` heads a column, with ``unit`` beneath it."""

    key: str
    workload: str
    title: str
    unit: str
    digits: int
    more_is_better: bool = False

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times better ours is; below 1 it is worse."""
        return ours / theirs if self.more_is_better else theirs / ours

    def text(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"


PROCESS_METRICS: Final = (
    Metric("ms_per_step", "W1", "W1", "ms/step", 2),
    Metric("steps_per_s", "W2", "W2", "steps/s", 0, more_is_better=True),
    Metric("processes_per_s", "W3", "W3", "per s", 0, more_is_better=True),
    Metric("resume_s", "W4", "W4", "s", 2),
    Metric("start_p50_ms", "W5", "W5 p50", "ms", 1),
    Metric("start_p99_ms", "W5", "W5 p99", "ms", 1),
)
AGENT_METRICS: Final = (
    Metric("turn_p50_ms", "T1", "T1 p50", "ms", 2),
    Metric("turn_p99_ms", "T1", "T1 p99", "ms", 2),
    Metric("turns_per_s", "T100", "T100", "turns/s", 0, more_is_better=True),
    Metric("disk_mb", "DISK", "DISK", "MB", 2),
    Metric("again_ms", "DISK", "again", "ms", 1),
)
TABLES: Final = (PROCESS_METRICS, AGENT_METRICS)
METRICS: Final = (*PROCESS_METRICS, *AGENT_METRICS)
PROCESS_WORKLOADS: Final = ("W1", "W2", "W3", "W4", "W5")
AGENT_WORKLOADS: Final = ("T1", "T100", "DISK")
WORKLOADS: Final = (*PROCESS_WORKLOADS, *AGENT_WORKLOADS)
