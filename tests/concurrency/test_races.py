"""Promise: the same id is one process, however many start it at once; another definition under it is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import lash
from lash.testing.checkers import check_store
from tests.concurrency import jobs
from tests.concurrency.crew import Crew
from tests.concurrency.databases import Database

COUNT = 40
RACERS = 3


def test_python_processes_that_start_the_same_ids_get_one_process_each(tmp_path: Path, database: Database) -> None:
    with Crew(tmp_path, database) as crew:
        go = tmp_path / "go"
        racers = [
            crew.start("racer", lambda report, value=value: [crew.url, report, str(COUNT), str(go), str(value)])  # type: ignore[misc]
            for value in range(1_000, 1_000 + RACERS)
        ]
        for racer in racers:
            racer.wait_open()
        go.touch()
        assert [racer.wait(60) for racer in racers] == [0] * RACERS, crew.complaints()
        assert crew.complaints() == []
        told = [racer.counters() for racer in racers]
        performs = crew.performs()
    winners = 0
    for number in range(COUNT):
        answers = [told[racer][number] for racer in range(RACERS)]  # type: ignore[index]
        assert [same for same, _ in answers] == [number + 100] * RACERS
        rivals = [rival for _, rival in answers]
        assert rivals.count("process_conflict") == RACERS - 1, "exactly one definition gets the id"
        winners += sum(rival in range(1_100, 1_100 + RACERS) for rival in rivals)
    assert winners == COUNT
    assert len(performs) == 2 * 2 * COUNT, "two ids each, of two steps"
    assert set(performs.values()) == {1}


def test_two_runtimes_on_one_loop_share_every_id(tmp_path: Path, database: Database) -> None:
    async def race(crew: Crew) -> None:
        apps = [lash.Runtime(crew.url), lash.Runtime(crew.url)]
        for app in apps:
            for process in jobs.PROCESSES:
                app.include(process)
        async with apps[0], apps[1]:
            starts = [app.start("chain", number, 1, id=f"r{number}") for number in range(COUNT) for app in apps]  # type: ignore[arg-type]
            handles = await asyncio.gather(*starts)
            async with asyncio.timeout(60):
                values = [await handle for handle in handles]
            assert values == [number + 100 for number in range(COUNT) for _ in apps]
            assert await check_store(apps[0].store) == COUNT

    with Crew(tmp_path, database) as crew:
        asyncio.run(race(crew))
        assert len(crew.performs()) == 2 * COUNT
        assert set(crew.performs().values()) == {1}


def test_whoever_awaits_while_the_runtime_is_closed_is_told(database: Database) -> None:
    async def race() -> None:
        app = lash.Runtime(database.url)
        app.include(jobs.parked)
        await app.open()
        handle = await app.start(jobs.parked, 1, id="p")
        awaiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0.05)
        await app.close()
        with pytest.raises(lash.RuntimeNotOpen, match="It goes on"):
            async with asyncio.timeout(10):
                await awaiting
        async with app, asyncio.timeout(30):
            await app.handle("p").signal("go", 1)
            assert await app.handle("p") == 2

    asyncio.run(race())
