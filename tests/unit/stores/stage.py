"""Short words for tests of one store: open it, start a process, put a step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lash.abc.store import Put, Recorded, Start, Started, Store
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import ProcessSpec, definition_of
from lash.stores.sqlite import SqliteStore

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
