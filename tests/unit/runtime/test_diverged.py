"""A program that really changed is blocked, not failed: both sides are told, and the old code brings it to its end."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import lash
from lash.core.outcome import Status
from lash.testing import simulate
from tests.unit.runtime.kit import app_on, memory, row_of, types_of, until, virtual


async def alpha(word: str) -> str:
    return word


async def beta(word: str) -> str:
    return word


def process(function: Any) -> Any:
    """Every version is registered as the same process: the code was changed in place."""
    return lash.process(name="p")(function)


@process
async def original(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "one")
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("go")]


@process
async def added_step(ctx: lash.Context) -> list[Any]:
    await ctx.step(beta, "new")
    first = await ctx.step(alpha, "one")
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("go")]


@process
async def removed_step(ctx: lash.Context) -> list[Any]:
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [second, await ctx.signal("go")]


@process
async def changed_arguments(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "another")
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("go")]


@process
async def reordered(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "one")
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(alpha, "three"), ctx.step(beta, "two"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("go")]


@process
async def removed_timer(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "one")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("go")]


@process
async def added_timer(ctx: lash.Context) -> list[Any]:
    await ctx.sleep("1s")
    return await original.function(ctx)


@process
async def other_timer(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "one")
    await ctx.sleep("2s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("go")]


@process
async def other_event(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "one")
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 2})
    return [first, second, await ctx.signal("go")]


@process
async def other_signal(ctx: lash.Context) -> list[Any]:
    first = await ctx.step(alpha, "one")
    await ctx.sleep("1s")
    second = await asyncio.gather(ctx.step(beta, "two"), ctx.step(alpha, "three"))
    await ctx.emit("told", {"n": 1})
    return [first, second, await ctx.signal("stop")]


@process
async def ends_early(ctx: lash.Context) -> list[Any]:
    return [await ctx.step(alpha, "one")]


@process
async def raises_early(ctx: lash.Context) -> list[Any]:
    await ctx.step(alpha, "one")
    raise ValueError("new idea")


@process
async def waits_early(ctx: lash.Context) -> list[Any]:
    await ctx.step(alpha, "one")
    return [await ctx.signal("never")]


CHANGES: list[tuple[Any, str, str]] = [
    (added_step, "step 0 'alpha'", "step 0 'beta'"),
    (removed_step, "step 0 'alpha'", "nothing under that number"),
    (changed_arguments, "step 0 'alpha'", "step 0 'alpha' with other arguments"),
    (reordered, "step 1 'beta'", "step 1 'alpha'"),
    (removed_timer, "sleep 0", "nothing under that number"),
    (added_timer, "step 0 'alpha'", "nothing under that number"),
    (other_timer, "sleep 0", "at another time"),
    (other_event, "command 3 'emit told'", "command 3 'emit told' with other arguments"),
    (other_signal, "wait 4 'signal:go'", "wait 4 'signal:stop'"),
    (ends_early, "sleep 0", "nothing under that number"),
    (raises_early, "sleep 0", "nothing under that number"),
    (waits_early, "sleep 0", "nothing under that number"),
]


@pytest.mark.parametrize(
    ("changed", "recorded", "requested"), CHANGES, ids=lambda item: getattr(item, "function", item)
)
@virtual
async def test_changed_code_is_blocked_visibly_and_goes_on_under_the_old(
    changed: Any, recorded: str, requested: str
) -> None:
    store = memory()
    async with app_on(store, original) as app:
        await app.start(original, id="p")
        await asyncio.sleep(3)
        journal = await store.history((await row_of(app, "p")).row, 0)
        assert len(journal) == 6
    async with app_on(store, changed) as app:
        await app.handle("p").signal("go", "now")
        await asyncio.sleep(5)
        row = await row_of(app, "p")
        assert row.record.status is Status.RUNNING
        blocked = row.record.blocked
        assert blocked is not None
        assert blocked.reason == "diverged"
        assert f"recorded was {recorded}" in blocked.detail
        assert requested in blocked.detail
        assert row.faults >= 2
        assert app.counters.diverged == row.faults
        with pytest.raises(lash.Diverged) as caught:
            await simulate.replay(changed, row.record, await store.history(row.row, 0))
        assert recorded in str(caught.value.fields["recorded"])
        assert requested in str(caught.value.fields["requested"])
    async with app_on(store, original) as app:
        began = simulate.now_ms()
        assert await app.handle("p") == ["one", ["two", "three"], "now"]
        assert simulate.now_ms() - began < 1_000, "the old code was not taken up at once"
        record = (await row_of(app, "p")).record
        assert (record.blocked, record.attempts) == (None, 1)
    finished = await row_of_store(store, "p")
    kinds = [entry.kind.value for entry in await store.history(finished.row, 0)]
    assert kinds == [entry.kind.value for entry in journal] + ["reply"]


async def row_of_store(store: Any, process_id: str) -> Any:
    (row,) = await store.get((process_id,))
    return row


@virtual
async def test_pauses_between_tries_of_changed_code_grow() -> None:
    store = memory()
    tries: list[int] = []
    loop = asyncio.get_running_loop()

    @process
    async def changed(ctx: lash.Context) -> None:
        tries.append(round(loop.time() * 1_000))
        await ctx.step(beta, "something else")

    async with app_on(store, original) as app:
        await app.start(original, id="p")
        await asyncio.sleep(3)
    async with app_on(store, changed) as app:
        await app.retry("p")
        await until(lambda: len(tries) >= 7)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    for pause, least in zip(pauses, (500, 1_000, 2_000, 4_000, 8_000), strict=False):
        assert least <= pause <= least + 300, pauses


@virtual
async def test_the_same_changed_code_started_again_is_no_reason_to_hurry() -> None:
    """Unblock looks at the code's fingerprint: only other code takes the row up before its pause is over."""
    store = memory()

    @process
    async def changed(ctx: lash.Context) -> None:
        await ctx.step(beta, "something else")

    async with app_on(store, original) as app:
        await app.start(original, id="p")
        await asyncio.sleep(3)
    async with app_on(store, changed) as app:
        await app.retry("p")
        await asyncio.sleep(20)
        faults = (await row_of(app, "p")).faults
    async with app_on(store, changed) as app:
        await asyncio.sleep(1)
        assert (await row_of(app, "p")).faults == faults


@virtual
async def test_a_new_version_leaves_the_old_journal_alone() -> None:
    store = memory()
    newer = lash.process(name="p", version="2")(changed_arguments.function)
    async with app_on(store, original) as app:
        await app.start(original, id="p")
        await asyncio.sleep(3)
    async with app_on(store, original, newer) as app:
        await app.handle("p").signal("go", "now")
        assert await app.handle("p") == ["one", ["two", "three"], "now"]
        assert "process.blocked" not in await types_of(app, "p")


@virtual
async def test_code_that_only_goes_further_is_no_divergence() -> None:
    """What lies beyond the journal may change freely."""
    store = memory()

    @process
    async def further(ctx: lash.Context) -> list[Any]:
        found = await original.function(ctx)
        await ctx.sleep("3s")
        return [*found, await ctx.step(beta, "further")]

    async with app_on(store, original) as app:
        await app.start(original, id="p")
        await asyncio.sleep(3)
    async with app_on(store, further) as app:
        await app.handle("p").signal("go", "now")
        assert await app.handle("p") == ["one", ["two", "three"], "now", "further"]


@virtual
async def test_arguments_with_sets_and_unordered_mappings_are_the_same_arguments() -> None:
    from dataclasses import dataclass, field

    @dataclass
    class Bag:
        words: set[str] = field(default_factory=set)

    from lash.core.codec import fingerprint

    words = [f"word {number}" for number in range(50)]
    one, two = Bag(set(words)), Bag(set(reversed(words)))
    assert fingerprint("f", one) == fingerprint("f", two)
    assert fingerprint("f", {"a": 1, "b": set(words)}) == fingerprint("f", {"b": set(reversed(words)), "a": 1})
