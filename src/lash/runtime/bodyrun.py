"""One run of one body: recorded replies go in one at a time, requests come out, and first run and replay are alike.

A run is told its history first. While any of it is left, nothing is performed: the body only hears what was recorded,
in rank order, and must ask for exactly that (``Diverged`` otherwise). When the history is used up the run is live:
requests without a reply are performed through the engine, and each new entry is delivered in its turn. Cancelled
requests are withdrawn; a reply that still arrives for one is heard by nobody, live and on replay alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from lash.abc.engine import Engine, Perform
from lash.core import codec
from lash.core.effect import ENTRY_KIND, Effect, EffectKind, Entry, EntryKind
from lash.core.lease import Lease
from lash.core.process import Waiting
from lash.errors import LeaseLost, NotInProcess
from lash.limits import CANCEL_GRACE_MS, EFFECTS_MAX, REPLAY_SLICE, STEPS_IN_FLIGHT_MAX
from lash.runtime.bodyloop import BodyLoop
from lash.runtime.divergence import diverged
from lash.runtime.keeper import Keeper
from lash.runtime.requests import PerformOnce, Request, opened
from lash.runtime.steps import StepCall

log = logging.getLogger("lash.body")

PERFORMED = frozenset({EntryKind.STEP, EntryKind.COMMAND, EntryKind.WAIT, EntryKind.ATTEMPT})
"""Entries that end the flight of the request they belong to."""
TURNS_TO_HEAR = 2
"""A cancel reaches a task in one turn of the loop; one more where it had not yet been given what it waits for."""
UNNUMBERED = frozenset({EntryKind.CANCEL, EntryKind.MAIL, EntryKind.SLEEP})
"""Entries whose ordinal, if any, counts something else than requests."""


class BodyRun:
    """See the module. ``start`` makes the body's coroutine; ``lease`` changes when a parked run goes on."""

    def __init__(self, lease: Lease, began_ms: int, engine: Engine, keeper: Keeper) -> None:
        self.lease = lease
        self.process_id = lease.process_id
        self.fence = lease.fence
        self.began_ms = began_ms
        self.engine = engine
        self.keeper = keeper
        self.loop = BodyLoop(lease.process_id, began_ms)  # type: ignore[abstract]  # what it lacks is refused, see REFUSED
        self.main: asyncio.Task[object] | None = None
        self.held: deque[Entry] = deque()
        self.open: dict[int, Request] = {}
        self.next_ordinal = 0
        self.seen = 0
        """Rank of the newest entry held: heard, or still to be heard."""
        self.effects = 0
        self.replayed = 0
        self.performed = 0
        self.replaying = True
        self.silent = False
        """An earlier run has got this far: its log lines were written then."""
        self.closed = False
        self.cancelled_ms: int | None = None
        self.cancel_reason = ""
        self.parked = False
        self.inbox = False
        """Set for the turns of sessions: records tell whether the inbox is quiet."""
        self.quiet_at = -1
        """Rank of the newest record that said it is."""
        self.left_open: list[Effect] = []
        """Waits that were open when the body ended, or given up a moment before."""
        self.has_slot = False
        """Set by the keeper: the run may proceed without asking."""
        self.draining = False
        """Start nothing new; what is in flight may finish."""
        self.firing: int | None = None
        self._firing_task: asyncio.Task[None] | None = None
        self._fresh: deque[Request] = deque()
        self._delayed: dict[int, Request] = {}
        self._withdrawn: dict[int, Request] = {}
        self._in_flight = 0
        self._scheduled = False
        self._stopped = 0
        """Turns of the worker's loop until a step that was given up has heard of it."""
        self._worker_loop = asyncio.get_running_loop()

    # Scope, as the engine sees it --------------------------------------------------------------------------------

    def deliver(self, entries: Sequence[Entry], quiet: bool = False) -> None:
        """Queue entries in rank order; those already held are passed over."""
        if not (self.closed or self.parked):
            self._hold(entries)
            if quiet:
                self.quiet_at = self.seen
            self.wake()

    def _hold(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.rank > self.seen:
                self.seen = entry.rank
                self.held.append(entry)
            elif entry.rank == 0:  # of an engine that records nothing
                self.held.append(entry)

    def lost(self) -> None:
        self.trouble(LeaseLost(f"Process {self.process_id!r} belongs to another worker now; nothing was written."))

    def fault(self, error: BaseException) -> None:
        self.trouble(error)

    # Life --------------------------------------------------------------------------------------------------------

    def start(self, body: Coroutine[Any, Any, object], history: Sequence[Entry]) -> None:
        self.main = self.loop.create_task(body, context=self.keeper.context.copy())
        self._hold(history)
        self.silent = bool(self.held)
        self.wake()

    def unpark(self, lease: Lease) -> None:
        """A new lease: from here on it hears what is delivered."""
        self.lease, self.fence = lease, lease.fence
        self.quiet_at = -1
        self.parked = self._scheduled = False

    def resume(self, news: Sequence[Entry]) -> None:
        """Go on after a park, without replay."""
        self._hold(news)
        self.wake()

    def wake(self) -> None:
        """Proceed, if there is a slot for it: at once from a plain callback, soon from inside a task. A parked run does
        not: whatever comes for it is in the store, which tells it with the next lease."""
        if self._scheduled or self.closed or self.parked:
            return
        self._scheduled = True
        if asyncio.current_task(self._worker_loop) is None and not self.loop.is_running():
            if self.has_slot or self.keeper.on_busy(self):
                self.proceed()
        else:
            self._worker_loop.call_soon(self._proceed_with_slot)

    def _proceed_with_slot(self) -> None:
        if self.has_slot or self.closed or self.keeper.on_busy(self):
            self.proceed()

    def proceed(self) -> None:
        """Deliver what has come and let the body run until it blocks. Never called inside a task."""
        self._scheduled = False
        if self.closed or self.main is None:
            return
        try:
            self._advance()
        except Exception as error:  # noqa: BLE001  # Diverged, or a defect of ours: never the end of the body
            self.trouble(error)
            return
        if self._scheduled or self.closed:
            return
        if self.main.done() or self.loop.never_blocks:
            self._end()
            return
        if self.replaying:
            self.replaying = self.silent = False
            self.keeper.on_live(self)
        if self._fresh or self._withdrawn:
            if self._stopped:  # what was given up hears of it before anything new begins
                self._stopped -= 1
                self._scheduled = True
                self._worker_loop.call_soon(self._proceed_with_slot)
                return
            self._start_fresh()
            if self.closed:
                return
        if self._in_flight and not (self.draining or self._delayed or self.loop.timers or self.cancelled_ms):
            return  # the commonest case: steps in flight and nothing that could fall due
        self._fire_due(self.keeper.now_ms())
        if not self.closed:
            self.keeper.on_blocked(self)

    def _advance(self) -> None:
        loop, held, main = self.loop, self.held, self.main
        assert main is not None
        if loop.ready:
            loop.activate()
        for _ in range(REPLAY_SLICE):
            if not held or main.done() or loop.never_blocks:
                break
            if self._hear(held.popleft()):
                loop.activate()
        else:
            self._scheduled = True  # a long history: the worker's loop gets a turn
            self._worker_loop.call_soon(self._proceed_with_slot)
        if main.done() and self.replaying:
            self._check_leftovers()

    def _hear(self, entry: Entry) -> bool:
        """Tell the body one entry. False when it changes nothing for it."""
        self.effects += 1
        kind = entry.kind
        if self.replaying:
            self.replayed += 1
        elif kind in PERFORMED:
            self._in_flight -= 1
        if kind in UNNUMBERED:
            return self._hear_unnumbered(entry)
        if (request := self.open.get(entry.ordinal)) is not None:
            return self._hear_reply(request, entry)
        if entry.ordinal >= self.next_ordinal:
            raise diverged(self.process_id, entry, None)
        self._hear_withdrawn(entry)
        return False

    def _hear_unnumbered(self, entry: Entry) -> bool:
        """Entries that answer no numbered request."""
        if entry.kind is EntryKind.CANCEL:
            return self._hear_cancel(entry)
        if entry.kind is EntryKind.MAIL:
            return False
        self._check_timer(entry)
        if self.firing == entry.ordinal:
            self.firing = None
        self.loop.fire(entry.ordinal, entry.at_ms)
        return True

    def _hear_reply(self, request: Request, entry: Entry) -> bool:
        kind, effect = entry.kind, request.effect
        if ENTRY_KIND[effect.kind] is kind:
            if effect.name != entry.name or effect.witness != entry.witness:
                raise diverged(self.process_id, entry, effect)
            if kind is EntryKind.WAIT:
                request.started = True
                return False
        elif kind is EntryKind.ATTEMPT and effect.kind is EffectKind.STEP:
            self._hear_attempt(request, entry)
            return False
        elif kind is not EntryKind.REPLY or effect.kind is not EffectKind.WAIT:
            raise diverged(self.process_id, entry, effect)
        del self.open[entry.ordinal]
        if self._delayed:
            self._delayed.pop(entry.ordinal, None)
        self.loop.advance(entry.at_ms)
        if not request.done():
            request.set_result(entry)
        return True

    def _hear_attempt(self, request: Request, entry: Entry) -> None:
        """An attempt failed: the next one is due later."""
        if request.effect.name != entry.name or request.effect.witness != entry.witness:
            raise diverged(self.process_id, entry, request.effect)
        request.due_ms = entry.due_ms
        request.started = False
        self._delayed[entry.ordinal] = request
        if request.call is not None:
            request.call.attempts_failed = entry.attempt
        self.loop.advance(entry.at_ms)

    def _hear_withdrawn(self, entry: Entry) -> None:
        """Nobody waits for it any more; but an open wait among the withdrawn must still be closed, once."""
        self.loop.advance(entry.at_ms)
        if entry.kind is EntryKind.CLOSE:
            self._withdrawn.pop(entry.ordinal, None)
        elif entry.kind is EntryKind.WAIT and entry.ordinal in self._withdrawn:
            self._withdrawn[entry.ordinal].started = True

    def _hear_cancel(self, entry: Entry) -> bool:
        assert self.main is not None
        self.loop.advance(entry.at_ms)
        if self.cancelled_ms is not None:
            return False
        self.cancelled_ms = entry.at_ms
        self.cancel_reason = str(codec.decode_object(entry.payload).get("reason", ""))
        self.main.cancel()
        return True

    # What the body asks for --------------------------------------------------------------------------------------

    def inside(self, what: str) -> None:
        """Raise ``NotInProcess`` unless called by the body itself, while it runs: not by a step, another body, another
        thread, or somebody who kept the context."""
        if self.closed or self.loop.closing:
            raise NotInProcess(f"{what} was asked for by a body that is being closed, or after its process ended.")
        if asyncio._get_running_loop() is not self.loop:
            raise NotInProcess(f"{what} was asked for outside the body of process {self.process_id!r}.")

    def request(
        self, kind: EffectKind, name: str, witness: str, perform: PerformOnce | None, call: StepCall | None = None
    ) -> Request:
        """Ask for an effect. Called by the context, on the body's loop."""
        if self.closed or asyncio._get_running_loop() is not self.loop:
            self.inside(name)
        ordinal = self.next_ordinal
        if ordinal >= EFFECTS_MAX:
            raise NotInProcess(
                f"Process {self.process_id!r} has asked for {EFFECTS_MAX} effects, the limit of one history. "
                "Cut it with ctx.continue_as_new(...)."
            )
        if ordinal == EFFECTS_MAX // 2:
            log.warning("process %s has used half of the %d effects of one history", self.process_id, EFFECTS_MAX)
        self.next_ordinal = ordinal + 1
        request = Request(self, Effect(kind, ordinal, name, witness), perform, call, self.loop)
        self.open[ordinal] = request
        self._fresh.append(request)
        return request

    def take(self, name: str, turn: int, boundary: bool) -> Request:
        """Ask for the items of the session this run belongs to. At a boundary with a quiet inbox there are none, and
        that is not recorded: the next record tells whoever runs this again."""
        request = self.request(EffectKind.COMMAND, name, "", None)
        request.taking = (turn, boundary)
        ordinal = request.effect.ordinal
        if boundary and self._is_quiet(ordinal):
            del self.open[ordinal]
            self._fresh.pop()
            request.set_result(Entry(EntryKind.COMMAND, ordinal, name, payload=b"[]"))
        return request

    def _is_quiet(self, ordinal: int) -> bool:
        """Nothing to take: an earlier run went on without, or what was recorded last said so."""
        told = {entry.ordinal for entry in self.held if entry.kind not in UNNUMBERED}
        if told and max(told) >= ordinal:
            return ordinal not in told
        return not (self.replaying or self.held) and self.quiet_at == self.seen

    def withdraw(self, request: Request) -> None:
        """The body no longer waits for it."""
        request.withdrawn = True
        self.open.pop(request.effect.ordinal, None)
        self._delayed.pop(request.effect.ordinal, None)
        if request.task is not None:
            self._in_flight -= 1
            self._stopped = TURNS_TO_HEAR
        request.stop()
        if request.effect.kind is EffectKind.WAIT:
            self._withdrawn[request.effect.ordinal] = request

    def _start_fresh(self) -> None:
        for request in self._withdrawn.values():
            if request.started:
                self.engine.withdraw(self, request.effect)
        self._withdrawn.clear()
        fresh = self._fresh
        while fresh and not self.draining and self._in_flight < STEPS_IN_FLIGHT_MAX:
            request = fresh.popleft()
            if not request.withdrawn and not request.started and request.effect.ordinal in self.open:
                self._start(request)

    def _start(self, request: Request) -> None:
        """Perform one request, unless its next attempt is not due yet: then the timers see to it."""
        if request.due_ms is not None and request.due_ms > self.keeper.now_ms():
            return
        if request.due_ms is not None:
            request.due_ms = None
            self._delayed.pop(request.effect.ordinal, None)
        request.started = True
        self._in_flight += 1
        keeper, call = self.keeper, request.call
        perform: Perform = request.perform or opened
        if call is not None:
            self.performed += 1
            perform = partial(call.perform, keeper.now_ms, keeper.threads)
        request.task = keeper.begin(self._perform(request, perform))

    async def _perform(self, request: Request, perform: Perform) -> None:
        """Have the engine perform and record it; the record is heard in its turn and ends the flight."""
        try:
            if request.taking is not None:
                await self.engine.take(self, request.effect, *request.taking)
            else:
                await self.engine.run(self, request.effect, perform)
        except asyncio.CancelledError:
            pass  # withdrawn, and counted out there
        except BaseException as error:  # noqa: BLE001  # a defect of the engine must not pass for a reply
            self.trouble(error)
        request.task = None

    # Timers ------------------------------------------------------------------------------------------------------

    def next_due_ms(self) -> int | None:
        """When something happens by itself: a timer, the next attempt of a step, the end of the cancel grace."""
        times = [request.due_ms for request in self._delayed.values() if request.due_ms is not None]
        if self.firing is None and (timer := self.loop.next_timer()) is not None:
            times.append(timer[0])
        if self.cancelled_ms is not None:
            times.append(self.cancelled_ms + CANCEL_GRACE_MS)
        return min(times, default=None)

    def _fire_due(self, now_ms: int) -> None:
        """Start the steps whose next attempt is due, and have the nearest timer recorded if it is due."""
        if self.draining:
            return
        for request in list(self._delayed.values()):
            if request.due_ms is not None and request.due_ms <= now_ms:
                self._start(request)
                if self.closed:
                    return
        timer = self.loop.next_timer()
        if timer is not None and timer[0] <= now_ms and self.firing is None:
            self.firing = timer[1]
            effect = Effect(EffectKind.SLEEP, timer[1], "", "", timer[0])
            self._firing_task = self.keeper.begin(self._fire(effect))

    async def _fire(self, effect: Effect) -> None:
        try:
            await self.engine.run(self, effect, opened)
        except Exception as error:  # noqa: BLE001  # as in _perform
            self.trouble(error)

    # Ends --------------------------------------------------------------------------------------------------------

    def waiting(self) -> Waiting:
        """What the body waits for, as the record will say it."""
        keys = [request.effect.name for request in self.open.values() if request.effect.kind is EffectKind.WAIT]
        kinds = {key.partition(":")[0] for key in keys}
        if self._delayed:
            kinds.add("retry")
        if self.loop.next_timer() is not None and not kinds:
            kinds.add("sleep")
        on = "nothing" if not kinds else kinds.pop() if len(kinds) == 1 else "mixed"
        return Waiting(on, keys[0] if len(keys) == 1 else None, self.next_due_ms())

    @property
    def idle(self) -> bool:
        """Nothing in flight, nothing to hear."""
        return not (self._in_flight or self.held or self._scheduled or self.closed or self.firing is not None)

    @property
    def held_back(self) -> bool:
        """Requests are waiting to be started: draining, or too many in flight."""
        return any(not request.withdrawn for request in self._fresh)

    def trouble(self, error: BaseException) -> None:
        if not self.closed:
            self.close()
            self.keeper.on_trouble(self, error)

    def _end(self) -> None:
        waits = [item for item in self.open.values() if item.effect.kind is EffectKind.WAIT]
        self.left_open = [item.effect for item in (*self._withdrawn.values(), *waits) if item.started]
        self.close()
        self.keeper.on_end(self)

    def close(self) -> None:
        """Stop performing and close the coroutines. Nothing is written any more."""
        if self.closed:
            return
        self.closed = True
        for request in list(self.open.values()):
            request.stop()
        if self._firing_task is not None:
            self._firing_task.cancel()  # else it would be recorded in the next history, after continue_as_new
        self.open.clear()
        self._delayed.clear()
        self._fresh.clear()
        self.held.clear()
        self.loop.dispose()

    # Divergence --------------------------------------------------------------------------------------------------

    def _check_timer(self, entry: Entry) -> None:
        if entry.ordinal >= self.loop.timers_made:
            raise diverged(self.process_id, entry, None)
        due_ms = self.loop.timer_due_ms(entry.ordinal)
        if due_ms is not None and due_ms != entry.due_ms:
            raise diverged(self.process_id, entry, Effect(EffectKind.SLEEP, entry.ordinal, "", "", due_ms))

    def _check_leftovers(self) -> None:
        for entry in self.held:
            if entry.kind is EntryKind.SLEEP:
                self._check_timer(entry)
            elif entry.kind not in (EntryKind.CANCEL, EntryKind.MAIL) and entry.ordinal >= self.next_ordinal:
                raise diverged(self.process_id, entry, None)
