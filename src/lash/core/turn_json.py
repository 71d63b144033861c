"""A turn's state as bytes, and back: each is the exact inverse of the other, for every state a turn can reach.

Together with ``step(mode, state, None)`` this is all of suspending a turn: what is missing follows from the state. The
bounds on one stored value do not hold here, because a state has many values in it; where it is kept may have its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from lash.core import codec
from lash.core.message import ToolCall, message_json, message_of, part_json, part_of
from lash.core.model import Usage
from lash.core.tool import SwitchFrame, ToolOutput, listed
from lash.core.turn import (
    Boundary,
    Finished,
    Outcome,
    Phase,
    StopCause,
    Stopped,
    Switched,
    TurnLimits,
    TurnState,
)

FORM: Final = 1
"""Of the bytes. A newer one may be read by older code, which must not guess."""


def encode_state(state: TurnState) -> bytes:
    """One JSON object. Raises ``InvalidValue`` where a tool's value or a part's ``meta`` is no plain JSON."""
    limits = state.limits
    return codec.dump(
        {
            "form": FORM,
            "phase": state.phase.value,
            "said": [message_json(message) for message in state.said],
            "limits": [limits.model_calls, limits.tool_calls, limits.tokens],
            "model_calls": state.model_calls,
            "tool_calls": state.tool_calls,
            "usage": state.usage.as_json(),
            "calls": [part_json(call) for call in state.calls],
            "results": [None if result is None else result.as_json() for result in state.results],
            "boundary": state.boundary,
            "boundaries": state.boundaries,
            "waiting": [message_json(message) for message in state.waiting],
            "refused": state.refused,
            "last_input_tokens": state.last_input_tokens,
            "outcome": None if state.outcome is None else outcome_json(state.outcome),
        },
        "turn state",
    )


def decode_state(data: bytes) -> TurnState:
    """The inverse. Raises ``ValueError`` for bytes of another form, or that hold no state."""
    plain = codec.as_object(codec.decode(data))
    if plain.get("form") != FORM:
        raise ValueError(f"no turn state of form {FORM}: it has form {plain.get('form')!r}")
    outcome = plain["outcome"]
    return TurnState(
        phase=Phase(plain["phase"]),
        said=tuple(message_of(item) for item in listed(plain["said"])),
        limits=TurnLimits(*cast("list[int]", plain["limits"])),
        model_calls=cast(int, plain["model_calls"]),
        tool_calls=cast(int, plain["tool_calls"]),
        usage=Usage(*cast("list[int]", plain["usage"])),
        calls=cast("tuple[ToolCall, ...]", tuple(part_of(item) for item in listed(plain["calls"]))),
        results=tuple(None if item is None else ToolOutput.of_json(item) for item in listed(plain["results"])),
        boundary=cast(Boundary, plain["boundary"]),
        boundaries=cast(int, plain["boundaries"]),
        waiting=tuple(message_of(item) for item in listed(plain["waiting"])),
        refused=cast(int, plain["refused"]),
        last_input_tokens=cast(int, plain["last_input_tokens"]),
        outcome=None if outcome is None else outcome_of(listed(outcome)),
    )


def outcome_json(outcome: Outcome) -> list[object]:
    """A short tagged list."""
    match outcome:
        case Finished(text, value):
            return ["finished", text, value] if outcome.structured else ["finished", text]
        case Stopped(reason, message, code, text):
            return ["stopped", reason, message, code, text]
        case Switched(frame):
            return ["switched", frame.name, frame.task, [message_json(message) for message in frame.seeds]]


def outcome_of(plain: Sequence[object]) -> Outcome:
    """The inverse. Raises ``ValueError`` for what no outcome was written as."""
    tag, *rest = plain
    if tag == "finished":
        text, *value = rest
        return Finished(cast(str, text), value[0] if value else None, structured=bool(value))
    if tag == "stopped":
        reason, message, code, text = cast("list[str]", rest)
        return Stopped(cast(StopCause, reason), message, code, text)
    if tag == "switched":
        name, task, seeds = rest
        return Switched(
            SwitchFrame(cast(str, name), cast(str, task), tuple(message_of(item) for item in listed(seeds)))
        )
    raise ValueError(f"no kind of outcome: {tag!r}")
