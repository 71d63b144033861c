"""Promise: cancelling a process cancels the family it started, whenever within the cancel a child was started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import lash
from lash.abc.store import Cancel, Claim, Claims, Expire, Finish, Start, Store
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Failure, Outcome, Status
from lash.core.process import Lane, ProcessRow, ProcessSpec, lane_of
from lash.stores.memory import MemoryStore
from lash.stores.postgres import PostgresStore
from lash.stores.sqlite import SqliteStore
from lash.testing.checkers import check_store
from lash.testing.clock import Clock
from tests.crash.places import STORES, url_in
from tests.postgres import fresh_url

ALL_STORES = ["memory", *STORES]


def spec(process_id: str, parent: str | None = None, **more: object) -> ProcessSpec:
    return ProcessSpec(process_id, "python", "f", "", b"[[],{}]", process_id, parent=parent, **more)  # type: ignore[arg-type]


LANE: Lane = lane_of(spec("any"))


def store_of(kind: str, folder: Path, clock: Clock) -> Store:
    if kind == "memory":
        return MemoryStore(clock)
    if kind == "sqlite":
        return SqliteStore(str(folder / "family.db"), clock=clock)
    return PostgresStore(fresh_url(), clock=clock)


async def statuses(store: Store, *ids: str) -> list[object]:
    rows = await store.get(ids)
    return [
        (row.record.status.value, row.record.cancel_requested is not None) if isinstance(row, ProcessRow) else None
        for row in rows
    ]


@pytest.mark.parametrize("kind", ALL_STORES)
@pytest.mark.parametrize(
    ("outcome", "reached"),
    [
        (Cancelled("stop"), True),
        (Failed(Failure("execution", "x", "x")), True),
        (Abandoned({}), True),
        (Completed(b"1"), False),
    ],
)
def test_a_child_started_after_the_request_is_asked_when_its_parent_ends(
    kind: str, outcome: Outcome, reached: bool, tmp_path: Path
) -> None:
    """The body may have been told of the cancel while it was starting the child, and never got to know it."""

    async def main() -> None:
        store = store_of(kind, tmp_path, Clock())
        await store.open()
        (started,) = await store.write([Start(spec("parent"), "w", 10_000)])
        fence = started.claimed.lease.fence  # type: ignore[union-attr]
        await store.write([Cancel("parent", "stop")])
        await store.write(
            [
                Start(spec("late", "parent"), "w", 10_000),
                Start(spec("later", "late")),
                Start(spec("free", "parent", detached=True)),
                Finish(fence, outcome),
            ]
        )
        asked = ("running", True), ("cancelled", True), ("running", False)
        left = ("running", False), ("running", False), ("running", False)
        assert await statuses(store, "late", "later", "free") == list(asked if reached else left)
        await check_store(store)
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ALL_STORES)
def test_a_child_closed_with_its_lost_parent_is_not_claimed_beside_it(kind: str, tmp_path: Path) -> None:
    """One claim finds both due: the parent's contract closes it, which closes the child that never started."""

    async def main() -> None:
        clock = Clock()
        store = store_of(kind, tmp_path, clock)
        await store.open()
        await store.write([Start(spec("parent", recovery="once", priority=1), "dead", 10_000)])
        await store.write([Cancel("parent", "stop"), Start(spec("child", "parent"))])
        clock.advance("1s")
        await store.write([Expire("dead")])
        clock.advance("1s")
        (claims,) = await store.write([Claim("w", [LANE], 10, 10_000)])
        assert isinstance(claims, Claims)
        assert (list(claims.rows), list(claims.closed)) == ([], ["parent"])
        assert await statuses(store, "parent", "child") == [("abandoned", True), ("cancelled", True)]
        await check_store(store)
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", STORES)
def test_a_body_cancelled_while_it_starts_a_child_leaves_no_orphan(kind: str, tmp_path: Path) -> None:
    """The cancel and the start race; whoever wins, nobody is left running."""

    async def main() -> None:
        app = lash.Runtime(url_in(kind, tmp_path), linger="0ms")

        @app.process
        async def forever(ctx: lash.Context) -> None:
            await ctx.signal("never")

        @app.process
        async def parent(ctx: lash.Context, count: int) -> None:
            for _ in range(count):
                await ctx.start(forever)
            await ctx.signal("never")

        async with app:
            handles = [await app.start(parent, 6, id=f"p{number}") for number in range(30)]

            async def cancel(number: int, handle: lash.Handle[None]) -> None:
                await asyncio.sleep(number * 0.0005)
                await handle.cancel("stop")

            await asyncio.gather(*(cancel(number, handle) for number, handle in enumerate(handles)))
            async with asyncio.timeout(30):
                for handle in handles:
                    with pytest.raises(lash.ProcessCancelled):
                        await handle
                while running := await app.processes(status=Status.RUNNING):
                    assert all(row.record.cancel_requested is not None for row in running), running
                    await asyncio.sleep(0.01)
            await check_store(app.store)

    asyncio.run(main())
