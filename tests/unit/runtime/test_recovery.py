"""Whatever dies: rerun goes on from the journal, once is never run again, attempts are counted and bounded."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import lash
from lash.core.outcome import Abandoned
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, check_fold, failure_of, memory, row_of, types_of, until, virtual


@virtual
async def test_after_a_crash_recorded_steps_are_not_performed_again() -> None:
    store, tally = memory(), Tally()
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        first = [await ctx.step(tally.note, number) for number in range(5)]
        await ctx.step(gate.wait)
        return [*first, await ctx.step(tally.note, "last")]

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: tally[4] == 1)
    await asyncio.sleep(0.01)
    await simulate.crash(app)
    gate.set()
    async with app_on(store, body) as again:
        assert await again.handle("p") == [0, 1, 2, 3, 4, "last"]
        assert again.counters.replayed_effects == 5
        assert (await row_of(again, "p")).record.attempts == 2
    assert tally.calls == [0, 1, 2, 3, 4, "last"]


@virtual
async def test_the_step_under_way_in_the_crash_is_performed_once_more_and_no_other() -> None:
    store, tally = memory(), Tally()

    async def slow(number: int) -> int:
        await tally.note(number)
        if tally[number] == 1:
            await asyncio.Event().wait()
        return number

    @lash.process
    async def body(ctx: lash.Context) -> list[int]:
        await ctx.step(tally.note, "done")
        return await asyncio.gather(*(ctx.step(slow, number) for number in range(3)))

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: tally[2] == 1)
    await simulate.crash(app)
    async with app_on(store, body) as again:
        assert await again.handle("p") == [0, 1, 2]
    assert [tally[word] for word in ("done", 0, 1, 2)] == [1, 2, 2, 2]


@virtual
async def test_once_is_never_run_again_after_its_first_start() -> None:
    store, tally = memory(), Tally()

    @lash.process(recovery="once")
    async def body(ctx: lash.Context) -> None:
        await ctx.step(tally.note, "ran")
        await ctx.sleep("1h")

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: tally["ran"] == 1)
    owner = (await row_of(app, "p")).owner
    await simulate.crash(app)
    async with app_on(store, body) as again:
        with pytest.raises(lash.ProcessAbandoned) as caught:
            await again.handle("p")
        assert caught.value.raw == {"writer": "sweep", "owner": owner, "attempt": 1}
        assert (await types_of(again, "p")).count("process.started") == 1
    assert tally.calls == ["ran"]


@virtual
async def test_once_that_was_never_started_is_run_by_the_next_worker() -> None:
    store, tally = memory(), Tally()

    @lash.process(recovery="once")
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(tally.note, "ran")

    async with app_on(store, body, worker=False) as app:
        await app.start(body, id="p")
    async with app_on(store, body) as again:
        assert await again.handle("p") == "ran"


@virtual
async def test_once_keeps_its_worker_while_it_sleeps_and_completes() -> None:
    app = app_on(linger="10ms")

    @app.process(recovery="once")
    async def body(ctx: lash.Context) -> str:
        await ctx.sleep("10m")
        return await ctx.signal("n", timeout="10m")

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(300)
        row = await row_of(app, "p")
        assert row.owner is not None
        assert row.record.waiting is None
        await asyncio.sleep(600)
        await handle.signal("n", "done")
        assert await handle == "done"


@virtual
async def test_attempts_are_counted_backed_off_and_bounded() -> None:
    """Lost workers: two free take-overs, then growing pauses, then the end: attempts_exhausted."""
    store = memory()
    began_ms: list[int] = []

    async def deadly() -> None:
        began_ms.append(simulate.now_ms())
        await asyncio.Event().wait()

    @lash.process(attempts_max=5)
    async def body(ctx: lash.Context) -> None:
        await ctx.step(deadly)

    async with app_on(store, worker=False) as outside:
        spec = None
        for attempt in range(1, 6):
            app = app_on(store, body, lease_ttl="1s")
            await app.open()
            if attempt == 1:
                await app.start(body, id="p")
                spec = (await row_of(app, "p")).record.spec
            await until(lambda attempt=attempt: len(began_ms) == attempt)  # type: ignore[misc]
            await simulate.crash(app)
        async with app_on(store, body):
            failed = await failure_of(outside.handle("p"))
        assert (failed.failure_class, failed.failure_code) == ("resource_limit", "attempts_exhausted")
        assert (await row_of(outside, "p")).record.attempts == 5
        await check_fold(outside, "p", spec)
    pauses = [after - before for before, after in itertools.pairwise(began_ms)]
    assert pauses[0] < 1_500  # the rest of the lease, and a look
    assert pauses[1] < 1_500
    assert 500 <= pauses[2] - 1_000 < 1_200
    assert 1_000 <= pauses[3] - 1_000 < 1_700


@virtual
async def test_a_clean_hand_over_counts_no_attempt() -> None:
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.signal("n")

    app = app_on(store, body)
    async with app:
        await app.start(body, id="p")
        await asyncio.sleep(0.1)
    for _ in range(3):
        async with app_on(store, body):
            await asyncio.sleep(3)
    async with app_on(store, body) as last:
        await last.handle("p").signal("n", "done")
        assert await last.handle("p") == "done"
        assert (await row_of(last, "p")).record.attempts == 1


@pytest.mark.parametrize("resident", [0, 1_000])
@virtual
async def test_resident_and_replayed_resume_give_the_same(resident: int) -> None:
    app, tally = app_on(linger="5ms", resident=resident), Tally()
    found: list[Any] = []

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        seen: list[Any] = [ctx.random(), str(ctx.uuid()), ctx.now().isoformat()]
        for number in range(4):
            await ctx.step(tally.note, number)
            seen.append(await ctx.signal("n"))
            seen += [ctx.random(), ctx.now().isoformat()]
            await ctx.sleep("2s")
        found.append(1)
        return seen

    async with app:
        handle = await app.start(body, id="p")
        for number in range(4):
            await asyncio.sleep(5)
            await handle.signal("n", number)
        value = await handle
        row = await row_of(app, "p")
        replayed = await simulate.replay(body, row.record, await app.store.history(row.row, 0))
        assert replayed.outcome == row.record.outcome
        assert value[3::3] == [0, 1, 2, 3]
        assert len(set(map(str, value))) == len(value)
        counters = app.counters
        assert counters.resumed_resident == (0 if resident == 0 else counters.parked)
        assert counters.parked >= 7
    assert tally.calls == [0, 1, 2, 3]


@virtual
async def test_residents_beyond_the_limit_are_closed_and_replayed() -> None:
    app = app_on(linger="5ms", resident=2)

    @app.process
    async def body(ctx: lash.Context) -> Any:
        return await ctx.signal("n")

    async with app:
        handles = [await app.start(body, id=f"p{number}") for number in range(5)]
        await asyncio.sleep(1)
        for handle in handles:
            await handle.signal("n", handle.id)
        assert await asyncio.gather(*handles) == [handle.id for handle in handles]
        assert app.counters.resumed_resident == 2


@virtual
async def test_a_body_resident_here_but_run_elsewhere_meanwhile_is_not_resumed() -> None:
    """Worker one keeps the parked body; worker two takes the row further; one must not go on from its old state."""
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        return [await ctx.signal("n") for _ in range(3)]

    one = app_on(store, body, linger="5ms")
    await one.open()
    handle = await one.start(body, id="p")
    await asyncio.sleep(1)
    two = app_on(store, body, linger="5ms", concurrency=64)
    await two.open()
    for number in range(3):
        await handle.signal("n", number)
        await asyncio.sleep(1)
    assert await handle == [0, 1, 2]
    await two.close()
    await one.close()


@virtual
async def test_a_second_sweep_does_nothing() -> None:
    """After a crash is repaired, another look changes nothing; after everything ended, neither."""
    store, tally = memory(), Tally()
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> str:
        await ctx.step(gate.wait)
        return await ctx.step(tally.note, "ran")

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.1)
    await simulate.crash(app)
    gate.set()
    await asyncio.sleep(20)
    async with app_on(store, body, worker=False) as again:
        assert (await again.drive()).claimed == ("p",)
        assert (await again.drive()).claimed == ()
        assert await again.handle("p") == "ran"
        before = await types_of(again, "p")
        for _ in range(3):
            report = await again.drive()
            assert (report.claimed, report.deferred, report.faults) == ((), {}, ())
        assert await types_of(again, "p") == before
    assert tally.calls == ["ran"]


@virtual
async def test_two_workers_never_run_one_process_at_the_same_time() -> None:
    store = memory()
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.05)
        inside -= 1

    @lash.process
    async def body(ctx: lash.Context) -> int:
        for _ in range(20):
            await ctx.step(work)
            await ctx.sleep(0.03)
        return 1

    workers = [app_on(store, body, linger="1ms", resident=number) for number in range(3)]
    for app in workers:
        await app.open()
    handle = await workers[0].start(body)
    assert await handle == 1
    assert most == 1
    for app in workers:
        await app.close()


@virtual
async def test_the_log_of_the_context_is_silent_during_replay() -> None:
    import logging

    store, lines = memory(), []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log = logging.getLogger("lash.process")
    handler = Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        ctx.log.info("one")
        await ctx.step(asyncio.sleep, 0)
        ctx.log.info("two")
        await ctx.step(gate.wait)
        ctx.log.info("three")

    try:
        app = app_on(store, body)
        await app.open()
        await app.start(body, id="p")
        await until(lambda: len(lines) == 2)
        await simulate.crash(app)
        gate.set()
        async with app_on(store, body) as again:
            await again.handle("p")
    finally:
        log.removeHandler(handler)
    assert lines == ["[p] one", "[p] two", "[p] three"]


@virtual
async def test_facts_of_the_context_are_the_same_in_every_run() -> None:
    store = memory()
    runs: list[list[Any]] = []
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> None:
        seen: list[Any] = []
        runs.append(seen)
        for _ in range(3):
            seen += [ctx.now(), ctx.random(), ctx.uuid(), asyncio.get_running_loop().time()]
            await ctx.sleep(0.7)
        await ctx.step(gate.wait)

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await until(lambda: len(runs) == 1 and len(runs[0]) == 12)
    await asyncio.sleep(5)
    await simulate.crash(app)
    gate.set()
    async with app_on(store, body) as again:
        await again.handle("p")
    assert runs[0] == runs[1]
    assert len({str(fact) for fact in runs[0]}) == 12


def test_abandoned_tells_who_closed_it() -> None:
    assert Abandoned({"writer": "sweep"}).status.value == "abandoned"
