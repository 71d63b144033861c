"""Children: started once, awaited without a slot, cancelled with their parent, and answered for by type."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lash
from lash.core.outcome import Status
from lash.testing import simulate
from tests.unit.runtime.kit import Tally, app_on, memory, parked, row_of, types_of, until, virtual


@pytest.mark.parametrize("concurrency", [1, 2])
@virtual
async def test_parent_child_and_grandchild_finish_with_one_slot(concurrency: int) -> None:
    app = app_on(concurrency=concurrency)

    async def work(number: int) -> int:
        await asyncio.sleep(0.05)
        return number

    @app.process
    async def grandchild(ctx: lash.Context, number: int) -> int:
        return await ctx.step(work, number)

    @app.process
    async def child(ctx: lash.Context, number: int) -> int:
        below = await ctx.start(grandchild, number + 1)
        return await ctx.step(work, number) + await below

    @app.process
    async def parent(ctx: lash.Context) -> int:
        first, second = await ctx.start(child, 10), await ctx.start(child, 20)
        return await first + await second + await ctx.step(work, 1)

    async with app:
        began = simulate.now_ms()
        assert await (await app.start(parent)) == 10 + 11 + 20 + 21 + 1
        assert simulate.now_ms() - began < 5_000


@virtual
async def test_ids_of_children_follow_from_the_parents_and_a_rerun_starts_none_twice() -> None:
    store, tally = memory(), Tally()
    gate = asyncio.Event()

    @lash.process
    async def child(ctx: lash.Context, number: int) -> int:
        await ctx.step(tally.note, f"child {number}")
        return number

    @lash.process
    async def parent(ctx: lash.Context) -> list[Any]:
        handles = [await ctx.start(child, number) for number in range(3)]
        await ctx.step(tally.note, "between")
        await ctx.step(gate.wait)
        return [[handle.id, await handle] for handle in handles]

    app = app_on(store, parent, child)
    await app.open()
    await app.start(parent, id="p")
    await until(lambda: tally["between"] == 1)
    await asyncio.sleep(0.1)
    await simulate.crash(app)
    gate.set()
    async with app_on(store, parent, child) as again:
        assert await again.handle("p") == [["p.0", 0], ["p.1", 1], ["p.2", 2]]
        assert len(await again.processes(name="child")) == 3
        record = (await row_of(again, "p.1")).record
        assert (record.spec.parent, record.spec.caused_by) == ("p", "process:p/1")
    assert sorted(tally.calls) == ["between", "child 0", "child 1", "child 2"]


@virtual
async def test_a_crash_after_the_child_was_written_but_before_the_parent_heard_starts_no_second() -> None:
    """Cut at every write of the parent: there is always exactly one child."""
    from lash.testing.faults import FaultyStore

    for crash_at in range(1, 12):
        for when in ("before", "after"):
            store = memory()

            @lash.process
            async def child(ctx: lash.Context) -> int:
                return 5

            @lash.process
            async def parent(ctx: lash.Context, child: Any = child) -> int:
                return await (await ctx.start(child))

            faulty = FaultyStore(store, crash_at, when)  # type: ignore[arg-type]
            app = app_on(faulty, parent, child)
            try:
                await app.open()
                await app.start(parent, id="p")
                async with asyncio.timeout(60):
                    await app.handle("p")
            except (lash.StoreUnavailable, TimeoutError):
                pass
            await app.abort()
            async with app_on(store, parent, child) as again:
                assert await (await again.start(parent, id="p")) == 5
                assert len(await again.processes(name="child")) == 1


@virtual
async def test_cancelling_a_parent_cancels_its_children_but_not_the_detached() -> None:
    app = app_on(linger="10ms")

    @app.process
    async def child(ctx: lash.Context) -> None:
        await ctx.signal("never")

    @app.process
    async def middle(ctx: lash.Context) -> None:
        await (await ctx.start(child, id="grandchild"))

    @app.process
    async def parent(ctx: lash.Context) -> None:
        await ctx.start(child, id="attached")
        await ctx.start(child, id="detached", detached=True)
        await ctx.start(middle, id="middle")
        await ctx.signal("never")

    async with app:
        await app.start(parent, id="p")
        await asyncio.sleep(5)
        await app.handle("p").cancel("enough")
        await asyncio.sleep(5)
        found = {
            name: await app.handle(name).status() for name in ("p", "attached", "middle", "grandchild", "detached")
        }
        assert found == {
            "p": Status.CANCELLED,
            "attached": Status.CANCELLED,
            "middle": Status.CANCELLED,
            "grandchild": Status.CANCELLED,
            "detached": Status.RUNNING,
        }


@virtual
async def test_a_failing_child_fails_the_awaiting_parent_with_its_own_words() -> None:
    app = app_on()

    @app.process
    async def child(ctx: lash.Context) -> None:
        raise lash.Terminal("no money", code="broke", raw={"cents": 3})

    @app.process
    async def parent(ctx: lash.Context) -> list[Any]:
        try:
            await (await ctx.start(child))
        except lash.ProcessFailed as failed:
            return [failed.failure_class, failed.failure_code, failed.raw, failed.process_id]
        return []

    async with app:
        assert await (await app.start(parent, id="p")) == ["execution", "broke", {"cents": 3}, "p.0"]


@virtual
async def test_awaiting_a_cancelled_child_says_so() -> None:
    app = app_on()

    @app.process
    async def child(ctx: lash.Context) -> None:
        await ctx.signal("never")

    @app.process
    async def parent(ctx: lash.Context) -> str:
        handle = await ctx.start(child)
        await ctx.sleep(1)
        await handle.cancel("changed my mind")
        try:
            await handle
        except lash.ProcessCancelled as error:
            return str(error)
        return ""

    async with app:
        assert "changed my mind" in await (await app.start(parent))


@virtual
async def test_three_answers_about_a_process_that_does_not_run() -> None:
    """Ended, pruned and unknown are three different typed answers, outside and inside a body."""
    app = app_on()

    @app.process
    async def quick(ctx: lash.Context) -> int:
        return 5

    @app.process
    async def asks(ctx: lash.Context, name: str) -> str:
        handle = await ctx.start(quick, id=name)
        try:
            return f"value {await handle}"
        except lash.LashError as error:
            return error.code

    async with app:
        assert await (await app.start(quick, id="old")) == 5
        await asyncio.sleep(10)
        assert await app.prune("5s") == 1
        assert await (await app.start(quick, id="ended")) == 5
        assert await app.handle("ended") == 5
        with pytest.raises(lash.ProcessPruned) as pruned:
            await app.handle("old")
        assert pruned.value.fields["process_id"] == "old"
        with pytest.raises(lash.ProcessUnknown):
            await app.handle("nobody")
        for ask, error in (("status", lash.ProcessPruned), ("record", lash.ProcessPruned)):
            with pytest.raises(error):
                await getattr(app.handle("old"), ask)()
            with pytest.raises(lash.ProcessUnknown):
                await getattr(app.handle("nobody"), ask)()
        assert await (await app.start(asks, "ended")) == "value 5"
        assert await (await app.start(asks, "old")) == "process_pruned"
        with pytest.raises(lash.ProcessPruned):
            await app.handle("old").signal("x")
        with pytest.raises(lash.ProcessPruned):
            await app.handle("old").cancel("x")


@virtual
async def test_any_process_is_awaited_by_its_id_without_a_slot() -> None:
    app = app_on(concurrency=1)

    @app.process
    async def nap(ctx: lash.Context) -> int:
        await ctx.sleep("1h")
        return 5

    @app.process
    async def asks(ctx: lash.Context, name: str) -> list[Any]:
        async def start() -> str:
            return str((await ctx.app.start(nap, id="started-in-a-step")).id)

        found: list[Any] = []
        for process_id in ("elsewhere", await ctx.step(start), "nobody"):
            try:
                found.append(await ctx.handle(process_id))
            except lash.LashError as error:
                found.append(error.code)
        return found

    async with app:
        await app.start(nap, id="elsewhere")
        assert await (await app.start(asks, "x")) == [5, 5, "process_unknown"]


@virtual
async def test_a_conflicting_child_id_is_the_parents_error_to_catch() -> None:
    app = app_on()

    @app.process
    async def child(ctx: lash.Context, number: int) -> int:
        return number

    @app.process
    async def parent(ctx: lash.Context) -> list[Any]:
        same = await (await ctx.start(child, 1, id="taken"))
        try:
            await ctx.start(child, 2, id="taken")
        except lash.ProcessConflict as error:
            return [same, error.code]
        return []

    async with app:
        await (await app.start(child, 1, id="taken"))
        assert await (await app.start(parent)) == [1, "process_conflict"]


@virtual
async def test_a_parent_that_awaits_is_parked_and_holds_nothing() -> None:
    app = app_on(linger="10ms")

    @app.process
    async def child(ctx: lash.Context) -> str:
        return await ctx.signal("go", str)

    @app.process
    async def parent(ctx: lash.Context) -> str:
        return await (await ctx.start(child))

    async with app:
        await app.start(parent, id="p")
        row = await parked(app, "p")
        assert row.record.waiting is not None
        assert (row.record.waiting.on, row.record.waiting.key) == ("process", "process:p.0")
        await parked(app, "p.0")
        await app.handle("p.0").signal("go", "done")
        assert await app.handle("p") == "done"


@virtual
async def test_child_handles_offer_status_and_refuse_what_is_not_recorded() -> None:
    app = app_on()

    @app.process
    async def child(ctx: lash.Context) -> None:
        await ctx.signal("never")

    @app.process
    async def parent(ctx: lash.Context) -> list[Any]:
        handle = await ctx.start(child)
        found: list[Any] = [(await handle.status()).value]
        for ask in (handle.record, lambda: handle.complete(None), lambda: handle.fail("no")):
            try:
                await ask()
            except lash.NotInStep as error:
                found.append(error.code)
        try:
            handle.events()
        except lash.NotInStep as error:
            found.append(error.code)
        await handle.cancel("done")
        return found

    async with app:
        assert await (await app.start(parent)) == ["running", *["not_in_step"] * 4]


@virtual
async def test_a_child_inherits_profile_originator_and_depth_of_family() -> None:
    app = app_on(host_profile="green")

    @app.process
    async def child(ctx: lash.Context) -> str:
        return ctx.process_id

    @app.process
    async def parent(ctx: lash.Context) -> str:
        return await (await ctx.start(child, tags=["small"], priority=3))

    async with app:
        assert await (await app.start(parent, id="p")) == "p.0"
        spec = (await row_of(app, "p.0")).record.spec
        assert (spec.host_profile, spec.parent, spec.tags, spec.priority) == ("green", "p", ("small",), 3)


@virtual
async def test_a_delayed_child_runs_when_it_is_due() -> None:
    app = app_on()

    @app.process
    async def child(ctx: lash.Context) -> float:
        return ctx.now().timestamp()

    @app.process
    async def parent(ctx: lash.Context) -> float:
        began = ctx.now().timestamp()
        return await (await ctx.start(child, delay="90s")) - began

    async with app:
        assert 90 <= await (await app.start(parent)) < 91


@virtual
async def test_a_handles_timeout_in_a_body_leaves_the_child_alone() -> None:
    app = app_on()

    @app.process
    async def child(ctx: lash.Context) -> str:
        await ctx.sleep("10s")
        return "done"

    @app.process
    async def parent(ctx: lash.Context) -> list[str]:
        handle = await ctx.start(child)
        try:
            await handle.result(timeout="3s")
        except TimeoutError:
            return ["late", await handle]
        return []

    async with app:
        assert await (await app.start(parent)) == ["late", "done"]


@virtual
async def test_a_parents_signal_to_its_child_arrives_once_over_a_crash() -> None:
    store, tally = memory(), Tally()
    gate = asyncio.Event()

    @lash.process
    async def child(ctx: lash.Context) -> list[Any]:
        first = await ctx.signal("word")
        try:
            return [first, await ctx.signal("word", timeout="5s")]
        except TimeoutError:
            return [first, "no second"]

    @lash.process
    async def parent(ctx: lash.Context) -> Any:
        handle = await ctx.start(child)
        await handle.signal("word", "hello")
        await ctx.step(tally.note, "sent")
        await ctx.step(gate.wait)
        return await handle

    app = app_on(store, parent, child)
    await app.open()
    await app.start(parent, id="p")
    await until(lambda: tally["sent"] == 1)
    await simulate.crash(app)
    gate.set()
    async with app_on(store, parent, child) as again:
        assert await again.handle("p") == ["hello", "no second"]
        assert (await types_of(again, "p.0")).count("signal.word") == 1
