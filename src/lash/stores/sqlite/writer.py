"""Batches are committed in the order they were handed over: inline on the event loop, or on one writer thread.

Which of the two is chosen by what the disk can do, and looked at again as it shows: the quickest of some commits, so
that a busy moment, at opening or later, does not decide for long.

Inline is quicker wherever an fsync is short, but the loop must never wait for another process's lock: a batch that
finds it taken moves to the thread, and so does every batch behind it until the thread is idle again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from lash.abc.store import Op, Verdict
from lash.errors import LashError, StoreUnavailable
from lash.limits import INLINE_COMMIT_US_MAX
from lash.stores.sql.perform import perform
from lash.stores.sqlite.book import Book
from lash.stores.sqlite.connection import explained, is_busy, patiently
from lash.stores.sqlite.picture import SqliteTransaction
from lash.stores.sqlite.tables import Tables

log = logging.getLogger("lash.store")
COMMITS_WATCHED: Final = 64
"""After so many commits the place of the next ones is chosen anew."""


class Written(NamedTuple):
    """What one committed batch did."""

    verdicts: list[Verdict]
    stirred: bool
    expired: list[str]


Work: TypeAlias = "Callable[[SqliteTransaction], list[Verdict]]"


class Job(NamedTuple):
    work: Work
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Written]


def perform_all(ops: Sequence[Op], tx: SqliteTransaction) -> list[Verdict]:
    return [perform(tx, op) for op in ops]


class Writer:
    """Owns the one connection that writes. ``inline`` may be switched off for a slow disk."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        clock: Callable[[], int],
        inline: bool,
        committed: Callable[[Written], None],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.connection = connection
        self.committed = committed
        """Called on the event loop after each commit, also when whoever asked for it was cancelled meanwhile."""
        self.path = path
        self.clock = clock
        self.inline = inline
        self.may_choose = True
        """False: ``inline`` stays as it is."""
        self.queued = 0
        """Batches handed to the thread and not yet answered: while there are any, order forbids committing inline."""
        self.inline_commits = 0
        self.thread_commits = 0
        self._book = Book()
        self._tables = Tables(connection)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._timer = timer
        self._commits = 0
        self._quickest_s = math.inf

    @property
    def at_rest(self) -> bool:
        """Nobody but the event loop uses the connection now: it may write on it, or read with what it has cached."""
        return self.inline and not self.queued and not self._closed

    async def write(self, ops: Sequence[Op]) -> Written:
        """One transaction. Raises ``StoreUnavailable``; then nothing was written."""
        written = self.write_now(ops)
        return await self.submit(partial(perform_all, ops)) if written is None else written

    def write_now(self, ops: Sequence[Op]) -> Written | None:
        """The same at once, or None when the disk is slow, the file locked or a batch under way."""
        if not self.at_rest:
            return None
        try:
            written = self.commit(partial(perform_all, ops))
        except sqlite3.Error as error:
            if is_busy(error):
                return None
            raise explained(error, self.path) from error
        self.inline_commits += 1
        self._choose()
        self.committed(written)
        return written

    def _choose(self) -> None:
        """After a commit, on the event loop. Between the two bounds everything stays as it is."""
        self._commits += 1
        if self._commits < COMMITS_WATCHED:
            return
        quickest_us = self._quickest_s * 1e6
        self._commits, self._quickest_s = 0, math.inf
        if not self.may_choose:
            return
        if self.inline and quickest_us > 2 * INLINE_COMMIT_US_MAX:
            log.warning(
                "the quickest of %d commits took %.1f ms: on a thread from now on", COMMITS_WATCHED, quickest_us / 1e3
            )
            self.inline = False
        elif not self.inline and quickest_us <= INLINE_COMMIT_US_MAX:
            log.info("the disk is quick enough: commits are made on the event loop from now on")
            self.inline = True

    async def submit(self, work: Work) -> Written:
        """The same for anything else, always on the thread."""
        if self._closed:
            raise StoreUnavailable(f"The store {self.path} is closed. Open it first.", path=self.path)
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name="lash-writer", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future())
        self.queued += 1
        self._jobs.put(job)
        return await job.done

    def commit(self, work: Work) -> Written:
        sql = self.connection.execute
        sql("BEGIN IMMEDIATE")
        try:
            tx = SqliteTransaction(self._tables, self.clock(), self._book)
            verdicts = work(tx)
            tx.flush()
            began = self._timer()
            sql("COMMIT")
            self._quickest_s = min(self._quickest_s, self._timer() - began)
        except BaseException:
            self._book.forget()
            if self.connection.in_transaction:
                sql("ROLLBACK")
            raise
        return Written(verdicts, tx.stirred, tx.expired)

    # The thread ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            written: Written | None = None
            failure: BaseException | None = None
            try:
                written = patiently(partial(self.commit, job.work), lambda: self._closed)
                self.thread_commits += 1
            except sqlite3.Error as error:
                failure = explained(error, self.path)
            except Exception as error:  # noqa: BLE001 - told to the caller, whose operation it was
                failure = error
            try:
                job.loop.call_soon_threadsafe(self.answer, job, written, failure)
            except RuntimeError:
                pass  # the loop is gone, and with it whoever asked

    def answer(self, job: Job, written: Written | None, failure: BaseException | None) -> None:
        self.queued -= 1
        if written is not None:
            self._choose()
            self.committed(written)
        if job.done.done():
            return  # the caller was cancelled meanwhile; the batch stands
        if written is not None:
            job.done.set_result(written)
        else:
            job.done.set_exception(failure or LashError("The writer thread gave no answer."))

    async def close(self) -> None:
        """After the batches handed over so far."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
        self._closed = True

    def crash(self) -> None:
        """Stop without waiting for a lock; a batch that waits for one is given up."""
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout=5)
