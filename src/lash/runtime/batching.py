"""Group commit: whoever writes within one tick of the loop shares one transaction.

The next batch gathers while the last one commits. Verdicts are handed out in the order of the operations, which is
the order of the commit, so that a caller who must see entries in rank order sees them so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from lash.abc.engine import LateOp
from lash.abc.store import Op, Store, Verdict
from lash.errors import StoreUnavailable
from lash.limits import BATCH_OPS_MAX

log = logging.getLogger("lash.worker")

Sink: TypeAlias = "Callable[[Verdict | BaseException], None]"


class Batcher:
    """One writer per runtime. ``open`` on the loop that will use it; ``close`` flushes what is queued.

    Verdicts are handed out in a plain callback of the loop, never inside a task, so that whoever gets one may run a
    body at once.
    """

    def __init__(self, store: Store, after_commit: Callable[[list[Op], list[Verdict]], None]) -> None:
        self._store = store
        self._after_commit = after_commit
        self._queue: list[tuple[Op | LateOp, Sink]] = []
        self._scheduled = False
        self._slow: asyncio.Task[None] | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._closing = True
        self._loop = asyncio.get_running_loop()
        self.transactions = 0

    def open(self) -> None:
        self._closing = False

    async def close(self) -> None:
        """Write what is queued; refuse what comes later."""
        self._closing = True
        while self._queue or self._scheduled or self._slow is not None:
            self._emptied = self._loop.create_future()
            await self._emptied

    def abort(self) -> None:
        """Drop everything at once, as a crash would."""
        self._closing = True
        if self._slow is not None:
            self._slow.cancel()
        self._queue.clear()

    def submit(self, op: Op | LateOp, sink: Sink) -> None:
        """Queue one operation. ``sink`` is called once, on the loop, with its verdict or the transaction's error.

        A function instead of an operation is called for it when its transaction begins.
        """
        if self._closing:
            sink(StoreUnavailable("The runtime is closed; nothing was written."))
            return
        self._queue.append((op, sink))
        self._schedule()

    async def write(self, op: Op) -> Verdict:
        """Queue one operation and wait for its verdict."""
        future: asyncio.Future[Verdict] = self._loop.create_future()
        self.submit(op, partial(settle_future, future))
        return await future

    def _schedule(self) -> None:
        if not self._scheduled and self._slow is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        batch = self._queue[:BATCH_OPS_MAX]
        del self._queue[:BATCH_OPS_MAX]
        if batch:
            self.transactions += 1
            ops = [op() if callable(op) else op for op, _ in batch]
            try:
                verdicts = self._store.write_now(ops)
            except BaseException as error:  # noqa: BLE001  # whatever stopped the transaction is every caller's answer
                self._finish(batch, ops, error)
                return
            if verdicts is None:
                self._slow = self._loop.create_task(self._write_slowly(batch, ops), name="lash-writer")
                return
            self._finish(batch, ops, verdicts)
        elif self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def _write_slowly(self, batch: list[tuple[Op | LateOp, Sink]], ops: list[Op]) -> None:
        result: list[Verdict] | BaseException
        try:
            result = await self._store.write(ops)
        except asyncio.CancelledError:
            self._slow = None
            raise
        except BaseException as error:  # noqa: BLE001  # as in _flush
            result = error
        self._loop.call_soon(self._finish, batch, ops, result)

    def _finish(
        self, batch: list[tuple[Op | LateOp, Sink]], ops: list[Op], result: list[Verdict] | BaseException
    ) -> None:
        self._slow = None
        answers = [result] * len(batch) if isinstance(result, BaseException) else result
        for (_, sink), answer in zip(batch, answers, strict=True):
            try:
                sink(answer)
            except Exception:
                log.exception("a verdict could not be handled")  # and the others must still get theirs
        if not isinstance(result, BaseException):
            self._after_commit(ops, result)
        if self._queue or self._closing:
            self._schedule()


def settle_future(future: asyncio.Future[Verdict], verdict: Verdict | BaseException) -> None:
    """Hand a verdict to somebody who may have stopped waiting."""
    if future.done():
        return
    if isinstance(verdict, BaseException):
        future.set_exception(verdict)
    else:
        future.set_result(verdict)
