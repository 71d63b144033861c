"""Promise: ``continue_as_new`` cuts the history and nothing else: what came at that moment, a signal or a cancel that
no body has heard yet, reaches the next one.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

import lash
from lash.testing.checkers import check_store
from tests.crash.places import STORES, url_in

SIGNALS = {"sqlite": 150, "postgres": 50}
LOOPERS = {"sqlite": 60, "postgres": 20}
DEADLINE_S = 30


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(kind: str, tmp_path: Path) -> lash.Runtime:
    return lash.Runtime(url_in(kind, tmp_path), linger="2ms", resident=5)


def test_signals_that_race_with_timeouts_and_new_histories_are_heard_once_and_in_order(
    app: lash.Runtime, kind: str
) -> None:
    chance = random.Random(7)
    signals = SIGNALS[kind]

    async def main() -> None:
        @app.process
        async def collector(ctx: lash.Context, got: list[int]) -> list[int]:
            try:
                got = [*got, await ctx.signal("number", int, timeout="2ms")]
            except TimeoutError:
                pass
            if len(got) < signals:
                ctx.continue_as_new(got)
            return got

        async with app, asyncio.timeout(DEADLINE_S):
            handle = await app.start(collector, [], id="c")
            for number in range(signals):
                await handle.signal("number", number, key=str(number))
                await asyncio.sleep(chance.uniform(0, 0.005))
            assert await handle == list(range(signals))
            assert (await handle.record()).generation > signals // 2
            await check_store(app.store)

    asyncio.run(main())


def test_a_wait_left_in_a_task_gives_its_signal_back(app: lash.Runtime, kind: str) -> None:
    """Its signal may have come and not been heard, because the body went on as new at the same moment."""
    signals = SIGNALS[kind]

    async def main() -> None:
        @app.process
        async def left(ctx: lash.Context, got: list[int]) -> list[int]:
            async def hear() -> None:
                got.append(await ctx.signal("number", int))

            tasks = [asyncio.create_task(hear()), asyncio.create_task(hear())]
            await ctx.sleep("1ms")
            if len(got) < signals:
                ctx.continue_as_new(got)
            assert len(tasks) == 2
            return got

        async with app, asyncio.timeout(DEADLINE_S):
            handle = await app.start(left, [], id="l")
            for number in range(signals):
                await handle.signal("number", number, key=str(number))
                await asyncio.sleep(0.001)
            assert await handle == list(range(signals))
            await check_store(app.store)

    asyncio.run(main())


def test_a_cancel_at_the_moment_of_a_new_history_is_heard(app: lash.Runtime, kind: str) -> None:
    chance = random.Random(11)

    async def main() -> None:
        @app.process
        async def looper(ctx: lash.Context, turn: int) -> None:
            await ctx.sleep("1ms")
            ctx.continue_as_new(turn + 1)

        async with app, asyncio.timeout(DEADLINE_S):
            handles = [await app.start(looper, 0, id=f"n{number}") for number in range(LOOPERS[kind])]
            for handle in handles:
                await asyncio.sleep(chance.uniform(0, 0.004))
                await handle.cancel("enough")
            for handle in handles:
                with pytest.raises(lash.ProcessCancelled, match="enough"):
                    await handle.result(timeout="20s")
            await check_store(app.store)

    asyncio.run(main())
