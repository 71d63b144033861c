"""The database a crew works on: what a test must know of it beyond its URL, said once for each store."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from lash.abc.store import Store
from lash.stores.postgres.place import place_of
from lash.wiring import store_of
from tests.postgres import fresh_url

if TYPE_CHECKING:
    from tests.concurrency.crew import Member

T = TypeVar("T")


class Database(ABC):
    """``url`` for every member; ``name`` for whoever reads a report."""

    name: str
    url: str

    def store(self) -> Store:
        """Another one, unopened."""
        return store_of(self.url)

    @abstractmethod
    def proofs(self) -> list[str]:
        """The proofs of life that lie about, of the living and of the dead."""

    @abstractmethod
    def take_proofs_away(self) -> None:
        """As if nobody had ever proved that he lives."""

    @abstractmethod
    def stop(self, member: Member) -> None:
        """SIGSTOP at a moment that leaves the others free to write."""


class SqliteFile(Database):
    name = "sqlite"

    def __init__(self, folder: Path, sync: str = "full") -> None:
        self.path = folder / "crew.db"
        self.url = f"sqlite:///{self.path}?sync={sync}"

    def proofs(self) -> list[str]:
        return [path.name for path in Path(f"{self.path}-workers").iterdir()]

    def take_proofs_away(self) -> None:
        for path in Path(f"{self.path}-workers").glob("*.alive"):
            path.unlink()

    def stop(self, member: Member) -> None:
        """Again while it would have held the database's lock in its sleep."""
        for _ in range(50):
            member.stop()
            if self.write_lock_is_free():
                return
            member.go_on()
            time.sleep(0.02)
        raise AssertionError("was in a transaction whenever it was stopped")

    def write_lock_is_free(self) -> bool:
        """Whether nobody was stopped in the middle of a transaction."""
        connection = sqlite3.connect(self.path, timeout=0.3, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        return True


class PostgresSchema(Database):
    name = "postgres"

    def __init__(self) -> None:
        self.url = fresh_url()
        self.place = place_of(self.url)

    def proofs(self) -> list[str]:
        return [owner for (owner,) in self.ask("SELECT owner FROM lash_proof")]

    def take_proofs_away(self) -> None:
        self.ask("DELETE FROM lash_proof")

    def stop(self, member: Member) -> None:
        """The server rolls back what a stopped member has left open."""
        member.stop()

    def ask(self, sql: str, *values: object) -> list[Any]:
        """One statement over a connection of its own."""
        return self.asked(lambda connection: connection.fetch(sql, *values))

    def asked(self, question: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
        async def ask() -> T:
            async with self.bystander() as connection:
                return await question(connection)

        return asyncio.run(ask())

    @asynccontextmanager
    async def bystander(self) -> AsyncGenerator[asyncpg.Connection[Any]]:
        """A connection beside those of the stores, in the same schema."""
        settings = {"search_path": self.place.schema, "application_name": "bystander"}
        connection = await asyncpg.connect(self.place.dsn, server_settings=settings)
        try:
            yield connection
        finally:
            await connection.close()


def database_of(name: str, folder: Path) -> Database:
    return PostgresSchema() if name == "postgres" else SqliteFile(folder)


NAMES = ("sqlite", "postgres")
