"""Worlds for turns to run in: what every model call, tool call and boundary would be told, whenever it is asked.

What a path is told depends on the path alone, so the order in which replies arrive is free. Nothing here asks the code
under test what is right: tables, paths and soundness are written down once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from lash.core.model import ModelReply, Usage
from lash.core.outcome import Failure
from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput
from lash.core.turn import (
    AtBoundary,
    CallModel,
    CallTool,
    Halted,
    ModelFailed,
    ModelReplied,
    Passed,
    Reply,
    ToolReplied,
    TurnEffect,
    TurnLimits,
    TurnState,
    begin,
    step,
)
from lash.modes.standard import Standard

ARROWS = {
    ("asking", "ModelReplied"): {"asking", "working", "between", "done"},
    ("asking", "ModelFailed"): {"done"},
    ("asking", "Halted"): {"done"},
    ("working", "ToolReplied"): {"working", "between", "done"},
    ("working", "Halted"): {"done"},
    ("between", "Passed"): {"asking", "done"},
    ("between", "Halted"): {"done"},
}
"""The transition table once more, in words."""

QUESTION = Message("user", (Text("where is my order?"),))
TRUNCATED = ("output_limit", "context_overflow", "content_filter")


def said_by_model(*parts: Text | Reasoning | ToolCall, stop: Any = None, usage: Usage | None = None) -> ModelReply:
    wants = any(isinstance(part, ToolCall) for part in parts)
    return ModelReply(parts, stop or ("tool_use" if wants else "stop"), usage or Usage(10, 5))


def text(content: str) -> ModelReply:
    return said_by_model(Text(content))


def call(call_id: str, name: str = "find", arguments: str = "{}") -> ToolCall:
    return ToolCall(call_id, name, arguments)


def calls(*ids: str) -> ModelReply:
    return said_by_model(*(call(call_id) for call_id in ids))


def output(content: str, **more: Any) -> ToolOutput:
    return ToolOutput((Text(content),), **more)


def note(content: str, origin: str = "steer") -> Message:
    return Message("user", (Text(content),), origin)


def whole_number(answer: str) -> object:
    """An output type: the final text must be a whole number."""
    return int(answer)


def play(state: TurnState, *replies: Reply, mode: Standard | None = None) -> TurnState:
    for reply in replies:
        state = step(mode or Standard(), state, reply).state
    return state


def asking(limits: TurnLimits | None = None) -> TurnState:
    return begin((QUESTION,), limits or TurnLimits())


def working(*ids: str, limits: TurnLimits | None = None) -> TurnState:
    return play(asking(limits), ModelReplied("model 1", calls(*ids)))


def after_work() -> TurnState:
    return play(working("a"), ToolReplied("tool 1.0", output("sent")))


def before_completion() -> TurnState:
    return play(asking(), ModelReplied("model 1", text("on its way")))


def done() -> TurnState:
    return play(before_completion(), Passed("boundary 1", ()))


def broken(messages: tuple[Message, ...]) -> str | None:
    """Soundness, judged otherwise than the code does: by the flat list of calls and results."""
    for place, message in enumerate(messages):
        asked = [part.id for part in message.parts if isinstance(part, ToolCall)]
        follower = messages[place + 1].parts if place + 1 < len(messages) else ()
        if asked and [part.call_id for part in follower if isinstance(part, ToolResult)] != asked:
            return f"the calls of message {place} are not answered right after it"
        if len(asked) > len(set(asked)):
            return f"message {place} repeats an id"
        before = messages[place - 1].parts if place else ()
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        if results and not any(isinstance(part, ToolCall) for part in before):
            return f"message {place} answers nothing"
        if asked and message.role != "assistant":
            return f"message {place} is of the {message.role} and calls tools"
        if results and message.role != "tool":
            return f"message {place} is of the {message.role} and has results"
    return None


# Random worlds -----------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
META = st.none() | st.dictionaries(WORDS, PLAIN, max_size=2)
COUNTS = st.integers(0, 40)
TEXTS = st.builds(Text, WORDS | st.sampled_from(["7", "no number"]), META)
MEDIA = st.builds(Media, WORDS, st.just("image/png"), st.integers(1, 9), WORDS)
CALLS = st.builds(ToolCall, st.sampled_from(["", "a", "a-2", "b"]), WORDS, WORDS, META)
USAGE = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


def often(**strategies: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One of several, each as many times as its number says: without this most worlds end at their first reply."""
    tickets = [name for name, (times, _) in strategies.items() for _ in range(times)]
    return st.sampled_from(tickets).flatmap(lambda name: strategies[name][1])


BESIDE = st.lists(TEXTS | st.builds(Reasoning, WORDS, META), max_size=2)
ASKED = st.lists(CALLS, min_size=1, max_size=4)
SHUFFLED = st.tuples(BESIDE, ASKED, BESIDE).map(lambda parts: (*parts[0], *parts[1], *parts[2]))
REPLIES = often(
    calls=(6, st.builds(ModelReply, SHUFFLED, st.sampled_from(["tool_use", "stop"]), USAGE, WORDS, WORDS)),
    final=(3, st.builds(ModelReply, BESIDE.map(tuple), st.sampled_from(["stop", "tool_use"]), USAGE, WORDS, WORDS)),
    cut=(1, st.builds(ModelReply, SHUFFLED, st.sampled_from(TRUNCATED), USAGE, WORDS, WORDS)),
)
FAILURES = st.builds(Failure, st.sampled_from(["timeout", "execution"]), WORDS, WORDS, PLAIN)
SPOKEN = st.builds(
    Message,
    st.sampled_from(["user", "system"]),
    st.lists(TEXTS | MEDIA, max_size=2).map(tuple),
    st.none() | WORDS,
)
SEVERAL = st.lists(SPOKEN, max_size=2).map(tuple)
CONTROLS = st.builds(Finish, PLAIN) | st.builds(Fail, FAILURES) | st.builds(SwitchFrame, WORDS, WORDS, SEVERAL)
OUTPUTS = st.builds(
    ToolOutput,
    st.lists(TEXTS | MEDIA, max_size=2).map(tuple),
    PLAIN,
    st.none() | FAILURES,
    often(none=(9, st.none()), control=(1, CONTROLS)),
    st.just(()) | SEVERAL,
)
BROKEN_CALLS = st.builds(ModelFailed, st.just(""), st.sampled_from(["model", "context_overflow"]), WORDS, WORDS)
LIMITS = st.builds(
    TurnLimits,
    st.sampled_from([9, 6, 3, 1]),
    st.sampled_from([20, 9, 4, 1]),
    st.sampled_from([None, 2_000, 400, 100]),
)


@dataclass(frozen=True)
class World:
    limits: TurnLimits
    typed: bool
    answers: list[ModelReply | ModelFailed]
    outputs: list[ToolOutput]
    boundaries: list[tuple[Message, ...]]
    order: list[int]
    halt_at: int | None

    @property
    def mode(self) -> Standard:
        return Standard(whole_number if self.typed else None)

    def reply(self, effect: TurnEffect) -> Reply:
        _, numbers = effect.path.split(" ")
        number = int(numbers.split(".")[0])
        match effect:
            case CallModel():
                answer = self.answers[number - 1] if number <= len(self.answers) else text("7")
                if isinstance(answer, ModelFailed):
                    return answer._replace(path=effect.path)
                return ModelReplied(effect.path, answer)
            case CallTool():
                index = int(numbers.split(".")[1])
                return ToolReplied(effect.path, self.outputs[(5 * number + index) % len(self.outputs)])
            case AtBoundary():
                return Passed(effect.path, self.boundaries[number - 1] if number <= len(self.boundaries) else ())

    def run(self, keep: Callable[[TurnState], TurnState] = lambda state: state) -> Iterator[tuple[TurnState, Reply]]:
        """Each state with the reply it is given; the last state has a reply that it no longer takes. ``keep`` is done
        to the state at each point."""
        state = keep(begin((QUESTION,), self.limits))
        for number in range(1_000):
            waiting = step(self.mode, state, None).effects
            if number == self.halt_at or not waiting:
                halted = Halted("cancelled", "cancelled", "enough")
                yield state, halted
                if not waiting:
                    return
                reply: Reply = halted
            else:
                reply = self.reply(waiting[self.order[number % len(self.order)] % len(waiting)])
                yield state, reply
            state = keep(step(self.mode, state, reply).state)
        raise AssertionError("a turn without an end")

    def end(self, keep: Callable[[TurnState], TurnState] = lambda state: state) -> TurnState:
        *_, (state, _) = self.run(keep)
        return state


WORLDS = st.builds(
    World,
    LIMITS,
    st.booleans(),
    st.lists(often(reply=(15, REPLIES), broken=(1, BROKEN_CALLS)), min_size=2, max_size=6),
    st.lists(OUTPUTS, min_size=1, max_size=6),
    st.lists(st.just(()) | SEVERAL, max_size=6),
    st.lists(st.integers(0, 11), min_size=1, max_size=8),
    often(never=(2, st.none()), halt=(1, st.integers(0, 12))),
)
