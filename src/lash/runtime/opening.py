"""One opening of a runtime: what exists only between ``async with`` and its end, and in which order it goes.

The store comes first and goes last. Nothing is written once the writer is closed, and the worker is drained before
that. The opening is the ``World`` of its bodies: all they get of the runtime.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from lash.abc.engine import Engine, Services
from lash.abc.sessions import CancelTurn, Commit, Delete, Post, Posted
from lash.abc.store import (
    Append,
    Cancel,
    Claims,
    Close,
    Ended,
    Finish,
    Op,
    Recorded,
    Retry,
    Signal,
    Stale,
    Start,
    Started,
    Store,
    Sweep,
    Unknown,
    Verdict,
)
from lash.core.ids import check_name, mint
from lash.core.process import ProcessRow, ProcessSpec
from lash.core.session import session_id_of
from lash.errors import InfrastructureError
from lash.limits import STEP_THREADS_MAX
from lash.runtime.access import StoreAccess, settle_start
from lash.runtime.batching import Batcher, settle_future
from lash.runtime.checks import check_facets
from lash.runtime.handle import Called, Handle
from lash.runtime.leases import Leases
from lash.runtime.registry import Process, Registry
from lash.runtime.rounds import Rounds
from lash.runtime.settings import Settings
from lash.runtime.specs import child_spec
from lash.runtime.standalone import about_this_process
from lash.runtime.watch import Hub
from lash.runtime.worker import Worker

if TYPE_CHECKING:
    from lash.abc.provider import Provider
    from lash.runtime.agent import Agent
    from lash.runtime.agents import Agents
    from lash.runtime.sessionwork import Sessions

WAKING = (Signal, Cancel, Finish, Close, Retry, Sweep, CancelTurn, Commit, Delete)
"""Operations after which a row may be ready or a leased one may have news."""
TELLING = (Finish, Signal, Retry, CancelTurn, Commit)
"""Those of them after which no process has ended unless its worker says so."""


class Hosting(Protocol):
    """The runtime object itself, as its opening sees it."""

    @property
    def agents(self) -> Agents: ...


@dataclass(slots=True)
class Parts:
    """What a runtime is built of, opened or not."""

    store: Store
    engine: Engine
    settings: Settings
    registry: Registry
    app: Hosting
    agents: Agents | None
    lifespan: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None


class Opening:
    """One opening of a runtime: what exists only while it is open. It is the ``World`` of its bodies."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.store = parts.store
        self.now_ms = parts.store.now_ms
        self.engine = parts.engine
        self.settings = parts.settings
        self.registry = parts.registry
        self.hub = Hub(self.store)
        self.batcher = Batcher(self.store, self._after_commit)
        self.app = parts.app
        self._sessions: Sessions | None = None
        self.worker: Worker | None = None
        self.deps: Any = None
        self._making = asyncio.Lock()
        self._rounds: Rounds | None = None
        self._threads: Executor | None = None
        self._stack = AsyncExitStack()
        self._looking: asyncio.Task[None] | None = None
        self._news = False
        self._loop = asyncio.get_running_loop()

    async def open(self, with_worker: bool) -> None:
        await self.store.open()
        self._stack.push_async_callback(self.store.close)
        check_facets(self.engine.durable, self.store.facets)
        self.batcher.open()
        self._stack.push_async_callback(self.batcher.close)
        self.engine.bind(Services(self.store, self.batcher.submit, self.batcher.write, self._poke))
        self.hub.open()
        self._stack.push_async_callback(self.hub.close)
        self._stack.push_async_callback(self._close_sessions)
        self.store.listen(self._on_notice)
        if with_worker:
            await self._open_worker(driving=True)

    async def close(self) -> None:
        try:
            if self._rounds is not None:
                await self._rounds.close()
        finally:
            self._let_go()
            await self._stack.aclose()

    async def abort(self) -> None:
        """As a crash would end it; only what the Python process itself holds is let go."""
        self.batcher.abort()
        if self._rounds is not None:
            await self._rounds.abort()
        self._let_go()
        await self._stack.aclose()

    def _let_go(self) -> None:
        if isinstance(self._threads, ThreadPoolExecutor):
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._looking is not None:
            self._looking.cancel()

    async def need_worker(self) -> Worker:
        async with self._making:
            if self.worker is None:
                return await self._open_worker(driving=False)
            return self.worker

    async def _open_worker(self, driving: bool) -> Worker:
        if self.parts.lifespan is not None:
            self.deps = await self._stack.enter_async_context(self.parts.lifespan(self.parts.app))
        owner = mint("w", self.now_ms(), os.urandom(8))
        worker = Worker(
            owner, self.store, self.batcher, self.engine, self.registry, self.hub, self.settings, self,
            self.sessions if self.parts.agents else None,
        )  # fmt: skip
        if worker.sessions is not None:
            self._stack.push_async_callback(worker.sessions.close)
            await worker.sessions.open()
        self._rounds = Rounds(worker, about_this_process(), driving)
        await self._rounds.open()
        self.worker = worker
        return worker

    def start(self, spec: ProcessSpec) -> asyncio.Future[Verdict]:
        """Queue a start. With a slot free here the row is leased in the same transaction and runs at once."""
        return self._queue(Start(spec), not spec.delay_ms)

    def post(self, op: Post, agent: str) -> asyncio.Future[Verdict]:
        """Queue an item of a session, alike: an idle one whose agent is here is leased and runs at once."""
        sessions = None if self.worker is None else self.worker.sessions
        if sessions is None or sessions.running(agent) is None:
            return self._queue(op, False)
        return self._queue(sessions.beginning(op), True)

    def _queue(self, op: Start | Post, here: bool) -> asyncio.Future[Verdict]:
        started: asyncio.Future[Verdict] = self._loop.create_future()
        worker = self.worker
        if worker is None or not here or not self._takes_starts(worker):
            self.batcher.submit(op, partial(settle_future, started))
            return started
        leases = worker.leases
        leases.slots.reserved += 1

        def settle_start(verdict: Verdict | BaseException) -> None:
            leases.slots.reserved -= 1
            settle_future(started, verdict)  # first: the caller need not wait for the body's first steps
            if isinstance(verdict, Posted) and verdict.claimed is not None:
                worker.admit(verdict.claimed, verdict.begun)
            elif isinstance(verdict, Started) and verdict.claimed is not None:
                worker.admit(verdict.claimed)
            else:
                leases.poke()  # a look may have found no slot because of this one

        self.batcher.submit(op._replace(owner=leases.owner, ttl_ms=self.settings.lease_ttl_ms), settle_start)
        return started

    def _takes_starts(self, worker: Worker) -> bool:
        driving = self._rounds is not None and self._rounds.driving
        return driving and not worker.leases.draining and worker.leases.slots.free > 0

    # World -------------------------------------------------------------------------------------------------------

    def threads(self) -> Executor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(STEP_THREADS_MAX, thread_name_prefix="lash-step")
        return self._threads

    def process_of(self, item: object) -> Process[..., Any]:
        return self.registry.of(item)  # type: ignore[arg-type]  # ``of`` refuses what is no process

    @property
    def sessions(self) -> Sessions:
        """What is known of sessions here; made, and its code imported, for the first who wants it."""
        if self._sessions is None:
            from lash.runtime.sessionwork import sessions_of

            self._sessions = sessions_of(self.parts.app.agents, self.store, self.hub, self.start_owned)
        return self._sessions

    async def _close_sessions(self) -> None:
        if self._sessions is not None:
            await self._sessions.close()

    async def start_owned(
        self, owner: ProcessSpec, process_id: str, call: Called, options: dict[str, Any]
    ) -> Handle[Any]:
        """Start a process for a session, with which it ends unless it is detached. Raises ``ProcessConflict``; for a
        session that is over ``SessionDeleted``, or ``ProcessEnded``."""
        fn, args, kwargs = call
        process = self.process_of(fn)
        spec = child_spec(process, process.signature.encode(args, kwargs), owner, options)
        spec = replace(spec, id=check_name(process_id, "process id"))
        verdict = await self.start(spec)
        if isinstance(verdict, (Ended, Unknown)):
            from lash.runtime.session import refusal

            raise refusal(verdict, session_id_of(owner.id))
        settle_start(verdict, spec)
        return Handle(StoreAccess(self), spec.id, process.signature.result)

    def agent_of(self, item: object) -> Agent[Any]:
        return self.sessions.agents.of(item)

    def provider_of(self, agent: Agent[Any]) -> Provider:
        return self.sessions.provider_of(agent)

    async def write(self, op: Op) -> Verdict:
        return await self.batcher.write(op)

    async def row(self, process_id: str) -> ProcessRow:
        return await StoreAccess(self).row(process_id)

    # Notices -----------------------------------------------------------------------------------------------------

    def _poke(self) -> None:
        if self.worker is not None:
            self.worker.leases.poke()

    def _after_commit(self, ops: list[Op], verdicts: list[Verdict]) -> None:
        """What was just written here may concern awaiters, ready rows and leased ones."""
        waking = closing = False
        for op, verdict in zip(ops, verdicts, strict=True):
            if isinstance(verdict, Recorded):
                continue  # the commonest one concerns nobody but its body
            if isinstance(verdict, Stale) and self.worker is not None:
                self.worker.leases.counters.refused_writes += 1
            if isinstance(op, WAKING):
                if isinstance(op, Delete) and self.worker is not None:
                    self.worker.leases.renew()  # it has lost a turn of that session, and may know at once
                waking = True
                closing = closing or not isinstance(op, TELLING)
            elif isinstance(op, Append):
                self.hub.written()
            elif isinstance(verdict, Started):
                waking = waking or (verdict.created and verdict.claimed is None)
            elif isinstance(verdict, Posted):
                waking = waking or (verdict.new and verdict.claimed is None)
            elif isinstance(verdict, Claims) and verdict.closed:
                waking = closing = True
        if waking:
            self.hub.changed() if closing else self.hub.written()
            self._poke()
            self._look_for_news()

    def _on_notice(self) -> None:
        self.hub.changed()
        self._poke()
        self._look_for_news()

    def _look_for_news(self) -> None:
        if self.worker is None or not self.worker.leases.kept:
            return
        self._news = True  # also for a look under way, whose read may be older than this
        if self._looking is None:
            self._looking = self._loop.create_task(self._look(self.worker.leases))

    async def _look(self, leases: Leases) -> None:
        try:
            while self._news:
                self._news = False
                leases.look(await self.store.news(leases.owner))
        except InfrastructureError:
            pass  # the store is away: the next notice or the slow look tries again
        finally:
            self._looking = None
