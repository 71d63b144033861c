"""Opening a SQLite file for durable, quick commits, and saying in words what went wrong with it.

Never open the database file itself with anything but SQLite: closing any other descriptor of it drops the locks
that SQLite holds for this Python process. The -wal file beside it carries no locks.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Final, Literal, TypeVar

from lash.errors import LashError, NotADatabase, StoreUnavailable
from lash.limits import BUSY_DEADLINE_MS

T = TypeVar("T")

WAL_PAGES: Final = 1_000
"""Pages in the log before it is copied into the database file. The log is extended to this size at open, because
commits into a growing file take twice as long as commits into one that has its size. Four times as many pages gave
no gain that could be measured, a longer pause at each copy, and 40 ms more at open."""
WAL_FRAME_BYTES: Final = 4096 + 24
STATEMENTS_CACHED: Final = 512
BUSY_PAUSE_S: Final = (0.0002, 0.004)
"""Shortest and longest pause before another try for the lock: random, so that two writers do not march in step."""

ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "Another process holds the write lock. Look for a long transaction (a shell, a backup tool).",
    sqlite3.SQLITE_LOCKED: "Another connection holds a lock. Look for a long transaction (a shell, a backup tool).",
    sqlite3.SQLITE_READONLY: "The file or its folder is read-only. Give this user write access to both.",
    sqlite3.SQLITE_PERM: "The file or its folder is not accessible. Give this user write access to both.",
    sqlite3.SQLITE_CANTOPEN: "The file cannot be opened. Does its folder exist, and may this user write to it?",
    sqlite3.SQLITE_FULL: "The disk is full. Free some space; work goes on by itself.",
    sqlite3.SQLITE_IOERR: "The disk reported an error. Check the disk and its free space.",
    sqlite3.SQLITE_CORRUPT: "The file is damaged. Restore a backup, or run 'PRAGMA integrity_check' for details.",
}


def primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and primary_code(error) in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def explained(error: sqlite3.Error, path: str) -> LashError:
    """What the caller is told, who was reading or writing: a transaction that broke off has written nothing."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return NotADatabase(
            f"The file {path} is not an SQLite database. Name another file, or move this one away.", path=path
        )
    advice = ADVICE.get(code, "Nothing is lost: what was at work stays claimable.")
    return StoreUnavailable(f"The database {path} is unavailable: {error}. {advice}", path=path, reason=str(error))


def connect(path: str, sync: Literal["full", "normal"]) -> sqlite3.Connection:
    """A connection in autocommit mode that never waits for a lock by itself."""
    connection = sqlite3.connect(
        path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_CACHED
    )
    try:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {sync}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def patiently(action: Callable[[], T], given_up: Callable[[], bool] = lambda: False) -> T:
    """``action()``, tried again while another process holds the lock, up to ``BUSY_DEADLINE_MS``. For threads."""
    deadline = time.monotonic() + BUSY_DEADLINE_MS / 1_000
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or given_up() or time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(*BUSY_PAUSE_S))


def in_transaction(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """``work()`` under the write lock, then a commit; all of it or nothing. Does not wait for the lock."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def extend_log(connection: sqlite3.Connection, path: str) -> None:
    """Give the write-ahead log its full size. Zeros after its last frame mean nothing to SQLite.

    Under the write lock, for only its holder may append to the log; another process's frames are never touched.
    """
    log = path + "-wal"
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return  # somebody else is writing, so the log has grown already
    try:
        size = os.stat(log).st_size
        target = 32 + WAL_PAGES * WAL_FRAME_BYTES
        if size < target:
            with open(log, "r+b", buffering=0) as file:
                file.seek(size)
                file.write(bytes(target - size))
                os.fsync(file.fileno())
    except OSError:
        pass  # a full disk shows itself at the first write, with advice
    finally:
        connection.execute("ROLLBACK")


def fsync_us(folder: str) -> float:
    """The quickest of a few small fsyncs in ``folder``, in microseconds; infinite where it cannot be measured.

    The quickest, because a busy moment while a store is opened must not decide for as long as it is open.
    """
    name = os.path.join(folder, f".fsync-{os.getpid()}-{random.getrandbits(32):08x}")
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        return float("inf")
    try:
        os.unlink(name)
        times: list[float] = []
        for turn in range(6):
            os.pwrite(descriptor, bytes([turn]) * 4096, 0)
            began = time.perf_counter()
            sync(descriptor)
            times.append((time.perf_counter() - began) * 1e6)
        return min(times[1:])  # the first one also writes the file's size
    except OSError:
        return float("inf")
    finally:
        os.close(descriptor)
