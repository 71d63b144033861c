"""Stores side by side on one file: proofs of life, notices, and what a crash leaves to the others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lash.abc.store import Count, Expire, Start
from lash.stores.sqlite import SqliteStore
from lash.stores.sqlite.proof import Proofs
from tests.unit.stores.stage import leased, opened, put, spec, step


def alive(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(f"{path}-workers") if name.endswith(".alive"))


def test_only_a_dead_owner_is_found_and_only_until_it_was_dealt_with(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        async with opened(path) as sweeper, opened(path) as second:
            worker = SqliteStore(str(path), sync="normal")
            await worker.open()
            await worker.prove_life("w1")
            await sweeper.prove_life("w2")
            fence = await leased(worker, "p", "w1")
            assert await sweeper.dead_owners() == []
            worker.crash()
            assert await sweeper.dead_owners() == ["w1"]
            assert await second.dead_owners() == [], "taken by the first, which may still fail"
            assert await sweeper.dead_owners() == ["w1"], "again, until its leases were expired"
            assert await sweeper.write([Expire("w1")]) == [Count(["p"])]
            assert await sweeper.dead_owners() == []
            assert len(alive(path)) == 1, "w2 alone"
            assert fence.token == 1

    asyncio.run(main())
    assert alive(path) == []


def test_a_sweeper_that_dies_leaves_the_proof_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        async with opened(path) as last:
            worker, sweeper = SqliteStore(str(path)), SqliteStore(str(path))
            await worker.open()
            await sweeper.open()
            await worker.prove_life("w1")
            worker.crash()
            assert await sweeper.dead_owners() == ["w1"]
            sweeper.crash()
            assert await last.dead_owners() == ["w1"]

    asyncio.run(main())


def test_a_worker_that_closes_is_not_dead(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        async with opened(path) as sweeper:
            async with opened(path) as worker:
                await worker.prove_life("w1")
                await worker.prove_life("w1")
            assert await sweeper.dead_owners() == []
            assert alive(path) == []

    asyncio.run(main())


def test_owners_may_have_any_name(tmp_path: Path) -> None:
    folder = str(tmp_path)
    living, sweeper = Proofs(folder), Proofs(folder)
    names = ["a/b", "ü" * 200, "..", "x y"]
    for name in names:
        living.hold(name)
    assert sweeper.take_dead() == []
    living.drop()
    assert sweeper.take_dead() == sorted(names)
    for name in names:
        sweeper.acted_upon(name)
    assert os.listdir(folder) == []
    sweeper.close()


def test_a_name_held_anew_is_not_taken_for_its_dead_namesake(tmp_path: Path) -> None:
    first, second, sweeper = Proofs(str(tmp_path)), Proofs(str(tmp_path)), Proofs(str(tmp_path))
    first.hold("w1")
    first.drop()
    second.hold("w1")
    assert sweeper.take_dead() == []
    second.close()
    sweeper.close()


CHILD = """
    import asyncio, os, sys
    from lash.stores.sqlite import SqliteStore
    from tests.unit.stores.stage import leased

    async def main(path):
        store = SqliteStore(path)
        await store.open()
        await store.prove_life("w-child")
        await leased(store, "p", "w-child")
        if os.fork() == 0:      # a forked child must not keep the proof beyond its parent
            sys.stdin.read()
            os._exit(0)
        print("ready", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main(sys.argv[1]))
"""


def test_sigkill_is_noticed(tmp_path: Path) -> None:
    path, root = tmp_path / "a.db", str(Path(__file__).parents[3])
    environment = {"PYTHONPATH": f"{root}/src:{root}"}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), str(path)]
    with subprocess.Popen(command, env=environment, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"

        async def main() -> None:
            async with opened(path) as store:
                assert await store.dead_owners() == []
                child.send_signal(signal.SIGKILL)
                child.wait()
                assert await store.dead_owners() == ["w-child"]
                assert await store.write([Expire("w-child")]) == [Count(["p"])]

        asyncio.run(main())
        assert child.stdin is not None
        child.stdin.close()


def test_a_dead_neighbours_pipe_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    def pipes() -> int:
        return len([name for name in os.listdir(f"{path}-workers") if name.endswith(".wake")])

    async def main() -> None:
        async with opened(path) as store:
            other = SqliteStore(str(path))
            await other.open()
            await store.write([Start(spec("a"))])
            assert pipes() == 2
            other.crash()
            assert pipes() == 2
            await store.write([Start(spec("b"))])
            assert pipes() == 1

    asyncio.run(main())
    assert pipes() == 0


def test_without_pipes_changes_are_polled_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("no pipes here")

    monkeypatch.setattr(os, "mkfifo", refuse)

    async def main() -> None:
        async with opened(tmp_path / "a.db") as store, opened(tmp_path / "a.db") as other:
            heard = asyncio.Event()
            other.listen(heard.set)
            await store.write([Start(spec("a"))])
            await asyncio.wait_for(heard.wait(), 10)

    asyncio.run(main())


def test_a_full_pipe_holds_nobody_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "a.db") as store, opened(tmp_path / "a.db") as other:
            heard = asyncio.Event()
            other.listen(heard.set)
            for _ in range(70_000):
                store._notices.send()
            await asyncio.wait_for(heard.wait(), 10)

    asyncio.run(main())


def test_a_crash_keeps_what_was_committed_and_frees_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(str(tmp_path / "a.db"))
        await store.open()
        fence = await leased(store, "p")
        await put(store, fence, step(0))
        store.crash()
        store.crash()
        async with opened(tmp_path / "a.db") as again:
            row = (await again.get(["p"]))[0]
            assert row is not None
            assert row.owner == "w1"  # type: ignore[union-attr]
            assert len(await again.history(fence.row, 0)) == 1

    asyncio.run(main())
