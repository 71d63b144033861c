"""A store that dies at a chosen write leaves what was committed, refuses everything after, and counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.abc.store import Prune, Start
from lash.core.process import ProcessSpec
from lash.engines.local import LocalEngine
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from lash.testing.faults import Crash, FaultyStore


def start(process_id: str) -> Start:
    return Start(ProcessSpec(process_id, "python", "n", "", b"[[],{}]", process_id))


@pytest.mark.parametrize("slowly", [True, False])
@pytest.mark.parametrize(("when", "left"), [("before", ["a"]), ("after", ["a", "b"])])
def test_a_crash_leaves_what_was_committed_and_refuses_everything_after(
    when: Any, left: list[str], slowly: bool
) -> None:
    async def main() -> None:
        inner, told = MemoryStore(lambda: 0), []
        store = FaultyStore(inner, 2, when, lambda: told.append("crashed"))

        async def write(process_id: str) -> Any:
            op = start(process_id)
            return await store.write([op]) if slowly else store.write_now([op])

        await write("a")
        assert (store.writes, store.crashed) == (1, False)
        with pytest.raises(Crash) as caught:
            await write("b")
        assert isinstance(caught.value, lash.StoreUnavailable)
        assert (caught.value.fields["write"], caught.value.fields["when"]) == (2, when)
        assert (store.writes, store.crashed, told) == (2, True, ["crashed"])
        refused = [
            lambda: write("c"), lambda: store.write([Prune(0, 1)]), lambda: store.get(["a"]),
            lambda: store.history(1, 0), lambda: store.events("a", 0, 1), lambda: store.news("w"), lambda: store.open(),
            lambda: store.counts(), lambda: store.workers(), lambda: store.dead_owners(), lambda: store.prove_life("w"),
            lambda: store.next_due_ms([]), lambda: store.diagnose(),
        ]  # fmt: skip
        for ask in refused:
            with pytest.raises(Crash):
                await ask()
        assert told == ["crashed"]
        await store.close()
        found = [row for row in await inner.get(["a", "b", "c"]) if row is not None]
        assert [row.record.id for row in found] == left  # type: ignore[union-attr]

    asyncio.run(main())


def test_without_a_moment_it_only_counts() -> None:
    async def main() -> None:
        store = FaultyStore(MemoryStore(lambda: 0))
        for number in range(5):
            await store.write([start(f"p{number}")])
        assert (store.writes, store.crashed) == (5, False)
        assert await store.get(["nobody"]) == [None]

    asyncio.run(main())


def test_the_documented_way_finds_the_same_outcome_after_a_crash_at_every_write() -> None:
    async def run(store: FaultyStore) -> None:
        app = Runtime(store, LocalEngine(store), settings_of(1, "1s", "0s", 0, "1s", "", None), True)
        app.include(body)
        try:
            await app.open()
            handle = await app.start(body, id="p")
            async with asyncio.timeout(30):
                assert await handle == [1, 2]
        except (lash.StoreUnavailable, TimeoutError):
            assert store.crashed
        await app.abort()

    async def main() -> int:
        count = FaultyStore(MemoryStore(simulate.now_ms))
        await run(count)
        for crash_at in range(1, count.writes + 1):
            for when in ("before", "after"):
                store = FaultyStore(MemoryStore(simulate.now_ms), crash_at, when)  # type: ignore[arg-type]
                await run(store)
                assert store.crashed
                await run(FaultyStore(store.inner))
        return count.writes

    assert simulate.run(main()) >= 5


async def work(number: int) -> int:
    return number


@lash.process
async def body(ctx: lash.Context) -> list[int]:
    first = await ctx.step(work, 1)
    await ctx.sleep("2s")
    return [first, await ctx.step(work, 2)]
