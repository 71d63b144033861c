"""The context is the body's only door to the world: everything asked for through it is recorded once.

Plain ``asyncio`` works beside it (see ``bodyloop``). What it offers without a row (``now``, ``random``, ``uuid``) is
derived from what is recorded already, so every run of the body sees the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, TypeVar, overload

from lash.abc.engine import Reply
from lash.abc.store import wait_key_of_signal
from lash.core import codec
from lash.core.effect import EffectKind, Entry
from lash.core.ids import check_event_type, check_name, derived_random, derived_uuid
from lash.core.retry import NO_RETRY, Retry
from lash.core.schedule import Duration, duration_ms
from lash.errors import InvalidArguments
from lash.runtime import guard
from lash.runtime.handle import Handle
from lash.runtime.registry import Process
from lash.runtime.shapes import ANY, Shape, decoded, shape_of
from lash.runtime.steps import StepCall, retry_of, step_failed

if TYPE_CHECKING:
    from uuid import UUID

    from lash.abc.provider import Provider
    from lash.core.model import ModelSettings
    from lash.core.turn import Finished, Stopped
    from lash.runtime.agent import Agent
    from lash.runtime.asking import Answer

T = TypeVar("T")
Command = Callable[[int], Coroutine[Any, Any, Reply]]
"""Performs a command, given the ordinal its key is derived from."""


class Port(Protocol):
    """What a context stands on: a recorded run, or the stand-in of ``lash.testing``."""

    @property
    def process_id(self) -> str: ...

    @property
    def scope(self) -> str:
        """What keys, child ids, uuids and random numbers derive from: see ``core.ids.scope_of``."""
        ...

    @property
    def attempt(self) -> int: ...

    @property
    def replaying(self) -> bool: ...

    @property
    def deps(self) -> Any: ...

    @property
    def app(self) -> Any: ...

    def time(self) -> float: ...

    def inside(self, what: str) -> None:
        """Raise ``NotInProcess`` unless the body itself is asking."""
        ...

    def step(self, name: str, witness: str, call: StepCall) -> Awaitable[Entry]: ...

    def wait(self, key: str, kind: EffectKind) -> Awaitable[Entry]: ...

    async def sleep(self, until: float) -> None: ...

    async def emit(self, event_type: str, payload: bytes) -> None: ...

    async def start(self, process: Process[..., T], args: bytes, options: dict[str, Any]) -> Handle[T]: ...

    def handle(self, process_id: str, shape: Shape) -> Handle[Any]: ...

    def process_of(self, item: object) -> Process[..., Any]: ...

    async def run_turn(self, agent: object, text: str, session: str | None) -> Finished[Any] | Stopped: ...

    async def ask_model(
        self, model: str | tuple[Provider, str], prompt: str, instructions: str, output: object,
        settings: ModelSettings | None,
    ) -> Answer[Any]: ...  # fmt: skip


class ContinueAsNew(BaseException):
    """Ends this history; the process goes on with new arguments and an empty one."""

    def __init__(self, args: bytes) -> None:
        super().__init__("continue as new")
        self.args_json = args


class BodyLog(logging.LoggerAdapter[logging.Logger]):
    """Silent while the body only hears again what was recorded."""

    def __init__(self, port: Port) -> None:
        super().__init__(logging.getLogger("lash.process"), {})
        self._port = port

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name logging gives it
        return not self._port.replaying and self.logger.isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            with guard.lifted():
                super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"[{self._port.process_id}] {msg}", kwargs


class Context:
    """Handed to a process body as its first argument; good only until the process ends."""

    lash_context: ClassVar = "body"
    """Tells a tool that asks for one from a tool that asks for a ``ToolContext``."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._chances = 0
        self._uuids = 0
        self.log: logging.LoggerAdapter[logging.Logger] = BodyLog(port)
        """A standard logger, silent during replay."""

    @property
    def process_id(self) -> str:
        return self._port.process_id

    @property
    def attempt(self) -> int:
        """1 at first; one more each time a worker was lost. Do not branch on it: it is not recorded."""
        return self._port.attempt

    @property
    def deps(self) -> Any:
        """What ``app.lifespan`` yielded in this worker. Use it in steps, not in the body."""
        return self._port.deps

    @property
    def app(self) -> Any:
        """The ``lash.Runtime`` of this worker. Use it in steps, not in the body."""
        return self._port.app

    @overload
    async def step(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        *args: object,
        retry: Retry | int | None = None,
        timeout: Duration | None = None,
        name: str | None = None,
        **kw: object,
    ) -> T: ...

    @overload
    async def step(
        self,
        fn: Callable[..., T],
        *args: object,
        retry: Retry | int | None = None,
        timeout: Duration | None = None,
        name: str | None = None,
        **kw: object,
    ) -> T: ...

    async def step(
        self,
        fn: Callable[..., object],
        *args: object,
        retry: Retry | int | None = None,
        timeout: Duration | None = None,
        name: str | None = None,
        **kw: object,
    ) -> object:
        """Call ``fn`` outside the body, once, and return its recorded result.

        Async functions run on the worker's loop, sync ones in a thread. The result is JSON; it comes back as the type
        ``fn`` is annotated to return. ``timeout`` bounds one attempt; ``retry`` says which failures are tried again.
        Raises ``StepFailed`` when the last attempt failed.
        """
        port = self._port
        timeout_ms = None if timeout is None else duration_ms(timeout, "timeout")
        call = StepCall(fn, args, kw, NO_RETRY if retry is None else retry_of(retry), timeout_ms, port.process_id)
        label = call.facts.name if name is None else check_name(name, "step name")
        entry = await port.step(label, codec.call_fingerprint("lash.step/1", args, kw), call)
        if not entry.failed:
            return decoded(call.facts.shape, entry.payload, call.facts.what)
        raise step_failed(entry.payload, port.process_id)

    async def sleep(self, duration: Duration) -> None:
        """Sleep in recorded time: a crash does not start it again, and a long one holds no worker."""
        await self._port.sleep(self._port.time() + duration_ms(duration) / 1_000)

    async def sleep_until(self, when: datetime) -> None:
        """Sleep until an aware datetime; returns at once when it has passed."""
        if not isinstance(when, datetime) or when.tzinfo is None:
            raise InvalidArguments(f"sleep_until needs a datetime with a time zone, not {when!r}.")
        await self._port.sleep(when.timestamp())

    @overload
    async def signal(self, name: str, *, timeout: Duration | None = None) -> Any: ...

    @overload
    async def signal(self, name: str, type: type[T], timeout: Duration | None = None) -> T: ...

    async def signal(self, name: str, type: Any = Any, timeout: Duration | None = None) -> Any:
        """Wait for the next signal of this name that no earlier call has taken.

        Signals sent before the call are kept. Raises ``TimeoutError`` after ``timeout``, and ``InvalidValue`` when
        the payload is no ``type``.
        """
        key = wait_key_of_signal(check_name(name, "signal name"))
        if timeout is None:
            entry = await self._port.wait(key, EffectKind.WAIT)
        else:
            self._port.inside("signal")
            async with asyncio.timeout_at(self._port.time() + duration_ms(timeout, "timeout") / 1_000):
                entry = await self._port.wait(key, EffectKind.WAIT)
        return decoded(shape_of(type), entry.payload, f"payload of signal {name!r}")

    async def start(
        self,
        fn: Process[..., T],
        *args: object,
        id: str | None = None,
        delay: Duration | None = None,
        tags: tuple[str, ...] | list[str] = (),
        priority: int = 0,
        detached: bool = False,
        **kwargs: object,
    ) -> Handle[T]:
        """Start a child, once. Without ``id`` its id is derived from this process, so a re-run starts no second one.

        Awaiting the handle parks this process. Cancelling this process cancels the child unless ``detached``.
        """
        process: Process[..., T] = self._port.process_of(fn)
        options = {"id": id, "delay": delay, "tags": tags, "priority": priority, "detached": detached}
        return await self._port.start(process, process.signature.encode(args, kwargs), options)

    def handle(self, id: str) -> Handle[Any]:
        """A handle to any process by id. Awaiting it parks this process. Whether it exists shows when it is used."""
        return self._port.handle(check_name(id, "process id"), ANY)

    async def run(self, agent: Agent[T], text: str, *, session: str | None = None) -> Finished[T] | Stopped:
        """Have ``agent`` do one turn on ``text``, once, in a session of its own; this process parks while it works.

        The session is a child of this process: cancelling the process ends it. Its id is derived, so a re-run starts no
        second turn; with ``session`` it is that one, and a later ``run`` goes on with the same conversation. How the
        turn ended is a value, never an exception. Raises ``AgentUnknown``, ``SessionConflict``, ``SessionDeleted``.
        """
        return await self._port.run_turn(agent, text, session)

    @overload
    async def model(
        self,
        model: str | tuple[Provider, str],
        prompt: str,
        *,
        instructions: str = "",
        settings: ModelSettings | None = None,
    ) -> Answer[str]: ...

    @overload
    async def model(
        self,
        model: str | tuple[Provider, str],
        prompt: str,
        *,
        output: type[T],
        instructions: str = "",
        settings: ModelSettings | None = None,
    ) -> Answer[T]: ...

    async def model(
        self,
        model: str | tuple[Provider, str],
        prompt: str,
        *,
        output: object = None,
        instructions: str = "",
        settings: ModelSettings | None = None,
    ) -> Answer[Any]:
        """Ask a model one thing, without tools or a session; the answer is recorded, and never paid for twice.

        ``output``: the type of the answer. Raises ``StepFailed`` when the model refused or could not be reached, and
        with code ``invalid_output`` when its answer does not fit. A model that this worker does not have (no such
        provider, no key, an extra that is missing) is no failure: the process is blocked, visibly, until one has it.
        """
        return await self._port.ask_model(model, prompt, instructions, output, settings)

    async def emit(self, type: str, payload: object = None) -> None:
        """Append an event to this process's log, once."""
        name = check_event_type(type)
        await self._port.emit(name, codec.encode(payload, f"payload of event {name!r}"))

    def now(self) -> datetime:
        """The moment the last recorded reply was recorded, in UTC: the same in every run."""
        self._port.inside("now")
        return datetime.fromtimestamp(self._port.time(), UTC)

    def random(self) -> float:
        """The next number in [0, 1) of a sequence that belongs to this process."""
        self._port.inside("random")
        self._chances += 1
        return derived_random(self._port.scope, self._chances)

    def uuid(self) -> UUID:
        """The next uuid of a sequence that belongs to this process."""
        self._port.inside("uuid")
        self._uuids += 1
        return derived_uuid(self._port.scope, self._uuids)

    def continue_as_new(self, *args: object, **kwargs: object) -> NoReturn:
        """End this history and go on as the same process with new arguments. Signals not yet taken are kept."""
        process = self._port.process_of(None)
        raise ContinueAsNew(process.signature.encode(args, kwargs))
