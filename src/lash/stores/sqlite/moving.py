"""A database that moves away is shut first, for those who have it open too, and stays shut once it has moved.

A mark among its migrations keeps everybody from opening it, also a lash that knows nothing of moving. Triggers refuse
every write of whoever has it open already. Both go again when the move did not come about.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple
from urllib.parse import quote

from lash.errors import NotADatabase, StoreInUse, StoreNotMigrated
from lash.stores.sql.migrations import MOVED, PROMOTED, lacking, migrations
from lash.stores.sqlite.connection import connect, in_transaction, patiently
from lash.stores.sqlite.migrate import applied

if sys.platform != "win32":
    import fcntl

Row = tuple[object, ...]
TABLES: Final = (
    "process journal event spec tag lane tombstone worker blob loose session node item turn piece ref".split()
)
"""Whose rows may not change any more."""
CHANGES: Final = ("INSERT", "UPDATE", "DELETE")
LEASES_SQL: Final = "SELECT id, owner FROM lash_process WHERE owner IS NOT NULL AND wake_ms > ? ORDER BY row LIMIT 4"
WORKERS_SQL: Final = "SELECT owner FROM lash_worker WHERE until_ms > ? ORDER BY owner LIMIT 4"
MARK_SQL: Final = f"SELECT number, name, sha256 FROM lash_migration WHERE number >= {PROMOTED} ORDER BY number DESC"
MARKED: Final = f"EXISTS (SELECT 1 FROM lash_migration WHERE number >= {PROMOTED})"
"""Who must open the database by hand has only the mark to delete."""
PAGE_ROWS_MAX: Final = 5_000
PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Read and sent at a time: one value may have half of that."""


class Mark(NamedTuple):
    """What stands in a source: which move it is, where to, and whether it has arrived."""

    id: str
    target: str
    arrived: bool


class Source:
    """One SQLite database, for whoever moves its content. Use :meth:`alone` around everything else."""

    def __init__(self, path: str, clock: Callable[[], int]) -> None:
        self.path = os.path.abspath(path)
        self._clock = clock
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Raises ``NotADatabase``, ``StoreTooNew`` and ``StoreNotMigrated``; a marked one can be opened here."""
        look_into(self.path)
        self._connection = patiently(lambda: connect(self.path, "full"))
        there = {number: item for number, item in applied(self._connection).items() if number < PROMOTED}
        if missing := lacking(there, migrations("sqlite"), self.path):
            raise StoreNotMigrated(
                f"The database {self.path} lacks {', '.join(item.name for item in missing)}. "
                f"Bring it up to date first: lash migrate sqlite:///{self.path}",
                path=self.path,
            )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def connection(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    @contextmanager
    def alone(self) -> Generator[None]:
        """Only one on this machine moves it at a time. Raises ``StoreInUse``."""
        if sys.platform == "win32":
            yield
            return
        folder = self.path + "-workers"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(os.path.join(folder, "promote"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreInUse(f"Another `lash promote` is moving {self.path}. Let it end.", path=self.path) from None
            yield
        finally:
            os.close(descriptor)

    # The mark ------------------------------------------------------------------------------------------------------

    def mark(self) -> Mark | None:
        found = self.connection.execute(MARK_SQL).fetchone()
        return None if found is None else Mark(found[2], found[1], found[0] >= MOVED)

    def check_idle(self) -> None:
        """Raises ``StoreInUse`` while a lease lasts or a worker is enlisted."""
        now_ms = self._clock()
        workers = [owner for (owner,) in self.connection.execute(WORKERS_SQL, (now_ms,))]
        if workers:
            raise StoreInUse(
                f"{listed(workers)} at work on {self.path}. Stop every worker, and whatever else has it open, and try "
                "again; one that was killed counts until its lease has run out. Nothing was written.",
                path=self.path,
            )
        leases = [f"{process_id} ({owner})" for process_id, owner in self.connection.execute(LEASES_SQL, (now_ms,))]
        if leases:
            raise StoreInUse(
                f"Leases on {self.path} are live: {listed(leases, '')}. Stop every worker, or wait until they have "
                "run out, and try again. Nothing was written.",
                path=self.path,
            )

    def shut(self, move_id: str, target: str) -> Mark:
        """Nobody opens or changes it from now on. Raises ``StoreInUse``; then nothing was written."""
        words = quoted(f"its content is being moved, or was, to {target}: use that one")

        def work(sql: Callable[..., object]) -> None:
            self.check_idle()
            sql("INSERT INTO lash_migration VALUES (?, ?, ?, ?)", (PROMOTED, target, move_id, self._clock()))
            for name, table, change in triggers():
                sql(f"DROP TRIGGER IF EXISTS {name}")
                sql(
                    f"CREATE TRIGGER {name} BEFORE {change} ON {table} WHEN {MARKED} "
                    f"BEGIN SELECT RAISE(ABORT, {words}); END"
                )

        self._write(work)
        return Mark(move_id, target, False)

    def reopen(self) -> None:
        """As if it had never been shut."""

        def work(sql: Callable[..., object]) -> None:
            sql("DELETE FROM lash_migration WHERE number >= ?", (PROMOTED,))
            for name, _, _ in triggers():
                sql(f"DROP TRIGGER IF EXISTS {name}")

        self._write(work)

    def say_arrived(self, mark: Mark) -> None:
        if not mark.arrived:
            values = (MOVED, mark.target, mark.id, self._clock())
            self._write(lambda sql: sql("INSERT OR IGNORE INTO lash_migration VALUES (?, ?, ?, ?)", values))

    def _write(self, work: Callable[[Callable[..., object]], object]) -> None:
        patiently(lambda: in_transaction(self.connection, lambda: work(self.connection.execute)))

    # Reading -------------------------------------------------------------------------------------------------------

    def rows(self, sql: str) -> Iterator[list[Row]]:
        """Its rows in pages that fit into memory. Each page is read when it is asked for, from any thread."""
        cursor = self.connection.execute(sql)
        page: list[Row] = []
        size = 0
        for columns in cursor:
            page.append(columns)
            size += sum(len(value) for value in columns if isinstance(value, (bytes, str)))
            if len(page) >= PAGE_ROWS_MAX or size >= PAGE_BYTES_MAX:
                yield page
                page, size = [], 0
        if page:
            yield page


def look_into(path: str) -> None:
    """Raises ``NotADatabase`` unless lash made the file. Changes nothing of it."""
    if not os.path.isfile(path):
        raise NotADatabase(f"There is no file {path}. Name the SQLite file to move, as sqlite:///jobs.db.", path=path)
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5)
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'lash_migration'").fetchone()[0]
    finally:
        connection.close()
    if not tables:
        raise NotADatabase(
            f"The SQLite file {path} holds nothing of lash. Name the file that your app uses.", path=path
        )


def triggers() -> Iterator[tuple[str, str, str]]:
    """Name, table and the change it refuses."""
    for table in TABLES:
        for change in CHANGES:
            yield f"lash_moved_{table}_{change.lower()}", f"lash_{table}", change


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def listed(names: Sequence[str], verb: str = " is", plural: str = " are") -> str:
    """Up to three names, and that there are more."""
    shown = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    return shown + ((verb if len(names) == 1 else plural) if verb else "")
