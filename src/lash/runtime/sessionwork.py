"""What a worker does with a session it has leased: read where it stands, run one turn, commit it, give it back.

The commit is the end of the lease. It is fenced like every other write, and a refusal means that another worker has the
turn, with everything this one had recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lash.abc.plugin import Plugin
from lash.abc.provider import Provider
from lash.abc.sessions import Committed, HeadMoved, Post, Stream, TurnConflict
from lash.abc.store import BlobStore, Store, Verdict
from lash.core import codec
from lash.core.effect import Entry
from lash.core.model import ModelInfo
from lash.core.outcome import Cancelled
from lash.errors import Diverged, LashError, ModelUnavailable
from lash.limits import STREAM_PAUSE_MAX_MS, STREAM_PAUSE_MS, STREAM_SHARE
from lash.runtime.agent import Agent
from lash.runtime.agents import Agents, Running
from lash.runtime.batching import Batcher
from lash.runtime.bodyport import BodyPort, World
from lash.runtime.bodyrun import BodyRun
from lash.runtime.contexts import Contexts, SessionStart
from lash.runtime.handle import StartOwned
from lash.runtime.hooks import tools_of
from lash.runtime.kept import Kept
from lash.runtime.live import LiveTurn, LiveTurns
from lash.runtime.turnrun import FIRST_TAKE, TurnEnd, TurnRun
from lash.runtime.turnwaits import TurnWaits
from lash.runtime.watch import Hub

if TYPE_CHECKING:
    from lash.runtime.leases import Leases

log = logging.getLogger("lash.plugins")


@dataclass(slots=True)
class Sessions:
    """What one opened runtime knows of its sessions, with or without a worker."""

    agents: Agents
    contexts: Contexts
    lives: LiveTurns
    waits: TurnWaits
    blobs: BlobStore
    start_owned: StartOwned
    providers: dict[str, Provider] = field(default_factory=dict[str, Provider])
    """By prefix: those made so far."""

    def provider_of(self, agent: Agent[Any]) -> Provider:
        """The agent's own provider, or the one of its model's prefix. Raises ``ModelUnavailable``."""
        if agent.provider is not None:
            return agent.provider
        prefix = agent.model.partition(":")[0]
        if prefix not in self.providers:
            if self.agents.find_provider is None:
                raise ModelUnavailable(
                    f"Agent {agent.name!r} wants {agent.model!r}, and this runtime has no providers."
                )
            self.providers[prefix] = self.agents.find_provider(prefix)
        return self.providers[prefix]

    def info_of(self, name: str) -> ModelInfo | None:
        """What is known here of the model of the agent of this name, as far as no provider must be made for it."""
        agent = next((item for item in self.agents if item.name == name), None)
        if agent is None or agent.info is not None:
            return None if agent is None else agent.info
        prefix, _, model = agent.model.partition(":")
        provider = agent.provider or self.providers.get(prefix)
        return None if provider is None else provider.info(model)

    async def close(self) -> None:
        await self.waits.close()
        providers = [*self.providers.values(), *(agent.provider for agent in self.agents if agent.provider is not None)]
        for provider in dict.fromkeys(providers):
            await provider.close()


def sessions_of(agents: Agents, store: Store, hub: Hub, start_owned: StartOwned) -> Sessions:
    return Sessions(agents, Contexts(store), LiveTurns(), TurnWaits(store, hub), store.blobs, start_owned)


class SessionWork:
    """One per worker."""

    def __init__(self, leases: Leases, batcher: Batcher, sessions: Sessions, world: World) -> None:
        self.leases = leases
        self.batcher = batcher
        self.contexts = sessions.contexts
        self.lives = sessions.lives
        self.waits = sessions.waits
        self.agents = sessions.agents
        self.sessions = sessions
        self.world = world
        self._running: dict[str, Running] = {}
        self._plugins: list[Plugin] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._streaming: set[Streamer] = set()

    async def open(self) -> None:
        """Make every agent ready: provider, plugins, tools. Raises ``ModelUnavailable``, ``InvalidAgent``, or what
        a plugin raises."""
        for agent in self.agents:
            provider = self.sessions.provider_of(agent)
            self._running[agent.name] = Running(
                agent,
                self.agents,
                provider,
                self.sessions.blobs,
                self.world,
                self.watch,
                self.sessions.start_owned,
            )
            for plugin in agent.plugins:
                if plugin not in self._plugins:
                    await plugin.open(self.world.deps)
                    self._plugins.append(plugin)
            tools_of(agent)  # what cannot be is said now, not in every turn

    async def close(self) -> None:
        """The worker has drained."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for plugin in reversed(self._plugins):
            try:
                await plugin.close()
            except Exception:
                log.exception("plugin %s could not be closed", plugin.id)

    @property
    def ready(self) -> Iterable[Running]:
        """The agents whose sessions this worker runs."""
        return self._running.values()

    def running(self, name: str) -> Running | None:
        return self._running.get(name)

    @staticmethod
    def beginning(op: Post) -> Post:
        """An item that, leasing its session, begins the turn as well."""
        return op._replace(entry=FIRST_TAKE)

    def begin(self, kept: Kept, run: BodyRun, running: Running, history: list[Entry], start: SessionStart) -> None:
        self.lives.leave(run.process_id)
        run.inbox = True
        turn = TurnRun(run, BodyPort(run, kept.record, None, self.world), running, start)
        run.start(turn.body(), history)

    def watch(self, run: BodyRun, live: LiveTurn) -> None:
        """A turn begins, or begins again, here: show it, and keep what it streams for observers elsewhere."""
        self.lives.begin(run.process_id, live)
        live.streamed = Streamer(run, self.batcher, self._streaming).add
        self.leases.hub.written()  # observers that were here before the turn began

    def ended(self, kept: Kept, run: BodyRun) -> None:
        """The body has returned or raised."""
        main = run.main
        assert main is not None
        if main.cancelled():  # asked to end before it had anything to do
            self.leases.finish(kept, Cancelled(run.cancel_reason))
        elif (error := main.exception()) is not None:
            self.leases.give_back(kept, error if isinstance(error, Exception) else LashError(repr(error)))
        elif (end := main.result()) is None:
            self.leases.release(kept)
        else:
            assert isinstance(end, TurnEnd)
            self._commit(kept, end)

    def _commit(self, kept: Kept, end: TurnEnd) -> None:
        leases, process_id = self.leases, kept.lease.process_id
        try:
            op = end.commit(kept.lease.fence)
        except LashError as error:
            leases.give_back(kept, error)
            return
        kept.leaving = True
        kept.stop_timers()
        leases.free_slot(kept)

        def settle(verdict: Verdict | BaseException) -> None:
            self.lives.end(process_id, end.live)
            if isinstance(verdict, Committed):
                leases.counters.turns += 1
                self.contexts.committed(process_id, end.start, end.nodes, end.usage, end.said)
                end.live.ended(end.outcome, end.receipt.usage)
                self.waits.settled(process_id, kept.lease.row, end.items, verdict.record, end.outcome)
                leases.forget(kept)
                leases.hub.changed() if kept.record.cancel_requested else leases.hub.written()
                if "committed" in end.scene.agent.hooked:
                    self._spawn(self._tell_committed(end))
                return
            self.contexts.forget(process_id)
            if isinstance(verdict, (HeadMoved, TurnConflict)):
                error = Diverged(
                    f"Turn {end.turn} of {process_id!r} cannot be committed: {verdict}. The session has moved on under "
                    "it; look with `lash show`.",
                    process_id=process_id,
                )
                leases.give_back(kept, error)
            else:
                leases.settle_refusal(kept, verdict)

        self.batcher.submit(op, settle)

    async def _tell_committed(self, end: TurnEnd) -> None:
        for plugin in end.scene.agent.hooked["committed"]:
            try:
                await plugin.committed(end.scene.view_of(plugin), end.outcome)
            except Exception:
                log.exception("Plugin %r failed in committed.", plugin.id)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Streamer:
    """Keeps what a turn streams, in pieces that are some time apart. Best effort: a piece may be lost, with its store;
    the whole text comes with the call's own record. A call that takes no longer than the pause keeps nothing."""

    def __init__(self, run: BodyRun, batcher: Batcher, streaming: set[Streamer]) -> None:
        self._run = run
        self._batcher = batcher
        self._streaming = streaming
        """Of this worker, those that have something to keep."""
        self._pieces: list[list[object]] = []
        self._number = 0
        self._due = 0.0
        """Not to be written before."""

    def add(self, call: int, version: str, text: str, reasoning: str) -> None:
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last[:2] == [call, version]:
            last[2] = f"{last[2]}{text}"
            last[3] = f"{last[3]}{reasoning}"
        else:
            self._pieces.append([call, version, text, reasoning])
        if self not in self._streaming:
            self._streaming.add(self)
            loop = asyncio.get_running_loop()
            self._due = self._due or loop.time() + self._pause_s()
            loop.call_at(self._due, self._write)

    def _pause_s(self) -> float:
        return min(STREAM_PAUSE_MS * len(self._streaming), STREAM_PAUSE_MAX_MS) / 1_000

    def _write(self) -> None:
        pieces, self._pieces = self._pieces, []
        if self._run.closed:
            self._streaming.discard(self)
            return  # its commit tells it all, or its lease is gone
        self._number += 1
        began = asyncio.get_running_loop().time()

        def settle(verdict: Verdict | BaseException) -> None:
            loop = asyncio.get_running_loop()
            self._due = began + max(self._pause_s(), STREAM_SHARE * (loop.time() - began))
            if self._pieces:
                loop.call_at(self._due, self._write)
            else:
                self._streaming.discard(self)

        self._batcher.submit(Stream(self._run.fence, self._number, codec.encode(pieces, "streamed text")), settle)
