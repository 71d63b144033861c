"""An agent is a value: a model, instructions, tools, plugins and limits. What it was given is checked when it is made.

It holds no connection and no session; one agent serves any number of sessions, in any number of workers. A session
names its agent, and a worker that has no agent of that name does not claim it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeGuard, TypeVar, cast, overload

from lash.abc.plugin import Plugin, TurnView
from lash.abc.provider import Provider
from lash.abc.tool import AnyTool, Tool
from lash.core import codec
from lash.core.ids import check_name
from lash.core.model import ModelInfo, ModelSettings, OutputSpec
from lash.core.outcome import line_of
from lash.core.retry import Retry
from lash.core.turn import Mode, TurnLimits
from lash.errors import InvalidAgent, LashError
from lash.runtime.registry import code_digest
from lash.runtime.shapes import ANY, Shape, rich, shape_of, short

T = TypeVar("T", covariant=True)
V = TypeVar("V")
Instructions: TypeAlias = "str | Callable[[TurnView], str | Awaitable[str]]"
HOOKS = (
    "before_turn", "instructions", "hide_tools", "view", "view_again", "model_replied", "before_tool", "after_tool",
    "show_result", "at_boundary", "after_turn", "committed",
)  # fmt: skip
MODEL_RETRY = Retry(attempts=5, initial="1s", maximum="30s")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Agent(Generic[T]):
    """``model``: ``"<provider>:<model>"`` such as ``"openai:gpt-5-mini"``, or a provider object with a model's name
    (``(provider, "name")``). ``instructions``: text, or a function of the turn that returns it, sync or async.
    ``tools``: functions decorated with ``@lash.tool``. ``output``: the type of the final answer; without one it is the
    text. ``retry``: of model calls that a provider says may be tried again; its own wish for a pause is heeded.
    ``info``: what the model can do and costs, where the catalog does not know it. Raises ``InvalidAgent``.
    """

    name: str
    model: str
    provider: Provider | None
    instructions: Instructions
    tools: tuple[AnyTool, ...]
    plugins: tuple[Plugin, ...]
    output: object
    limits: TurnLimits
    settings: ModelSettings
    retry: Retry
    info: ModelInfo | None
    mode: Mode | None
    hooked: dict[str, tuple[Plugin, ...]]
    """By hook: the plugins that have it, in order."""
    shape: Shape
    """How the final answer is read."""
    output_spec: OutputSpec | None
    """Its schema; None where the answer is text."""

    @overload
    def __init__(
        self: Agent[str],
        name: str,
        *,
        model: str | tuple[Provider, str],
        instructions: Instructions = "",
        tools: Sequence[AnyTool] = (),
        plugins: Sequence[Plugin] = (),
        limits: TurnLimits | None = None,
        settings: ModelSettings | None = None,
        retry: Retry | None = None,
        info: ModelInfo | None = None,
        mode: Mode | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        *,
        model: str | tuple[Provider, str],
        output: type[T],
        instructions: Instructions = "",
        tools: Sequence[AnyTool] = (),
        plugins: Sequence[Plugin] = (),
        limits: TurnLimits | None = None,
        settings: ModelSettings | None = None,
        retry: Retry | None = None,
        info: ModelInfo | None = None,
        mode: Mode | None = None,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        *,
        model: str | tuple[Provider, str],
        output: object = None,
        instructions: Instructions = "",
        tools: Sequence[AnyTool] = (),
        plugins: Sequence[Plugin] = (),
        limits: TurnLimits | None = None,
        settings: ModelSettings | None = None,
        retry: Retry | None = None,
        info: ModelInfo | None = None,
        mode: Mode | None = None,
    ) -> None:
        def put(field_name: str, value: object) -> None:
            object.__setattr__(self, field_name, value)

        put("name", check_name(name, "agent name"))
        label, provider = model_of(name, model)
        put("model", label)
        put("provider", provider)
        put("instructions", checked_instructions(name, instructions))
        put("plugins", checked_plugins(name, several(f"plugins= of agent {name!r}", plugins)))
        put("tools", distinct_tools(name, checked_tools(f"tools= of agent {name!r}", tools)))
        put("output", output)
        put("limits", checked_limits(name, given(name, "limits", limits, TurnLimits) or TurnLimits()))
        put("settings", given(name, "settings", settings, ModelSettings) or ModelSettings())
        put("retry", given(name, "retry", retry, Retry) or MODEL_RETRY)
        put("info", given(name, "info", info, ModelInfo))
        put("mode", checked_mode(name, mode))
        put("hooked", hooks_of(self.plugins))
        shape, spec = output_of(name, output) if self.is_structured else (ANY, None)
        put("shape", shape)
        put("output_spec", spec)

    def __repr__(self) -> str:
        return f"<lash.Agent {self.name!r} {self.model} tools={[tool.name for tool in self.tools]}>"

    @property
    def is_structured(self) -> bool:
        return self.output is not None and self.output is not str

    @property
    def code_hash(self) -> str:
        """Fingerprint of all that decides what a turn asks for: a session that was blocked under it is taken up at once
        by a worker whose agent has another."""
        return codec.fingerprint(
            "lash.agent/1",
            self.model,
            self.instructions if isinstance(self.instructions, str) else ["of", named(self.instructions)],
            [facts_of(tool) for tool in self.tools],
            [plugin.id for plugin in self.plugins],
            {hook: [plugin.id for plugin in having] for hook, having in self.hooked.items()},
            self.output_spec,
            [self.limits, self.settings, self.retry, self.info],
            None if self.mode is None else [self.mode.name, type(self.mode).__qualname__],
        )

    def has(self, hook: str) -> bool:
        return hook in self.hooked


def model_of(name: str, model: object) -> tuple[str, Provider | None]:
    if isinstance(model, str):
        prefix, colon, rest = model.partition(":")
        if not (prefix.strip() and colon and rest.strip()):
            raise InvalidAgent(
                f"The model of agent {name!r} must be '<provider>:<model>', as in 'openai:gpt-5-mini', not {model!r}."
            )
        return model, None
    came = line_of(model)
    pair = cast("tuple[object, ...]", model) if isinstance(model, tuple) else ()
    if len(pair) != 2 or not isinstance(pair[1], str) or not pair[1].strip():
        raise InvalidAgent(f"The model of agent {name!r} must be text or a pair (provider, 'model'), not {came}.")
    provider, model_name = pair
    if not is_provider(provider):
        raise InvalidAgent(
            f"The model of agent {name!r} must be (provider, 'model') with an object that is a lash.Provider, not "
            f"{line_of(provider)}. For a provider lash knows, write 'openai:gpt-5-mini'."
        )
    return f"{provider.name}:{model_name}", provider


def is_provider(item: object) -> TypeGuard[Provider]:
    verbs = all(callable(getattr(item, verb, None)) for verb in ("info", "stream", "close"))
    return verbs and not isinstance(item, type) and isinstance(getattr(item, "name", None), str)


def given(name: str, parameter: str, value: V | None, kind: type[V]) -> V | None:
    """``value``, which is left out or of its kind. Raises ``InvalidAgent``."""
    if value is None or isinstance(value, kind):
        return value
    raise InvalidAgent(f"{parameter}= of agent {name!r} takes a lash.{kind.__name__}, not {line_of(value)}.")


def several(where: str, items: Iterable[V]) -> tuple[V, ...]:
    """The items of a parameter that takes a list. Raises ``InvalidAgent`` where it was given something else."""
    if isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping)):
        return tuple(items)
    raise InvalidAgent(f"{where} takes a list, not {line_of(cast(object, items))}. Put it into one: [...].")


def checked_instructions(name: str, instructions: object) -> Instructions:
    if isinstance(instructions, str):
        return instructions
    if not callable(instructions) or isinstance(instructions, type):
        raise InvalidAgent(
            f"The instructions of agent {name!r} must be text or a function, not {line_of(instructions)}."
        )
    try:
        inspect.signature(instructions).bind(None)
    except TypeError as error:
        raise InvalidAgent(
            f"The instructions function of agent {name!r}, {named(instructions)}, must take the turn (a lash.TurnView) "
            f"and nothing else: {error}."
        ) from None
    except ValueError:
        pass  # it has no signature that can be read
    return cast(Instructions, instructions)


def named(function: object) -> str:
    return repr(str(getattr(function, "__qualname__", type(function).__qualname__)))


def checked_mode(name: str, mode: Mode | None) -> Mode | None:
    verbs = all(callable(getattr(mode, verb, None)) for verb in ("answered", "worked"))
    if mode is None or (verbs and not isinstance(mode, type) and isinstance(getattr(mode, "name", None), str)):
        return mode
    raise InvalidAgent(
        f"mode= of agent {name!r} takes an object with a name, answered and worked, not {line_of(mode)}."
    )


def output_of(name: str, output: object) -> tuple[Shape, OutputSpec]:
    """How an answer of the output type is read, and its schema. Raises ``InvalidAgent``."""
    if isinstance(output, str) or inspect.isroutine(output):
        raise InvalidAgent(f"output= of agent {name!r} takes a type, not {line_of(output)}.")
    try:
        schema = rich(output).adapter.json_schema()
        return shape_of(output), OutputSpec(str(getattr(output, "__name__", "answer")), schema)
    except Exception as error:
        raise InvalidAgent(
            f"The output type of agent {name!r}, {line_of(output)}, has no JSON schema: {short(error).splitlines()[0]} "
            "Use a dataclass, a pydantic model or plain JSON types."
        ) from error


def checked_limits(name: str, limits: TurnLimits) -> TurnLimits:
    for what in ("model_calls", "tool_calls", "tokens"):
        bound = getattr(limits, what)
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 1):
            raise InvalidAgent(f"Limit {what} of agent {name!r} must be a whole number from 1, not {line_of(bound)}.")
    return limits


def checked_tools(where: str, tools: Iterable[AnyTool]) -> tuple[AnyTool, ...]:
    """Raises ``InvalidAgent`` for what is no tool, or one that no model could call."""
    found = several(where, tools)
    for tool in found:
        if not isinstance(tool, Tool):
            raise InvalidAgent(f"{where} has {line_of(tool)}, which is no tool. Decorate it with @lash.tool.")
        if tool.of_class:
            raise InvalidAgent(f"{where} has the method {tool.name!r} of a class. Take it from an object of the class.")
    return found


def distinct_tools(name: str, tools: tuple[AnyTool, ...]) -> tuple[AnyTool, ...]:
    """Raises ``InvalidAgent`` for two tools under one name."""
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise InvalidAgent(f"Agent {name!r} has two tools named {tool.name!r}. Give one another name=.")
        seen.add(tool.name)
    return tools


def facts_of(tool: AnyTool) -> tuple[object, ...]:
    """What of a tool decides how a turn goes. The code of one that runs as the session's own says what it asks for."""
    code = getattr(tool.function, "__code__", None) if tool.in_body else None
    digest = "" if code is None else code_digest(code)
    return tool.spec, tool.effect, tool.serial, tool.retry, tool.timeout_ms, tool.in_body, digest


def checked_plugins(name: str, plugins: Sequence[Plugin]) -> tuple[Plugin, ...]:
    seen: set[str] = set()
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            advice = "an object of the class" if isinstance(plugin, type) else "objects of classes that subclass it"
            raise InvalidAgent(
                f"plugins= of agent {name!r} has {line_of(plugin)}, which is no lash.Plugin. Pass {advice}."
            )
        try:
            plugin_id = check_name(getattr(plugin, "id", None), "plugin id")
        except LashError as error:
            raise InvalidAgent(
                f"Plugin {line_of(plugin)} of agent {name!r} needs a class attribute id: {error}"
            ) from None
        if plugin_id in seen:
            raise InvalidAgent(f"Agent {name!r} has two plugins with the id {plugin_id!r}.")
        seen.add(plugin_id)
    showing = [plugin.id for plugin in plugins if overrides(plugin, "show_result")]
    if len(showing) > 1:
        raise InvalidAgent(f"Plugins {showing} of agent {name!r} all shape what results look like; only one may.")
    return tuple(plugins)


def overrides(plugin: Plugin, hook: str) -> bool:
    return getattr(type(plugin), hook) is not getattr(Plugin, hook)


def hooks_of(plugins: Sequence[Plugin]) -> dict[str, tuple[Plugin, ...]]:
    found = {hook: tuple(plugin for plugin in plugins if overrides(plugin, hook)) for hook in HOOKS}
    return {hook: having for hook, having in found.items() if having}
