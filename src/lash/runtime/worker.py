"""The worker is the only executor of bodies: it claims rows it has code for, runs them, and writes their outcomes.

Every write goes through the group commit, and its verdict is handled in commit order: what this worker believes to own
is at every moment what the store has told it. Infrastructure trouble gives the row back with a pause; only the body's
own end, or what can never succeed, is an outcome (promise 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from lash.abc.engine import Engine
from lash.abc.sessions import Begun
from lash.abc.store import (
    Claim,
    Claimed,
    Claims,
    Continue,
    Done,
    Store,
    Verdict,
)  # fmt: skip
from lash.core.effect import Entry
from lash.core.outcome import Cancelled, Failed, Failure, text_of
from lash.core.process import PYTHON, Lane, ProcessRecord, ProcessRow, ProcessSpec
from lash.core.session import SESSION
from lash.errors import Diverged, LashError, LeaseLost
from lash.limits import CANCEL_GRACE_MS, CLAIM_PAGE_MAX
from lash.runtime.batching import Batcher
from lash.runtime.bodyport import BodyPort, World
from lash.runtime.bodyrun import BodyRun
from lash.runtime.checks import Code, check_row, reason_of
from lash.runtime.context import Context, ContinueAsNew
from lash.runtime.ending import ProcessTimeout, ending_of
from lash.runtime.kept import Kept, close_run
from lash.runtime.leases import Leases
from lash.runtime.performing import Performers
from lash.runtime.registry import Process, Registry
from lash.runtime.report import Report
from lash.runtime.settings import Settings
from lash.runtime.watch import Hub

if TYPE_CHECKING:
    from lash.runtime.sessionwork import Sessions, SessionWork

log = logging.getLogger("lash.worker")
FAULTS_KEPT = 1_000


class Worker:
    """One per opened runtime that executes. Lives on one event loop."""

    def __init__(
        self,
        owner: str,
        store: Store,
        batcher: Batcher,
        engine: Engine,
        registry: Registry,
        hub: Hub,
        settings: Settings,
        world: World,
        sessions: Sessions | None,
    ) -> None:
        self.store = store
        self.batcher = batcher
        self.engine = engine
        self.registry = registry
        self.hub = hub
        self.settings = settings
        self.world = world
        self.leases = Leases(owner, batcher, engine, hub, settings, world)
        self.sessions: SessionWork | None = None
        """Where this runtime has agents; their code is not even imported where it has none."""
        if sessions is not None:
            from lash.runtime.sessionwork import SessionWork

            self.sessions = SessionWork(self.leases, batcher, sessions, world)
        self.context = copy_context()
        self.performers = Performers(asyncio.get_running_loop(), self.context)
        self.begin = self.performers.begin
        self.due_ms: int | None = None
        """When the next row of ours is due, as of the last look; None also while there is no slot for it."""
        self.now_ms = world.now_ms
        self._tasks: set[asyncio.Task[None]] = set()
        self._deferred: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def served(self) -> list[tuple[Lane, Code]]:
        """The queues this worker serves, with its code: each registered version and each agent, in its own host profile
        and in the empty one."""
        codes: list[tuple[str, str, str, Code]] = [(PYTHON, item.name, item.version, item) for item in self.registry]
        if self.sessions is not None:
            codes += [(SESSION, running.agent.name, "", running) for running in self.sessions.ready]
        profiles = dict.fromkeys((self.settings.host_profile, ""))
        return [
            (Lane(profile, kind, name, version), code) for kind, name, version, code in codes for profile in profiles
        ]

    @property
    def lanes(self) -> list[Lane]:
        return [lane for lane, _ in self.served]

    def code_of(self, spec: ProcessSpec) -> Code | None:
        """The code of a row, if it is here."""
        if spec.kind == PYTHON:
            return self.registry.exact(spec.name, spec.version)
        return self.sessions.running(spec.name) if spec.kind == SESSION and self.sessions is not None else None

    # Claiming ----------------------------------------------------------------------------------------------------

    async def drive(self) -> Report:
        """One pass: claim what is due, up to the free slots, and set it going. Does not wait for any body."""
        self.leases.looked()
        self.leases.counters.drives += 1
        claimed: list[str] = []
        deferred: dict[str, str] = {}
        lanes = self.lanes
        while lanes and not self.leases.draining:
            limit = min(self.leases.slots.free, CLAIM_PAGE_MAX)
            self.leases.starved = limit <= 0
            self.due_ms = due_ms = await self.store.next_due_ms(lanes) if limit > 0 else None
            if due_ms is None or due_ms > self.store.now_ms():
                break  # looking costs no write
            claims = await self._claim(lanes, limit)
            deferred.update(dict.fromkeys(claims.postponed, "back_off"))
            for item in claims.rows:
                reason = self._deferred.pop(item.lease.process_id, None)
                if reason is None:
                    claimed.append(item.lease.process_id)
                else:
                    deferred[item.lease.process_id] = reason
            if not (claims.rows or claims.closed or claims.postponed):
                break  # others were quicker
        faults = tuple(self.leases.faults)
        self.leases.faults.clear()
        return Report(tuple(claimed), deferred, faults)

    async def _claim(self, lanes: list[Lane], limit: int) -> Claims:
        future: asyncio.Future[Claims] = self._loop.create_future()
        self.leases.slots.reserved += limit

        def settle(verdict: Verdict | BaseException) -> None:
            self.leases.slots.reserved -= limit
            if isinstance(verdict, Claims):
                for item in verdict.rows:
                    self.admit(item)
                for process_id in verdict.closed:
                    self.hub.changed()
                    log.warning(
                        "process %s was closed: its worker was lost and its contract allows no more", process_id
                    )
            if not future.done():
                if isinstance(verdict, Claims):
                    future.set_result(verdict)
                else:
                    future.set_exception(verdict if isinstance(verdict, BaseException) else TypeError(str(verdict)))

        self.leases.renew_if_late()
        self.batcher.submit(Claim(self.leases.owner, lanes, limit, self.settings.lease_ttl_ms), settle)
        return await future

    def admit(self, item: Claimed, begun: Begun | None = None) -> None:
        """A row belongs to this worker now. Called while its verdict is handled, so nothing else can come between.
        ``begun``: of a session whose turn began with its lease."""
        former = self.leases.kept.get(item.lease.row)
        if former is not None:  # our lease ran out, and it is we who took the row over
            self.leases.lost(former, LeaseLost(f"The lease on {item.lease.process_id!r} ran out here."))
        kept = Kept(item.row.record, item.lease, faults=item.row.faults)
        self.leases.keep(kept)
        self.leases.counters.claimed += 1
        try:
            kept.process = check_row(
                kept.record,
                host_profile=self.settings.host_profile,
                durable_engine=self.engine.durable,
                facets=self.store.facets,
                code_of=self.code_of,
            )
        except LashError as error:
            self._deferred[kept.lease.process_id] = reason_of(error)
            self.leases.give_back(kept, error)
            return
        if kept.record.cancel_requested is not None and self._cancel_overdue(kept):
            self.leases.finish(kept, Cancelled(kept.record.cancel_requested.reason))
            return
        self.leases.slots.take(kept)
        resident = self.leases.residents.take(item.lease)
        if resident is not None and resident.run is not None:
            self._attach(kept, resident.run)
            resident.run.unpark(kept.lease)
            self._spawn(self._resume(kept, resident.run))
        elif item.fresh and isinstance(kept.process, Process):
            self._begin(kept, self._make_run(kept), [])
        elif begun is None or not self._begin_turn(kept, begun):
            self._spawn(self._recall(kept, self._make_run(kept)))

    def _begin_turn(self, kept: Kept, begun: Begun) -> bool:
        """Without a read, where it is known here what the turn goes on from."""
        sessions, running = self.sessions, kept.process
        assert sessions is not None
        assert running is not None
        assert not isinstance(running, Process)
        start = sessions.contexts.known(kept.lease.process_id, begun.head)
        if start is None:
            return False
        try:
            sessions.begin(kept, self._make_run(kept), running, [begun.entry], start)
        except Exception as error:  # noqa: BLE001  # as in _recall
            self.leases.give_back(kept, error)
        return True

    def _cancel_overdue(self, kept: Kept) -> bool:
        request = kept.record.cancel_requested
        return request is not None and self.world.now_ms() > request.at_ms + 2 * CANCEL_GRACE_MS

    # Running -----------------------------------------------------------------------------------------------------

    def _make_run(self, kept: Kept) -> BodyRun:
        run = BodyRun(kept.lease, kept.record.began_ms or self.world.now_ms(), self.engine, self)
        self._attach(kept, run)
        return run

    def _attach(self, kept: Kept, run: BodyRun) -> None:
        kept.run = run
        self.leases.by_run[run] = kept
        run.draining = self.leases.draining and kept.record.spec.recovery != "once"

    async def _resume(self, kept: Kept, run: BodyRun) -> None:
        """A resident body goes on where it parked: it hears the news."""
        try:
            news = await self.engine.history(run, run.seen)
            if self.leases.still(kept):
                self.leases.counters.resumed_resident += 1
                run.resume(news)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is no outcome of the process
            self.leases.give_back(kept, error)

    async def _recall(self, kept: Kept, run: BodyRun) -> None:
        """Any other body hears its whole history."""
        try:
            history = await self.engine.history(run, 0)
            if self.sessions is not None and kept.process is not None and not isinstance(kept.process, Process):
                start = await self.sessions.contexts.start_of(kept.lease.process_id)
                if self.leases.still(kept):
                    self.sessions.begin(kept, run, kept.process, history, start)
            elif self.leases.still(kept):
                self._begin(kept, run, history)
        except Exception as error:  # noqa: BLE001  # as in _resume
            self.leases.give_back(kept, error)

    def _begin(self, kept: Kept, run: BodyRun, history: list[Entry]) -> None:
        process, record = kept.process, kept.record
        assert isinstance(process, Process)
        try:
            body = body_of(run, record, process, self.world)
        except Exception as error:  # noqa: BLE001  # a validator of the user's may raise anything
            message = f"The stored arguments cannot be used: {text_of(error, str)}"
            self.leases.finish(kept, Failed(Failure("execution", "process_recovery_failed", message)))
            return
        run.start(body, history)

    # Keeper: what a run tells its worker -------------------------------------------------------------------------

    def threads(self) -> Executor:
        return self.world.threads()

    def on_busy(self, run: BodyRun) -> bool:
        kept = self.leases.by_run.get(run)
        if kept is None:
            return False
        if kept.linger is not None:
            kept.linger.cancel()
            kept.linger = None
        return self.leases.slots.take(kept)

    def on_live(self, run: BodyRun) -> None:
        kept = self.leases.by_run[run]
        self.leases.counters.replayed_effects += run.replayed
        if kept.record.blocked is not None or kept.faults:
            self.leases.progress(kept)

    def on_blocked(self, run: BodyRun) -> None:
        kept = self.leases.by_run.get(run)
        if kept is None or kept.leaving:
            return
        idle = run.idle
        if run.draining:
            if idle:
                self.leases.leave(kept)
            return  # what is in flight wakes it; a timer that is due would only make it spin
        due_ms = run.next_due_ms()
        pause_ms = None if due_ms is None else due_ms - self.world.now_ms()
        if kept.due is not None:
            kept.due.cancel()
            kept.due = None
        if pause_ms is not None:
            kept.due = self._loop.call_later(max(0, pause_ms) / 1_000, self._on_due, kept)
        if idle:
            self.leases.free_slot(kept)
            if self.leases.may_park(kept) and (pause_ms is None or pause_ms > self.settings.linger_ms):
                if kept.linger is not None:
                    kept.linger.cancel()
                kept.linger = self._loop.call_later(self.settings.linger_ms / 1_000, self.leases.park, kept)

    def on_end(self, run: BodyRun) -> None:
        kept = self.leases.by_run.get(run)
        if kept is None or kept.process is None:
            return
        self.leases.counters.performed_steps += run.performed
        if self.sessions is not None and not isinstance(kept.process, Process):
            self.sessions.ended(kept, run)
            return
        assert isinstance(kept.process, Process)
        outcome = ending_of(run, kept.process.signature.result)
        if isinstance(outcome, ContinueAsNew):
            self._continue(kept, outcome.args_json)
        else:
            self.leases.finish(kept, outcome)

    def on_trouble(self, run: BodyRun, error: BaseException) -> None:
        kept = self.leases.by_run.get(run)
        if kept is None:
            return
        self.leases.counters.performed_steps += run.performed
        if isinstance(error, LeaseLost):
            self.leases.lost(kept, error)
        elif isinstance(error, Diverged):  # or it was stopped after its claim, and has read what its follower wrote
            self.leases.once_told(partial(self._put_back_diverged, kept, error))
        else:
            self.leases.give_back(kept, error)

    def _put_back_diverged(self, kept: Kept, error: Diverged) -> None:
        if self.leases.still(kept):
            self.leases.counters.diverged += 1
            self.leases.give_back(kept, error)

    def _on_due(self, kept: Kept) -> None:
        """A timer, a retry or the end of the cancel grace is due."""
        kept.due = None
        self.leases.when_sure(partial(self._go_on, kept))

    def _go_on(self, kept: Kept) -> None:
        run = kept.run
        if run is None or run.closed or kept.leaving or not self.leases.still(kept):
            return
        if run.cancelled_ms is not None and self.world.now_ms() >= run.cancelled_ms + CANCEL_GRACE_MS:
            run.close()
            if not isinstance(kept.process, Process):
                self.leases.give_back(kept, TimeoutError("The turn did not end when it was cancelled."))
            else:
                self.leases.finish(kept, Cancelled(run.cancel_reason))
            return
        run.wake()

    def _continue(self, kept: Kept, args: bytes) -> None:
        def settle(verdict: Verdict | BaseException) -> None:
            if isinstance(verdict, Done):
                self._spawn(self._begin_again(kept))
            else:
                self.leases.settle_refusal(kept, verdict)

        assert kept.run is not None
        for effect in kept.run.left_open:  # a signal that one of them was given in the meantime goes back to the mail
            self.engine.withdraw(kept.run, effect)
        self.batcher.submit(Continue(kept.lease.fence, args), settle)

    async def _begin_again(self, kept: Kept) -> None:
        try:
            (row,) = await self.store.get((kept.lease.process_id,))
        except Exception as error:  # noqa: BLE001  # as in _recall
            self.leases.give_back(kept, error)
            return
        if isinstance(row, ProcessRow) and self.leases.still(kept):
            following = Kept(row.record, kept.lease, kept.process)
            self.leases.forget(kept)
            self.leases.keep(following)
            self.leases.slots.take(following)
            run = self._make_run(following)
            self._begin(following, run, await self.engine.history(run, 0))

    # Tasks -------------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def abort(self) -> None:
        """Stop as a crash would: write nothing, close everything."""
        self.leases.draining = True
        for kept in list(self.leases.kept.values()):
            kept.stop_timers()
            close_run(kept)
        self.leases.residents.close()
        self.stop_tasks()

    def stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()


def body_of(
    run: BodyRun, record: ProcessRecord, process: Process[..., Any], world: World
) -> Coroutine[Any, Any, object]:
    """The coroutine of a process, not started. Raises ``InvalidArguments`` where the stored arguments do not fit."""
    args, kwargs = process.signature.decode(record.spec.args)
    body = partial(process.function, Context(BodyPort(run, record, process, world)), *args, **kwargs)
    if record.spec.timeout_ms is None:
        return body()
    first = record.first_started
    return bounded(body, run.began_ms if first is None else first.at_ms, process, record.spec.timeout_ms)


async def bounded(
    body: Callable[[], Coroutine[Any, Any, object]], began_ms: int, process: Process[..., Any], timeout_ms: int
) -> object:
    """The body under its process timeout, which is a recorded timer like any other."""
    limit = asyncio.timeout_at((began_ms + timeout_ms) / 1_000)
    try:
        async with limit:
            return await body()
    except TimeoutError:
        if limit.expired():
            raise ProcessTimeout(f"Process {process.name!r} ran longer than its timeout of {timeout_ms} ms.") from None
        raise
