"""A context for unit tests: the body is called like any function, under plain ``asyncio.run``, without a store.

Steps run at once, retries without their pauses, sleeps move a clock that nobody waits for, and what the outside would
have sent is given beforehand. What it does not do is replay: for that, run the process on ``memory://``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NoReturn, TypeVar, cast

from lash.abc.engine import Again
from lash.abc.provider import Provider
from lash.core import codec
from lash.core.effect import EffectKind, Entry, EntryKind
from lash.core.event import Event
from lash.core.ids import ProcessId, child_id, effect_key
from lash.core.model import ModelSettings, Usage
from lash.core.outcome import Completed, Outcome, Status
from lash.core.process import ProcessRecord
from lash.core.schedule import Duration, duration_ms
from lash.core.turn import Finished, Stopped
from lash.errors import InvalidArguments, NotRegistered
from lash.runtime.asking import Answer
from lash.runtime.context import Context
from lash.runtime.handle import Handle
from lash.runtime.registry import Process
from lash.runtime.shapes import Shape, decoded, shape_of
from lash.runtime.steps import StepCall
from lash.testing.clock import START_MS

T = TypeVar("T")


class Continued(BaseException):
    """The body called ``ctx.continue_as_new``; ``args`` and ``kwargs`` are what it gave."""

    def __init__(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        super().__init__(f"continue_as_new{args!r}")
        self.args = args
        self.kwargs = kwargs


class DirectPort:
    """Performs what a context asks for where it stands; see :class:`lash.runtime.context.Port`."""

    def __init__(
        self,
        process_id: str,
        attempt: int,
        now_ms: int,
        deps: object,
        app: object,
        children: Mapping[str, object],
        turns: Mapping[str, list[object]],
        models: Mapping[str, list[object]],
    ) -> None:
        self.process_id = process_id
        self.scope = process_id
        self.attempt = attempt
        self.replaying = False
        self.deps: Any = deps
        self.app: Any = app
        self.now_ms = now_ms
        self.emitted: list[tuple[str, object]] = []
        self.slept: list[float] = []
        self.steps: list[str] = []
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.signalled: list[tuple[str, str, object]] = []
        self._children = children
        self._turns = turns
        self._models = models
        self._running: dict[str, asyncio.Future[Outcome]] = {}
        self._ordinals = 0

    def time(self) -> float:
        return self.now_ms / 1_000

    def inside(self, what: str) -> None:
        """Every place is inside."""

    def next_ordinal(self) -> int:
        self._ordinals += 1
        return self._ordinals - 1

    async def step(self, name: str, witness: str, call: StepCall) -> Entry:
        ordinal = self.next_ordinal()
        call.key = effect_key(self.scope, ordinal)
        self.steps.append(name)
        with ThreadPoolExecutor(1) as threads:
            while isinstance(reply := await call.perform(lambda: self.now_ms, lambda: threads), Again):
                call.attempts_failed = reply.attempt
                self.now_ms = max(self.now_ms, reply.due_ms)
        return Entry(EntryKind.STEP, ordinal, name, witness, reply.payload, reply.failed, reply.attempt)

    async def wait(self, key: str, kind: EffectKind) -> Entry:
        del kind
        raise InvalidArguments(f"Nothing is given for {key!r} in this test.")

    async def sleep(self, until: float) -> None:
        self.slept.append(max(0.0, until - self.time()))
        self.now_ms = max(self.now_ms, round(until * 1_000))
        await asyncio.sleep(0)

    async def emit(self, event_type: str, payload: bytes) -> None:
        self.emitted.append((event_type, codec.decode(payload)))

    async def start(self, process: Process[..., T], args: bytes, options: dict[str, Any]) -> Handle[T]:
        given = options["id"]
        process_id = child_id(self.scope, self.next_ordinal()) if given is None else ProcessId(given)
        self.started.append(process_id)
        outcome = asyncio.ensure_future(self._child(process, args, process_id))
        self._running[process_id] = outcome
        return Handle(ChildAccess(self, outcome), process_id, process.signature.result)

    def handle(self, process_id: str, shape: Shape) -> Handle[Any]:
        outcome = self._running.get(process_id)
        if outcome is None and process_id in self._children:
            outcome = self._running[process_id] = asyncio.ensure_future(self._given(process_id, (), {}, shape))
        if outcome is None:
            raise InvalidArguments(
                f"The body asks for process {process_id!r}; give context(children={{{process_id!r}: ...}})."
            )
        return Handle(ChildAccess(self, outcome), process_id, shape)

    async def _child(self, process: Process[..., Any], args: bytes, process_id: str) -> Outcome:
        positional, keyword = process.signature.decode(args)
        if process.name not in self._children:
            port = DirectPort(
                process_id, 1, self.now_ms, self.deps, self.app, self._children, self._turns, self._models
            )
            value: object = await process.function(TestContext(port, {}), *positional, **keyword)
            return Completed(process.signature.result.encode(value, "result of the child"))
        return await self._given(process.name, positional, keyword, process.signature.result)

    async def _given(
        self, name: str, positional: Sequence[object], keyword: Mapping[str, object], shape: Shape
    ) -> Outcome:
        """What the test gave as the end of a process."""
        value = self._children[name]
        if callable(value):
            value = value(*positional, **keyword)
        if asyncio.iscoroutine(value):
            value = await cast("Coroutine[Any, Any, object]", value)
        if isinstance(value, BaseException):
            raise value
        return Completed(shape.encode(value, "result of the child"))

    def process_of(self, item: object) -> Process[..., Any]:
        if isinstance(item, Process):
            return cast("Process[..., Any]", item)
        raise NotRegistered(f"{item!r} is no process. Decorate it with @app.process or @lash.process.")

    async def run_turn(self, agent: Any, text: str, session: str | None) -> Finished[Any] | Stopped:
        del text
        name = agent if isinstance(agent, str) else agent.name
        output = next_of(self._turns, name, "turns")
        turn_id = f"{session or self.process_id + '.' + str(self.next_ordinal())}/1"
        if isinstance(output, Stopped):
            return output
        if isinstance(output, str):
            return Finished(output, turn_id=turn_id)
        return Finished("", output, turn_id=turn_id, structured=True)

    async def ask_model(
        self, model: str | tuple[Provider, str], prompt: str, instructions: str, output: object,
        settings: ModelSettings | None,
    ) -> Answer[Any]:  # fmt: skip
        del prompt, instructions, output, settings
        answer = next_of(self._models, model if isinstance(model, str) else model[1], "models")
        return Answer(answer, answer if isinstance(answer, str) else "", Usage())


def next_of(given: Mapping[str, list[object]], name: str, what: str) -> object:
    """The next answer given for ``name``. Raises ``InvalidArguments`` when none is left."""
    left = given.get(name)
    if not left:
        raise InvalidArguments(f"The body asks {name!r} for an answer; give context({what}={{{name!r}: [...]}}).")
    return left.pop(0)


class ChildAccess:
    """A handle on a child that runs as a task of the test."""

    def __init__(self, port: DirectPort, child: asyncio.Future[Outcome]) -> None:
        self._port = port
        self._child = child

    async def outcome(self, process_id: str, timeout: Duration | None) -> Outcome:
        del process_id
        limit = None if timeout is None else duration_ms(timeout) / 1_000
        return await asyncio.wait_for(asyncio.shield(self._child), limit)

    async def status(self, process_id: str) -> Status:
        del process_id
        return Status.COMPLETED if self._child.done() else Status.RUNNING

    async def cancel(self, process_id: str, reason: str) -> None:
        del reason
        self._port.cancelled.append(process_id)
        self._child.cancel()

    async def signal(self, process_id: str, name: str, payload: bytes, key: str | None) -> None:
        del key
        self._port.signalled.append((process_id, name, codec.decode(payload)))

    async def record(self, process_id: str) -> ProcessRecord:
        raise InvalidArguments(f"There is no record of {process_id!r} in a unit test.")

    def events(self, process_id: str, after: int, follow: bool) -> AsyncIterator[Event]:
        raise InvalidArguments(f"There are no events of {process_id!r} in a unit test.")

    async def close(self, process_id: str, outcome: Outcome) -> None:
        raise InvalidArguments(f"{process_id!r} is no external process in a unit test.")


class TestContext(Context):
    """Made by :func:`context`. Beside the context's own, it tells what the body has asked for."""

    __test__ = False  # pytest collects classes by such names
    _port: DirectPort

    def __init__(self, port: DirectPort, signals: Mapping[str, Sequence[object]]) -> None:
        super().__init__(port)
        self._signals = {name: list(payloads) for name, payloads in signals.items()}

    @property
    def emitted(self) -> list[tuple[str, object]]:
        """(type, payload) of each event, in order."""
        return self._port.emitted

    @property
    def slept(self) -> list[float]:
        """Seconds of each sleep, in order."""
        return self._port.slept

    @property
    def steps(self) -> list[str]:
        """Names of the steps, in the order they were begun."""
        return self._port.steps

    @property
    def started(self) -> list[str]:
        """Ids of the children, in order."""
        return self._port.started

    async def signal(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base's two overloads in one
        self, name: str, type: Any = Any, timeout: Duration | None = None
    ) -> Any:
        """The next payload given for ``name``; without one, ``TimeoutError`` at once, or an error if no timeout."""
        waiting = self._signals.get(name)
        if waiting:
            payload = codec.encode(waiting.pop(0), f"payload of signal {name!r}")
            return decoded(shape_of(type), payload, f"payload of signal {name!r}")
        if timeout is None:
            raise InvalidArguments(
                f"The body waits for signal {name!r} for ever; give context(signals={{{name!r}: [...]}})."
            )
        self._port.now_ms += duration_ms(timeout, "timeout")
        raise TimeoutError

    def continue_as_new(self, *args: object, **kwargs: object) -> NoReturn:
        raise Continued(args, kwargs)


def context(
    *,
    process_id: str = "test",
    attempt: int = 1,
    now: datetime | None = None,
    deps: object = None,
    app: object = None,
    signals: Mapping[str, Sequence[object]] | None = None,
    children: Mapping[str, object | Callable[..., object]] | None = None,
    turns: Mapping[str, Sequence[object]] | None = None,
    models: Mapping[str, Sequence[object]] | None = None,
) -> TestContext:
    """A context to call a process function with.

    ``signals``: payloads by signal name, taken in order. ``children``: by process name the value a child returns, an
    exception it raises, or a function of its arguments; other children run their own function; by id, the same for
    what ``ctx.handle`` asks for. ``turns``: by agent's
    name the outputs of its turns, or ``Stopped`` values, taken in order. ``models``: by model, the answers.

    >>> import asyncio, lash
    >>> @lash.process
    ... async def greet(ctx: lash.Context, name: str) -> str:
    ...     await ctx.sleep("1h")
    ...     return await ctx.signal("greeting", str) + " " + name
    >>> ctx = context(signals={"greeting": ["hello"]})
    >>> asyncio.run(greet(ctx, "you")), ctx.slept
    ('hello you', [3600.0])
    """
    now_ms = START_MS if now is None else round(now.timestamp() * 1_000)
    outputs = {name: list(given) for name, given in (turns or {}).items()}
    answers = {name: list(given) for name, given in (models or {}).items()}
    port = DirectPort(process_id, attempt, now_ms, deps, app, children or {}, outputs, answers)
    return TestContext(port, signals or {})
