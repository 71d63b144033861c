"""The rounds of a worker: driving when there is a reason, renewing leases, noticing the dead.

A drive has one of four reasons: a poke, the store's notice, the next due time, or the slow safety look. None of the
rounds writes when there is nothing to do (promise 6), and none ends because the store is away for a while.
"""

from __future__ import annotations

import asyncio
import logging

from lash.abc.store import Count, Discharge, Enlist, Expire, Prune, Sweep, Unblock
from lash.core.schedule import backoff_ms
from lash.errors import InfrastructureError
from lash.limits import (
    ATTACHMENT_GRACE_MS,
    CANCEL_GRACE_MS,
    PRUNE_BLOBS_PAGE,
    PRUNE_PAGE,
    SAFETY_POLL_MS,
    SWEEP_MS,
)  # fmt: skip
from lash.runtime.worker import Worker

log = logging.getLogger("lash.worker")


class Rounds:
    """Owns the tasks around one worker. ``open``, then ``close`` (orderly) or ``abort`` (as a crash would)."""

    def __init__(self, worker: Worker, about: bytes, driving: bool) -> None:
        self._worker = worker
        self._about = about
        self.driving = driving
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    async def open(self) -> None:
        worker = self._worker
        await worker.store.prove_life(worker.leases.owner)
        await self._enlist()
        rounds = [self._renewing(), self._sweeping()]
        if self.driving:
            rounds += [self._drive_rounds(), self._unblock()]
        self._tasks = [self._loop.create_task(work) for work in rounds]

    async def close(self) -> None:
        """Stop claiming, let steps in flight finish within the drain time, give every lease back."""
        worker = self._worker
        worker.leases.draining = True
        deadline = self._loop.time() + worker.settings.drain_ms / 1_000
        for kept in list(worker.leases.kept.values()):
            if kept.run is not None:
                if kept.record.spec.recovery != "once":
                    kept.run.draining = True
                kept.run.wake()
        while worker.leases.kept and self._loop.time() < deadline:
            worker.leases.emptied.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await worker.leases.emptied.wait()
            except TimeoutError:
                break
        for kept in list(worker.leases.kept.values()):
            if not kept.leaving:
                if kept.record.spec.recovery == "once":
                    worker.leases.abandon(kept)
                else:
                    worker.leases.release(kept)
        await self._stop_tasks()
        worker.leases.residents.close()
        try:
            await worker.batcher.write(Discharge(worker.leases.owner))
        except InfrastructureError as error:
            log.warning("the store is away; this worker's entry runs out by itself: %s", error)

    async def abort(self) -> None:
        self._worker.abort()
        await self._stop_tasks()

    async def _stop_tasks(self) -> None:
        self._worker.performers.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    # Driving -----------------------------------------------------------------------------------------------------

    async def _drive_rounds(self) -> None:
        worker = self._worker
        failures = 0
        while not worker.leases.draining:
            try:
                await worker.drive()
                pause_s = await self._pause_s(worker.due_ms)
                failures = 0
            except InfrastructureError as error:
                failures += 1
                pause_s = backoff_ms(failures) / 1_000
                log.error("the store does not answer, trying again in %.1f s: %s", pause_s, error)
                await asyncio.sleep(min(pause_s, SAFETY_POLL_MS / 1_000))
                continue
            try:
                async with asyncio.timeout(pause_s):
                    await worker.leases.poked()
            except TimeoutError:
                pass

    async def _pause_s(self, due_ms: int | None) -> float:
        """Until the next row of ours is due, at most the safety interval; a poke ends it, as does a slot given back."""
        if due_ms is None:
            return SAFETY_POLL_MS / 1_000
        return min(max(0, due_ms - self._worker.store.now_ms()), SAFETY_POLL_MS) / 1_000

    async def _unblock(self) -> None:
        """This worker's code may be what blocked rows are waiting for. Driving does not wait for it."""
        worker = self._worker
        write = worker.batcher.write
        try:
            found = await asyncio.gather(*[write(Unblock(lane, code.code_hash)) for lane, code in worker.served])
        except InfrastructureError as error:
            log.error("blocked rows were not looked at: %s", error)
            return
        if any(isinstance(verdict, Count) and verdict.ids for verdict in found):
            worker.leases.poke()

    # Leases ------------------------------------------------------------------------------------------------------

    async def _enlist(self) -> None:
        worker = self._worker
        await worker.batcher.write(Enlist(worker.leases.owner, worker.lanes, self._about, worker.settings.lease_ttl_ms))

    async def _renewing(self) -> None:
        """Every third of a lease. A store that does not answer costs the leases before they run out; a worker that was
        itself stopped or blocked for long asks first, for the answer tells what it still holds."""
        leases = self._worker.leases
        ttl_s = self._worker.settings.lease_ttl_ms / 1_000
        while True:
            began = self._loop.time()
            await asyncio.sleep(ttl_s / 3)
            overslept_s = self._loop.time() - began - ttl_s / 3
            leases.renew()
            if leases.unrenewed_s > ttl_s * 5 / 6 and overslept_s < ttl_s / 6:
                leases.give_up()

    # The dead ----------------------------------------------------------------------------------------------------

    async def _sweeping(self) -> None:
        worker = self._worker
        next_slow = 0.0
        while True:
            try:
                for owner in await worker.store.dead_owners():
                    log.warning("worker %s is dead; its processes are taken over", owner)
                    await worker.batcher.write(Expire(owner))
                    await worker.batcher.write(Discharge(owner))
                    worker.leases.poke()
                if self._loop.time() >= next_slow:
                    next_slow = self._loop.time() + SAFETY_POLL_MS / 1_000
                    await self._slow_look()
            except InfrastructureError as error:
                log.error("looking for dead workers failed: %s", error)
            await asyncio.sleep(SWEEP_MS / 1_000)

    async def _slow_look(self) -> None:
        worker = self._worker
        await worker.batcher.write(Sweep(CANCEL_GRACE_MS))
        worker.leases.look(await worker.store.news(worker.leases.owner))
        worker.leases.poke()
        await worker.store.blobs.prune(worker.store.now_ms() - ATTACHMENT_GRACE_MS, PRUNE_BLOBS_PAGE)
        retention_ms = worker.settings.retention_ms
        if retention_ms is not None:
            before_ms = worker.store.now_ms() - retention_ms
            await worker.batcher.write(Prune(before_ms, PRUNE_PAGE))
