"""Where lives leave what they write: a file or a schema that nobody else uses, named by its URL as users name theirs.

A scenario never asks which store it is on; here alone that is known.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import asyncpg

from lash.stores.postgres import PostgresStore
from lash.stores.postgres.place import place_of
from lash.stores.sqlite import SqliteStore
from tests.postgres import fresh_url

DurableStore: TypeAlias = "SqliteStore | PostgresStore"
STORES = ("sqlite", "postgres")
THOROUGH = bool(os.environ.get("LASH_THOROUGH"))
"""Leave nothing to samples: every crash point of every scenario on every store, in minutes instead of seconds."""
SQLITE = "sqlite:///"
EMPTY_SQL = (
    "SELECT coalesce(string_agg(format('DELETE FROM %I.%I', schemaname, tablename), '; '), '') FROM pg_tables "
    "WHERE schemaname = $1 AND tablename <> 'lash_migration'"
)


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where the machine has one: what is killed here is a process, never the machine."""
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="lash-crash-", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def bystander(path: Path) -> Iterator[sqlite3.Connection]:
    """Keeps the file open, so that the last connection of a dying life does not fold the log back."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection
    finally:
        connection.close()


class Schemas:
    """Schemas used one after another: to empty one takes a tenth of the time it takes to make one."""

    def __init__(self) -> None:
        self._idle: list[str] = []

    async def take(self) -> str:
        """One without a single row, and perhaps without its tables."""
        if not self._idle:
            return fresh_url()
        url = self._idle.pop()
        await emptied(url)
        return url

    def give(self, url: str) -> None:
        """Whoever used it has closed what he opened."""
        self._idle.append(url)


SCHEMAS = Schemas()


async def emptied(url: str) -> None:
    place = place_of(url)
    connection = await asyncpg.connect(place.dsn)
    try:
        await connection.execute(await connection.fetchval(EMPTY_SQL, place.schema))
    finally:
        await connection.close()


@contextmanager
def fresh_place(kind: str) -> Iterator[str]:
    """The URL of an empty place, for as long as the block lasts; not within a running event loop."""
    if kind == "sqlite":
        with fast_folder() as folder, bystander(folder / "crash.db"):
            yield f"{SQLITE}{folder / 'crash.db'}"
        return
    url = asyncio.run(SCHEMAS.take())
    yield url
    SCHEMAS.give(url)  # not after an error: then somebody may still be at work in it


def url_in(kind: str, folder: Path) -> str:
    """A new place as a URL for ``lash.Runtime``; one in this folder if it is a file."""
    return f"{SQLITE}{folder / 'lash.db'}?sync=normal" if kind == "sqlite" else fresh_url()


def store_on(url: str, sync: Literal["full", "normal"] = "normal") -> DurableStore:
    """The store a place wants, unopened."""
    if url.startswith(SQLITE):
        return SqliteStore(url.removeprefix(SQLITE), sync=sync)
    return PostgresStore(url)


def commit_in_thread(store: DurableStore) -> None:
    """As on a slow disk. A server always takes its time."""
    if isinstance(store, SqliteStore):
        store.commit_in_thread()
