"""Hooks of plugins, stage by stage: host code that runs as one recorded step, and decides by plain data.

A turn that runs again is told what a stage decided and never asks again. Within a stage plugins speak in the agent's
order and see the state they left; between plugins nothing is shared. A plugin that raises stops the turn, and says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from lash.abc.plugin import Abort, Compact, Decisions, Notify, Plugin, Say, TurnView
from lash.abc.tool import AnyTool, Tool
from lash.core import codec
from lash.core.message import Message, message_json, message_of, unsound
from lash.core.model import ModelReply
from lash.core.outcome import line_of, text_of
from lash.core.turn import Boundary, Outcome
from lash.errors import InvalidAgent, Terminal
from lash.runtime.agent import Agent, several
from lash.runtime.live import LiveTurn

Stage = Literal["prepare", "model_replied", "at_boundary", "after_turn"]
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


class StageFailed(Terminal):
    """A plugin raised, or decided what its stage does not know."""

    def __init__(self, plugin: str, hook: str, what: object) -> None:
        super().__init__(f"Plugin {plugin!r} failed in {hook}: {what}", code="plugin_failed")


async def prepare(scene: Scene) -> object:
    """Before the first model call: ``before_turn``, then instructions, tools and the view."""
    agent, document = scene.agent, Recording(scene)
    for plugin in agent.hooked.get("before_turn", ()):
        await document.ask(plugin, "before_turn", plugin.before_turn)
    if document.abort is not None:
        return document.as_json()
    sections = [agent.instructions if isinstance(agent.instructions, str) else told_instructions(scene)]
    for plugin in agent.hooked.get("instructions", ()):
        if section := await document.call(plugin, "instructions", plugin.instructions):
            sections.append(str(section))
    hidden: list[str] = []
    names = [tool.name for tool in tools_of(agent)]
    for plugin in agent.hooked.get("hide_tools", ()):

        async def hide(view: TurnView, plugin: Plugin = plugin) -> Sequence[str]:
            return await plugin.hide_tools(view, names)

        hidden += [str(name) for name in await document.call(plugin, "hide_tools", hide)]
    result = document.as_json()
    result["instructions"] = "\n\n".join(text for text in sections if text.strip())
    if hidden:
        result["hidden"] = hidden
    if "view" in agent.hooked:
        result["view"] = await viewed(document, scene)
        if (changed := document.as_json().get("states")) is not None:
            result["states"] = changed
    return result


async def viewed(document: Recording, scene: Scene) -> list[object] | None:
    """The view of the last plugin that has one, each seeing the former's; messages kept are told by their place."""
    original = scene.messages = [*scene.messages, *document.say]
    for plugin in scene.agent.hooked["view"]:
        seen = await document.call(plugin, "view", plugin.view)
        if seen is None:
            continue
        problem = unsound(seen)
        if problem is not None:
            raise StageFailed(plugin.id, "view", f"the view is not sound: {problem}")
        scene.messages = list(seen)
    if scene.messages is original or list(map(id, scene.messages)) == list(map(id, original)):
        return None
    places = {id(message): place for place, message in enumerate(original)}
    shown = [places.get(id(message), message_json(message)) for message in scene.messages]
    scene.messages = original
    return cast("list[object]", shown)


def told_instructions(scene: Scene) -> str:
    agent = scene.agent
    assert callable(agent.instructions)
    told: object = agent.instructions(scene.view(Plugin(), {}))
    if not isinstance(told, str):
        raise StageFailed("agent " + agent.name, "instructions", f"they must be text, not {type(told).__name__}")
    return told


async def model_replied(scene: Scene, reply: ModelReply) -> object:
    document = Recording(scene)
    for plugin in scene.agent.hooked.get("model_replied", ()):

        async def ask(view: TurnView, plugin: Plugin = plugin) -> Decisions:
            return await plugin.model_replied(view, reply)

        await document.ask(plugin, "model_replied", ask)
    return document.as_json()


async def at_boundary(scene: Scene, kind: Boundary) -> object:
    document = Recording(scene)
    for plugin in scene.agent.hooked.get("at_boundary", ()):

        async def ask(view: TurnView, plugin: Plugin = plugin) -> Decisions:
            return await plugin.at_boundary(view, kind)

        await document.ask(plugin, "at_boundary", ask)
    return document.as_json()


async def after_turn(scene: Scene, outcome: Outcome) -> object:
    document = Recording(scene, frozenset({Notify, Compact}))
    for plugin in scene.agent.hooked.get("after_turn", ()):

        async def ask(view: TurnView, plugin: Plugin = plugin) -> Decisions:
            return await plugin.after_turn(view, outcome)

        await document.ask(plugin, "after_turn", ask)
    return document.as_json()


COMMON = frozenset[type]({Abort, Say, Notify})


class Recording:
    """Gathers what the plugins of one stage decide; the first abort ends the stage."""

    def __init__(self, scene: Scene, allowed: frozenset[type] = COMMON) -> None:
        self.scene = scene
        self.allowed = allowed
        self.say: list[Message] = []
        self.abort: Abort | None = None
        self.compact: str | None = None
        self.states: States = {}

    async def call(self, plugin: Plugin, hook: str, function: Callable[[TurnView], Any]) -> Any:
        """One hook with its plugin's state; what it leaves there is kept."""
        former = self.states.get(plugin.id, self.scene.states.get(plugin.id, {}))
        view = self.scene.view(plugin, copy.deepcopy(former))
        try:
            result = await function(view)
            if view.state != former:
                state = codec.decode_object(codec.encode(view.state, f"state of plugin {plugin.id!r}"))
                self.states[plugin.id] = state
        except StageFailed:
            raise
        except Exception as error:
            raise StageFailed(plugin.id, hook, f"{type(error).__name__}: {error}") from error
        return result

    async def ask(self, plugin: Plugin, hook: str, function: Callable[[TurnView], Any]) -> None:
        """One hook that decides."""
        if self.abort is not None:
            return
        for decision in listed(await self.call(plugin, hook, function)):
            if type(decision) not in self.allowed:
                raise StageFailed(plugin.id, hook, f"{decision!r} means nothing there")
            if isinstance(decision, Abort):
                self.abort = self.abort or decision
            elif isinstance(decision, Say):
                self.say += [said_by(plugin, message) for message in decision.messages]
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


def said_by(plugin: Plugin, message: Message) -> Message:
    """A plugin may speak as the user or as the system, and it shows."""
    if message.role not in ("user", "system"):
        raise StageFailed(plugin.id, "Say", f"a plugin may say user and system messages, not {message.role}")
    return Message(message.role, message.parts, message.origin or f"plugin:{plugin.id}")


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
        tools = several(where, plugin.tools() or ())
    except InvalidAgent:
        raise
    except Exception as error:
        raise InvalidAgent(f"{where} failed: {type(error).__name__}: {text_of(error, str)}") from error
    for tool in tools:
        if not isinstance(tool, Tool):
            raise InvalidAgent(f"{where} has {line_of(tool)}, which is no tool. Decorate it with @lash.tool.")
    return tools
