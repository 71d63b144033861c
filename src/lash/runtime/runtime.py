"""The Runtime is the one object a user opens: a store, an engine, the registered processes, and a worker.

It is built without touching the world and opened with ``async with``. What is asked of it before or after that raises
``RuntimeNotOpen``. Construction checks what can be checked then (DESIGN section 9); opening checks the rest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, overload

from lash.abc.engine import Engine
from lash.abc.sessions import Post
from lash.abc.store import Count, Op, ProcessFilter, Prune, Retry, Start, Store, Verdict
from lash.core import codec
from lash.core.ids import mint
from lash.core.outcome import Status
from lash.core.process import ProcessRow, ProcessSpec, Recovery
from lash.core.schedule import Duration, duration_ms
from lash.errors import InvalidArguments, RuntimeNotOpen
from lash.limits import ATTACHMENT_GRACE_MS, ATTEMPTS_MAX, PAGE_ROWS_MAX, PRUNE_BLOBS_PAGE, PRUNE_PAGE
from lash.runtime.access import StoreAccess, settle, settle_start
from lash.runtime.checks import check_facets
from lash.runtime.context import Context
from lash.runtime.handle import Handle
from lash.runtime.opening import Opening, Parts
from lash.runtime.registry import Call, Process, Registry, make_process
from lash.runtime.report import Counters, Report
from lash.runtime.settings import Settings
from lash.runtime.shapes import ANY
from lash.runtime.specs import external_spec, process_spec
from lash.runtime.standalone import serve
from lash.runtime.watch import Hub

if TYPE_CHECKING:
    from lash.core.model import ModelInfo
    from lash.runtime.agent import Agent
    from lash.runtime.agents import Agents
    from lash.runtime.door import SessionDoor
    from lash.runtime.live import LiveTurns
    from lash.runtime.session import Session, SessionInfo
    from lash.runtime.turnwaits import TurnWaits

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


class Runtime:
    """See :class:`lash.Runtime`, which builds one from a database URL."""

    def __init__(
        self, store: Store, engine: Engine, settings: Settings, worker: bool, agents: Agents | None = None
    ) -> None:
        check_facets(engine.durable, store.facets)
        self._registry = Registry()
        self._settings = settings
        self._parts = Parts(store, engine, settings, self._registry, self, agents)
        self._with_worker = worker
        self._access = StoreAccess(self)
        self._opening: Opening | None = None

    # Registering -------------------------------------------------------------------------------------------------

    @overload
    def process(self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /) -> Process[P, T]: ...

    @overload
    def process(
        self,
        *,
        name: str | None = None,
        version: str = "",
        recovery: Recovery = "rerun",
        attempts_max: int = ATTEMPTS_MAX,
        timeout: Duration | None = None,
    ) -> Callable[[Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]], Process[P, T]]: ...

    def process(self, function: Any = None, **options: Any) -> Any:
        """Register an ``async def`` function as a process, with or without options.

        ``recovery="once"``: never run again after its first start; a lost worker leaves it ``abandoned``.
        ``attempts_max``: lost workers before it fails. ``timeout``: bound from its first start to its outcome.
        """
        if function is not None:
            made: Process[..., Any] = make_process(function)
            self._registry.add(made)
            return made

        def decorate(inner: Callable[..., Any]) -> Process[..., Any]:
            process: Process[..., Any] = make_process(inner, **options)
            self._registry.add(process)
            return process

        return decorate

    def include(self, *items: object) -> int:
        """Register processes made with ``@lash.process``, or all of a module. Returns how many."""
        return self._registry.include(items)

    def lifespan(self, manager: Callable[[Any], AbstractAsyncContextManager[T]]) -> Callable[[Any], Any]:
        """What ``manager(app)`` yields is ``ctx.deps`` in every body and step of a worker of this runtime."""
        self._parts.lifespan = manager
        return manager

    @property
    def registered(self) -> Sequence[Process[..., Any]]:
        """Every registered process, all versions."""
        return list(self._registry)

    # Life --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open(self._with_worker)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self, with_worker: bool = True) -> None:
        """Open the store and, unless told otherwise, the embedded worker."""
        if self._opening is not None:
            raise RuntimeNotOpen("This runtime is open already.")
        opening = Opening(self._parts)
        self._opening = opening
        try:
            await opening.open(with_worker)
        except BaseException:
            self._opening = None
            await opening.close()
            raise

    async def close(self) -> None:
        """Drain the worker and close the store. Harmless when closed already."""
        opening, self._opening = self._opening, None
        if opening is not None:
            await opening.close()

    async def abort(self) -> None:
        """End as a kill would: write nothing more, give nothing back. For tests of recovery."""
        opening, self._opening = self._opening, None
        if opening is not None:
            await opening.abort()

    async def drive(self) -> Report:
        """One pass of the worker: claim what is due and set it going, without waiting for it.

        Starts a worker that does only this when the runtime was opened without one.
        """
        return await (await self._opened().need_worker()).drive()

    def run_worker(self) -> None:
        """Run a worker until SIGTERM or SIGINT, then drain and return. Blocks; starts its own event loop."""
        asyncio.run(serve(self))

    def poke(self) -> None:
        """Have the worker look for work soon."""
        opened = self._opened()
        if opened.worker is not None:
            opened.worker.leases.poke()

    # Starting ----------------------------------------------------------------------------------------------------

    async def start(
        self,
        fn: Process[..., T],
        *args: object,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Sequence[str] | None = None,
        priority: int = 0,
        **kwargs: object,
    ) -> Handle[T]:
        """Start a process: when this returns, it is on disk and will reach one outcome.

        The same ``id`` with the same function and arguments is the same process, however often it is started; with
        others it is a ``ProcessConflict``. Without ``id`` each call starts another one. ``delay`` postpones the first
        run; of the ready processes of one name, a higher ``priority`` runs first.
        """
        process: Process[..., T] = self._registry.of(fn)
        data = process.signature.encode(args, kwargs)
        spec = process_spec(
            process,
            data,
            self._mint() if id is None else id,
            delay=delay,
            tags=tags,
            priority=priority,
            host_profile=self._settings.host_profile,
        )
        opened = self._opened()
        verdict = await opened.start(spec)
        settle_start(verdict, spec)
        return Handle(self._access, spec.id, process.signature.result)

    async def start_many(self, calls: Iterable[Call[T]]) -> list[Handle[T]]:
        """Start each ``process.call(...)``, sharing transactions. All are checked before any is written.

        Raises ``ProcessConflict`` for the first conflicting id; the others are started all the same.
        """
        opened = self._opened()
        prepared: list[tuple[ProcessSpec, Process[..., T]]] = []
        for call in calls:
            process: Process[..., T] = self._registry.of(call.process)
            spec = process_spec(
                process,
                process.signature.encode(call.args, call.kwargs),
                self._mint() if call.id is None else call.id,
                delay=call.delay,
                tags=call.tags,
                priority=call.priority,
                host_profile=self._settings.host_profile,
            )
            prepared.append((spec, process))
        verdicts = await asyncio.gather(*[opened.start(spec) for spec, _ in prepared])
        for verdict, (spec, _) in zip(verdicts, prepared, strict=True):
            settle_start(verdict, spec)
        return [Handle(self._access, spec.id, process.signature.result) for spec, process in prepared]

    async def external(self, name: str, metadata: object = None, *, id: str | None = None) -> Handle[Any]:
        """Register work that runs elsewhere. No worker touches it; close it with ``complete`` or ``fail``."""
        data = codec.encode(metadata, "metadata")
        spec = external_spec(name, data, self._mint() if id is None else id, self._settings.host_profile)
        settle_start(await self.write(Start(spec)), spec)
        return Handle(self._access, spec.id, ANY)

    def _mint(self) -> str:
        return mint("p", self._opened().now_ms(), os.urandom(8))

    # Sessions ----------------------------------------------------------------------------------------------------

    async def session(self, id: str, agent: Agent[A] | None = None) -> Session[A]:
        """The session of this id, made if it is new: a durable conversation with ``agent``.

        Without ``agent`` the session must be there. Raises ``AgentUnknown``, ``SessionConflict`` (it belongs to another
        agent), ``SessionDeleted``, ``SessionUnknown``, ``InvalidName``.
        """
        return await self._door().open(id, agent)

    async def sessions(
        self, *, agent: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[SessionInfo]:
        """One page of sessions, newest first. ``after`` is the id of the last one of the page before."""
        return await self._door().page(agent, after, limit)

    async def delete_session(self, id: str) -> None:
        """Delete a session with its history, for ever: its id is not used again. What its tools had started with
        ``ctx.start`` is cancelled, and whatever that had started, unless it is detached. Harmless when it is deleted
        already; raises ``SessionUnknown`` when it never was."""
        await self._door().delete(id)

    def _door(self) -> SessionDoor:
        from lash.runtime.door import SessionDoor  # whoever has no sessions need not wait for their code

        return SessionDoor(self)

    # Looking -----------------------------------------------------------------------------------------------------

    def handle(self, id: str) -> Handle[Any]:
        """A handle to any process by id. Whether it exists shows when the handle is used."""
        return Handle(self._access, id, ANY)

    async def processes(
        self,
        *,
        status: Status | str | None = None,
        name: str | None = None,
        tag: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[ProcessRow]:
        """One page of processes, newest first. ``after`` is the id of the last row of the page before."""
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise InvalidArguments(f"limit must be 1 to {PAGE_ROWS_MAX}, not {limit!r}.")
        try:
            wanted = None if status is None else Status(status)
        except ValueError:
            known = ", ".join(item.value for item in Status)
            raise InvalidArguments(f"status must be one of {known}, not {status!r}.") from None
        return await self._opened().store.page(ProcessFilter(wanted, name, tag, None, after, limit))

    async def retry(self, id: str) -> None:
        """Make a blocked or postponed process claimable now. Raises ``ProcessEnded`` after its outcome."""
        settle(await self.write(Retry(id)), id)

    async def prune(self, older_than: Duration) -> int:
        """Delete what ended longer ago than that, with its journal; returns how many. Tombstones stay. Attachments of
        which no session speaks go too, a day after they were stored last."""
        before_ms = self.store.now_ms() - duration_ms(older_than, "older_than")
        pruned = 0
        while True:
            verdict = await self.write(Prune(before_ms, PRUNE_PAGE))
            if not isinstance(verdict, Count) or not verdict.ids:
                break
            pruned += len(verdict.ids)
        grace_ms = self.store.now_ms() - ATTACHMENT_GRACE_MS
        while (await self.store.blobs.prune(grace_ms, PRUNE_BLOBS_PAGE)).looked == PRUNE_BLOBS_PAGE:
            pass
        return pruned

    @property
    def counters(self) -> Counters:
        """What the embedded worker has done since it was opened."""
        worker = self._opened().worker
        return Counters() if worker is None else worker.leases.counters

    # What handles and bodies stand on ----------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        return self._opened().store

    @property
    def hub(self) -> Hub:
        return self._opened().hub

    @property
    def engine(self) -> Engine:
        return self._opened().engine

    @property
    def agents(self) -> Agents:
        if self._parts.agents is None:
            from lash.runtime.agents import Agents

            self._parts.agents = Agents()
        return self._parts.agents

    @property
    def lives(self) -> LiveTurns:
        return self._opened().sessions.lives

    @property
    def waits(self) -> TurnWaits:
        return self._opened().sessions.waits

    def model_info(self, agent: str) -> ModelInfo | None:
        return self._opened().sessions.info_of(agent)

    @property
    def host_profile(self) -> str:
        return self._settings.host_profile

    def now_ms(self) -> int:
        return self._opened().now_ms()

    async def write(self, op: Op) -> Verdict:
        return await self._opened().batcher.write(op)

    async def post(self, op: Post, agent: str) -> Verdict:
        return await self._opened().post(op, agent)

    def _opened(self) -> Opening:
        if self._opening is None:
            raise RuntimeNotOpen("The runtime is not open. Use it inside `async with app:`.")
        return self._opening
