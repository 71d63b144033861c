"""The port of a recorded run: each thing a context offers becomes one effect, or costs nothing at all."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from lash.abc.engine import Reply
from lash.abc.store import (
    Append,
    Appended,
    Cancel,
    Conflict,
    Ended,
    KeyConflict,
    Op,
    Signal,
    Stale,
    Start,
    Started,
    Store,
    Unknown,
    Verdict,
    wait_key_of_process,
)  # fmt: skip
from lash.core import codec
from lash.core.effect import EffectKind, Entry
from lash.core.event import Event
from lash.core.ids import check_name, child_id, effect_key, scope_of
from lash.core.outcome import Failure, Outcome, Status, outcome_of
from lash.core.process import ProcessRecord, ProcessRow, ProcessSpec
from lash.core.schedule import Duration, duration_ms
from lash.errors import (
    Diverged,
    EventConflict,
    InputConflict,
    LeaseLost,
    NotInProcess,
    NotInStep,
    ProcessConflict,
    ProcessEnded,
    ProcessPruned,
    ProcessUnknown,
    SessionConflict,
    SessionDeleted,
    SessionUnknown,
    UsageError,
)  # fmt: skip
from lash.runtime.bodyrun import BodyRun
from lash.runtime.handle import Handle
from lash.runtime.registry import Process
from lash.runtime.shapes import Shape
from lash.runtime.specs import child_spec
from lash.runtime.steps import StepCall, failure_payload

if TYPE_CHECKING:
    from lash.abc.provider import Provider
    from lash.core.model import ModelSettings
    from lash.core.turn import Finished, Stopped
    from lash.runtime.agent import Agent
    from lash.runtime.asking import Answer
    from lash.runtime.spending import Spending

T = TypeVar("T")
COMMAND_ERRORS = {
    kind.code: kind
    for kind in (
        ProcessConflict, ProcessEnded, ProcessUnknown, ProcessPruned, EventConflict,
        SessionConflict, SessionDeleted, SessionUnknown, InputConflict,
    )
}  # fmt: skip


class World(Protocol):
    """What bodies need of the runtime."""

    @property
    def deps(self) -> Any: ...

    @property
    def app(self) -> Any: ...

    def threads(self) -> Executor: ...

    @property
    def now_ms(self) -> Callable[[], int]: ...

    def process_of(self, item: object) -> Process[..., Any]: ...

    def write(self, op: Op) -> Awaitable[Verdict]: ...

    async def row(self, process_id: str) -> ProcessRow: ...

    @property
    def store(self) -> Store: ...

    def agent_of(self, item: object) -> Agent[Any]: ...

    def provider_of(self, agent: Agent[Any]) -> Provider: ...


class BodyPort:
    """One per run; see :class:`lash.runtime.context.Port`."""

    def __init__(self, run: BodyRun, record: ProcessRecord, process: Process[..., Any] | None, world: World) -> None:
        self._run = run
        self.process_id = run.process_id
        self._record = record
        self._process = process
        self._world = world
        self._scope = scope_of(record.id, record.generation)
        self.spending: Spending | None = None
        """Of a turn: where what its tools spend is counted."""
        self._within = ""

    @property
    def scope(self) -> str:
        return self._scope

    @property
    def spec(self) -> ProcessSpec:
        return self._record.spec

    @property
    def attempt(self) -> int:
        return self._record.attempts

    @property
    def replaying(self) -> bool:
        return self._run.silent

    @property
    def deps(self) -> Any:
        return self._world.deps

    @property
    def app(self) -> Any:
        return self._world.app

    def time(self) -> float:
        return self._run.loop.time()

    def process_of(self, item: object) -> Process[..., Any]:
        if item is not None:
            return self._world.process_of(item)
        if self._process is None:
            raise NotInProcess("A session goes on by itself, turn after turn: there is no continue_as_new in a tool.")
        return self._process

    def within(self, path: str) -> BodyPort:
        """This one, for the code of a tool: the names of its steps say whose they are, and are none of the turn's."""
        port = copy.copy(self)
        port._within = f"in {path} "
        return port

    def step(self, name: str, witness: str, call: StepCall) -> Awaitable[Entry]:
        request = self._run.request(EffectKind.STEP, self._within + name, witness, None, call)
        call.key = effect_key(self._scope, request.effect.ordinal)
        return request

    def wait(self, key: str, kind: EffectKind) -> Awaitable[Entry]:
        return self._run.request(kind, key, "", None)

    async def command(self, name: str, witness: str, perform: Callable[[int], Awaitable[Reply]]) -> object:
        """One recorded command; its value, or its failure raised."""
        run = self._run
        ordinal = run.next_ordinal

        async def once() -> Reply:
            return await perform(ordinal)

        entry = await run.request(EffectKind.COMMAND, name, witness, once)
        if not entry.failed:
            return codec.decode(entry.payload)
        failure = Failure.of_json(codec.decode(entry.payload))
        raise COMMAND_ERRORS.get(failure.code, UsageError)(failure.message)

    def inside(self, what: str) -> None:
        self._run.inside(what)

    async def sleep(self, until: float) -> None:
        self._run.inside("sleep")
        loop = self._run.loop
        if until <= loop.time():
            await asyncio.sleep(0)
            return
        future = loop.create_future()
        timer = loop.call_at(until, wake_sleeper, future)
        try:
            await future
        finally:
            timer.cancel()

    async def emit(self, event_type: str, payload: bytes) -> None:
        run = self._run

        async def perform(ordinal: int) -> Reply:
            key = effect_key(self._scope, ordinal)
            verdict = await self._world.write(Append(run.fence, event_type, payload, key))
            if isinstance(verdict, Stale):
                raise LeaseLost(f"Process {run.process_id!r} belongs to another worker now; no event was written.")
            if isinstance(verdict, KeyConflict):  # told by an attempt that died before it could record the command
                raise changed(run.process_id, f"event {verdict.event.type!r}", f"event {event_type!r}, or its payload")
            return Reply(codec.NULL)

        await self.command("emit " + event_type, codec.fingerprint("lash.emit/1", payload.decode()), perform)

    async def start(self, process: Process[..., T], args: bytes, options: dict[str, Any]) -> Handle[T]:
        run = self._run
        given = options.pop("id")
        if given is not None:
            check_name(given, "process id")
        witness = codec.fingerprint("lash.start/1", codec.decode(args), given)
        spec = child_spec(process, args, self._record.spec, options)

        async def perform(ordinal: int) -> Reply:
            process_id = given if given is not None else child_id(self._scope, ordinal)
            caused_by = wait_key_of_process(effect_key(self._scope, ordinal))
            verdict = await self._world.write(Start(replace(spec, id=process_id, caused_by=caused_by)))
            if isinstance(verdict, Started):
                return Reply(codec.encode(process_id))
            if isinstance(verdict, Conflict) and given is None:  # as in emit
                raise changed(run.process_id, f"child {verdict.name!r}", f"child {process.name!r}, or its arguments")
            return refused(verdict, process_id)

        process_id = cast(str, await self.command("start " + process.name, witness, perform))
        return self.handle(process_id, process.signature.result)

    def handle(self, process_id: str, shape: Shape) -> Handle[Any]:
        return Handle(BodyAccess(self, self._world), process_id, shape)

    # Agents and models -------------------------------------------------------------------------------------------

    @property
    def host_profile(self) -> str:
        return self._record.spec.host_profile

    @property
    def store(self) -> Store:
        return self._world.store

    def token(self) -> int:
        return self._run.fence.token

    def provider_of(self, agent: Agent[Any]) -> Provider:
        return self._world.provider_of(agent)

    async def write(self, op: Op) -> Verdict:
        return await self._world.write(op)

    async def run_turn(self, agent: object, text: str, session: str | None) -> Finished[Any] | Stopped:
        from lash.runtime.asking import run_turn

        self._run.inside("run")
        return await run_turn(self, self._world.agent_of(agent), text, session)

    async def ask_model(
        self, model: str | tuple[Provider, str], prompt: str, instructions: str, output: object,
        settings: ModelSettings | None,
    ) -> Answer[Any]:  # fmt: skip
        from lash.runtime.asking import ask_model

        self._run.inside("model")
        return await ask_model(self, model, prompt, instructions, output, settings)


class BodyAccess:
    """A handle inside a body: what it does is recorded, what it cannot record it refuses."""

    def __init__(self, port: BodyPort, world: World) -> None:
        self._port = port
        self._world = world

    async def outcome(self, process_id: str, timeout: Duration | None) -> Outcome:
        key = wait_key_of_process(process_id)
        if timeout is None:
            entry = await self._port.wait(key, EffectKind.WAIT)
        else:
            self._port.inside("result")
            until = self._port.time() + duration_ms(timeout, "timeout") / 1_000
            async with asyncio.timeout_at(until):
                entry = await self._port.wait(key, EffectKind.WAIT)
        status, _, payload = entry.payload[2:-1].partition(b'",')
        if status == b"pruned":
            raise ProcessPruned(f"Process {process_id!r} has ended and its history was pruned.", process_id=process_id)
        if status == b"unknown":
            raise ProcessUnknown(f"No process has the id {process_id!r}.", process_id=process_id)
        return outcome_of(Status(status.decode()), payload)

    async def status(self, process_id: str) -> Status:
        async def perform(ordinal: int) -> Reply:
            del ordinal
            row = await self._world.row(process_id)
            return Reply(codec.encode(row.record.status.value))

        return Status(cast(str, await self._port.command(f"status {process_id}", "", perform)))

    async def cancel(self, process_id: str, reason: str) -> None:
        check_name(reason, "cancel reason")

        async def perform(ordinal: int) -> Reply:
            del ordinal
            return refused(await self._world.write(Cancel(process_id, reason)), process_id)

        await self._port.command(f"cancel {process_id}", codec.fingerprint("lash.cancel/1", reason), perform)

    async def signal(self, process_id: str, name: str, payload: bytes, key: str | None) -> None:
        check_name(name, "signal name")
        if key is not None:
            check_name(key, "signal key")

        async def perform(ordinal: int) -> Reply:
            own = key if key is not None else effect_key(self._port.scope, ordinal)
            return refused(await self._world.write(Signal(process_id, name, payload, own)), process_id)

        witness = codec.fingerprint("lash.signal/1", name, codec.decode(payload), key)
        await self._port.command(f"signal {process_id}", witness, perform)

    async def record(self, process_id: str) -> ProcessRecord:
        raise not_recorded("record", process_id)

    def events(self, process_id: str, after: int, follow: bool) -> AsyncIterator[Event]:
        raise not_recorded("events", process_id)

    async def close(self, process_id: str, outcome: Outcome) -> None:
        raise not_recorded("complete and fail", process_id)


def changed(process_id: str, recorded: str, requested: str) -> Diverged:
    """An earlier attempt did this effect, died before it was recorded, and other code now asks for something else."""
    return Diverged(
        f"The code of process {process_id!r} has changed under its journal: done was {recorded}, the body asks for "
        f"{requested}. Put the old code back, or deploy the new one under a new version.",
        recorded=recorded,
        requested=requested,
        process_id=process_id,
    )


def not_recorded(what: str, process_id: str) -> NotInStep:
    return NotInStep(
        f"{what} of process {process_id!r} cannot be used in a body, because it is not recorded. "
        "Use it in a step, through a handle of the app: app.handle(id)."
    )


def wake_sleeper(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def refused(verdict: Verdict, process_id: str) -> Reply:
    """A command's verdict as a recorded reply: null, or the failure the body sees."""
    match verdict:
        case Appended():
            return Reply(codec.NULL)
        case Conflict():
            return fail("process_conflict", f"The id {process_id!r} belongs to a process with other arguments.")
        case Ended():
            return fail("process_ended", f"Process {process_id!r} has ended already.")
        case Unknown(pruned):
            code = "process_pruned" if pruned else "process_unknown"
            return fail(code, f"No running process has the id {process_id!r}.")
        case KeyConflict():
            return fail("event_conflict", f"The key was used for another signal to process {process_id!r}.")
        case _:
            raise TypeError(f"unexpected verdict {type(verdict).__name__}")


def fail(code: str, message: str) -> Reply:
    return Reply(failure_payload(Failure("invalid_request", code, message)), True)
