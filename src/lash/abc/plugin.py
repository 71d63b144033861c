"""A plugin adds tools, instructions and hooks to the turns of an agent; it decides, and the runtime acts.

Hooks are host code and need not repeat: what each stage decided is recorded once, and a turn that runs again is told
the record. Decisions fold monotonely: abort before deny before answer, and no later hook can undo a denial (spec
sessions 13, rulings 8 and 11). Hooks of one stage run in the order of the agent's plugins. A hook that raises, or
returns what means nothing there, stops the turn as ``plugin_failed``; in a tool call it fails that call; when the turn
has ended (``after_turn``, ``committed``) it is logged. A decision that cannot be is ``InvalidValue`` where it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from lash.core import codec
from lash.core.message import Message, ToolCall
from lash.core.model import ModelReply
from lash.core.outcome import line_of
from lash.core.tool import ToolOutput, check_said
from lash.core.turn import Outcome
from lash.errors import InvalidValue

if TYPE_CHECKING:
    from lash.abc.tool import AnyTool

# Decisions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop the turn (reason ``plugin``); what it has said so far is committed. In a tool call: as ``Deny``."""

    code: str
    message: str

    def __post_init__(self) -> None:
        check_words(self, self.code, self.message)


@dataclass(frozen=True, slots=True)
class Deny:
    """The tool call fails with this, whatever else was decided. Tool hooks only."""

    code: str
    message: str

    def __post_init__(self) -> None:
        check_words(self, self.code, self.message)


@dataclass(frozen=True, slots=True)
class Answer:
    """The tool call has this output, without or instead of being performed. Tool hooks only."""

    output: ToolOutput

    def __post_init__(self) -> None:
        if not isinstance(self.output, ToolOutput):
            raise InvalidValue(f"A ToolAnswer has a lash.ToolOutput, not {line_of(self.output)}.")


@dataclass(frozen=True, slots=True)
class ReplaceArguments:
    """The tool call goes on with these arguments. Hooks that saw the former ones see these, once. ``before_tool``."""

    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.arguments, dict):
            raise InvalidValue(f"ReplaceArguments has a dict of all arguments, not {line_of(self.arguments)}.")


@dataclass(frozen=True, slots=True)
class Say:
    """Add these messages of the user or the system to the conversation. Not in ``after_turn``, when nobody would read
    them."""

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", check_said("Say", self.messages))


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell observers of the turn: an event ``PluginEvent(plugin, name, payload)``. ``payload`` is plain JSON."""

    name: str
    payload: object = None

    def __post_init__(self) -> None:
        check_words(self, self.name)
        plain = codec.decode(codec.encode(self.payload, f"payload of Notify {self.name!r}"))
        object.__setattr__(self, "payload", plain)


@dataclass(frozen=True, slots=True)
class Compact:
    """Have the conversation summed up before the next turn, as ``session.compact(focus)`` does. ``after_turn`` only."""

    focus: str = ""

    def __post_init__(self) -> None:
        check_words(self, self.focus)


def check_words(decision: object, *words: object) -> None:
    if wrong := [word for word in words if not isinstance(word, str)]:
        raise InvalidValue(f"{type(decision).__name__} is made of text, not of {line_of(wrong[0])}.")


Decision: TypeAlias = Abort | Deny | Answer | ReplaceArguments | Say | Notify | Compact
Decisions: TypeAlias = "Sequence[Decision] | Decision | None"


@dataclass(slots=True)
class TurnView:
    """What a hook may see of its turn. ``state`` is the plugin's own, kept with the session."""

    session_id: str
    turn: int
    agent: str
    messages: Sequence[Message]
    """The context as it stands: what the model would be sent, oldest first."""
    state: dict[str, Any]
    """JSON. What a hook (but for tool hooks) leaves here is committed with the turn, and a fork begins with it."""
    deps: Any
    """What ``app.lifespan`` yielded."""
    context_tokens: int
    """How much the model can read."""
    last_input_tokens: int
    """What the newest model call of the session read, cached or not; 0 before the first."""


class Plugin:
    """Subclass it and override what is wanted; what is not overridden costs nothing.

    One object serves every session of its agent: keep what belongs to a session in ``view.state``.
    """

    id: ClassVar[str]
    """Names its state, its events and its messages' origin."""

    def tools(self) -> Sequence[AnyTool]:
        """Looked up at the beginning of each turn."""
        return ()

    async def open(self, deps: object) -> None:
        """The worker opens: connect to what the plugin needs."""

    async def close(self) -> None:
        """The worker has drained."""

    async def before_turn(self, view: TurnView) -> Decisions:
        """``Abort``, ``Say``, ``Notify``."""

    async def instructions(self, view: TurnView) -> str | None:
        """A section to add to the instructions of this turn."""

    async def hide_tools(self, view: TurnView, names: Sequence[str]) -> Sequence[str]:
        """Names of tools this turn shall not have."""
        return ()

    async def view(self, view: TurnView) -> Sequence[Message] | None:
        """What the model is sent instead of ``view.messages``, for this turn; the history itself never changes. Called
        before the first model call, or before the call that sums up; what the turn adds later follows it. Keep the
        objects that stay as they are. A result is sound: each call with its result."""

    async def view_again(self, view: TurnView) -> Sequence[Message] | None:
        """What the model is sent instead of ``view.messages`` for the rest of this turn, as ``view`` says it. Called
        before each model call but the first, with what would be sent; None leaves it at that."""

    async def model_replied(self, view: TurnView, reply: ModelReply) -> Decisions:
        """Each complete answer of the model: ``Abort``, ``Say`` (at the next boundary), ``Notify``."""

    async def before_tool(self, view: TurnView, call: ToolCall, arguments: dict[str, Any]) -> Decisions:
        """``Deny``, ``Answer``, ``ReplaceArguments``, ``Say``, ``Notify``; the arguments have been validated."""

    async def after_tool(self, view: TurnView, call: ToolCall, output: ToolOutput) -> Decisions:
        """``Deny``, ``Answer`` (which replaces the output), ``Say``, ``Notify``."""

    async def show_result(self, view: TurnView, call: ToolCall, output: ToolOutput) -> ToolOutput | None:
        """What the model reads of a result; the recorded value stays. At most one plugin of an agent has this."""

    async def at_boundary(self, view: TurnView, kind: Literal["after_work", "before_completion"]) -> Decisions:
        """Between the parts of a turn: ``Abort``, ``Say`` (the turn goes on with it), ``Notify``."""

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        """Before the commit: ``Notify``, ``Compact``, and a last word on ``view.state``."""

    async def committed(self, view: TurnView, outcome: Outcome) -> None:
        """After the commit. Best effort: what it raises is logged, and a crash may skip it."""
