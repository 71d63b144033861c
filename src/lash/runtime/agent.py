"""An agent is a value: a model, instructions, tools, plugins and limits. What it was given is checked when it is made.

It holds no connection and no session; one agent serves any number of sessions, in any number of workers. A session
names its agent, and a worker that has no agent of that name does not claim it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar, cast, overload

from lash.abc.plugin import Plugin, TurnView
from lash.abc.provider import Provider
from lash.abc.tool import AnyTool, Tool
from lash.core.ids import check_name
from lash.core.model import ModelInfo, ModelSettings
from lash.core.retry import Retry
from lash.core.turn import Mode, TurnLimits
from lash.errors import InvalidAgent, LashError
from lash.runtime.shapes import ANY, Shape, shape_of

T = TypeVar("T", covariant=True)
Instructions: TypeAlias = "str | Callable[[TurnView], str]"
HOOKS = (
    "before_turn", "instructions", "hide_tools", "view", "model_replied", "before_tool", "after_tool", "show_result",
    "at_boundary", "after_turn", "committed",
)  # fmt: skip
MODEL_RETRY = Retry(attempts=5, initial="1s", maximum="30s")


@dataclass(frozen=True, eq=False, init=False)
class Agent(Generic[T]):
    """``model``: ``"<provider>:<model>"`` such as ``"openai:gpt-5-mini"``, or a provider object with a model's name
    (``(provider, "name")``). ``instructions``: text, or a function of the turn that returns it. ``tools``: functions
    decorated with ``@lash.tool``. ``output``: the type of the final answer; without one it is the text. ``retry``: of
    model calls that a provider says may be tried again; its own wish for a pause is heeded. ``info``: what the model
    can do and costs, where the catalog does not know it. Raises ``InvalidAgent``.
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
    hooked: dict[str, tuple[Plugin, ...]] = field(repr=False)
    """By hook: the plugins that have it, in order."""

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
        put("plugins", checked_plugins(name, plugins))
        put("tools", checked_tools(name, tools))
        put("output", output)
        put("limits", checked_limits(name, limits or TurnLimits()))
        put("settings", settings or ModelSettings())
        put("retry", retry or MODEL_RETRY)
        put("info", info)
        put("mode", mode)
        put("hooked", hooks_of(self.plugins))
        if output is not None:
            _ = self.shape  # a type that cannot be a schema is refused now

    @property
    def shape(self) -> Shape:
        """How the final answer is read. Raises ``InvalidAgent`` where the type has no JSON schema."""
        if self.output is None or self.output is str:
            return ANY
        try:
            return shape_of(self.output)
        except Exception as error:
            raise InvalidAgent(
                f"The output type of agent {self.name!r}, {self.output!r}, has no JSON schema: {error}. "
                "Use a dataclass, a pydantic model or plain JSON types."
            ) from error

    @property
    def is_structured(self) -> bool:
        return self.output is not None and self.output is not str

    @property
    def code_hash(self) -> str:
        """A blocked session is taken up again by a worker whose agent differs in this."""
        instructions = self.instructions
        if not isinstance(instructions, str):
            instructions = str(getattr(instructions, "__qualname__", type(instructions).__qualname__))
        told = repr((self.model, instructions, [tool.spec for tool in self.tools], [p.id for p in self.plugins]))
        return hashlib.blake2b(told.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()

    def has(self, hook: str) -> bool:
        return hook in self.hooked


def model_of(name: str, model: object) -> tuple[str, Provider | None]:
    if isinstance(model, str):
        prefix, colon, rest = model.partition(":")
        if not (prefix and colon and rest):
            raise InvalidAgent(
                f"The model of agent {name!r} must be '<provider>:<model>', as in 'openai:gpt-5-mini', not {model!r}."
            )
        return model, None
    if isinstance(model, tuple) and len(pair := cast("tuple[object, ...]", model)) == 2 and isinstance(pair[1], str):
        provider = cast(Provider, pair[0])
        return f"{provider.name}:{pair[1]}", provider
    raise InvalidAgent(f"The model of agent {name!r} must be text or a pair (provider, 'model'), not {model!r}.")


def checked_instructions(name: str, instructions: object) -> Instructions:
    if isinstance(instructions, str) or callable(instructions):
        return cast(Instructions, instructions)
    raise InvalidAgent(f"The instructions of agent {name!r} must be text or a function, not {instructions!r}.")


def checked_limits(name: str, limits: TurnLimits) -> TurnLimits:
    for what in ("model_calls", "tool_calls", "tokens"):
        bound = getattr(limits, what)
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 1):
            raise InvalidAgent(f"Limit {what} of agent {name!r} must be a whole number from 1, not {bound!r}.")
    return limits


def checked_tools(name: str, tools: Sequence[AnyTool]) -> tuple[AnyTool, ...]:
    for tool in tools:
        if not isinstance(tool, Tool):
            raise InvalidAgent(f"A tool of agent {name!r} is no tool: {tool!r}. Decorate the function with @lash.tool.")
    return distinct_tools(name, tools)


def distinct_tools(name: str, tools: Sequence[AnyTool]) -> tuple[AnyTool, ...]:
    """Raises ``InvalidAgent`` for two tools under one name."""
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise InvalidAgent(f"Agent {name!r} has two tools named {tool.name!r}. Give one another name=.")
        seen.add(tool.name)
    return tuple(tools)


def checked_plugins(name: str, plugins: Sequence[Plugin]) -> tuple[Plugin, ...]:
    seen: set[str] = set()
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise InvalidAgent(f"A plugin of agent {name!r} is no lash.Plugin: {plugin!r}.")
        try:
            plugin_id = check_name(getattr(plugin, "id", None), "plugin id")
        except LashError as error:
            raise InvalidAgent(f"Plugin {plugin!r} of agent {name!r} needs a class attribute id: {error}") from None
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
