"""Virtual time and replay: nobody waits for a timer, every run is the same, and a journal can be judged.

In :func:`run` the clock jumps to the next timer whenever nothing can run. A Runtime in it works as everywhere, as long
as its store keeps to the event loop (``memory://``). A worker looks for work and for the dead several times a second,
also in virtual time, so an hour costs about a second::

    async def main() -> None:
        app = lash.Runtime("memory://", clock=simulate.now_ms)
        ...                                # ctx.sleep("10m") is over at once

    simulate.run(main())

:func:`replay` runs a body again from its journal and performs nothing, which is how a change of code is tried on the
histories of real processes before it is deployed.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from lash.abc.engine import Perform, Scope, Services
from lash.abc.provider import Provider
from lash.abc.store import Op, Store, Verdict
from lash.core.effect import Effect, Entry
from lash.core.lease import Lease
from lash.core.outcome import Outcome
from lash.core.process import ProcessRecord, ProcessRow
from lash.errors import InvalidArguments
from lash.runtime.agent import Agent
from lash.runtime.agents import Agents
from lash.runtime.bodyrun import BodyRun
from lash.runtime.context import ContinueAsNew
from lash.runtime.ending import ending_of
from lash.runtime.performing import Performers
from lash.runtime.registry import Process
from lash.runtime.runtime import Runtime
from lash.runtime.worker import body_of
from lash.testing.clock import START_MS

T = TypeVar("T")
STUCK_S = 5.0
"""Real seconds to wait for a thread when nothing else could ever happen."""


class Stuck(Exception):
    """Nothing in the loop can ever run again: everybody waits for something that nobody will do."""


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: where others wait, it moves the clock."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            ready = super().select(STUCK_S)  # only a thread could still call
            if not ready:
                raise Stuck("Nothing can run any more and no timer is set: the program waits for itself.")
        elif timeout > 0:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual. Work for threads is done at once and on the spot, for the same reason."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)
        self._clock_resolution = 1e-6  # asyncio's nanosecond is lost in the rounding of a time far from 0

    def time(self) -> float:
        return self.jumping.now_s

    def run_in_executor(  # type: ignore[override]  # typeshed spells it with a TypeVarTuple
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001  # as a thread would hand it over
            done.set_exception(error)
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now_ms() -> int:
    """The virtual time in epoch milliseconds; hand it to ``Runtime(clock=...)`` and to stores."""
    return START_MS + int(asyncio.get_running_loop().time() * 1_000 + 1e-3)  # the nudge undoes float noise


async def crash(app: Runtime) -> None:
    """End ``app`` as a kill would: nothing more is written, no lease is given back. It can be opened again."""
    await app.abort()


# Replay ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far a journal carries a body."""

    outcome: Outcome | None
    """None while the body goes on: it waits, or it continues as new."""
    continued: bool
    """The body ended its history with ``continue_as_new``."""
    asked: tuple[Effect, ...]
    """Effects the body has asked for that the journal does not answer; in a live run they would be performed now."""
    heard: int
    """Entries told to the body."""


async def replay(
    process: Process[..., Any],
    record: ProcessRecord,
    history: Sequence[Entry],
    processes: Sequence[Process[..., Any]] = (),
    agents: Sequence[Agent[Any]] = (),
) -> Replayed:
    """Run the body of ``record`` from ``history`` alone. Performs nothing and writes nothing.

    ``processes``: the children it may start by name. ``agents``: those it may run.
    Raises ``Diverged`` where code and journal disagree. ::

        row = (await app.store.get(["refund-o-1"]))[0]
        await replay(refund, row.record, await app.store.history(row.row, 0))
    """
    return await Replay(process, record, processes, agents).run(history)


class Replay:
    """The keeper and the world of one replayed body: it lends a slot, and nothing else."""

    deps: Any = None
    app: Any = None

    def __init__(
        self,
        process: Process[..., Any],
        record: ProcessRecord,
        processes: Sequence[Process[..., Any]],
        agents: Sequence[Agent[Any]],
    ) -> None:
        self._process = process
        self._record = record
        self._processes = {item.name: item for item in (*processes, process)}
        self._agents = Agents()
        for agent in agents:
            self._agents.add(agent)
        self.context = copy_context()
        self._performers = Performers(asyncio.get_running_loop(), self.context)
        self.begin = self._performers.begin
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, history: Sequence[Entry]) -> Replayed:
        record, process = self._record, self._process
        run = BodyRun(Lease(0, record.id, "replay", 0, 0), record.began_ms or record.created_ms, Deaf(), self)
        try:
            run.start(body_of(run, record, process, self), history)
            await self._over
            if run.main is None or not run.main.done():
                asked = tuple(request.effect for request in run.open.values())
                return Replayed(None, False, asked, run.effects)
            ending = ending_of(run, process.signature.result)
            continued = isinstance(ending, ContinueAsNew)
            return Replayed(None if isinstance(ending, ContinueAsNew) else ending, continued, (), run.effects)
        finally:
            run.close()
            self._performers.close()

    def _end(self, error: BaseException | None = None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    # Keeper ------------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return 0  # no timer is ever due

    def threads(self) -> Executor:
        raise refused()

    def on_busy(self, run: BodyRun) -> bool:
        return True

    def on_blocked(self, run: BodyRun) -> None: ...

    def on_live(self, run: BodyRun) -> None:
        asyncio.get_running_loop().call_soon(self._end)

    def on_end(self, run: BodyRun) -> None:
        self._end()

    def on_trouble(self, run: BodyRun, error: BaseException) -> None:
        self._end(error)

    # World -------------------------------------------------------------------------------------------------------

    def process_of(self, item: object) -> Process[..., Any]:
        process = self._processes.get(item) if isinstance(item, str) else item
        if not isinstance(process, Process):
            raise InvalidArguments(f"{item!r} is no process this replay knows; hand it over in processes=[...].")
        return cast("Process[..., Any]", process)

    def write(self, op: Op) -> Awaitable[Verdict]:
        raise refused()

    async def row(self, process_id: str) -> ProcessRow:
        raise refused()

    @property
    def store(self) -> Store:
        raise refused()

    def agent_of(self, item: object) -> Agent[Any]:
        return self._agents.of(item)

    def provider_of(self, agent: Agent[Any]) -> Provider:
        raise refused()


class Deaf:
    """An engine that performs nothing, whatever it is asked."""

    durable = False
    replays = True

    def bind(self, services: Services) -> None: ...

    async def history(self, scope: Scope, after_rank: int) -> list[Entry]:
        return []

    async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None: ...

    def withdraw(self, scope: Scope, effect: Effect) -> None: ...

    async def resolve(self, process_id: str, name: str, payload: bytes, key: str | None) -> Verdict:
        raise refused()

    async def take(self, scope: Scope, effect: Effect, turn: int, boundary: bool) -> None:
        """As ``run``: it is never done."""

    async def submit(self, process_id: str) -> None: ...


def refused() -> InvalidArguments:
    return InvalidArguments("A replay performs nothing and writes nothing.")
