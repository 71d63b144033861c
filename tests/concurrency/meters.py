"""What a worker costs its database while it has nothing to do, as the database itself counts it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import asyncpg

from lash.abc.store import Op, Renew
from lash.runtime.runtime import Runtime
from lash.stores.sqlite import SqliteStore, store as module
from lash.testing.faults import FaultyStore
from tests.concurrency.databases import Database, PostgresSchema, SqliteFile

TABLES = ("lash_process", "lash_journal", "lash_event", "lash_spec", "lash_tag")
"""Those that grow."""
COMMITS_PER_S_MAX = 25
"""A sweep takes two statements four times a second; everything else is rarer."""
CONNECTED_SQL = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lash %'"
TABLES_SQL = (
    "SELECT relname, seq_tup_read + (SELECT coalesce(sum(i.idx_tup_read), 0) FROM pg_stat_user_indexes i "
    "WHERE i.relid = t.relid), n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables t WHERE schemaname = $1"
)
"""(table, rows and index entries read, rows changed): with ``enable_seqscan`` off, a scan may go through an index."""
CONNECT = "connect"
"""What a SQLite store opens its connections with."""
READ_MAX = 200
"""Of ten thousand."""
COMMITS_SQL = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


class Meter(ABC):
    """Around the life of one runtime. ``begin``: it has nothing to do from now on; ``end``: so it was until now."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def begin(self, app: Runtime) -> None: ...

    @abstractmethod
    def end(self, app: Runtime) -> None: ...

    @abstractmethod
    def check(self, seen: Counter[type[Op]]) -> None:
        """That nothing was scanned, and nothing written but by the operations ``seen`` for the worker itself."""


class SqliteMeter(Meter):
    """Has every statement noted, and asks SQLite how it would go about it."""

    def __init__(self, file: SqliteFile) -> None:
        self.path = file.path
        self.statements: set[str] = set()
        self.changes = 0
        self._plain: Callable[..., sqlite3.Connection] = vars(module)[CONNECT]

    def __enter__(self) -> Self:
        def connect(*args: object) -> sqlite3.Connection:
            connection = self._plain(*args)
            connection.set_trace_callback(self.statements.add)
            return connection

        setattr(module, CONNECT, connect)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        setattr(module, CONNECT, self._plain)

    def begin(self, app: Runtime) -> None:
        self.changes -= changes_by(app)

    def end(self, app: Runtime) -> None:
        self.changes += changes_by(app)

    def check(self, seen: Counter[type[Op]]) -> None:
        print(f"{self.changes} rows changed, {len(self.statements)} statements")
        assert self.changes <= seen[Renew], "its own entry among the workers, once per renewal"
        assert len(self.statements) > 10
        assert self.scans() == []

    def scans(self) -> list[str]:
        """Statements that read a growing table from end to end."""
        found: list[str] = []
        connection = sqlite3.connect(self.path)
        for statement in sorted(self.statements):
            if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                continue
            for *_, detail in connection.execute("EXPLAIN QUERY PLAN " + statement):
                words = detail.split()
                if words[0] == "SCAN" and words[1] in TABLES:
                    found.append(f"{detail}: {statement}")
        connection.close()
        return found


def changes_by(app: Runtime) -> int:
    """Rows this runtime's one writing connection has changed so far."""
    store = app.store
    assert isinstance(store, FaultyStore)
    assert isinstance(store.inner, SqliteStore)
    assert store.inner._writer is not None
    return store.inner._writer.connection.total_changes


class PostgresMeter(Meter):
    """Reads the server's statistics, which are complete once every connection has ended: so opening and closing are
    counted too, and must cost as little."""

    def __init__(self, schema: PostgresSchema) -> None:
        self.schema = schema
        self.began = 0.0
        self.read: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.commits = 0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._count(-1)
        self.began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self.began
        self._count(1)

    def begin(self, app: Runtime) -> None:
        del app

    def end(self, app: Runtime) -> None:
        del app

    def _count(self, sign: int) -> None:
        self.schema.asked(all_ended)
        for name, read, changes in self.schema.ask(TABLES_SQL, self.schema.place.schema):
            self.read[name] += sign * int(read)
            self.changes[name] += sign * changes
        self.commits += sign * self.schema.ask(COMMITS_SQL)[0][0]

    def check(self, seen: Counter[type[Op]]) -> None:
        changes = {name: number for name, number in self.changes.items() if number}
        read = {name: number for name, number in self.read.items() if name in TABLES}
        print(f"read {read}, changes {changes}, {self.commits} commits in {self.seconds:.1f} s")
        assert max(read.values()) <= READ_MAX, "a growing table was read from end to end"
        assert set(changes) <= {"lash_worker", "lash_proof"}, "only for itself"
        assert self.changes["lash_worker"] <= seen[Renew] + 4, "once per renewal; it enlists and is discharged"
        assert self.changes["lash_proof"] <= 2
        assert self.commits < COMMITS_PER_S_MAX * self.seconds


async def all_ended(connection: asyncpg.Connection[Any]) -> None:
    async with asyncio.timeout(10):
        while await connection.fetchval(CONNECTED_SQL):
            await asyncio.sleep(0.1)


def meter_of(database: Database) -> Meter:
    if isinstance(database, PostgresSchema):
        return PostgresMeter(database)
    assert isinstance(database, SqliteFile)
    return SqliteMeter(database)
