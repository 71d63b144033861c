"""The SQLite store: all facets in one file, one connection that writes, and nothing that blocks the event loop.

Several Python processes on one machine may open the same file. ``database is locked`` never reaches a caller: a
write that finds the lock taken waits on a thread, up to ``BUSY_DEADLINE_MS``.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, TypeVar

from lash.abc.sessions import Piece
from lash.abc.store import BlobsPruned, Op, ProcessFilter, Verdict, WorkerRecord
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessRow, Tombstone
from lash.core.session import Item, Node, SessionRow, TurnRecord
from lash.errors import StoreUnavailable
from lash.limits import INLINE_COMMIT_US_MAX
from lash.stores.blobs import StoredBlobs
from lash.stores.clock import system_ms
from lash.stores.listeners import Listeners
from lash.stores.sql.migrations import migrations
from lash.stores.sqlite import blobs, chats, doctor, reads
from lash.stores.sqlite.book import Book
from lash.stores.sqlite.connection import connect, explained, extend_log, fsync_us, is_busy, patiently
from lash.stores.sqlite.migrate import migrate
from lash.stores.sqlite.notices import Notices
from lash.stores.sqlite.picture import SqliteTransaction
from lash.stores.sqlite.proof import Proofs
from lash.stores.sqlite.writer import Writer, Written

T = TypeVar("T")

HISTORY_INLINE: int = 256
"""Journal entries read on the event loop; a longer history is read in a thread."""


def migration_sql() -> list[tuple[str, str]]:
    """File name and SQL of every migration, in order: what ``lash migrate --sql`` prints."""
    return [(migration.name, migration.sql) for migration in migrations("sqlite")]


class SqliteStore:
    """``path`` names the file; beside it stand its log and a folder ``<path>-workers``.

    ``sync="normal"`` makes commits several times quicker and may lose the last ones when the machine (not merely the
    Python process) dies. ``clock`` gives epoch milliseconds; without one it is this machine's time, which is what
    SQLite's own clock reads.
    """

    journal_durable = True

    def __init__(
        self, path: str, *, sync: Literal["full", "normal"] = "full", clock: Callable[[], int] | None = None
    ) -> None:
        self._path = os.path.abspath(path)
        self._sync: Literal["full", "normal"] = sync
        self._clock = clock or system_ms
        self._fsync_us = 0.0
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._slow_reader: sqlite3.Connection | None = None
        self._slow_lock = threading.Lock()
        self._lanes = Book()
        self._slow_lanes = Book()
        self._listeners = Listeners()
        self._folder = self._path + "-workers"
        self._notices = Notices(self._folder, self._listeners.notify)
        self._proofs = Proofs(self._folder)
        self._blobs = StoredBlobs(self)

    @property
    def facets(self) -> dict[str, bool]:
        return {"attachment_store": True, "artifact_store": True, "session_store": True, "process_registry": True}

    @property
    def blobs(self) -> StoredBlobs:
        return self._blobs

    @property
    def path(self) -> str:
        return self._path

    # Opening and closing -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Create or migrate the file, in a thread. Opening an open store does nothing."""
        if self._writer is not None:
            return
        try:
            self._writer, self._reader = await asyncio.to_thread(self._connect)
        except sqlite3.Error as error:
            raise explained(error, self._path) from error
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._notices.open(self._data_version)

    def _connect(self) -> tuple[Writer, sqlite3.Connection]:
        connection = patiently(lambda: connect(self._path, self._sync))
        try:
            known = migrations("sqlite")
            patiently(lambda: migrate(connection, known, self._path, self._clock()))
            if self._sync == "full":  # without an fsync per commit, a growing log costs nothing
                extend_log(connection, self._path)
            reader = patiently(lambda: connect(self._path, self._sync))
        except BaseException:
            connection.close()
            raise
        self._fsync_us = fsync_us(os.path.dirname(self._path)) if self._sync == "full" else 0.0
        inline = self._fsync_us <= INLINE_COMMIT_US_MAX
        return Writer(connection, self._path, self._clock, inline, self._committed), reader

    async def close(self) -> None:
        """Waits for the writes under way. Closing a closed store does nothing."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        await writer.close()
        self._notices.close()
        self._proofs.close()
        await asyncio.to_thread(self._disconnect, writer)

    def crash(self) -> None:
        """Testing aid: end as SIGKILL would. No lease is released, no worker discharged, no file removed.

        Files in the ``-workers`` folder stay, their locks and readers gone, for others to find.
        """
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.crash()
            self._notices.drop()
            self._proofs.drop()
            self._disconnect(writer)

    def _disconnect(self, writer: Writer) -> None:
        """A read whose caller was cancelled may still run in its thread: it is cut short and waited for, because
        closing a connection under it would end the Python process."""
        if (slow := self._slow_reader) is not None:
            slow.interrupt()
        with self._slow_lock:
            reader, slow, self._reader, self._slow_reader = self._reader, self._slow_reader, None, None
        for connection in (slow, reader, writer.connection):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def _data_version(self) -> int:
        if self._reader is None:
            return 0
        version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        return version

    # Writing -------------------------------------------------------------------------------------------------------

    async def write(self, ops: Sequence[Op]) -> list[Verdict]:
        return (await self._open_writer().write(ops)).verdicts

    def write_now(self, ops: Sequence[Op]) -> list[Verdict] | None:
        written = self._open_writer().write_now(ops)
        return None if written is None else written.verdicts

    def _committed(self, written: Written) -> None:
        for owner in written.expired:
            self._proofs.acted_upon(owner)
        if written.stirred:
            self._notices.send()

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise StoreUnavailable(f"The store {self._path} is not open. Call open() first.", path=self._path)
        return self._writer

    def commit_in_thread(self) -> None:
        """Commit on the writer thread from now on, as on a slow disk."""
        writer = self._open_writer()
        writer.inline = writer.may_choose = False

    async def _alone(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """A transaction of its own, always on the thread. ``work`` is told the time."""
        found: list[T] = []

        def done(tx: SqliteTransaction) -> list[Verdict]:
            found[:] = [work(tx.tables.connection, tx.now_ms)]
            return []

        await self._open_writer().submit(done)
        return found[0]

    async def put_blob(self, data: bytes) -> str:
        return await self._alone(lambda connection, now_ms: blobs.put(connection, data, now_ms))

    async def keep_blobs(self, refs: Sequence[str], row: int) -> list[str]:
        return await self._alone(lambda connection, now_ms: blobs.keep(connection, refs, row, now_ms))

    async def prune_blobs(self, before_ms: int, limit: int) -> BlobsPruned:
        if not await self._read(lambda connection, _: blobs.old(connection, before_ms, 1)):
            return BlobsPruned(0, ())  # looking costs no write
        return await self._alone(lambda connection, _: blobs.prune(connection, before_ms, limit))

    # Reading -------------------------------------------------------------------------------------------------------

    async def _read(self, query: Callable[[sqlite3.Connection, Book], T]) -> T:
        """A short, indexed read: on the event loop, unless the file is locked for a moment.

        On the connection that writes where that is free: another one would read again what each commit has changed.
        """
        writer = self._open_writer()
        assert self._reader is not None
        try:
            return query(writer.connection if writer.at_rest else self._reader, self._lanes)
        except sqlite3.Error as error:
            if not is_busy(error):
                raise explained(error, self._path) from error
        return await self._read_slowly(query)

    async def _read_slowly(self, query: Callable[[sqlite3.Connection, Book], T]) -> T:
        self._open_writer()
        try:
            return await asyncio.to_thread(self._query_slowly, query)
        except sqlite3.Error as error:
            raise explained(error, self._path) from error

    def _query_slowly(self, query: Callable[[sqlite3.Connection, Book], T]) -> T:
        with self._slow_lock:
            self._open_writer()  # closed while this read waited for its turn
            if self._slow_reader is None:
                self._slow_reader = patiently(lambda: connect(self._path, self._sync), self._is_closed)
            return patiently(partial(query, self._slow_reader, self._slow_lanes), self._is_closed)

    def _is_closed(self) -> bool:
        return self._writer is None

    def now_ms(self) -> int:
        return self._clock()

    async def get(self, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
        return await self._read(lambda connection, lanes: reads.get(connection, lanes, ids))

    async def not_running(self, ids: Sequence[str]) -> list[str]:
        return await self._read(lambda connection, _: reads.not_running(connection, ids))

    async def page(self, wanted: ProcessFilter) -> list[ProcessRow]:
        return await self._read_slowly(lambda connection, lanes: reads.page(connection, lanes, wanted))

    async def events(self, process_id: str, after: int, limit: int) -> list[Event]:
        read = self._read if limit <= HISTORY_INLINE else self._read_slowly
        return await read(lambda connection, _: reads.events(connection, process_id, after, limit))

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        limit = HISTORY_INLINE
        found = await self._read(lambda connection, _: reads.history(connection, row, after_rank, limit))
        if len(found) == limit:
            found += await self._read_slowly(lambda connection, _: reads.history(connection, row, found[-1].rank, -1))
        return found

    async def next_due_ms(self, lanes: Sequence[Lane]) -> int | None:
        return await self._read(lambda connection, book: reads.next_due_ms(connection, book, lanes))

    async def sessions(self, ids: Sequence[str]) -> list[SessionRow | Tombstone | None]:
        return await self._read(lambda connection, lanes: [chats.find(connection, lanes, item) for item in ids])

    async def nodes(self, row: int, after: int, upto: int, limit: int) -> list[Node]:
        read = self._read if limit <= HISTORY_INLINE else self._read_slowly
        return await read(lambda connection, _: chats.nodes(connection, row, after, upto, limit))

    async def states(self, row: int, upto: int) -> Mapping[str, Node]:
        return await self._read(lambda connection, _: chats.states(connection, row, upto))

    async def items(self, row: int, numbers: Sequence[int]) -> list[Item]:
        return await self._read(lambda connection, _: chats.items(connection, row, numbers))

    async def turns(self, row: int, after: int, limit: int) -> list[TurnRecord]:
        read = self._read if limit <= HISTORY_INLINE else self._read_slowly
        return await read(lambda connection, _: chats.turns(connection, row, after, limit))

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        return await self._read(lambda connection, _: chats.pieces(connection, row, token, after, limit))

    async def news(self, owner: str) -> list[Fence]:
        return await self._read(lambda connection, _: reads.news(connection, owner))

    async def workers(self) -> list[WorkerRecord]:
        now_ms = self._clock()
        return await self._read(lambda connection, _: reads.live_workers(connection, now_ms))

    async def counts(self) -> dict[str, int]:
        return await self._read_slowly(lambda connection, _: reads.counts(connection))

    async def get_blob(self, ref: str) -> bytes | None:
        return await self._read_slowly(lambda connection, _: blobs.get(connection, ref))

    async def diagnose(self) -> dict[str, object]:
        writer = self._open_writer()
        about: dict[str, object] = {
            "store": "sqlite",
            "durable": True,
            "path": self._path,
            "commit": "inline" if writer.inline else "thread",
            "fsync_us": round(self._fsync_us, 1),
            "inline_commits": writer.inline_commits,
            "thread_commits": writer.thread_commits,
        }
        now_ms = self._clock()
        return about | await self._read_slowly(
            lambda connection, _: doctor.examine(connection, self._path, self._sync, now_ms)
        )

    # Hints ---------------------------------------------------------------------------------------------------------

    def listen(self, changed: Callable[[], None]) -> None:
        self._listeners.add(changed)

    async def prove_life(self, owner: str) -> None:
        with suppress(OSError):  # without proof, the ttl decides
            self._proofs.hold(owner)

    async def dead_owners(self) -> list[str]:
        """The same owners again until an ``Expire`` of theirs was committed through this store."""
        return self._proofs.take_dead()
