"""Before any body, in one fixed order: final, id, profile, durable facets, code. All of it leaves the row claimable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

import lash
from lash.abc.engine import Perform, Scope
from lash.core.effect import Effect
from lash.core.outcome import Completed, Status
from lash.core.process import ProcessRecord, ProcessSpec, new_record
from lash.engines.inline import InlineEngine
from lash.engines.local import LocalEngine
from lash.errors import DurableStoreRequired, LashError
from lash.runtime.checks import check_facets, check_row, reason_of
from lash.runtime.registry import Registry
from lash.stores.memory import MemoryStore
from lash.testing import simulate
from tests.unit.runtime.kit import app_on, memory, row_of, types_of, virtual

FACETS = ("attachment_store", "artifact_store", "session_store", "process_registry")
ALL_DURABLE = dict.fromkeys(FACETS, True)


@lash.process
async def known(ctx: lash.Context) -> None: ...


def registry() -> Registry:
    made = Registry()
    made.add(known)
    return made


def record(**changes: Any) -> ProcessRecord:
    return new_record(replace(ProcessSpec("p", "python", "known", "", b"[[],{}]", "d"), **changes), 0)


def check(
    item: ProcessRecord, durable_engine: bool = True, facets: dict[str, bool] | None = None, profile: str = "default"
) -> Any:
    return check_row(
        item,
        host_profile=profile,
        durable_engine=durable_engine,
        facets=ALL_DURABLE if facets is None else facets,
        code_of=lambda spec: registry().exact(spec.name, spec.version) if spec.kind == "python" else None,
    )


def test_a_row_that_passes_gives_its_process() -> None:
    assert check(record()) is known


def test_the_first_failing_check_is_the_one_that_is_named() -> None:
    """Each row below repairs the fault of the row above and keeps those of the rows beneath."""
    final = replace(
        record(id=" ", host_profile="other", name="unknown"), status=Status.COMPLETED, outcome=Completed(b"1")
    )
    nothing_durable = dict.fromkeys(FACETS, False)
    cases: list[tuple[ProcessRecord, dict[str, bool], str]] = [
        (final, nothing_durable, "already_ended"),
        (record(id=" ", host_profile="other", name="unknown"), nothing_durable, "missing_process_execution_id"),
        (record(host_profile="other", name="unknown"), nothing_durable, "wrong_host_profile"),
        (record(name="unknown"), nothing_durable, "durable_store_required:attachment_store"),
        (
            record(name="unknown"),
            {**nothing_durable, "attachment_store": True},
            "durable_store_required:artifact_store",
        ),
        (record(name="unknown"), {**ALL_DURABLE, "process_registry": False}, "durable_store_required:process_registry"),
        (record(name="unknown"), ALL_DURABLE, "version_missing"),
        (record(version="2"), ALL_DURABLE, "version_missing"),
        (record(kind="lashlang"), ALL_DURABLE, "version_missing"),
    ]
    for item, facets, expected in cases:
        with pytest.raises(LashError) as caught:
            check(item, facets=facets)
        assert reason_of(caught.value) == expected


def test_an_empty_profile_fits_every_worker() -> None:
    assert check(record(host_profile=""), profile="blue") is known


def test_an_inline_engine_imposes_nothing() -> None:
    assert check(record(), durable_engine=False, facets=dict.fromkeys(FACETS, False)) is known
    check_facets(False, dict.fromkeys(FACETS, False))


class Facets(MemoryStore):
    """A memory store that claims some durability for its facets, one by one."""

    def __init__(self, claims: dict[str, bool]) -> None:
        super().__init__(simulate.now_ms)
        self.claims = claims

    @property
    def facets(self) -> dict[str, bool]:
        return self.claims


class DurableEngine(LocalEngine):
    """An engine of somebody else's that keeps its journal elsewhere, durably."""

    @property
    def durable(self) -> bool:
        return True


@pytest.mark.parametrize("missing", FACETS)
@virtual
async def test_a_durable_engine_over_a_facet_that_forgets_is_refused_by_its_name(missing: str) -> None:
    """At construction already, and again when the runtime is opened and the store turns out to be another."""
    store = Facets({**ALL_DURABLE, missing: False})
    with pytest.raises(DurableStoreRequired) as caught:
        app_on(store, known, engine=DurableEngine(store))
    assert caught.value.facet == missing
    assert f"durable_store_required:{missing}" in str(caught.value)
    store.claims = ALL_DURABLE
    app = app_on(store, known, engine=DurableEngine(store))
    store.claims = {**ALL_DURABLE, missing: False}
    with pytest.raises(DurableStoreRequired):
        await app.open()
    with pytest.raises(lash.RuntimeNotOpen):
        await app.start(known)


@virtual
async def test_the_first_facet_in_order_is_named_when_several_forget() -> None:
    store = Facets(dict.fromkeys(FACETS, False))
    for name in FACETS:
        with pytest.raises(DurableStoreRequired) as caught:
            app_on(store, known, engine=DurableEngine(store))
        assert caught.value.facet == name
        store.claims = {**store.claims, name: True}
    app_on(store, known, engine=DurableEngine(store))


@virtual
async def test_a_durable_engine_over_durable_facets_runs() -> None:
    store = Facets(dict(ALL_DURABLE))
    async with app_on(store, known, engine=DurableEngine(store)) as app:
        assert await (await app.start(known)) is None


@pytest.mark.parametrize("facet", FACETS)
@virtual
async def test_a_facet_lost_while_running_blocks_the_row_visibly_and_it_goes_on_when_repaired(facet: str) -> None:
    store = Facets(dict(ALL_DURABLE))
    app = app_on(store, known, engine=DurableEngine(store))
    async with app:
        store.claims = {**ALL_DURABLE, facet: False}
        handle = await app.start(known, id="p")
        await asyncio.sleep(1)
        row = await row_of(app, "p")
        assert row.record.status is Status.RUNNING
        assert row.record.blocked is not None
        assert row.record.blocked.reason == f"durable_store_required:{facet}"
        store.claims = ALL_DURABLE
        assert await handle is None
        assert (await row_of(app, "p")).record.blocked is None


@virtual
async def test_an_inline_engine_runs_over_a_store_that_forgets() -> None:
    async with app_on(None, known, engine=InlineEngine()) as app:
        assert await (await app.start(known)) is None


@virtual
async def test_a_row_of_another_host_profile_is_never_claimed_nor_failed() -> None:
    store = memory()
    async with app_on(store, known, host_profile="blue", worker=False) as blue:
        await blue.start(known, id="p")
    async with app_on(store, known, host_profile="green") as green:
        await asyncio.sleep(600)
        row = await row_of(green, "p")
        assert (row.record.status, row.record.attempts, row.owner) == (Status.RUNNING, 0, None)
        assert row.record.blocked is None
        assert await types_of(green, "p") == []
        assert (await green.drive()).claimed == ()
    async with app_on(store, known, host_profile="blue") as blue:
        assert await blue.handle("p") is None


@virtual
async def test_a_row_without_a_profile_is_run_by_any_worker() -> None:
    store = memory()
    async with app_on(store, known, host_profile="", worker=False) as nobody:
        await nobody.start(known, id="p")
    async with app_on(store, known, host_profile="green") as green:
        assert await green.handle("p") is None


@virtual
async def test_a_name_this_worker_does_not_have_is_left_to_others() -> None:
    store = memory()

    @lash.process
    async def other(ctx: lash.Context) -> int:
        return 5

    async with app_on(store, other, worker=False) as app:
        await app.start(other, id="p")
    async with app_on(store, known) as app:
        await asyncio.sleep(60)
        assert (await row_of(app, "p")).record.attempts == 0
    async with app_on(store, known, other) as app:
        assert await app.handle("p") == 5


@virtual
async def test_a_cancel_grace_that_ran_out_while_nobody_looked_closes_without_a_body() -> None:
    store = memory()
    began: list[int] = []

    @lash.process
    async def body(ctx: lash.Context) -> None:
        began.append(1)
        await ctx.signal("never")

    app = app_on(store, body)
    await app.open()
    await app.start(body, id="p")
    await asyncio.sleep(0.1)
    await simulate.crash(app)
    async with app_on(store, worker=False) as outside:
        await outside.handle("p").cancel("enough")
    await asyncio.sleep(300)
    async with app_on(store, body) as again:
        with pytest.raises(lash.ProcessCancelled):
            await again.handle("p")
    assert began == [1]


@virtual
async def test_a_report_names_what_was_claimed_deferred_and_at_fault() -> None:
    store = Facets(dict(ALL_DURABLE))
    app = app_on(store, known, engine=DurableEngine(store), worker=False)
    async with app:
        await app.start(known, id="good")
        report = await app.drive()
        assert (report.claimed, report.deferred, report.faults) == (("good",), {}, ())
        await app.handle("good")
        store.claims = {**ALL_DURABLE, "artifact_store": False}
        await app.start(known, id="bad")
        report = await app.drive()
        assert report.claimed == ()
        assert report.deferred == {"bad": "durable_store_required:artifact_store"}
        assert [(fault.process_id, fault.code) for fault in report.faults] == [
            ("bad", "durable_store_required:artifact_store")
        ]


@virtual
async def test_an_engine_that_breaks_its_word_blocks_the_row_instead_of_failing_the_process() -> None:
    """A defect of the engine is infrastructure: the process is put back, with growing pauses, and ends well later."""

    class Moody(LocalEngine):
        broken = True
        tries: ClassVar[list[int]] = []

        async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None:
            if self.broken:
                self.tries.append(simulate.now_ms())
                raise RuntimeError("out of order")
            await super().run(scope, effect, perform)

    store = memory()
    engine = Moody(store)
    app = app_on(store, engine=engine)

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(work)

    async def work() -> str:
        return "done"

    async with app:
        handle = await app.start(body, id="p")
        await asyncio.sleep(20)
        record = (await row_of(app, "p")).record
        assert record.status is Status.RUNNING
        assert record.blocked is not None
        assert record.blocked.reason == "RuntimeError"
        pauses = [after - before for before, after in zip(engine.tries, engine.tries[1:], strict=False)]
        assert pauses[:4] == sorted(pauses[:4])
        engine.broken = False
        assert await handle == "done"
        assert (await row_of(app, "p")).record.attempts == 1


Sent = Callable[[], Awaitable[None]]
