"""What tests of the runtime share: virtual time, a runtime on a store that outlives it, and steps that count."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import lash
from lash.abc.engine import Engine
from lash.abc.store import Store
from lash.core.event import Event
from lash.core.process import ProcessRow, fold
from lash.engines.local import LocalEngine
from lash.runtime.runtime import Runtime
from lash.runtime.settings import settings_of
from lash.stores.memory import MemoryStore
from lash.testing import simulate

P = ParamSpec("P")


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test whose coroutine runs in virtual time, six hours of it at most."""

    async def bounded(*args: P.args, **kwargs: P.kwargs) -> None:
        async with asyncio.timeout(6 * 3_600):
            await test(*args, **kwargs)

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        simulate.run(bounded(*args, **kwargs))

    return run


def memory() -> MemoryStore:
    return MemoryStore(simulate.now_ms)


def app_on(
    store: Store | None = None,
    *processes: Any,
    engine: Engine | None = None,
    worker: bool = True,
    concurrency: int = 64,
    lease_ttl: str = "10s",
    linger: str = "1s",
    resident: int = 1_000,
    drain: str = "20s",
    host_profile: str = "default",
) -> Runtime:
    """A runtime over ``store``, as another worker on the same database would be."""
    used = memory() if store is None else store
    settings = settings_of(concurrency, lease_ttl, linger, resident, drain, host_profile, None)
    app = Runtime(used, engine or LocalEngine(used), settings, worker)
    if processes:
        app.include(*processes)
    return app


class Tally:
    """Counts calls under a word."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def note(self, word: Any) -> Any:
        self.calls.append(word)
        return word

    def note_in_thread(self, word: Any) -> Any:
        self.calls.append(word)
        return word

    def __getitem__(self, word: Any) -> int:
        return self.calls.count(word)


async def row_of(app: Runtime, process_id: str) -> ProcessRow:
    (row,) = await app.store.get((process_id,))
    assert isinstance(row, ProcessRow)
    return row


async def events_of(app: Runtime, process_id: str) -> list[Event]:
    return await app.store.events(process_id, 0, 10_000)


async def types_of(app: Runtime, process_id: str) -> list[str]:
    return [event.type for event in await events_of(app, process_id)]


async def check_fold(app: Runtime, process_id: str, spec: Any) -> None:
    record = (await row_of(app, process_id)).record
    assert fold(spec, record.created_ms, await events_of(app, process_id)) == record


async def until(condition: Callable[[], bool], limit_s: float = 600) -> None:
    """Let virtual time pass until ``condition`` holds."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def parked(app: Runtime, process_id: str) -> ProcessRow:
    """Let time pass until the process holds no worker."""
    async with asyncio.timeout(600):
        while True:
            row = await row_of(app, process_id)
            if row.record.waiting is not None and row.owner is None:
                return row
            await asyncio.sleep(0.05)


async def failure_of(handle: lash.Handle[Any]) -> lash.ProcessFailed:
    try:
        value = await handle
    except lash.ProcessFailed as error:
        return error
    raise AssertionError(f"the process completed with {value!r}")
