"""Group commit: whoever writes within one tick of the loop shares one transaction.

The next batch gathers while the last one commits. Verdicts are handed out in the order of the operations, which is
the order of the commit, so that a caller who must see entries in rank order sees them so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from lash.abc.engine import LateOp
from lash.abc.store import Op, Store, Verdict
from lash.errors import StoreUnavailable
from lash.limits import BATCH_OPS_MAX

Sink: TypeAlias = "Callable[[Verdict | BaseException], None]"


class Batcher:
    """One writer task per runtime. ``open`` on the loop that will use it; ``close`` flushes what is queued."""

    def __init__(self, store: Store, after_commit: Callable[[list[Op], list[Verdict]], None]) -> None:
        self._store = store
        self._after_commit = after_commit
        self._queue: list[tuple[Op | LateOp, Sink]] = []
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.transactions = 0

    def open(self) -> None:
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lash-writer")

    async def close(self) -> None:
        self._closing = True
        self._ring()
        if self._task is not None:
            await self._task
            self._task = None

    def abort(self) -> None:
        """Drop everything at once, as a crash would."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._queue.clear()

    def submit(self, op: Op | LateOp, sink: Sink) -> None:
        """Queue one operation. ``sink`` is called once, on the loop, with its verdict or the transaction's error.

        A function instead of an operation is called for it when its transaction begins.
        """
        if self._closing:
            sink(StoreUnavailable("The runtime is closed; nothing was written."))
            return
        self._queue.append((op, sink))
        self._ring()

    async def write(self, op: Op) -> Verdict:
        """Queue one operation and wait for its verdict."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        self.submit(op, partial(settle_future, future))
        return await future

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake = loop.create_future()
                await self._wake
                continue
            batch = self._queue[:BATCH_OPS_MAX]
            del self._queue[:BATCH_OPS_MAX]
            await self._commit(batch)

    async def _commit(self, batch: list[tuple[Op | LateOp, Sink]]) -> None:
        self.transactions += 1
        ops = [op() if callable(op) else op for op, _ in batch]
        try:
            verdicts = await self._store.write(ops)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever stopped the transaction is every caller's answer
            for _, sink in batch:
                sink(error)
            return
        for (_, sink), verdict in zip(batch, verdicts, strict=True):
            sink(verdict)
        self._after_commit(ops, verdicts)


def settle_future(future: asyncio.Future[Verdict], verdict: Verdict | BaseException) -> None:
    """Hand a verdict to somebody who may have stopped waiting."""
    if future.done():
        return
    if isinstance(verdict, BaseException):
        future.set_exception(verdict)
    else:
        future.set_result(verdict)
