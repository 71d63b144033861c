"""What an engine owes a body: perform once and remember (local), or perform and admit that it forgets (inline)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import lash
from lash.abc.engine import Again, Reply, Services, entry_of
from lash.abc.store import Op, Put, Recorded, Stale, Verdict
from lash.core.effect import Effect, EffectKind, Entry, EntryKind
from lash.core.lease import Fence
from lash.engines.inline import InlineEngine
from lash.engines.journal import JournalEngine, hand_over
from lash.engines.local import LocalEngine
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from lash.testing.faults import FaultyStore
from tests.unit.runtime.kit import Tally, app_on, memory, row_of, until, virtual


class Body:
    """A scope that notes what its engine tells it."""

    process_id = "p"
    fence = Fence(1, 1)
    seen = 0
    inbox = False

    def __init__(self) -> None:
        self.told: list[Any] = []

    def deliver(self, entries: Sequence[Entry], quiet: bool = False) -> None:
        self.told += [entry.kind for entry in entries] + ["quiet"] * quiet

    def lost(self) -> None:
        self.told.append("lost")

    def fault(self, error: BaseException) -> None:
        self.told.append(type(error).__name__)


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Recorded([Entry(EntryKind.STEP, 0), Entry(EntryKind.MAIL, 1)]), [EntryKind.STEP, EntryKind.MAIL]),
        (Recorded([]), []),
        (Recorded([Entry(EntryKind.STEP, 0)], True), [EntryKind.STEP, "quiet"]),
        (Stale(5), ["lost"]),
        (lash.StoreUnavailable("away"), ["StoreUnavailable"]),
        (RuntimeError("defect"), ["RuntimeError"]),
        ("nonsense", ["TypeError"]),
    ],
)
def test_a_verdict_reaches_the_body_as_news_loss_or_fault_and_never_as_a_reply(verdict: Any, told: list[Any]) -> None:
    body = Body()
    hand_over(body, verdict)
    assert body.told == told


ENTRIES = [
    (EffectKind.STEP, Reply(b"1", False, 2, 7), Entry(EntryKind.STEP, 3, "n", "w", b"1", False, 2, 7)),
    (EffectKind.STEP, Reply(b"{}", True), Entry(EntryKind.STEP, 3, "n", "w", b"{}", True)),
    (EffectKind.STEP, Again(b"{}", 2, 99, 7), Entry(EntryKind.ATTEMPT, 3, "n", "w", b"{}", True, 2, 7, 99)),
    (EffectKind.COMMAND, Reply(b"null"), Entry(EntryKind.COMMAND, 3, "n", "w", b"null")),
    (EffectKind.WAIT, Reply(b"null"), Entry(EntryKind.WAIT, 3, "n", "w", due_ms=5)),
    (EffectKind.SLEEP, Reply(b"null"), Entry(EntryKind.SLEEP, 3, "n", "w", due_ms=5)),
]


@pytest.mark.parametrize(("kind", "reply", "entry"), ENTRIES, ids=lambda item: str(item)[:20])
def test_what_performing_gave_becomes_one_entry(kind: EffectKind, reply: Reply | Again, entry: Entry) -> None:
    assert entry_of(Effect(kind, 3, "n", "w", 5), reply) == entry


def test_an_engine_says_what_it_is() -> None:
    store = MemoryStore()
    local, inline = LocalEngine(store), InlineEngine()
    assert (local.replays, local.durable) == (True, False)  # as durable as the journal it writes to
    assert (inline.replays, inline.durable) == (False, False)
    with pytest.raises(RuntimeError, match="bind"):
        _ = inline.services


def test_entries_of_one_scope_share_an_operation_until_it_is_on_its_way() -> None:
    async def main() -> None:
        queued: list[tuple[Any, Any]] = []
        engine = JournalEngine()
        store: Any = None
        engine.bind(Services(store, lambda op, sink: queued.append((op, sink)), lambda op: never(), lambda: None))
        body, other = Body(), Body()
        for ordinal in range(3):
            engine.record(body, Entry(EntryKind.STEP, ordinal))
        engine.record(other, Entry(EntryKind.STEP, 9))
        assert len(queued) == 2
        op: Op = queued[0][0]()
        assert isinstance(op, Put)
        assert [entry.ordinal for entry in op.entries] == [0, 1, 2]
        engine.record(body, Entry(EntryKind.STEP, 3))  # the first is on its way: another operation
        assert len(queued) == 3
        queued[0][1](lash.StoreUnavailable("away"))
        late: Op = queued[2][0]()
        assert isinstance(late, Put)
        assert list(late.entries) in ([], [Entry(EntryKind.STEP, 3)])
        assert body.told == ["StoreUnavailable"]
        assert other.told == []

    asyncio.run(main())


async def never() -> Verdict:
    raise AssertionError


# Local -------------------------------------------------------------------------------------------------------------


@virtual
async def test_local_hands_nothing_to_a_body_before_it_is_written() -> None:
    """The body goes on only after the commit: at that moment the store has the reply."""
    inner = memory()
    seen: list[int] = []

    class Watching(FaultyStore):
        def write_now(self, ops: Any) -> Any:
            return None

        async def write(self, ops: Any) -> Any:
            await asyncio.sleep(0.01)
            return await super().write(ops)

    app = app_on(Watching(inner))

    @app.process
    async def body(ctx: lash.Context) -> None:
        for number in range(5):
            await ctx.step(asyncio.sleep, 0)
            entries = inner._tables.processes["p"].entries
            seen.append(len([entry for entry in entries if entry.kind is EntryKind.STEP]) - number)

    async with app:
        await (await app.start(body, id="p"))
    assert seen == [1] * 5


# Inline ------------------------------------------------------------------------------------------------------------


@virtual
async def test_inline_performs_everything_again_after_a_crash_and_leaves_no_journal() -> None:
    store, tally = memory(), Tally()
    gate = asyncio.Event()

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        found = [await ctx.step(tally.note, number) for number in range(3)]
        await ctx.sleep("1s")
        await ctx.step(gate.wait)
        return found

    app = app_on(store, body, engine=InlineEngine())
    await app.open()
    await app.start(body, id="p")
    await until(lambda: tally[2] == 1)
    await asyncio.sleep(2)
    row = await row_of(app, "p")
    assert await store.history(row.row, 0) == []
    await simulate.crash(app)
    gate.set()
    async with app_on(store, body, engine=InlineEngine()) as again:
        assert await again.handle("p") == [0, 1, 2]
    assert tally.calls == [0, 1, 2, 0, 1, 2]


@virtual
async def test_inline_bodies_stay_in_memory_while_they_wait_and_hear_signals() -> None:
    app = app_on(engine=InlineEngine(), linger="1ms", resident=0, concurrency=1)
    runs: list[int] = []

    @app.process
    async def body(ctx: lash.Context) -> list[Any]:
        runs.append(1)
        try:
            first = await ctx.signal("n", timeout="1s")
        except TimeoutError:
            first = "late"
        return [first, await ctx.signal("n"), await ctx.signal("n")]

    async with app:
        handles = [await app.start(body) for _ in range(3)]
        await asyncio.sleep(60)
        for handle in handles:
            await handle.signal("n", 1)
            await handle.signal("n", 2)
        assert await asyncio.gather(*handles) == [["late", 1, 2]] * 3
    assert len(runs) == 3


@virtual
async def test_inline_retries_cancels_children_and_timeouts_work_as_with_a_journal() -> None:
    app, tally = app_on(engine=InlineEngine()), Tally()

    async def flaky() -> str:
        await tally.note("try")
        if tally["try"] < 3:
            raise OSError
        return "ok"

    @app.process
    async def child(ctx: lash.Context) -> str:
        return await ctx.step(flaky, retry=lash.Retry(attempts=3, initial="10s"))

    @app.process
    async def parent(ctx: lash.Context) -> list[Any]:
        handle = await ctx.start(child)
        try:
            async with asyncio.timeout(1):
                await ctx.signal("never")
        except TimeoutError:
            pass
        await ctx.emit("tick")
        return [await handle]

    @app.process
    async def stuck(ctx: lash.Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            await ctx.step(tally.note, "cleaned")

    async with app:
        assert await (await app.start(parent)) == ["ok"]
        handle = await app.start(stuck)
        await asyncio.sleep(1)
        await handle.cancel("enough")
        with pytest.raises(lash.ProcessCancelled):
            await handle
    assert tally.calls == ["try", "try", "try", "cleaned"]


@virtual
async def test_inline_hears_a_cancel_and_kept_signals_again_after_a_crash() -> None:
    store = memory()

    @lash.process
    async def body(ctx: lash.Context) -> Any:
        await ctx.sleep("5s")
        return await ctx.signal("n")

    app = app_on(store, body, engine=InlineEngine())
    await app.open()
    await app.start(body, id="p")
    await app.start(body, id="q")
    await app.handle("p").signal("n", "kept")
    await asyncio.sleep(1)
    await simulate.crash(app)
    async with app_on(store, worker=False) as outside:
        await outside.handle("q").cancel("enough")
    async with app_on(store, body, engine=InlineEngine()) as again:
        assert await again.handle("p") == "kept"
        with pytest.raises(lash.ProcessCancelled):
            await again.handle("q")


@virtual
async def test_inline_closing_hands_over_and_the_next_worker_begins_anew() -> None:
    store, tally = memory(), Tally()

    @lash.process
    async def body(ctx: lash.Context) -> Any:
        await ctx.step(tally.note, "step")
        return await ctx.signal("n")

    async with app_on(store, body, engine=InlineEngine()) as app:
        await app.start(body, id="p")
        await asyncio.sleep(1)
    async with app_on(store, body, engine=InlineEngine()) as again:
        await again.handle("p").signal("n", 1)
        assert await again.handle("p") == 1
    assert tally.calls == ["step", "step"]


@pytest.mark.parametrize("when", ["open", "taken", "both"])
@virtual
async def test_inline_gives_signals_again_to_a_body_that_begins_anew(when: str) -> None:
    """Whether the former attempt had heard them, or they came to its wait when it was gone already."""
    store, runs = memory(), []

    @lash.process
    async def body(ctx: lash.Context) -> list[Any]:
        runs.append(1)
        found = [await ctx.signal("n"), await ctx.signal("n")]
        return [*found, await ctx.signal("m")]

    app = app_on(store, body, engine=InlineEngine())
    await app.open()
    handle = await app.start(body, id="p")
    if when in ("taken", "both"):
        await handle.signal("n", 1)
        await asyncio.sleep(1)
    await simulate.crash(app)
    async with app_on(store, worker=False) as outside:
        for number in {"taken": [2], "open": [1, 2], "both": [2]}[when]:
            await outside.handle("p").signal("n", number)
    async with app_on(store, body, engine=InlineEngine()) as again:
        await again.handle("p").signal("m", "end")
        assert await again.handle("p") == [1, 2, "end"]
    assert len(runs) == 2


@virtual
async def test_inline_that_loses_its_lease_stops() -> None:
    from lash.abc.store import Expire

    store, tally = memory(), Tally()

    async def slow() -> str:
        await tally.note("began")
        await asyncio.sleep(5)
        return await tally.note("ended")

    @lash.process
    async def body(ctx: lash.Context) -> list[str]:
        return [await ctx.step(slow) for _ in range(2)]

    one = app_on(store, body, engine=InlineEngine(), lease_ttl="1s")
    await one.open()
    await one.start(body, id="p")
    await asyncio.sleep(1)
    for worker in await store.workers():
        await store.write([Expire(worker.owner)])
    two = app_on(store, body, engine=InlineEngine(), lease_ttl="1s")
    await two.open()
    assert await two.handle("p") == ["ended", "ended"]
    assert tally["ended"] == 2
    await one.close()
    await two.close()
