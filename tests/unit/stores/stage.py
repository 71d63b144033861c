"""Short words for tests of one store: open it, start a process, put a step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lash.abc.store import Put, Recorded, Start, Started, Store
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import ProcessSpec, definition_of
from lash.stores.sqlite import SqliteStore

S = TypeVar("S", bound=Store)
ARGS = b"[[],{}]"


def spec(process_id: str, **fields: object) -> ProcessSpec:
    definition = definition_of("python", "job", ARGS)
    return ProcessSpec(process_id, "python", "job", "", ARGS, definition, **fields)  # type: ignore[arg-type]


def step(ordinal: int, payload: bytes = b"1") -> Entry:
    return Entry(EntryKind.STEP, ordinal, "work", "ab" * 16, payload)


async def leased(store: Store, process_id: str, owner: str = "w1") -> Fence:
    verdict = (await store.write([Start(spec(process_id), owner, 60_000)]))[0]
    assert isinstance(verdict, Started)
    assert verdict.claimed is not None
    return verdict.claimed.lease.fence


async def put(store: Store, fence: Fence, *entries: Entry) -> list[Entry]:
    verdict = (await store.write([Put(fence, 0, entries)]))[0]
    assert isinstance(verdict, Recorded)
    return list(verdict.entries)


async def on_open(store: S, work: Callable[[S], Coroutine[Any, Any, object]]) -> None:
    """``work`` on a store that is closed afterwards."""
    await store.open()
    try:
        await work(store)
    finally:
        await store.close()


@asynccontextmanager
async def opened(path: Path | str, *, inline: bool = True) -> AsyncIterator[SqliteStore]:
    """Commits where the test wants them, whatever this machine's disk is like."""
    store = SqliteStore(str(path), sync="normal")
    await store.open()
    if not inline:
        store.commit_in_thread()
    try:
        yield store
    finally:
        await store.close()


async def check_a_failing_operation_leaves_nothing_behind(store: Store) -> None:
    """Neither where it is kept nor in what the store remembers of it."""
    fence = await leased(store, "p")
    await put(store, fence, step(0))
    broken = Put(fence, 1, [None])  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        await store.write([Put(fence, 1, [step(1)]), Start(spec("q", host_profile="new")), broken])
    assert await store.get(["q"]) == [None]
    entries = await put(store, fence, step(1))
    assert [(entry.ordinal, entry.rank) for entry in entries] == [(0, 1), (1, 2)]
    await store.write([Start(spec("q", host_profile="newer"))])
    row = (await store.get(["q"]))[0]
    assert row is not None
    assert row.record.spec.host_profile == "newer"  # type: ignore[union-attr]
