"""The floors: what bare ``sqlite3`` reaches on this disk right now, with nothing of lash around it.

The journal-like table has what every journal must have, an index to find the rows of one process; the plain one is
there to show its price. The log is recycled, not growing, as in a database that has been in use for a while. A
workload that is judged by a ratio measures its floor itself, right before and right after.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.child import Timed, Values, serve
from benchmarks.workloads import PAYLOAD_BYTES

GROUP_ROWS: Final = 500
PROCESSES: Final = 1_000
"""Whose rows come interleaved, as many as W2 has: the index is written all over, as there."""
LOG_PAGES: Final = 4_000
WARM_UP: Final = 50
VALUE: Final = bytes(PAYLOAD_BYTES)


class BareFile:
    """A database of its own, beside the one that is measured. Close it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "floors.db"
        path.unlink(missing_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            f"PRAGMA wal_autocheckpoint = {LOG_PAGES}",
            "CREATE TABLE plain (id INTEGER PRIMARY KEY, process INTEGER, value BLOB)",
            "CREATE TABLE journal (id INTEGER PRIMARY KEY, process INTEGER, value BLOB)",
            "CREATE INDEX journal_process ON journal (process)",
        ):
            self._connection.execute(statement)
        self._recycle_log()
        self.one_row_commits(WARM_UP)

    def _recycle_log(self) -> None:
        """Let the log grow to its full size once, then start it over."""
        sql = self._connection.execute
        sql("CREATE TABLE filler (page BLOB)")
        sql("BEGIN")
        self._connection.executemany("INSERT INTO filler VALUES (zeroblob(4000))", ((),) * LOG_PAGES)
        sql("COMMIT")
        sql("DROP TABLE filler")
        sql("PRAGMA wal_checkpoint(PASSIVE)")

    def one_row_commits(self, count: int) -> tuple[float, float]:
        """Wall and CPU seconds of so many transactions of one row each."""
        sql = self._connection.execute
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for turn in range(count):
            sql("INSERT INTO journal (process, value) VALUES (?, ?)", (turn % PROCESSES, VALUE))
        return time.perf_counter() - wall_s, time.process_time() - cpu_s

    def one_commit_ms(self) -> float:
        """Time of one such transaction, on its own."""
        return self.one_row_commits(1)[0] * 1_000

    def group_commits(self, count: int, table: str = "journal") -> Timed:
        """Time of so many transactions of ``GROUP_ROWS`` rows each."""
        sql, many = self._connection.execute, self._connection.executemany
        groups = [[((turn + first) % PROCESSES, VALUE) for turn in range(GROUP_ROWS)] for first in (0, GROUP_ROWS)]
        with Timed("floor-groups") as timed:
            for turn in range(count):
                sql("BEGIN IMMEDIATE")
                many(f"INSERT INTO {table} (process, value) VALUES (?, ?)", groups[turn % 2])
                sql("COMMIT")
        return timed

    def close(self) -> None:
        self._connection.close()


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    bare = BareFile(folder)
    singles, groups = int(sizes["one_row_commits"]), int(sizes["group_commits"])
    single_s, single_cpu_s = bare.one_row_commits(singles)
    grouped, plain = bare.group_commits(groups), bare.group_commits(groups, "plain")
    bare.close()
    return {
        "one_row_ms": single_s / singles * 1_000,
        "one_row_cpu_ms": single_cpu_s / singles * 1_000,
        "group_rows_per_s": groups * GROUP_ROWS / grouped.wall_s,
        "group_cpu_us_per_row": grouped.cpu_s / groups / GROUP_ROWS * 1e6,
        "plain_rows_per_s": groups * GROUP_ROWS / plain.wall_s,
    }


if __name__ == "__main__":
    serve(measure)
