"""Many parked processes in one database, made quickly: the store's own operations, without running a body.

The rows are those that a worker leaves behind when a body has begun and then waits: half of them for a signal (no
timer, in no scheduling index), half for a timer that is due in a month. Such a body goes on when it is woken.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import lash
from benchmarks.child import text_of
from lash.abc.store import Op, Park, Put, Recorded, Start, Started, wait_key_of_signal
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import ProcessSpec, Waiting
from lash.runtime.specs import process_spec

SIGNAL = "go"
SIGNAL_KEY = wait_key_of_signal(SIGNAL)
SLEEP = timedelta(days=30)
PREPARER = "preparer"
TTL_MS = 60_000
BATCH = 1_000
TEXT = text_of(100)


@lash.process
async def awaiting_signal(ctx: lash.Context, text: str) -> str:
    answer: str = await ctx.signal(SIGNAL, str)
    return text + answer


@lash.process
async def asleep(ctx: lash.Context, text: str) -> str:
    await ctx.sleep(SLEEP)
    return text


def id_of(number: int) -> str:
    return f"parked-{number:07d}"


def spec_of(number: int) -> ProcessSpec:
    process = asleep if number % 2 else awaiting_signal
    args = process.signature.encode((TEXT,), {})
    return process_spec(process, args, id_of(number), host_profile="default")


async def prepare(app: lash.Runtime, count: int) -> None:
    """Write ``count`` parked processes. The runtime may be opened without a worker."""
    for first in range(0, count, BATCH):
        await prepare_batch(app, range(first, min(count, first + BATCH)))


async def prepare_batch(app: lash.Runtime, numbers: Sequence[int]) -> None:
    store = app.store
    until_ms = store.now_ms() + SLEEP // timedelta(milliseconds=1)
    started = await store.write([Start(spec_of(number), PREPARER, TTL_MS) for number in numbers])
    fences = [fence_of(verdict) for verdict in started]
    waits: list[Op] = [
        Put(fence, 0, (Entry(EntryKind.WAIT, 0, SIGNAL_KEY),))
        for number, fence in zip(numbers, fences, strict=True)
        if number % 2 == 0
    ]
    ranks: dict[int, int] = {}
    for op, verdict in zip(waits, await store.write(waits), strict=True):
        assert isinstance(op, Put)
        assert isinstance(verdict, Recorded)
        ranks[op.fence.row] = verdict.entries[-1].rank
    parks = [
        Park(fence, 0, Waiting("sleep", None, until_ms))
        if number % 2
        else Park(fence, ranks[fence.row], Waiting("signal", SIGNAL_KEY, None))
        for number, fence in zip(numbers, fences, strict=True)
    ]
    await store.write(parks)


def fence_of(verdict: object) -> Fence:
    assert isinstance(verdict, Started)
    assert verdict.claimed is not None
    return verdict.claimed.lease.fence
