"""Blobs are put, kept, spoken of, silenced and pruned at the same time, through two stores on one storage: nothing that
a session was promised goes, and in the end nothing is left."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from lash.abc.sessions import Delete
from lash.abc.store import Store
from lash.stores.postgres import PostgresStore
from lash.stores.sqlite import SqliteStore
from tests.postgres import fresh_url
from tests.unit.stores.chatting import open_session, say, turn

CONTENTS = [bytes([65 + number]) * 2_000 for number in range(3)]
GRACE_MS = 40
ROUNDS = 12
SPEAKERS = 6


def pair(kind: str, folder: Path) -> list[Store]:
    if kind == "sqlite":
        return [SqliteStore(str(folder / "a.db"), sync="normal") for _ in range(2)]
    url = fresh_url()
    return [PostgresStore(url) for _ in range(2)]


class Race:
    def __init__(self, stores: list[Store], rng: random.Random) -> None:
        self.stores = stores
        self.rng = rng
        self.met: Counter[str] = Counter()
        self.over = False

    @property
    def store(self) -> Store:
        return self.rng.choice(self.stores)

    async def pause(self) -> None:
        await asyncio.sleep(self.rng.choice((0, 0, 0.001, 0.004)))

    async def speak(self, name: str) -> None:
        """A session says something of a blob that may be there already, is forked, and both are deleted."""
        rng = self.rng
        row = await open_session(self.store, name)
        began_ms = self.store.now_ms()
        ref = await self.store.blobs.put(rng.choice(CONTENTS))
        if rng.random() < 0.3:
            await asyncio.sleep(GRACE_MS / 1_000 * 1.2)  # too late, unless somebody else has put it meanwhile
        missing = await self.store.blobs.keep([ref], row)
        if self.store.now_ms() - began_ms < GRACE_MS / 2:
            assert missing == [], "it was put a moment ago"
        self.met["missing" if missing else "kept"] += 1
        if not missing:
            await asyncio.sleep(rng.choice((0, GRACE_MS / 1_000 * 1.2)))
            assert await self.store.blobs.get(ref) is not None, "it was kept for the session"
            refs = (ref,) if rng.random() < 0.5 else ()
            await turn(self.stores[0], name, 0, say("see"), refs=refs)
            if rng.random() < 0.4:
                await open_session(self.store, name + "-fork", name, 1)
                await self.delete(name)
                await asyncio.sleep(rng.choice((0, GRACE_MS / 1_000 * 1.2)))
                assert await self.store.blobs.get(ref) is not None, "a fork shares the node that speaks of it"
                self.met["forked"] += 1
                name += "-fork"
        await self.delete(name)

    async def delete(self, name: str) -> None:
        await self.pause()
        await self.store.write([Delete(f"session:{name}")])

    async def speaker(self, number: int) -> None:
        for place in range(ROUNDS):
            await self.speak(f"s{number}-{place}")

    async def prune(self) -> None:
        while not self.over:
            done = await self.store.blobs.prune(self.store.now_ms() - GRACE_MS, self.rng.choice((1, 2, 9)))
            self.met.update(gone=len(done.gone), spared=done.looked - len(done.gone))
            await self.pause()

    async def run(self) -> None:
        pruners = [asyncio.create_task(self.prune()) for _ in range(2)]
        try:
            await asyncio.gather(*[self.speaker(number) for number in range(SPEAKERS)])
        finally:
            self.over = True
            await asyncio.gather(*pruners)
        await self.stores[0].blobs.prune(self.store.now_ms() + 1_000, 99)
        left = await asyncio.gather(*[self.store.blobs.put(b"x"), *[self.store.blobs.get(ref) for ref in self.refs]])
        assert left[1:] == [None] * len(CONTENTS), "nobody speaks of any of them"

    @property
    def refs(self) -> list[str]:
        from lash.stores.blobs import reference_of

        return [reference_of(data) for data in CONTENTS]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", [1])
def test_nothing_promised_goes_and_nothing_is_left(kind: str, seed: int, tmp_path: Path) -> None:
    async def main() -> None:
        stores = pair(kind, tmp_path)
        for store in stores:
            await store.open()
        race = Race(stores, random.Random(seed))
        try:
            async with asyncio.timeout(120):
                await race.run()
        finally:
            for store in stores:
                await store.close()
        assert min(race.met[word] for word in ("kept", "forked", "gone", "spared")) >= 3, race.met

    asyncio.run(main())
