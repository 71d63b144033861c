"""Every store keeps every promise of the contract: memory, SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from lash.abc.store import Store
from lash.stores.memory import MemoryStore
from lash.stores.postgres import PostgresStore
from lash.stores.sqlite import SqliteStore
from lash.testing.conformance import Case, ManualClock, StoreHarness, cases
from tests.postgres import fresh_url


class MemoryHarness:
    """Storage and object are one."""

    def __init__(self, folder: Path) -> None:
        del folder
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)

    async def open(self) -> Store:
        await self.store.open()
        return self.store

    async def close(self) -> None:
        await self.store.close()


class SqliteHarness:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.path = str(folder / "lash.db")
        self.opened: list[SqliteStore] = []

    async def open(self) -> Store:
        store = SqliteStore(self.path, sync="normal", clock=self.clock)
        await store.open()
        self.opened.append(store)
        return store

    async def close(self) -> None:
        for store in self.opened:
            await store.close()


class ThreadedHarness(SqliteHarness):
    """As on a slow disk: every batch is committed on the writer thread."""

    async def open(self) -> Store:
        store = await super().open()
        assert isinstance(store, SqliteStore)
        store.commit_in_thread()
        return store


class PostgresHarness:
    def __init__(self, folder: Path) -> None:
        del folder
        self.clock = ManualClock()
        self.url = fresh_url()
        self.opened: list[PostgresStore] = []

    async def open(self) -> Store:
        store = PostgresStore(self.url, clock=self.clock)
        await store.open()
        self.opened.append(store)
        return store

    async def close(self) -> None:
        for store in self.opened:
            await store.close()


HARNESSES: dict[str, Callable[[Path], StoreHarness]] = {
    "memory": MemoryHarness,
    "sqlite": SqliteHarness,
    "sqlite-thread": ThreadedHarness,
    "postgres": PostgresHarness,
}


@pytest.mark.parametrize("kind", HARNESSES)
@pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])
def test_store_keeps(case: Case, kind: str, tmp_path: Path) -> None:
    asyncio.run(case.run(HARNESSES[kind](tmp_path)))


def test_every_case_states_its_promise() -> None:
    assert len(cases) > 60
    assert all(case.promise for case in cases)
    assert len({case.name for case in cases}) == len(cases)
