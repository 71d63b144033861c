"""One turn as a value: what it waits for, what it has said, and how it ended. ``step`` is the only thing that moves it.

Pure and without a clock: the shell performs the effects a step returns and hands back their replies, in any order.
``step(mode, state, None)`` says again what is missing, so a state that was stored and read back goes on as it was.
Which replies a phase takes is :data:`TRANSITIONS`, and nothing else: any other pair raises ``NotExpected``. Of those it
takes, one that came before, or whose path is not waited for, changes nothing (DESIGN section 6, spec sessions 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from lash.core.message import Message, ToolCall, unsound
from lash.core.model import NO_USAGE, ModelReply, Usage
from lash.core.outcome import Failure
from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput, failed
from lash.limits import MODEL_CALLS_MAX, TOOL_CALLS_MAX

T_co = TypeVar("T_co", covariant=True)

# Values ------------------------------------------------------------------------------------------------------------


class Phase(Enum):
    """What a turn waits for."""

    ASKING = "asking"
    """The model's answer."""
    WORKING = "working"
    """The results of tool calls."""
    BETWEEN = "between"
    """A boundary: may anything be added before it goes on, or ends?"""
    DONE = "done"


Boundary: TypeAlias = Literal["after_work", "before_completion"]
StopCause: TypeAlias = Literal[
    "cancelled", "limit", "model", "output_limit", "content_filter", "context_overflow", "invalid_output", "tool",
    "plugin", "deleted", "error",
]  # fmt: skip
"""Why a turn ended without an answer. ``model``: it could not be asked, or did not answer whole. ``tool``: a tool asked
for it. ``plugin``: a plugin did. ``error``: lash or the operator's code failed in a way no retry mends."""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Bounds on one turn; one that is reached stops it as ``limit``."""

    model_calls: int = MODEL_CALLS_MAX
    tool_calls: int = TOOL_CALLS_MAX
    """An answer that asks for more than are left has none of its calls made."""
    tokens: int | None = None
    """Of all its model calls together, read or written. Looked at before each model call: an answer may pass it."""


@dataclass(frozen=True, slots=True)
class Finished(Generic[T_co]):
    """The turn has its answer: the model is done, or a tool finished the turn."""

    text: str
    """What the model wrote last."""
    value: object = None
    """The structured answer where the agent has an ``output`` type, or what the tool finished with; None where the text
    is all. Plain JSON, but of the output type for whoever awaits or watches the turn."""
    usage: Usage = NO_USAGE
    """Of the whole turn, as everything below once it is committed."""
    turn_id: str = ""
    structured: bool = False
    """Whether the value counts, and not the text: always, where there is one, and also where the answer is None."""

    def __post_init__(self) -> None:
        if self.value is not None:
            object.__setattr__(self, "structured", True)

    @property
    def output(self) -> T_co:
        """Of the agent's ``output`` type, or the text."""
        return cast(T_co, self.value if self.structured else self.text)


@dataclass(frozen=True, slots=True)
class Stopped:
    """The turn ended without an answer."""

    reason: StopCause
    message: str
    code: str = ""
    text: str = ""
    """What there was of an answer that was cut off, withheld or refused, or did not fit: of the first three it stands
    here and not in the history."""
    usage: Usage = NO_USAGE
    turn_id: str = ""


@dataclass(frozen=True, slots=True)
class Switched:
    """The conversation goes on in a new frame, with the turn its task begins. Whoever awaits the turn is told the
    outcome of that one; whoever watches it is told this, and finds that one with ``session.observe``."""

    frame: SwitchFrame
    usage: Usage = NO_USAGE
    turn_id: str = ""


Outcome: TypeAlias = Finished[Any] | Stopped | Switched


@dataclass(frozen=True, slots=True)
class TurnState:
    """``said`` are the messages this turn adds to the history, its input first: a sound history at every boundary."""

    phase: Phase
    said: tuple[Message, ...]
    limits: TurnLimits = TurnLimits()  # a frozen value
    model_calls: int = 0
    tool_calls: int = 0
    usage: Usage = NO_USAGE
    calls: tuple[ToolCall, ...] = ()
    """WORKING: what was called."""
    results: tuple[ToolOutput | None, ...] = ()
    """WORKING: by index; None is still to come."""
    boundary: Boundary = "after_work"
    boundaries: int = 0
    waiting: tuple[Message, ...] = ()
    """Messages of tools and plugins, to be said at the next boundary."""
    refused: int = 0
    """Final answers that did not fit the output type."""
    last_input_tokens: int = 0
    """What the newest model call read."""
    outcome: Outcome | None = None
    """DONE; at the boundary before completion: how it ends if nothing is added."""


# Effects and replies -----------------------------------------------------------------------------------------------


class CallModel(NamedTuple):
    path: str
    said: tuple[Message, ...]
    """To be sent behind the context the turn began with."""


class CallTool(NamedTuple):
    path: str
    call: ToolCall
    place: int


class AtBoundary(NamedTuple):
    path: str
    kind: Boundary


TurnEffect: TypeAlias = CallModel | CallTool | AtBoundary


class ModelReplied(NamedTuple):
    path: str
    reply: ModelReply


class ModelFailed(NamedTuple):
    path: str
    reason: StopCause
    code: str
    message: str


class ToolReplied(NamedTuple):
    path: str
    output: ToolOutput
    usage: Usage = NO_USAGE
    """What the tool spent on models of its own."""


class Passed(NamedTuple):
    """A boundary: these messages came."""

    path: str
    messages: tuple[Message, ...]


class Halted(NamedTuple):
    """From outside, at any time: cancelled, or a plugin's abort."""

    reason: StopCause
    code: str
    message: str


Reply: TypeAlias = ModelReplied | ModelFailed | ToolReplied | Passed | Halted

TRANSITIONS: Final[Mapping[tuple[Phase, type[Reply]], frozenset[Phase]]] = {
    (Phase.ASKING, ModelReplied): frozenset({Phase.ASKING, Phase.WORKING, Phase.BETWEEN, Phase.DONE}),
    (Phase.ASKING, ModelFailed): frozenset({Phase.DONE}),
    (Phase.ASKING, Halted): frozenset({Phase.DONE}),
    (Phase.WORKING, ToolReplied): frozenset({Phase.WORKING, Phase.BETWEEN, Phase.DONE}),
    (Phase.WORKING, Halted): frozenset({Phase.DONE}),
    (Phase.BETWEEN, Passed): frozenset({Phase.ASKING, Phase.DONE}),
    (Phase.BETWEEN, Halted): frozenset({Phase.DONE}),
}
"""What a phase takes, and where that can lead. Whatever is not here is refused."""


class NotExpected(Exception):
    """This phase takes no such reply: a defect of whoever drives the turn."""


class BadPlan(Exception):
    """A mode planned what would leave the history unsound or the turn stuck: a defect of the mode."""


# Modes -------------------------------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """Ask the model again at once."""


class Work(NamedTuple):
    """Perform the calls of the message that is said last; there is at least one."""

    calls: tuple[ToolCall, ...]


class Pause(NamedTuple):
    boundary: Boundary
    outcome: Outcome | None = None
    """Before completion: how the turn ends if nothing is added."""


class End(NamedTuple):
    outcome: Outcome


class Plan(NamedTuple):
    """What a mode makes of a reply: messages to say, and what comes then. Raises ``BadPlan`` in :func:`step` where what
    it says has a tool call that ``then`` does not perform."""

    say: tuple[Message, ...]
    then: Ask | Work | Pause | End
    refused: bool = False
    """A final answer was handed back to the model."""


class Mode(Protocol):
    """How an agent works: what the model's answers and the tools' results mean. Pure; it may hold no state."""

    @property
    def name(self) -> str: ...

    def answered(self, state: TurnState, reply: ModelReply) -> Plan: ...

    def worked(self, state: TurnState, calls: tuple[ToolCall, ...], outputs: tuple[ToolOutput, ...]) -> Plan:
        """All results are there, and have been said. The plan is to ``Pause`` or to ``End``."""
        ...


class Step(NamedTuple):
    state: TurnState
    effects: tuple[TurnEffect, ...]
    """To be performed now. After a reply: what it newly made necessary."""


# The machine -------------------------------------------------------------------------------------------------------


def begin(said: tuple[Message, ...], limits: TurnLimits) -> TurnState:
    """A turn that has been given its input and waits for the model."""
    return TurnState(Phase.ASKING, said, limits)


def step(mode: Mode, state: TurnState, reply: Reply | None) -> Step:
    """The state after ``reply``, and what is to be done now; with None, all that is still to be done.

    Raises ``NotExpected`` and ``BadPlan``.
    """
    if reply is None:
        return Step(state, outstanding(state))
    allowed = TRANSITIONS.get((state.phase, type(reply)))
    if allowed is None:
        raise NotExpected(f"A turn that is {state.phase.value} takes no {type(reply).__name__}.")
    match reply:
        case ModelReplied(path, answer) if path == model_path(state):
            moved = on_answer(mode, state, answer)
        case ModelFailed(path, reason, code, message) if path == model_path(state):
            moved = end(replace(state, model_calls=state.model_calls + 1), Stopped(reason, message, code))
        case ToolReplied(path, output, usage) if (index := index_of(state, path)) is not None:
            moved = on_result(mode, replace(state, usage=state.usage + usage), index, output)
        case Passed(path, messages) if path == boundary_path(state):
            moved = on_passed(state, messages)
        case Halted(reason, code, message):
            moved = halt(state, Stopped(reason, message, code))
        case _:
            return Step(state, ())
    assert moved.phase in allowed, (state.phase, type(reply), moved.phase)
    return Step(moved, () if moved.phase is state.phase is Phase.WORKING else outstanding(moved))


def outstanding(state: TurnState) -> tuple[TurnEffect, ...]:
    match state.phase:
        case Phase.ASKING:
            return (CallModel(model_path(state), state.said),)
        case Phase.WORKING:
            return tuple(
                CallTool(tool_path(state, index), call, index)
                for index, call in enumerate(state.calls)
                if state.results[index] is None
            )
        case Phase.BETWEEN:
            return (AtBoundary(boundary_path(state), state.boundary),)
        case Phase.DONE:
            return ()


def model_path(state: TurnState) -> str:
    return f"model {state.model_calls + 1}"


def tool_path(state: TurnState, index: int) -> str:
    """Within the model call that asked for it; the provider's call id is data, never identity."""
    return f"tool {state.model_calls}.{index}"


def boundary_path(state: TurnState) -> str:
    return f"boundary {state.boundaries + 1}"


def index_of(state: TurnState, path: str) -> int | None:
    for index, result in enumerate(state.results):
        if result is None and tool_path(state, index) == path:
            return index
    return None


def on_answer(mode: Mode, state: TurnState, reply: ModelReply) -> TurnState:
    read = reply.usage.input_tokens + reply.usage.cache_read_tokens + reply.usage.cache_write_tokens
    state = replace(state, model_calls=state.model_calls + 1, usage=state.usage + reply.usage, last_input_tokens=read)
    return follow(mode, state, mode.answered(state, reply))


def on_result(mode: Mode, state: TurnState, index: int, output: ToolOutput) -> TurnState:
    results = (*state.results[:index], output, *state.results[index + 1 :])
    state = replace(state, results=results)
    outputs = tuple(result for result in results if result is not None)
    if len(outputs) < len(results):
        return state
    calls = state.calls
    state = with_results(state, outputs)
    plan = mode.worked(state, calls, outputs)
    if isinstance(plan.then, (Ask, Work)):
        raise BadPlan(f"Mode {mode.name!r} goes on to {type(plan.then).__name__} without a boundary; pause or end.")
    return follow(mode, state, plan)


def on_passed(state: TurnState, messages: tuple[Message, ...]) -> TurnState:
    added = state.waiting + messages
    state = replace(state, said=state.said + added, waiting=(), boundaries=state.boundaries + 1)
    if state.boundary == "before_completion" and not added and state.outcome is not None:
        return end(state, state.outcome)
    return ask(replace(state, outcome=None))


def follow(mode: Mode, state: TurnState, plan: Plan) -> TurnState:
    if (problem := fault_of(plan)) is not None:
        raise BadPlan(f"Mode {mode.name!r} cannot be followed: {problem}.")
    state = replace(state, said=state.said + plan.say, refused=state.refused + plan.refused)
    match plan.then:
        case Ask():
            return ask(state)
        case Pause(boundary, outcome):
            return replace(state, phase=Phase.BETWEEN, boundary=boundary, outcome=outcome)
        case End(outcome):
            return end(state, outcome)
        case Work(calls):
            total = state.tool_calls + len(calls)
            state = replace(state, phase=Phase.WORKING, calls=calls, results=(None,) * len(calls))
            if total > state.limits.tool_calls:
                bound = f"This turn may make {state.limits.tool_calls} tool calls, and the model asked for {total}."
                return halt(state, Stopped("limit", bound, "tool_calls"))
            return replace(state, tool_calls=total)


def fault_of(plan: Plan) -> str | None:
    """What is wrong with a plan, beside where it leads."""
    calls = plan.then.calls if isinstance(plan.then, Work) else ()
    if isinstance(plan.then, Work) and not calls:
        return "it has work without a call"
    results = (answers(calls, (NOTHING,) * len(calls)),) if calls else ()
    return unsound((*plan.say, *results))


def ask(state: TurnState) -> TurnState:
    """On to the model, within the limits."""
    limits = state.limits
    if state.model_calls >= limits.model_calls:
        return end(state, over("model calls", limits.model_calls))
    if limits.tokens is not None and state.usage.total_tokens >= limits.tokens:
        return end(state, over("tokens", limits.tokens))
    return replace(state, phase=Phase.ASKING)


def over(what: str, bound: int) -> Stopped:
    return Stopped("limit", f"The turn has used all of its {bound} {what}.", what.replace(" ", "_"))


def halt(state: TurnState, stopped: Stopped) -> TurnState:
    """End it wherever it is; calls without a result get one that says so, or the history would not be sound. What the
    finished ones had to say is said."""
    if state.phase is not Phase.WORKING:
        return end(state, stopped)
    unanswered = failed(Failure("unavailable", stopped.reason, "The turn ended before this call had a result."))
    outputs = tuple(unanswered if result is None else result for result in state.results)
    return end(with_results(state, outputs), stopped)


def with_results(state: TurnState, outputs: tuple[ToolOutput, ...]) -> TurnState:
    """The calls have these outputs: the history has their results, and their messages wait for the next boundary."""
    said = (*state.said, answers(state.calls, outputs))
    waiting = tuple(message for output in outputs for message in output.say)
    return replace(state, said=said, calls=(), results=(), waiting=state.waiting + waiting)


def end(state: TurnState, outcome: Outcome) -> TurnState:
    return replace(state, phase=Phase.DONE, outcome=outcome, said=state.said + state.waiting, waiting=())


NOTHING: Final = ToolOutput(())


def answers(calls: tuple[ToolCall, ...], outputs: tuple[ToolOutput, ...]) -> Message:
    """The results of one message's calls, in the order of the calls."""
    return Message("tool", tuple(output.result(call) for call, output in zip(calls, outputs, strict=True)))


def control_outcome(outputs: tuple[ToolOutput, ...], typed: bool = False) -> Outcome | None:
    """What the first tool, in call order, that had a word for the turn wants. ``typed``: the agent has an output type,
    and a text it is finished with is a value of that."""
    for output in outputs:
        match output.control:
            case None:
                continue
            case Finish(value):
                return Finished(value) if isinstance(value, str) and not typed else Finished("", value, structured=True)
            case Fail(failure):
                return Stopped("tool", failure.message, failure.code)
            case SwitchFrame():
                return Switched(output.control)
    return None
