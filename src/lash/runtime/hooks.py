"""Hooks of plugins, stage by stage: host code that runs as one recorded step, and decides by plain data.

A turn that runs again is told what a stage decided and never asks again. Within a stage plugins speak in the agent's
order and see the state they left; between plugins nothing is shared. A plugin that raises stops the turn, and says so.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar, cast

from lash.abc.plugin import Abort, Compact, Decisions, Notify, Plugin, Say, TurnView
from lash.abc.tool import AnyTool
from lash.core import codec
from lash.core.message import Message, message_json, message_of, unsound
from lash.core.outcome import line_of, text_of
from lash.errors import InvalidAgent, InvalidValue, Terminal, ToolFailed
from lash.runtime.agent import Agent, checked_tools, named
from lash.runtime.live import LiveTurn

V = TypeVar("V")
Stage = Literal["prepare", "view", "view_again", "model_replied", "at_boundary", "after_turn"]
ViewHook = Literal["view", "view_again"]
COMMON: Final = frozenset[type]({Abort, Say, Notify})
LAST: Final = frozenset[type]({Notify, Compact})
"""In ``after_turn``, when it is too late for the others."""
INSTRUCTIONS_FAILED: Final = "instructions_failed"
OF_TOOLS: Final = ("before_tool", "after_tool", "show_result")

log = logging.getLogger("lash.plugins")
States = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Scene:
    """What hooks of one turn are shown, as it is at this moment."""

    agent: Agent[object]
    session_id: str
    turn: int
    messages: Sequence[Message]
    states: States
    deps: Any
    context_tokens: int
    last_input_tokens: int
    live: LiveTurn | None

    def view_of(self, plugin: Plugin) -> TurnView:
        """With the plugin's state as it is; what the plugin leaves there is not kept."""
        return self.view(plugin, dict(self.states.get(plugin.id, {})))

    def view(self, plugin: Plugin, state: dict[str, Any]) -> TurnView:
        return TurnView(
            self.session_id,
            self.turn,
            self.agent.name,
            self.messages,
            state,
            self.deps,
            self.context_tokens,
            self.last_input_tokens,
        )


@dataclass(slots=True)
class Decided:
    """What a stage came to; its JSON is what is recorded."""

    say: tuple[Message, ...] = ()
    abort: tuple[str, str] | None = None
    states: States = field(default_factory=dict[str, "dict[str, Any]"])
    """Of the plugins that changed theirs."""
    instructions: str | None = None
    hidden: tuple[str, ...] = ()
    view: tuple[Message, ...] | None = None
    compact: str | None = None
    """What to keep with care, where the next turn is to sum up."""

    def of_json(self, plain: object, context: Sequence[Message]) -> Decided:
        """Read back; ``context`` are the messages a view was made of, without those that were said at this stage."""
        document = codec.as_object(plain)
        view = document.get("view")
        abort = cast("list[str] | None", document.get("abort"))
        say = tuple(message_of(item) for item in cast("list[object]", document.get("say", [])))
        context = (*context, *say)
        return Decided(
            say,
            None if abort is None else (abort[0], abort[1]),
            cast(States, document.get("states", {})),
            cast("str | None", document.get("instructions")),
            tuple(cast("list[str]", document.get("hidden", []))),
            None if view is None else tuple(seen_of(item, context) for item in cast("list[object]", view)),
            cast("str | None", document.get("compact")),
        )


def seen_of(item: object, context: Sequence[Message]) -> Message:
    return context[item] if isinstance(item, int) else message_of(item)


class PluginFailed(Terminal):
    """A plugin raised, or returned what means nothing there."""

    def __init__(self, plugin: Plugin, hook: str, what: str) -> None:
        super().__init__(f"Plugin {plugin.id!r} failed in {hook}: {what}", code="plugin_failed")


class InstructionsFailed(Terminal):
    """The function that an agent has for its instructions raised, or returned no text."""

    def __init__(self, agent: Agent[Any], what: str) -> None:
        where = f"The instructions function {named(agent.instructions)} of agent {agent.name!r}"
        super().__init__(f"{where} failed: {what}", code=INSTRUCTIONS_FAILED)


async def asked(plugin: Plugin, hook: str, view: TurnView, *told: object) -> Any:
    """What a plugin's hook returns. Raises ``PluginFailed`` for whatever goes wrong in it, and the ``ToolFailed`` of a
    hook that judges a tool call."""
    try:
        answer = getattr(plugin, hook)(view, *told)
        if not inspect.isawaitable(answer):
            raise TypeError("a hook is an async function, and this one is not")
        return await answer
    except Exception as error:
        if isinstance(error, ToolFailed) and hook in OF_TOOLS:
            raise
        raise PluginFailed(plugin, hook, raised(error)) from error


def raised(error: Exception) -> str:
    return f"{type(error).__name__}: {text_of(error, str)}"


async def stage(scene: Scene, name: Stage, *told: object) -> object:
    """The step: what the plugins decide at this stage, as JSON. Raises ``PluginFailed`` and ``InstructionsFailed``."""
    if name == "prepare":
        return await prepare(scene)
    if name == "view" or name == "view_again":
        return await looked(scene, name)
    document = Recording(scene, LAST if name == "after_turn" else COMMON)
    for plugin in scene.agent.hooked.get(name, ()):
        try:
            await document.ask(plugin, name, *told)
        except PluginFailed as error:
            if name != "after_turn":
                raise
            document.states.pop(plugin.id, None)
            log.error(
                "%s. The outcome of turn %s/%d stays.", error, scene.session_id, scene.turn, exc_info=error.__cause__
            )
    return document.as_json()


async def prepare(scene: Scene) -> object:
    """Before the first model call: ``before_turn``, then instructions, tools and the view."""
    agent, document = scene.agent, Recording(scene)
    for plugin in agent.hooked.get("before_turn", ()):
        await document.ask(plugin, "before_turn")
    if document.abort is not None:
        return document.as_json()
    sections = [agent.instructions if isinstance(agent.instructions, str) else await told_instructions(scene)]
    for plugin in agent.hooked.get("instructions", ()):
        section = await document.call(plugin, "instructions")
        if not isinstance(section or "", str):
            raise PluginFailed(plugin, "instructions", f"it returned {line_of(section)}, which is no text")
        sections.append(section or "")
    hidden: list[str] = []
    hiding = agent.hooked.get("hide_tools", ())
    names = [tool.name for tool in tools_of(agent)] if hiding else []
    for plugin in hiding:
        told = await document.call(plugin, "hide_tools", names)
        hidden += listed_of(plugin, "hide_tools", told, str, "names of tools")
    result = document.as_json()
    result["instructions"] = "\n\n".join(text for text in sections if text.strip())
    if hidden:
        result["hidden"] = hidden
    if "view" in agent.hooked:
        result["view"] = await viewed(document, scene, "view")
        if (changed := document.as_json().get("states")) is not None:
            result["states"] = changed
    return result


async def looked(scene: Scene, hook: ViewHook) -> object:
    """A view alone: before the call that sums up, and before a model call that is not the first of its turn."""
    document = Recording(scene)
    view = await viewed(document, scene, hook)
    return document.as_json() if view is None else {**document.as_json(), "view": view}


async def viewed(document: Recording, scene: Scene, hook: ViewHook) -> list[object] | None:
    """The view of the last plugin that has one, each seeing the former's; messages kept are told by their place."""
    original = scene.messages = [*scene.messages, *document.say]
    for plugin in scene.agent.hooked[hook]:
        shown = await document.call(plugin, hook)
        if shown is None:
            continue
        messages = listed_of(plugin, hook, shown, Message, "messages")
        if not messages:
            raise PluginFailed(plugin, hook, "the view is empty, and a model must be sent something")
        problem = unsound(messages)
        if problem is not None:
            raise PluginFailed(plugin, hook, f"the view is not sound: {problem}")
        scene.messages = messages
    if scene.messages is original or list(map(id, scene.messages)) == list(map(id, original)):
        return None
    places = {id(message): place for place, message in enumerate(original)}
    found = [places.get(id(message), message_json(message)) for message in scene.messages]
    scene.messages = original
    return cast("list[object]", found)


async def told_instructions(scene: Scene) -> str:
    """What the agent's own function says of this turn. Raises ``InstructionsFailed``."""
    agent, function = scene.agent, scene.agent.instructions
    assert callable(function)
    try:
        told: object = function(scene.view(Plugin(), {}))
        told = await told if inspect.isawaitable(told) else told
    except Exception as error:
        raise InstructionsFailed(agent, raised(error)) from error
    if not isinstance(told, str):
        raise InstructionsFailed(agent, f"it returned {line_of(told)}, which is no text")
    return told


def listed_of(plugin: Plugin, hook: str, value: object, kind: type[V], what: str) -> list[V]:
    """What a hook that returns a list has returned; None is an empty one. Raises ``PluginFailed``."""
    if value is None:
        return []
    came: object = value
    if isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping)):
        items = list(cast("Collection[object]", value))
        if all(isinstance(item, kind) for item in items):
            return cast("list[V]", items)
    raise PluginFailed(plugin, hook, f"it returned {line_of(came)}, which is no list of {what}")


class Recording:
    """Gathers what the plugins of one stage decide; the first abort ends the stage."""

    def __init__(self, scene: Scene, allowed: frozenset[type] = COMMON) -> None:
        self.scene = scene
        self.allowed = allowed
        self.say: list[Message] = []
        self.abort: Abort | None = None
        self.compact: str | None = None
        self.states: States = {}

    async def call(self, plugin: Plugin, hook: str, *told: object) -> Any:
        """One hook with its plugin's state; what it leaves there is kept."""
        former = self.states.get(plugin.id, self.scene.states.get(plugin.id, {}))
        view = self.scene.view(plugin, copy.deepcopy(former))
        result = await asked(plugin, hook, view, *told)
        if view.state != former:
            state: object = view.state
            if not isinstance(state, dict):
                raise PluginFailed(plugin, hook, f"it left {line_of(state)} for its state, which is a dict")
            try:
                self.states[plugin.id] = codec.decode_object(codec.encode(state, "state of the plugin"))
            except InvalidValue as error:
                raise PluginFailed(plugin, hook, error.message) from error
        return result

    async def ask(self, plugin: Plugin, hook: str, *told: object) -> None:
        """One hook that decides."""
        if self.abort is not None:
            return
        decisions = listed(await self.call(plugin, hook, *told))
        for decision in decisions:
            if type(decision) not in self.allowed:
                raise PluginFailed(plugin, hook, f"it decided {line_of(decision)}, which means nothing there")
        for decision in decisions:
            if isinstance(decision, Abort):
                self.abort = self.abort or decision
            elif isinstance(decision, Say):
                self.say += said_by(plugin, decision)
            elif isinstance(decision, Compact):
                self.compact = decision.focus
            elif isinstance(decision, Notify) and self.scene.live is not None:
                self.scene.live.note(plugin.id, decision.name, decision.payload)

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {}
        if self.say:
            document["say"] = [message_json(message) for message in self.say]
        if self.abort is not None:
            document["abort"] = [self.abort.code, self.abort.message]
        if self.compact is not None:
            document["compact"] = self.compact
        if self.states:
            document["states"] = self.states
        return document


def said_by(plugin: Plugin, say: Say) -> list[Message]:
    """It shows who speaks."""
    return [replace(message, origin=message.origin or f"plugin:{plugin.id}") for message in say.messages]


def listed(decisions: Decisions) -> Sequence[object]:
    if decisions is None:
        return ()
    return decisions if isinstance(decisions, (list, tuple)) else (decisions,)


def tools_of(agent: Agent[Any]) -> tuple[AnyTool, ...]:
    """Every tool of the agent and its plugins. Raises ``InvalidAgent``, also for two under one name."""
    owners = {tool.name: "the agent itself" for tool in agent.tools}
    found = list(agent.tools)
    for plugin in agent.plugins:
        for tool in told_tools(agent, plugin):
            if tool.name in owners:
                raise InvalidAgent(
                    f"Plugin {plugin.id!r} brings a tool {tool.name!r} to agent {agent.name!r}, which has one of that "
                    f"name from {owners[tool.name]}. Give one another name."
                )
            owners[tool.name] = f"plugin {plugin.id!r}"
            found.append(tool)
    return tuple(found)


def told_tools(agent: Agent[Any], plugin: Plugin) -> tuple[AnyTool, ...]:
    where = f"tools() of plugin {plugin.id!r} of agent {agent.name!r}"
    try:
        return checked_tools(where, plugin.tools() or ())
    except InvalidAgent:
        raise
    except Exception as error:
        raise InvalidAgent(f"{where} failed: {raised(error)}") from error
