"""The standard mode: native tool calls until the model answers without any, and that answer is the turn's.

What the model wrote is said before anything is done with it, so a draft that is superseded stays in the history
(spec sessions 4, ruling 3). With an output type a turn finishes with an answer that fits it, or with the value a tool
finishes it with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lash.core.message import Message, Part, Text, ToolCall
from lash.core.model import ModelReply
from lash.core.tool import ToolOutput
from lash.core.turn import (
    Ask,
    End,
    Finished,
    Outcome,
    Pause,
    Plan,
    StopCause,
    Stopped,
    TurnState,
    Work,
    control_outcome,
)
from lash.limits import OUTPUT_TRIES_MAX

ENDS: Final[dict[str, tuple[StopCause, str]]] = {
    "output_limit": ("output_limit", "The model's answer was cut off at its output limit."),
    "context_overflow": ("context_overflow", "The conversation is longer than what the model can read."),
    "content_filter": ("content_filter", "The provider's content filter withheld the answer."),
}


class Standard:
    """``read_output`` makes plain JSON of a final text, or raises ``ValueError`` that says what does not fit; None for
    an agent whose answer is its text."""

    name = "standard"

    def __init__(self, read_output: Callable[[str], object] | None = None) -> None:
        self._read_output = read_output

    def answered(self, state: TurnState, reply: ModelReply) -> Plan:
        if (ended := ENDS.get(reply.stop)) is not None:
            return Plan((), End(Stopped(*ended, reply.stop, reply.text)))
        message = Message("assistant", distinct(reply.parts))
        if calls := message.calls:
            return Plan((message,), Work(calls))
        if message.text:
            return self._completed(state, (message,), message.text)
        if state.said and state.said[-1].role == "tool":
            return self._completed(state, (), "")  # the tools have said it; thoughts alone are no message
        return Plan((), End(Stopped("model", "The model answered with nothing.", "empty_response")))

    def _completed(self, state: TurnState, say: tuple[Message, ...], text: str) -> Plan:
        outcome: Outcome = Finished(text)
        if self._read_output is not None:
            try:
                outcome = Finished(text, self._read_output(text), structured=True)
            except ValueError as error:
                if state.refused + 1 >= OUTPUT_TRIES_MAX:
                    told = f"The model's final answer did not fit the output type {OUTPUT_TRIES_MAX} times: {error}"
                    return Plan(say, End(Stopped("invalid_output", told, "invalid_output", text)))
                note = f"Your final answer does not fit the schema: {error}\nAnswer again, with the JSON alone."
                return Plan((*say, Message("user", (Text(note),), "lash")), Ask(), refused=True)
        return Plan(say, Pause("before_completion", outcome))

    def worked(self, state: TurnState, calls: tuple[ToolCall, ...], outputs: tuple[ToolOutput, ...]) -> Plan:
        outcome = control_outcome(outputs, self._read_output is not None)
        return Plan((), Pause("after_work") if outcome is None else End(outcome))


def distinct(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Some providers repeat the ids of their calls; within one message they must differ. The order of the parts stays:
    providers want what the model thought right before what came of it."""
    seen: set[str] = set()
    found: list[Part] = []
    for part in parts:
        if isinstance(part, ToolCall):
            unique, number = part.id, 2
            while unique in seen:
                unique, number = f"{part.id}-{number}", number + 1
            seen.add(unique)
            part = part if unique == part.id else ToolCall(unique, part.name, part.arguments, part.meta)
        found.append(part)
    return tuple(found)
