"""``database is locked`` never reaches a caller, the loop is never blocked, and batches keep their order."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lash.abc.store import Start, Started
from lash.errors import StoreUnavailable
from lash.stores.sqlite import connection as connection_module
from tests.unit.stores.stage import leased, opened, put, spec, step


def test_a_taken_lock_does_not_block_the_loop_and_order_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "a.db") as store:
            fence = await leased(store, "p")
            stranger = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
            stranger.execute("BEGIN IMMEDIATE")
            writes = [asyncio.ensure_future(put(store, fence, step(number))) for number in range(5)]
            turns = 0
            while turns < 200:  # the loop goes on while the lock is held
                await asyncio.sleep(0)
                turns += 1
            assert not any(write.done() for write in writes)
            stranger.execute("COMMIT")
            stranger.close()
            await asyncio.gather(*writes)
            entries = await store.history(fence.row, 0)
            assert [entry.ordinal for entry in entries] == [0, 1, 2, 3, 4]
            about = await store.diagnose()
            assert about["thread_commits"] == 5
            await put(store, fence, step(9))
            assert (await store.diagnose())["thread_commits"] == 5, "inline again once the thread is idle"

    asyncio.run(main())


def test_a_lock_held_beyond_the_deadline_is_unavailability_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "BUSY_DEADLINE_MS", 20)

    async def main() -> None:
        async with opened(tmp_path / "a.db") as store:
            stranger = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
            stranger.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="write lock"):
                await store.write([Start(spec("p"))])
            stranger.execute("ROLLBACK")
            stranger.close()
            verdict = (await store.write([Start(spec("p"))]))[0]
            assert isinstance(verdict, Started)
            assert verdict.created, "the refused transaction had written nothing"

    asyncio.run(main())


def test_a_cancelled_caller_does_not_undo_its_batch(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "a.db", inline=False) as store, opened(tmp_path / "a.db") as other:
            heard = asyncio.Event()
            other.listen(heard.set)
            task = asyncio.ensure_future(store.write([Start(spec("p"))]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(heard.wait(), 10)  # its notice is given all the same
            await store.write([Start(spec("q"))])
            assert [row is not None for row in await store.get(["p", "q"])] == [True, True]

    asyncio.run(main())


CHILD = """
    import asyncio, sys
    from lash.stores.sqlite import SqliteStore
    from tests.unit.stores.stage import leased, put, step

    async def main(path, name):
        store = SqliteStore(path, sync="normal")
        await store.open()
        fence = await leased(store, name)
        for number in range(150):
            await put(store, fence, step(number))
        await store.close()

    asyncio.run(main(*sys.argv[1:]))
"""


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    path, root = str(tmp_path / "a.db"), str(Path(__file__).parents[3])
    environment = {"PYTHONPATH": f"{root}/src:{root}", "PATH": ""}
    children = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILD), path, name], env=environment, cwd=root)
        for name in ("a", "b", "c")
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]

    async def main() -> None:
        async with opened(path) as store:
            ranks: list[int] = []
            for row in (1, 2, 3):
                entries = await store.history(row, 0)
                assert [entry.ordinal for entry in entries] == list(range(150))
                ranks += [entry.rank for entry in entries]
            assert sorted(ranks) == list(range(1, 451)), "every rank was given once"

    asyncio.run(main())


def test_many_stores_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    async def one(number: int) -> None:
        async with opened(tmp_path / "a.db") as store:
            await leased(store, f"p{number}")

    async def main() -> None:
        await asyncio.gather(*[one(number) for number in range(8)])
        async with opened(tmp_path / "a.db") as store:
            assert (await store.counts())["running"] == 8

    asyncio.run(main())
