"""What is measured, at which size, and what it must reach: the table that the run, the report and the tests read.

A goal stands here once, beside its metric. A metric without a goal is there to explain the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

SizeName: TypeAlias = Literal["full", "quick", "tiny"]
"""``full`` is what the goals are about; ``quick`` for work in between; ``tiny`` only shows that it runs."""

PAYLOAD_BYTES: Final = 200
"""Of one recorded value, as JSON; the floors write values of the same size."""
LARGE_PAYLOAD_BYTES: Final = 2_000
STORAGE_FACTOR: Final = 2.5
STORAGE_EXTRA_BYTES: Final = 300
MEMORY_NOISE_BYTES: Final = 16
"""The goal is 0; this is what allocator and caches may blur. A body takes a thousand times as much."""


@dataclass(frozen=True, slots=True)
class Goal:
    limit: float
    at_most: bool = True

    def met(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:,g}"


def at_most(limit: float) -> Goal:
    return Goal(limit)


def at_least(limit: float) -> Goal:
    return Goal(limit, at_most=False)


@dataclass(frozen=True, slots=True)
class Metric:
    """``words`` hold the unit."""

    key: str
    words: str
    digits: int = 1
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """``module`` is run as a program of its own, with the numbers of one size."""

    name: str
    module: str
    title: str
    sizes: Mapping[SizeName, Mapping[str, float]]
    metrics: tuple[Metric, ...]


FLOORS: Final = Workload(
    "floors",
    "benchmarks.floors",
    "bare sqlite3, WAL, synchronous=FULL, 200-byte values",
    {
        "full": {"one_row_commits": 1_500, "group_commits": 60},
        "quick": {"one_row_commits": 500, "group_commits": 30},
        "tiny": {"one_row_commits": 20, "group_commits": 2},
    },
    (
        Metric("one_row_ms", "ms per one-row commit", 4),
        Metric("one_row_cpu_ms", "ms of CPU per one-row commit", 4),
        Metric("group_rows_per_s", "rows/s in 500-row commits, indexed by process", 0),
        Metric("group_cpu_us_per_row", "µs of CPU per row of them", 1),
        Metric("plain_rows_per_s", "rows/s in 500-row commits, without the index", 0),
    ),
)

W1: Final = Workload(
    "W1",
    "benchmarks.w1_sequence",
    "one process, sequential steps",
    {"full": {"steps": 1_000}, "quick": {"steps": 500}, "tiny": {"steps": 20}},
    (
        Metric("ms_per_step", "ms per step", 4),
        Metric("floor_ms", "ms per bare one-row commit, between slices", 4),
        Metric("ratio", "× the bare one-row commit, quickest slices", 2, at_most(2.0)),
        Metric("median_ratio", "× the bare one-row commit, median slices", 2),
        Metric("cpu_ms_per_step", "ms of CPU per step", 4),
        Metric("cpu_ratio", "× the CPU of the bare one-row commit", 2),
        Metric("inline_percent", "% of the commits made on the event loop", 0),
    ),
)

W2: Final = Workload(
    "W2",
    "benchmarks.w2_group",
    "many processes of 10 steps, concurrency 100",
    {
        "full": {"processes": 1_000, "group_commits": 40},
        "quick": {"processes": 300, "group_commits": 20},
        "tiny": {"processes": 5, "group_commits": 2},
    },
    (
        Metric("steps_per_s", "recorded steps/s", 0, at_least(20_000)),
        Metric("floor_rows_per_s", "bare rows/s in 500-row commits, before and after", 0),
        Metric("percent", "% of the bare 500-row commit rate", 1, at_least(15)),
        Metric("cpu_us_per_step", "µs of CPU per step", 1),
        Metric("commits", "commits", 0),
        Metric("inline_percent", "% of the commits made on the event loop", 0),
    ),
)

W3: Final = Workload(
    "W3",
    "benchmarks.w3_empty",
    "start and complete empty processes",
    {"full": {"processes": 2_000}, "quick": {"processes": 600}, "tiny": {"processes": 10}},
    (
        Metric("processes_per_s", "processes/s", 0, at_least(6_000)),
        Metric("cpu_us_per_process", "µs of CPU per process", 1),
        Metric("rows_per_process", "rows per process", 2),
        Metric("commits_per_process", "transactions per process", 3, at_most(2)),
        Metric("inline_percent", "% of the commits made on the event loop", 0),
    ),
)

W4: Final = Workload(
    "W4",
    "benchmarks.w4_takeover",
    "processes mid-way, SIGKILL, a new OS process",
    {
        "full": {"processes": 500, "imports": 7},
        "quick": {"processes": 500, "imports": 3},
        "tiny": {"processes": 5, "imports": 1},
    },
    (
        Metric("total_s", "s from its spawn to all finished", 3, at_most(0.6)),
        Metric("cpu_s", "s of CPU of the new OS process", 3),
        Metric("python_ms", "ms interpreter", 1),
        Metric("imports_ms", "ms imports", 1),
        Metric("open_ms", "ms open the runtime", 1),
        Metric("claim_ms", "ms notice the dead, claim, first body runs", 1),
        Metric("replay_ms", "ms until every step in flight is performed again", 1),
        Metric("finish_ms", "ms until all have their outcome", 1),
        Metric("import_lash_ms", "ms import lash, fresh interpreter", 1, at_most(150)),
        Metric("import_asyncio_ms", "ms import asyncio, for comparison", 1),
        Metric("bare_python_ms", "ms python -c pass, whole", 1),
    ),
)

W5: Final = Workload(
    "W5",
    "benchmarks.w5_parked",
    "a worker beside many parked processes",
    {
        "full": {"parked": 100_000, "idle_s": 11, "starts": 300, "timers": 100, "timer_delay_s": 3},
        "quick": {"parked": 20_000, "idle_s": 5, "starts": 100, "timers": 30, "timer_delay_s": 2},
        "tiny": {"parked": 20, "idle_s": 0.2, "starts": 3, "timers": 2, "timer_delay_s": 0.1},
    },
    (
        Metric("idle_cpu_percent", "% CPU, idle", 2, at_most(1)),
        Metric("idle_commits_per_s", "commits/s, idle", 2),
        Metric("rss_mb", "MB resident", 1, at_most(120)),
        Metric("start_p50_ms", "ms from start to outcome, p50", 2, at_most(2)),
        Metric("start_p99_ms", "ms from start to outcome, p99", 2, at_most(10)),
        Metric("durable_p50_ms", "ms until start returns, p50", 2),
        Metric("floor_p50_ms", "ms per bare commit after the same pause, p50", 2),
        Metric("floor_p99_ms", "ms per bare commit after the same pause, p99", 2),
        Metric("timer_late_max_ms", "ms late, the latest timer", 1, at_most(20)),
        Metric("timer_late_p50_ms", "ms late, p50", 1),
        Metric("open_ms", "ms to open the runtime", 1),
        Metric("prepare_s", "s to prepare the parked processes", 1),
    ),
)

STORAGE: Final = Workload(
    "STORAGE",
    "benchmarks.storage",
    "database bytes per step",
    {
        "full": {"processes": 100, "steps": 100},
        "quick": {"processes": 50, "steps": 50},
        "tiny": {"processes": 10, "steps": 30},
    },
    (
        Metric(
            "bytes_per_step",
            "bytes per step of 200 bytes",
            0,
            at_most(STORAGE_FACTOR * PAYLOAD_BYTES + STORAGE_EXTRA_BYTES),
        ),
        Metric("beyond_payload", "of them beyond the payload", 0),
        Metric(
            "large_bytes_per_step",
            "bytes per step of 2,000 bytes",
            0,
            at_most(STORAGE_FACTOR * LARGE_PAYLOAD_BYTES + STORAGE_EXTRA_BYTES),
        ),
        Metric("large_beyond_payload", "of them beyond the payload", 0),
        Metric("bytes_per_process", "bytes per empty process", 0),
        Metric("log_mb", "MB of write-ahead log while open", 1),
    ),
)

MEMORY: Final = Workload(
    "MEMORY",
    "benchmarks.memory",
    "worker memory per parked process beyond the resident ones",
    {
        "full": {"warm": 1_000, "parked": 4_000},
        "quick": {"warm": 500, "parked": 1_000},
        "tiny": {"warm": 20, "parked": 20},
    },
    (
        Metric("bodies_beyond_resident", "bodies held beyond the resident ones", 0, at_most(0)),
        Metric("objects_per_process", "Python objects per parked process", 2),
        Metric("bytes_per_process", "bytes of Python memory per parked process", 1, at_most(MEMORY_NOISE_BYTES)),
        Metric("rss_bytes_per_process", "bytes of resident set per parked process", 0),
    ),
)

FLEET: Final = Workload(
    "FLEET",
    "benchmarks.fleet",
    "PostgreSQL: pages of claims, a start elsewhere, two workers",
    {
        "full": {"claims": 10_000, "starts": 200, "processes": 1_000},
        "quick": {"claims": 3_000, "starts": 50, "processes": 300},
        "tiny": {"claims": 20, "starts": 3, "processes": 10},
    },
    (
        Metric("claims_per_s", "rows claimed per s, in pages of 256", 0, at_least(10_000)),
        Metric("notice_p50_ms", "ms from a start elsewhere to its first step, p50", 2, at_most(3)),
        Metric("notice_p99_ms", "ms from a start elsewhere to its first step, p99", 2),
        Metric("one_worker_steps_per_s", "steps/s of one worker", 0),
        Metric("two_workers_steps_per_s", "steps/s of two workers", 0),
        Metric("two_workers", "× one worker", 2, at_least(1.6)),
    ),
)

TURN_SIZES: Final[Mapping[SizeName, Mapping[str, float]]] = {
    "full": {"turns": 100, "long_turns": 40, "messages": 300, "sessions": 100, "turns_each": 10},
    "quick": {"turns": 30, "long_turns": 10, "messages": 300, "sessions": 20, "turns_each": 5},
    "tiny": {"turns": 3, "long_turns": 2, "messages": 8, "sessions": 2, "turns_each": 2},
}


def turn_metrics(ending_ms: float, turns_per_s: Goal | None) -> tuple[Metric, ...]:
    """The same of each store; the goals are about the turn of one model call and one tool, and about many sessions."""
    return (
        Metric("finish_p50_ms", "one call and a tool: ms per turn, p50", 2, at_most(ending_ms)),
        Metric("finish_p99_ms", "one call and a tool: ms per turn, p99", 2),
        Metric("finish_cpu_ms", "one call and a tool: ms of CPU per turn", 2),
        Metric("tool_p50_ms", "two calls and a tool: ms per turn, p50", 2),
        Metric("tool_p99_ms", "two calls and a tool: ms per turn, p99", 2),
        Metric("tool_cpu_ms", "two calls and a tool: ms of CPU per turn", 2),
        Metric("plain_p50_ms", "one call: ms per turn, p50", 2),
        Metric("plain_p99_ms", "one call: ms per turn, p99", 2),
        Metric("plain_cpu_ms", "one call: ms of CPU per turn", 2),
        Metric("long_finish_p50_ms", "one call and a tool, at 300 messages: p50", 2),
        Metric("long_finish_p99_ms", "one call and a tool, at 300 messages: p99", 2),
        Metric("long_finish_cpu_ms", "one call and a tool, at 300 messages: CPU", 2),
        Metric("long_tool_p50_ms", "two calls and a tool, at 300 messages: p50", 2),
        Metric("long_tool_p99_ms", "two calls and a tool, at 300 messages: p99", 2),
        Metric("long_tool_cpu_ms", "two calls and a tool, at 300 messages: CPU", 2),
        Metric("tool_turns_per_s", "100 sessions, two calls and a tool: turns/s", 0, turns_per_s),
        Metric("tool_many_cpu_ms", "ms of CPU per turn of them", 2),
        Metric("finish_turns_per_s", "100 sessions, one call and a tool: turns/s", 0),
        Metric("finish_many_cpu_ms", "ms of CPU per turn of them", 2),
        Metric("plain_turns_per_s", "100 sessions, one call: turns/s", 0),
        Metric("plain_many_cpu_ms", "ms of CPU per turn of them", 2),
    )


TURN: Final = Workload(
    "TURN",
    "benchmarks.turns",
    "turns without provider time: short sessions, a long one, 100 at once",
    TURN_SIZES,
    (
        *turn_metrics(5, at_least(400)),
        Metric("finish_commits", "one call and a tool: commits per turn", 1),
        Metric("tool_commits", "two calls and a tool: commits per turn", 1),
        Metric("plain_commits", "one call: commits per turn", 1),
        Metric("inline_percent", "% of the last made on the event loop", 0),
        Metric("floor_p50_ms", "ms per bare one-row commit between turns, p50", 3),
    ),
)

TURN_PG: Final = Workload(
    "TURN-PG",
    "benchmarks.turns_postgres",
    "the same on PostgreSQL",
    TURN_SIZES,
    turn_metrics(8, None),
)

STREAM: Final = Workload(
    "STREAM",
    "benchmarks.streaming",
    "a word of a model until an observer has it",
    {"full": {"words": 150}, "quick": {"words": 50}, "tiny": {"words": 8}},
    (
        Metric("here_p50_ms", "ms to an observer in the same OS process, p50", 3, at_most(2)),
        Metric("here_p99_ms", "ms to an observer in the same OS process, p99", 3),
        Metric("elsewhere_p50_ms", "ms to another OS process, SQLite, p50", 1, at_most(2)),
        Metric("elsewhere_p99_ms", "ms to another OS process, SQLite, p99", 1),
        Metric("postgres_p50_ms", "ms to another OS process, PostgreSQL, p50", 1, at_most(2)),
        Metric("postgres_p99_ms", "ms to another OS process, PostgreSQL, p99", 1),
    ),
)

SESSION: Final = Workload(
    "SESSION",
    "benchmarks.sessions",
    "a long session opened again; what a conversation takes on the disk",
    {
        "full": {"nodes": 10_000, "turns": 400},
        "quick": {"nodes": 2_000, "turns": 400},
        "tiny": {"nodes": 20, "turns": 4},
    },
    (
        Metric("reopen_ms", "ms to row and window, first of an OS process", 1, at_most(50)),
        Metric("reopen_warm_ms", "ms to row and window, later runtimes", 1),
        Metric("turn_ms", "ms of a first turn, its context read back", 1),
        Metric("open_ms", "ms to open the runtime", 1),
        Metric("disk_mb", "MB of all files after 400 turns, closed", 2, at_most(2)),
        Metric("disk_open_mb", "MB of them while open, without the log", 2),
        Metric("text_mb", "MB of text in them", 2),
        Metric("disk_factor", "× the text", 2),
    ),
)

WORKLOADS: Final = {
    item.name: item for item in (W1, W2, W3, W4, W5, STORAGE, MEMORY, FLEET, TURN, TURN_PG, STREAM, SESSION)
}
"""By name, in the order they run. The floors run first in every round."""
