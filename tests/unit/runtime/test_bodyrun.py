"""One run, driven by hand: what is given up hears of it first, and nothing begins once the run is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any

from lash.abc.engine import Perform, Scope, Services
from lash.abc.store import Verdict
from lash.core.effect import Effect, EffectKind, Entry, EntryKind
from lash.core.lease import Lease
from lash.core.retry import NO_RETRY
from lash.runtime.bodyrun import BodyRun
from lash.runtime.performing import Performers
from lash.runtime.requests import Request
from lash.runtime.steps import StepCall


class Loose:
    """An engine that performs and records nothing, and a keeper that lends a slot and notes what it is told."""

    durable = replays = True

    def __init__(self, fails_at: str = "") -> None:
        self.context = copy_context()
        self.performers = Performers(asyncio.get_running_loop(), self.context)
        self.begin = self.performers.begin
        self.clock_ms = 0
        self.fails_at = fails_at
        self.told: list[str] = []

    # Engine

    def bind(self, services: Services) -> None: ...

    async def history(self, scope: Scope, after_rank: int) -> list[Entry]:
        return []

    async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None:
        if effect.name == self.fails_at:
            raise OSError("away")
        await perform()

    def withdraw(self, scope: Scope, effect: Effect) -> None: ...

    async def resolve(self, process_id: str, name: str, payload: bytes, key: str | None) -> Verdict:
        raise AssertionError

    async def submit(self, process_id: str) -> None: ...

    # Keeper

    def now_ms(self) -> int:
        return self.clock_ms

    def threads(self) -> Executor:
        raise AssertionError

    def on_busy(self, run: BodyRun) -> bool:
        run.has_slot = True
        return True

    def on_blocked(self, run: BodyRun) -> None:
        self.told.append("blocked")

    def on_live(self, run: BodyRun) -> None: ...

    def on_end(self, run: BodyRun) -> None: ...

    def on_trouble(self, run: BodyRun, error: BaseException) -> None:
        self.told.append(f"trouble {error}")


def ask(run: BodyRun, function: Callable[[], Coroutine[Any, Any, None]]) -> Request:
    call = StepCall(function, (), {}, NO_RETRY, None, run.process_id)
    return run.request(EffectKind.STEP, function.__name__, "", None, call)


def run_of(loose: Loose) -> BodyRun:
    return BodyRun(Lease(1, "p", "w", 1, 10**15), 0, loose, loose)


async def soon(function: Callable[..., object], *args: object) -> None:
    """From a plain callback, as verdicts are handed out; then let everything settle."""
    asyncio.get_running_loop().call_soon(function, *args)
    await asyncio.sleep(0.005)


def test_a_step_given_up_in_the_callback_it_began_in_hears_of_it_before_the_next_one_begins() -> None:
    went: list[str] = []

    async def first() -> None:
        await asyncio.sleep(60)

    async def given_up() -> None:
        went.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            went.append("given up")
            raise

    async def following() -> None:
        went.append("following")
        await asyncio.sleep(60)

    async def main() -> None:
        loose = Loose()
        run = run_of(loose)

        async def branch() -> None:
            await run.request(EffectKind.WAIT, "signal:go", "", None)
            await ask(run, given_up)

        async def body() -> None:
            task = asyncio.get_running_loop().create_task(branch())
            await asyncio.sleep(0)
            await ask(run, first)
            task.cancel()
            await ask(run, following)

        def one_batch() -> None:
            run.deliver([Entry(EntryKind.REPLY, 0, "signal:go", payload=b"1", rank=2)])
            run.deliver([Entry(EntryKind.STEP, 1, "first", payload=b"1", rank=3)])

        await soon(run.start, body(), [])
        await soon(run.deliver, [Entry(EntryKind.WAIT, 0, "signal:go", rank=1)])
        await soon(one_batch)
        assert went == ["begun", "given up", "following"]
        run.close()
        loose.performers.close()

    asyncio.run(main())


def test_nothing_is_begun_for_a_run_that_trouble_has_closed() -> None:
    went: list[str] = []

    async def one() -> None: ...

    async def two() -> None:
        went.append("two")

    async def main() -> None:
        loose = Loose(fails_at=one.__name__)
        run = run_of(loose)

        async def step(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
            await ask(run, function)

        async def body() -> None:
            await asyncio.gather(step(one), step(two))

        due = {"payload": b"{}", "failed": True, "attempt": 1, "due_ms": 50}
        history = [
            Entry(EntryKind.ATTEMPT, ordinal, name, rank=ordinal + 1, **due)  # type: ignore[arg-type]
            for ordinal, name in enumerate(("one", "two"))
        ]
        await soon(run.start, body(), history)
        loose.told.clear()
        loose.clock_ms = 100
        await soon(run.wake)
        assert (loose.told, went) == (["trouble away"], [])
        loose.performers.close()

    asyncio.run(main())
