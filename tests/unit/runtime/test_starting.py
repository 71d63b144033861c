"""Start is durable intent, once per id; what cannot be run is refused by type before anything is written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

import lash
from lash.core.outcome import Status
from tests.unit.runtime.kit import Tally, app_on, failure_of, memory, row_of, virtual


@dataclass(frozen=True)
class Order:
    id: str
    cents: int = 0


class Colour(Enum):
    RED = "red"


class Fussy(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, value: str) -> str:
        if value == "key":
            raise KeyError("a validator may raise anything")
        return value


@virtual
async def test_the_same_id_function_and_arguments_are_the_same_process() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context, word: str, times: int = 1) -> str:
        return await ctx.step(tally.note, word * times)

    async with app:
        first = await app.start(body, "ab", id="p")
        assert await first == "ab"
        second = await app.start(body, "ab", id="p", tags=["other"], priority=4)
        assert await second == "ab"
        for again in (app.start(body, "ba", id="p"), app.start(body, "ab", 2, id="p")):
            with pytest.raises(lash.ProcessConflict) as conflict:
                await again
            assert conflict.value.fields["process_id"] == "p"
    assert tally.calls == ["ab"]


@virtual
async def test_many_starters_of_one_id_start_one_process() -> None:
    app, tally = app_on(), Tally()

    @app.process
    async def body(ctx: lash.Context) -> str:
        return await ctx.step(tally.note, "ran")

    async with app:
        handles = await asyncio.gather(*(app.start(body, id="p") for _ in range(50)))
        assert set(await asyncio.gather(*handles)) == {"ran"}
    assert tally.calls == ["ran"]


@virtual
async def test_without_an_id_each_start_is_another_process_and_ids_sort_by_time() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None: ...

    async with app:
        ids = []
        for _ in range(5):
            ids.append((await app.start(body)).id)
            await asyncio.sleep(0.01)
        assert ids == sorted(set(ids))


@virtual
async def test_arguments_come_back_as_their_annotations_say() -> None:
    app = app_on()
    seen: list[Any] = []

    @app.process
    async def body(
        ctx: lash.Context,
        order: Order,
        colour: Colour,
        when: datetime,
        pause: timedelta,
        ratio: float,
        *more: Order,
        flag: bool = False,
        **others: Order,
    ) -> None:
        seen.extend([order, colour, when, pause, ratio, more, flag, others])

    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    async with app:
        await (
            await app.start(
                body,
                Order("a"),
                Colour.RED,
                moment,
                timedelta(hours=1),
                2,
                Order("b"),
                Order("c"),
                flag=True,
                x=Order("d", 5),
            )
        )
    assert seen == [
        Order("a"), Colour.RED, moment, timedelta(hours=1), 2.0, (Order("b"), Order("c")), True, {"x": Order("d", 5)},
    ]  # fmt: skip
    assert type(seen[4]) is float


MISFITS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((Order("a"), 1, 2, 3), {}),
    ((Order("a"),), {"unknown": 1}),
    (("no order",), {}),
    (({"id": "a", "cents": "many"},), {}),
    ((Order("a"), "no number"), {}),
    ((Order("a"), 1), {"fussy": {"name": "key"}}),
    ((Order("a"), 1), {"fussy": {}}),
    ((None,), {}),
]


@pytest.mark.parametrize("case", range(len(MISFITS)))
@virtual
async def test_arguments_that_do_not_fit_are_refused_and_nothing_is_written(case: int) -> None:
    args, kwargs = MISFITS[case]
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, order: Order, number: int = 0, *, fussy: Fussy | None = None) -> None: ...

    async with app:
        with pytest.raises(lash.InvalidArguments) as caught:
            await app.start(body, *args, id="p", **kwargs)
        assert "Nothing was written" in str(caught.value)
        assert await app.processes() == []
        with pytest.raises(lash.InvalidArguments):
            await app.start_many([body.call(Order("a")), body.call(*args, **kwargs)])
        assert await app.processes() == []


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), float("inf"), "\ud800", {"k": "\udfff"}, b"\xff", deep(200), "x" * (4 * 1024 * 1024 + 1)],
    ids=["object", "nan", "inf", "surrogate", "nested surrogate", "bytes", "deep", "large"],
)
@virtual
async def test_an_argument_that_cannot_be_stored_is_refused_and_nothing_is_written(value: Any) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, value: Any) -> None: ...

    async with app:
        with pytest.raises(lash.InvalidValue) as caught:
            await app.start(body, value, id="p")
        assert caught.value.code == "invalid_value"
        assert await app.processes() == []


@virtual
async def test_a_value_that_refers_to_itself_is_refused() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, value: Any) -> None: ...

    circle: list[Any] = []
    circle.append(circle)
    async with app:
        with pytest.raises(lash.InvalidValue):
            await app.start(body, circle)


@virtual
async def test_a_value_at_the_size_limit_is_stored() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context, value: str) -> int:
        return len(value)

    async with app:
        size = 4 * 1024 * 1024 - 100
        assert await (await app.start(body, "x" * size)) == size


@pytest.mark.parametrize("process_id", ["", " ", "\t", "x" * 257, "half \ud800", "line\nbreak", 7])
@virtual
async def test_an_unusable_id_is_refused(process_id: Any) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None: ...

    async with app:
        with pytest.raises(lash.InvalidName):
            await app.start(body, id=process_id)
        with pytest.raises(lash.InvalidName):
            await app.external("work", id=process_id)
        assert await app.processes() == []


@pytest.mark.parametrize("tags", ["text", [""], ["x" * 300], [f"t{number}" for number in range(33)], [5]])
@virtual
async def test_unusable_tags_are_refused(tags: Any) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None: ...

    async with app:
        with pytest.raises(lash.InvalidName):
            await app.start(body, tags=tags)


@pytest.mark.parametrize("priority", [1.5, "high", True, 10**9])
@virtual
async def test_an_unusable_priority_is_refused(priority: Any) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None: ...

    async with app:
        with pytest.raises(lash.InvalidArguments):
            await app.start(body, priority=priority)


@pytest.mark.parametrize("delay", [-1, "soon", "1 fortnight", float("nan"), "200y", None])
@virtual
async def test_an_unusable_delay_is_refused(delay: Any) -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> int:
        return 1

    async with app:
        if delay is None:
            assert await (await app.start(body, delay=None)) == 1
        else:
            with pytest.raises(lash.InvalidArguments):
                await app.start(body, delay=delay)


@virtual
async def test_what_is_not_registered_is_refused_by_name() -> None:
    app = app_on()

    @lash.process
    async def stranger(ctx: lash.Context) -> None: ...

    async def plain(ctx: lash.Context) -> None: ...

    async with app:
        for thing in (stranger, plain, "nobody"):
            with pytest.raises(lash.NotRegistered) as caught:
                await app.start(thing)  # type: ignore[arg-type]
            assert "Nothing was written" in str(caught.value)
        assert app.include(stranger) == 1
        await (await app.start(stranger))


@virtual
async def test_a_process_may_be_started_by_name() -> None:
    app = app_on()

    @app.process(name="given name")
    async def body(ctx: lash.Context, number: int) -> int:
        return number

    async with app:
        assert await (await app.start("given name", 5)) == 5  # type: ignore[arg-type]


@virtual
async def test_start_many_is_typed_shares_transactions_and_reports_a_conflict() -> None:
    from lash.testing.faults import FaultyStore

    store = FaultyStore(memory())
    app = app_on(store)

    @app.process
    async def body(ctx: lash.Context, number: int) -> int:
        return number

    async with app:
        before = store.writes
        handles = await app.start_many(
            body.call(number).options(id=f"p{number}", tags=["bulk"]) for number in range(200)
        )
        assert store.writes - before <= 10
        assert await asyncio.gather(*handles) == list(range(200))
        assert len(await app.processes(tag="bulk", limit=500)) == 200
        with pytest.raises(lash.ProcessConflict):
            await app.start_many([body.call(1000).options(id="p5"), body.call(7).options(id="new")])
        assert await app.handle("new") == 7
        assert await app.start_many([]) == []


@virtual
async def test_listing_by_status_name_and_tag_in_pages() -> None:
    app = app_on()

    @app.process
    async def good(ctx: lash.Context) -> None: ...

    @app.process
    async def bad(ctx: lash.Context) -> None:
        raise ValueError

    async with app:
        for number in range(7):
            await app.start(good, id=f"g{number}", tags=["odd"] if number % 2 else [])
        await app.start(bad, id="b")
        await asyncio.sleep(1)
        assert [row.record.id for row in await app.processes(status="failed")] == ["b"]
        assert [row.record.id for row in await app.processes(status=Status.COMPLETED, limit=3)] == ["g6", "g5", "g4"]
        assert [row.record.id for row in await app.processes(name="good", after="g4", limit=3)] == ["g3", "g2", "g1"]
        assert [row.record.id for row in await app.processes(tag="odd")] == ["g5", "g3", "g1"]
        for wrong in ({"limit": 0}, {"limit": 10**9}, {"status": "asleep"}):
            with pytest.raises(lash.InvalidArguments):
                await app.processes(**wrong)  # type: ignore[arg-type]


@virtual
async def test_a_runtime_is_usable_only_while_it_is_open() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> int:
        return 1

    async def refused() -> None:
        for use in (
            lambda: app.start(body),
            lambda: app.start_many([body.call()]),
            lambda: app.external("work"),
            lambda: app.processes(),
            lambda: app.handle("p").result(),
            lambda: app.handle("p").signal("n"),
            lambda: app.drive(),
            lambda: app.prune("1s"),
        ):
            with pytest.raises(lash.RuntimeNotOpen):
                await use()
        with pytest.raises(lash.RuntimeNotOpen):
            app.poke()

    await refused()
    async with app:
        assert await (await app.start(body)) == 1
        with pytest.raises(lash.RuntimeNotOpen):
            await app.open()
    await refused()
    async with app:
        assert await (await app.start(body)) == 1


@virtual
async def test_two_functions_under_one_name_are_refused_and_versions_stand_side_by_side() -> None:
    app = app_on()

    @app.process(name="p")
    async def first(ctx: lash.Context) -> str:
        return "first"

    async def second(ctx: lash.Context) -> str:
        return "second"

    with pytest.raises(lash.AlreadyRegistered) as caught:
        app.process(name="p")(second)
    assert "line" in str(caught.value)
    newer = app.process(name="p", version="2")(second)
    async with app:
        assert await (await app.start(newer)) == "second"
        assert await (await app.start("p")) == "second"  # type: ignore[arg-type]
        assert await (await app.start(first)) == "first"


@virtual
async def test_work_begun_under_an_old_version_ends_under_it_and_waits_for_a_worker_that_has_it() -> None:
    store = memory()

    @lash.process(name="p", version="1")
    async def old(ctx: lash.Context) -> str:
        return "old: " + await ctx.signal("n", str)

    @lash.process(name="p", version="2")
    async def new(ctx: lash.Context) -> str:
        return "new: " + await ctx.signal("n", str)

    async with app_on(store, old) as app:
        await app.start(old, id="a")
        await asyncio.sleep(0.1)
    async with app_on(store, new) as app:
        await app.start(new, id="b")
        for name in ("a", "b"):
            await app.handle(name).signal("n", name)
        assert await app.handle("b") == "new: b"
        await asyncio.sleep(60)
        assert await app.handle("a").status() is Status.RUNNING
        assert (await row_of(app, "a")).record.attempts == 1
    async with app_on(store, old, new) as app:
        assert await app.handle("a") == "old: a"


BAD_FUNCTIONS: list[Any] = []


def test_what_is_no_process_function_is_refused_when_it_is_decorated() -> None:
    app = lash.Runtime("memory://")

    def plain(ctx: lash.Context) -> None: ...

    async def nothing() -> None: ...

    async def keyword(*, ctx: lash.Context) -> None: ...

    async def fine(ctx: lash.Context) -> None: ...

    for function in (plain, nothing, keyword, 5):
        with pytest.raises(lash.InvalidArguments):
            app.process(function)  # type: ignore[call-overload]
    for options in ({"recovery": "maybe"}, {"attempts_max": 0}, {"attempts_max": "many"}, {"timeout": "soon"}):
        with pytest.raises(lash.InvalidArguments):
            app.process(**options)(fine)  # type: ignore[call-overload]
    for name in ("", " ", "x" * 300, "line\nbreak"):
        with pytest.raises(lash.InvalidName):
            app.process(name=name)(fine)
    with pytest.raises(lash.InvalidArguments):
        app.process(lash.process(fine))  # type: ignore[arg-type]
    with pytest.raises(lash.InvalidArguments):
        app.include(fine)


def test_a_module_of_processes_is_included_whole() -> None:
    import types

    module = types.ModuleType("jobs")

    @lash.process
    async def one(ctx: lash.Context) -> None: ...

    @lash.process
    async def two(ctx: lash.Context) -> None: ...

    module.one, module.two, module.alias = one, two, one  # type: ignore[attr-defined]
    app = lash.Runtime("memory://")
    app.include(module)
    app.include(module)
    assert [process.name for process in app.registered] == ["one", "two"]


@virtual
async def test_a_result_that_is_not_as_annotated_is_told_to_the_awaiter_by_type() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> int:
        return "no number"  # type: ignore[return-value]

    async with app:
        handle = await app.start(body)
        with pytest.raises(lash.InvalidValue):
            await handle
        assert await app.handle(handle.id) == "no number"


@virtual
async def test_arguments_without_annotations_are_plain_json() -> None:
    app = app_on()

    @app.process
    async def body(ctx, *args, **kwargs):  # type: ignore[no-untyped-def]
        return [args, kwargs]

    async with app:
        assert await (await app.start(body, (1, 2), {"a": {3: "x"}}, k=None)) == [
            [[1, 2], {"a": {"3": "x"}}],
            {"k": None},
        ]


@virtual
async def test_a_validator_that_raises_anything_on_the_stored_arguments_fails_the_process() -> None:
    store = memory()

    @lash.process(name="p")
    async def before(ctx: lash.Context, fussy: Any) -> None: ...

    @lash.process(name="p")
    async def after(ctx: lash.Context, fussy: Fussy) -> None: ...

    async with app_on(store, before, worker=False) as app:
        await app.start(before, {"name": "key"}, id="p")
    async with app_on(store, after) as app:
        failed = await failure_of(app.handle("p"))
        assert failed.failure_code == "process_recovery_failed"
        assert await (await app.start(after, Fussy(name="fine"))) is None
