"""A tool is a function a model may call: its schema comes from its signature, and its arguments are validated by it.

What is wrong with a tool is said when it is decorated (``InvalidAgent``), to its developer; what is wrong with a call
is a failed result, to the model, in words it can act on. Nothing of a tool runs before its arguments were validated.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from types import MethodType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from lash.abc.tool_schema import Arguments, arguments_of, described, takes_self
from lash.core import codec
from lash.core.attachment import check_attachment
from lash.core.message import Media, Text
from lash.core.model import ToolSpec
from lash.core.outcome import line_of
from lash.core.retry import Retry
from lash.core.schedule import Duration, duration_ms
from lash.core.tool import Effect, Fail, Finish, SwitchFrame, ToolOutput, failed
from lash.errors import AttachmentMissing, InvalidAgent, InvalidValue, LashError

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ToolPort(Protocol):
    """What a context stands on: a turn, or the stand-in of ``lash.testing``."""

    session_id: str
    turn: int
    call_id: str
    idempotency_key: str
    attempt: int
    deps: Any
    app: Any

    @property
    def cancelled(self) -> bool: ...

    async def start(
        self, fn: object, args: tuple[object, ...], kwargs: dict[str, object], options: dict[str, Any]
    ) -> Any: ...

    async def put(self, data: bytes) -> str: ...

    async def get(self, ref: str) -> bytes | None: ...

    def notify(self, name: str, payload: object) -> None: ...


class ToolContext:
    """Handed to a tool that asks for it: one attempt of one call."""

    lash_context: Final = "tool"

    def __init__(self, port: ToolPort) -> None:
        self._port = port

    @property
    def session_id(self) -> str:
        return self._port.session_id

    @property
    def turn(self) -> int:
        return self._port.turn

    @property
    def call_id(self) -> str:
        """The model's id of the call."""
        return self._port.call_id

    @property
    def idempotency_key(self) -> str:
        """Stable across attempts and crashes: hand it to the outside so that a repeated call is recognised."""
        return self._port.idempotency_key

    @property
    def attempt(self) -> int:
        """1 for the first try."""
        return self._port.attempt

    @property
    def deps(self) -> Any:
        """What ``app.lifespan`` yielded in this worker."""
        return self._port.deps

    @property
    def app(self) -> Any:
        """The ``lash.Runtime``. What is done with it here may be done again after a crash, so give ids and keys.
        What is started with it belongs to nobody; see :meth:`start`."""
        return self._port.app

    @property
    def cancelled(self) -> bool:
        """True once nobody wants the result; a long tool in a thread should look now and then."""
        return self._port.cancelled

    async def start(
        self,
        fn: Any,
        *args: object,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Sequence[str] = (),
        priority: int = 0,
        detached: bool = False,
        **kwargs: object,
    ) -> Any:
        """Start a process that belongs to this session, as ``app.start``: closing or deleting the session cancels it,
        unless it is ``detached``. Returns its ``lash.Handle``.

        Without ``id`` it is derived from the call and from how many the tool has started before, so a call that is made
        again starts none twice. Raises ``ProcessConflict``; for a session that is over ``SessionDeleted``, or
        ``ProcessEnded``.
        """
        options = {"id": id, "delay": delay, "tags": tags, "priority": priority, "detached": detached}
        return await self._port.start(fn, args, kwargs, options)

    async def put(self, data: bytes, media_type: str, label: str = "") -> Media:
        """Store an attachment, to be returned as part of the result. Raises ``InvalidValue``."""
        check_attachment(data, media_type)
        return Media(await self._port.put(data), media_type, len(data), label)

    async def get(self, media: Media) -> bytes:
        """The bytes of an attachment. Raises ``AttachmentMissing``."""
        data = await self._port.get(media.ref)
        if data is None:
            raise AttachmentMissing(f"The attachment {media.ref} is not in the store.", ref=media.ref)
        return data

    def notify(self, name: str, payload: object = None) -> None:
        """Tell observers of the turn: a ``PluginEvent`` under the tool's name, live only. ``payload`` is JSON. Raises
        ``InvalidValue``."""
        if not isinstance(name, str):
            raise InvalidValue(f"ctx.notify takes a name, not {line_of(name)}.")
        self._port.notify(name, codec.decode(codec.encode(payload, f"payload of {name!r}")))


class AwaitedProcess(Protocol):
    """Of a handle, what is recorded in a body."""

    async def result(self, timeout: Duration | None = None) -> Any: ...


class BodyContext(Protocol):
    """A ``lash.Context``, as far as a plugin needs one: its tool runs as the session's own code, and may park."""

    lash_context: ClassVar[str] = "body"

    @property
    def process_id(self) -> str: ...

    @property
    def app(self) -> Any: ...

    def step(self, fn: Callable[..., Any], *args: object) -> Awaitable[Any]: ...

    def handle(self, id: str) -> AwaitedProcess: ...


@dataclass(frozen=True, eq=False, repr=False)
class Tool(Generic[P, R]):
    """Made by :func:`tool`. Calling it calls the function, for unit tests."""

    function: Callable[P, R]
    name: str
    description: str
    arguments: Arguments
    effect: Effect = "idempotent"
    serial: bool = False
    """Its calls wait for those beside them, and then for one another."""
    retry: Retry | None = None
    timeout_ms: int | None = None
    of_class: bool = False
    """A method, taken from its class: only that of an object is a tool a model can call."""
    spec: ToolSpec = field(init=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise InvalidAgent(f"A tool is named by 1 to 64 letters, digits, '_' and '-', not {self.name!r}.")
        if not self.description.strip():
            raise InvalidAgent(f"Tool {self.name!r} says nothing of itself. Give the function a docstring.")
        if self.effect not in ("pure", "idempotent", "once"):
            raise InvalidAgent(f"effect of tool {self.name!r} is 'pure', 'idempotent' or 'once', not {self.effect!r}.")
        if not isinstance(self.serial, bool):
            raise InvalidAgent(f"serial of tool {self.name!r} is True or False, not {line_of(self.serial)}.")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise InvalidAgent(
                f"retry of tool {self.name!r} is a number of attempts or a lash.Retry, not {line_of(self.retry)}."
            )
        if self.timeout_ms is not None and self.timeout_ms < 1:
            raise InvalidAgent(f"The timeout of tool {self.name!r} is more than 0, or None for no limit.")
        if self.effect == "once" and self.retry is not None and self.retry.attempts > 1:
            raise InvalidAgent(f"Tool {self.name!r} may be called once, so it cannot be retried.")
        if self.in_body and self.effect == "once":
            raise InvalidAgent(f"Tool {self.name!r} takes a lash.Context: put what may happen once into its steps.")
        object.__setattr__(self, "spec", ToolSpec(self.name, self.description, self.arguments.schema))

    def __repr__(self) -> str:
        return f"<lash.Tool {self.name!r}>"

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Tool[P, R]: ...

    @overload
    def __get__(self: Tool[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Tool[Q, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Tool[..., Any]:
        """As a function is: a decorated method, taken from an object, is the tool of that object."""
        if instance is None or not self.of_class:
            return self
        return replace(self, function=MethodType(self.function, instance), of_class=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def in_body(self) -> bool:
        """It takes a ``lash.Context``: it runs as the session's own code, its steps are recorded, and it may park."""
        return self.arguments.context == "body"

    @property
    def is_async(self) -> bool:
        return any(map(inspect.iscoroutinefunction, called(self.function)))

    def parse(self, text: str) -> dict[str, Any]:
        """The arguments as the function takes them. Raises ``ToolFailed`` that says everything that does not fit."""
        return self.arguments.parse(text)

    def parse_object(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The same for arguments that are decoded already."""
        return self.arguments.parse_object(plain)

    def invoke(self, context: object, arguments: dict[str, Any]) -> Any:
        """Call the function with validated arguments: its result, or what is to be awaited."""
        function = cast("Callable[..., Any]", self.function)
        try:
            if self.arguments.whole:
                return function(context, arguments)
            return function(context, **arguments) if self.arguments.context else function(**arguments)
        except StopIteration as error:  # no future can carry it: a thread's caller would wait for ever
            raise RuntimeError(f"Tool {self.name!r} raised StopIteration.") from error

    def output_of(self, value: object) -> ToolOutput:
        """What a returned value means. Raises ``InvalidValue`` for what has no JSON form."""
        match value:
            case ToolOutput():
                return value
            case None:
                return ToolOutput((Text("done"),))
            case str():
                return ToolOutput((Text(value),), value)
            case Text() | Media():
                return ToolOutput((value,))
            case Finish(inner):
                plain = codec.decode(codec.encode(inner, f"result of tool {self.name!r}"))
                return ToolOutput((Text("finished"),), plain, control=Finish(plain))
            case SwitchFrame():
                if not value.name.strip() or not value.task.strip():
                    raise InvalidValue(f"Tool {self.name!r} began a new frame without a name or a task.")
                return ToolOutput((Text(f"going on in {value.name!r}"),), control=value)
            case Fail(failure):
                return ToolOutput(failed(failure).content, failure=failure, control=value)
            case list() | tuple() if (content := content_of(cast("Sequence[object]", value))) is not None:
                return ToolOutput(content)
            case _:
                data = codec.encode(value, f"result of tool {self.name!r}")
                return ToolOutput((Text(data.decode()),), codec.decode(data))

    @staticmethod
    def of_schema(
        name: str,
        description: str,
        parameters: dict[str, object],
        function: Callable[[ToolContext, dict[str, Any]], Any],
        *,
        effect: Effect = "idempotent",
        serial: bool = False,
        timeout: Duration | None = None,
    ) -> Tool[[ToolContext, dict[str, Any]], Any]:
        """A tool whose schema comes from elsewhere; whoever performs it validates the rest of the arguments."""
        arguments = Arguments(parameters, "tool", whole=True)
        return Tool(function, name, description, arguments, effect, serial, None, limit_of(name, timeout))


AnyTool: TypeAlias = Tool[..., Any]


def content_of(items: Sequence[object]) -> tuple[Text | Media, ...] | None:
    """Parts of a message, with plain texts among them; None where there is no part, and the list is a value."""
    if not any(isinstance(item, (Text, Media)) for item in items):
        return None
    parts = tuple(Text(item) if isinstance(item, str) else item for item in items)
    return cast("tuple[Text | Media, ...]", parts) if all(isinstance(part, (Text, Media)) for part in parts) else None


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "idempotent",
    serial: bool = False,
    retry: Retry | int | None = None,
    timeout: Duration | None = None,
) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "idempotent",
    serial: bool = False,
    retry: Retry | int | None = None,
    timeout: Duration | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Any = None, /, **options: Any) -> Any:
    """Make a tool of a function: its name, the docstring's first part as its description, its parameters as the schema.

    A first parameter annotated ``lash.ToolContext`` gets the call's context, one annotated ``lash.Context`` makes the
    tool part of the session's own recorded code. A decorated method is a tool of each object: ``tools=[shop.find]``.
    ``effect``: what a crash in the middle may do, see docs/tools.md. ``serial``: not beside other calls.
    ``retry``: which errors are tried again. ``timeout``: of an attempt. Raises ``InvalidAgent``.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        raise InvalidAgent(
            f"@lash.tool has no option {unknown[0]!r}, but these: {', '.join(OPTIONS)}. "
            "Calls of one answer run side by side unless their tools are serial=True."
        )
    if function is not None:
        return make_tool(function, **options)

    def decorate(inner: Callable[..., Any]) -> Tool[..., Any]:
        return make_tool(inner, **options)

    return decorate


def make_tool(
    function: Callable[..., Any],
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "idempotent",
    serial: bool = False,
    retry: Retry | int | None = None,
    timeout: Duration | None = None,
) -> Tool[..., Any]:
    if isinstance(function, Tool):
        raise InvalidAgent(f"{function.name!r} is a tool already.")
    if not callable(function):
        raise InvalidAgent(f"@lash.tool decorates functions, not {line_of(function)}.")
    label = name or str(getattr(function, "__name__", type(function).__name__))
    if not isinstance(label, str) or not isinstance(description or "", str):
        raise InvalidAgent(f"name= and description= of a tool are text, not {name!r} and {description!r}.")
    refuse_generator(function, label)
    text, documented = described(inspect.getdoc(function) or "")
    of_class = takes_self(function, label)
    arguments = arguments_of(function, label, documented, skip=int(of_class))
    return Tool(
        function, label, description or text, arguments, effect, serial, tries_of(label, retry),
        limit_of(label, timeout), of_class,
    )  # fmt: skip


OPTIONS: Final = tuple(inspect.signature(make_tool).parameters)[1:]


def called(function: Callable[..., Any]) -> tuple[object, object]:
    """What may run when it is called: itself, or the method of an object that can be called like a function."""
    return function, getattr(function, "__call__", None)  # noqa: B004  # it is asked for, and not whether there is one


def refuse_generator(function: Callable[..., Any], label: str) -> None:
    if any(inspect.isgeneratorfunction(item) or inspect.isasyncgenfunction(item) for item in called(function)):
        raise InvalidAgent(
            f"Tool {label!r} is a generator, and a tool has one result. Collect what it yields into a list and return "
            "that; ctx.notify(...) tells observers something before the end."
        )


def tries_of(label: str, retry: Retry | int | None) -> Retry | None:
    if not isinstance(retry, int) or isinstance(retry, bool):
        return cast("Retry | None", retry)  # the tool looks whether it is
    try:
        return Retry(attempts=retry)
    except LashError as error:
        raise InvalidAgent(f"Tool {label!r}: {error.message}") from None


def limit_of(label: str, timeout: Duration | None) -> int | None:
    try:
        return None if timeout is None else duration_ms(timeout, "timeout")
    except LashError as error:
        raise InvalidAgent(f"Tool {label!r}: {error.message}") from None
