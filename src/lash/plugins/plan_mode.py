"""While a session plans, only the tools named as harmless work; everything else is refused until the user says go.

Whether it plans is state of the session: a fork begins with it, a crash does not lose it. A call is judged by that
state and never by what the model says. The tools stay in the model's sight, so that its cached prompt stays good and
the turn in which the user agrees can go on with them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias

from lash.abc.plugin import Decision, Decisions, Deny, Notify, Plugin, Say, TurnView
from lash.abc.tool import AnyTool, ToolContext, tool
from lash.core.message import Message, Text, ToolCall, ToolResult
from lash.core.tool import SwitchFrame, ToolOutput
from lash.core.turn import Outcome
from lash.errors import InvalidAgent, ToolFailed

Decide: TypeAlias = "Callable[[ToolContext, str], Awaitable[str]]"
BLOCKED: Final = "plan_mode_tool_blocked"
EXIT: Final = "plan_exit"
READ_ONLY: Final = ("read_file", "list_dir", "glob", "grep", "list_processes", "wait_process")
"""The tools of lash's own plugins that change nothing."""
LEAVING: Final = ("off", "start")
STARTED: Final = "The user accepts the plan. Planning is over: carry it out."
OFF: Final = "Planning is over. All tools may be used again."
GUIDANCE: Final = (
    "You are planning. Look into whatever the task needs, but change nothing: of your tools only these work now: "
    "{tools}. Ask the user where a decision is theirs. {end}"
)
END_BY_TOOL: Final = f"When the plan is complete, hand it in with {EXIT}."
END_BY_ANSWER: Final = "When the plan is complete, give it as your answer; the user decides whether it is carried out."


class PlanMode(Plugin):
    """A message that begins with ``command`` begins planning (``/plan mend the index``); ``/plan off`` or
    ``/plan start`` ends it. With ``begin``, every session begins by planning.

    ``allow``: names or patterns (``mcp__docs__*``) of the tools that work while planning. ``decide``: asked with the
    plan when the model hands it in, by the tool ``plan_exit``: it returns ``"start"`` (go on in this conversation),
    ``"fresh"`` (in a new frame that knows the plan alone), or what the user wants to have changed. It may be asked
    again after a crash. Without it there is no such tool: the plan is the model's answer. Observers are told by
    ``PluginEvent("plan_mode", "state", {"on": …})``. Raises ``InvalidAgent``.
    """

    id: ClassVar[str] = "plan_mode"

    def __init__(
        self,
        *,
        allow: Sequence[str] = READ_ONLY,
        decide: Decide | None = None,
        command: str = "/plan",
        begin: bool = False,
        guidance: str | None = None,
    ) -> None:
        if isinstance(allow, str) or not all(isinstance(name, str) and name for name in allow):
            raise InvalidAgent(f"allow of PlanMode is a list of names of tools, not {allow!r}.")
        if not isinstance(command, str) or command.split() != [command]:
            raise InvalidAgent(f"command of PlanMode is a word such as '/plan', not {command!r}.")
        if decide is not None and not callable(decide):
            raise InvalidAgent(f"decide of PlanMode is an async function of a context and the plan, not {decide!r}.")
        self.allow = tuple(allow)
        self.command = command
        self.begin = begin
        self.guidance = guidance or GUIDANCE.format(
            tools=", ".join(self.allow) or "none", end=END_BY_TOOL if decide else END_BY_ANSWER
        )
        self._tools: tuple[AnyTool, ...] = () if decide is None else (exit_tool(decide),)

    def tools(self) -> Sequence[AnyTool]:
        return self._tools

    async def before_turn(self, view: TurnView) -> Decisions:
        was = self._on(view)
        on = asked(view.messages, self.command, was)
        decisions: list[Decision] = []
        if on != was or (on and "on" not in view.state):
            decisions.append(self._turn(view, on))
        if on and not self._told(view):
            view.state["told"] = True
            decisions.append(Say((Message("system", (Text(self.guidance),)),)))
        elif was and not on:
            decisions.append(Say((Message("system", (Text(OFF),)),)))
        return decisions

    async def hide_tools(self, view: TurnView, names: Sequence[str]) -> Sequence[str]:
        return () if self._on(view) else [name for name in names if name == EXIT and self._tools]

    async def before_tool(self, view: TurnView, call: ToolCall, arguments: dict[str, Any]) -> Decisions:
        del arguments
        if not self._on(view) or (call.name == EXIT and self._tools) or self.allows(call.name):
            return None
        allowed = ", ".join(self.allow) or "none"
        return Deny(BLOCKED, f"{call.name} does not work while planning, and nothing was done. These do: {allowed}.")

    async def at_boundary(self, view: TurnView, kind: Literal["after_work", "before_completion"]) -> Decisions:
        return self._turn(view, False) if kind == "after_work" and self._accepted(view) else None

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        del outcome
        return self._turn(view, False) if self._accepted(view) else None

    def allows(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.allow)

    def _on(self, view: TurnView) -> bool:
        return bool(view.state.get("on", self.begin))

    def _turn(self, view: TurnView, on: bool) -> Notify:
        """From now on."""
        view.state.update(on=on, told=False)
        return Notify("state", {"on": on})

    def _told(self, view: TurnView) -> bool:
        """The guidance was given since planning began, and stands in this frame still: a summary may have lost it."""
        said = (message for message in view.messages if message.origin == f"plugin:{self.id}")
        return bool(view.state.get("told")) and any(message.text == self.guidance for message in said)

    def _accepted(self, view: TurnView) -> bool:
        return self._on(view) and accepted(view.messages)


def exit_tool(decide: Decide) -> AnyTool:
    @tool(name=EXIT)
    async def plan_exit(ctx: ToolContext, plan: str) -> ToolOutput:
        """Hand in the complete plan, and learn whether it is to be carried out.

        Args:
            plan: The whole plan, in Markdown: it may be all that is known where it is carried out.
        """
        if not plan.strip():
            raise ToolFailed("The plan is empty.", code="invalid_tool_args", failure_class="invalid_request")
        choice: object = await decide(ctx, plan)
        match choice:
            case "start":
                return ToolOutput((Text(STARTED),), "start")
            case "fresh":
                frame = SwitchFrame("plan", f"Carry out this plan, which the user has accepted:\n\n{plan}")
                return ToolOutput((Text(STARTED),), "fresh", control=frame)
            case str():
                wish = f": {choice.strip()}" if choice.strip() not in ("", "keep") else "."
                return ToolOutput((Text(f"The user wants you to go on planning{wish}"),), "keep")
            case _:
                raise TypeError(f"decide of PlanMode returned {choice!r}, which is no text")

    return plan_exit


def asked(messages: Sequence[Message], command: str, on: bool) -> bool:
    """Whether to plan, as the user's last word on it has it: in what they said since the model spoke last."""
    for message in reversed(messages):
        if message.role in ("assistant", "tool"):
            break
        text = message.text.strip()
        if message.role != "user" or message.origin is not None or text.split(maxsplit=1)[:1] != [command]:
            continue
        return text[len(command) :].strip().lower() not in LEAVING
    return on


def accepted(messages: Sequence[Message]) -> bool:
    """The newest results have an accepted plan among them."""
    for message in reversed(messages):
        if message.role == "assistant":
            return False
        for part in message.parts:
            if isinstance(part, ToolResult) and part.name == EXIT:
                return part.content == (Text(STARTED),)
    return False
