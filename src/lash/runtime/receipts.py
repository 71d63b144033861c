"""The receipt of a turn: its outcome and what it used, in few bytes.

A text that stands in the history is named there by its node, and is not stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from lash.core import codec
from lash.core.message import Message, decode_message, message_json, message_of
from lash.core.model import NO_USAGE, Usage
from lash.core.session import Node
from lash.core.tool import SwitchFrame
from lash.core.turn import Finished, Outcome, StopCause, Stopped, Switched
from lash.runtime.spending import Spending, Spent, spent_json, spent_of


class Answered(NamedTuple):
    """A model call of the turn that was answered."""

    version: str
    """See ``core.observe``."""
    usage: Usage
    node: int = 0
    """Number of the message that has the answer; 0 where nothing of it was said."""


@dataclass(frozen=True, slots=True)
class Receipt:
    outcome: Outcome
    """A ``Finished`` whose text stands in node ``text_node`` is without it until :func:`with_text`."""
    usage: Usage = NO_USAGE
    model: str = ""
    model_calls: int = 0
    tool_calls: int = 0
    calls: Sequence[Answered] = ()
    text_node: int = 0
    parsed: bool = False
    """The value is what the text says, read as JSON."""
    spent: Spent = field(default_factory=dict[str, "tuple[int, Usage]"])
    """What its tools used on models of their own. It is part of ``usage``."""

    @property
    def by_model(self) -> Spent:
        """All it used."""
        spending = Spending()
        if self.model_calls:
            own = sum((call.usage for call in self.calls), NO_USAGE)
            spending.add({self.model: (self.model_calls, own)})
        spending.add(self.spent)
        return spending.models

    def encode(self) -> bytes:
        return codec.encode(
            [
                outcome_json(self.outcome, bool(self.text_node), self.parsed),
                self.usage.as_json(),
                self.model,
                self.model_calls,
                self.tool_calls,
                [[call.version, call.node, *call.usage.as_json()] for call in self.calls],
                self.text_node,
                int(self.parsed),
                spent_json(self.spent),
            ],
            "receipt",
        )


def decode_receipt(data: bytes) -> Receipt:
    outcome, usage, model, model_calls, tool_calls, answered, text_node, parsed, spent = cast(
        "tuple[list[object], list[int], str, int, int, list[list[object]], int, int, dict[str, list[int]]]",
        codec.decode(data),
    )
    calls = [
        Answered(cast(str, version), Usage(*cast("list[int]", counts)), cast(int, node))
        for version, node, *counts in answered
    ]
    return Receipt(
        outcome_of(outcome), Usage(*usage), model, model_calls, tool_calls, calls, text_node, bool(parsed),
        spent_of(spent),
    )  # fmt: skip


def with_text(receipt: Receipt, nodes: Sequence[Node]) -> Outcome:
    """The whole outcome, given the nodes its turn committed (or the one its text stands in)."""
    outcome = receipt.outcome
    if not receipt.text_node or not isinstance(outcome, Finished):
        return outcome
    for node in nodes:
        if node.number == receipt.text_node:
            text = decode_message(node.body).text
            return Finished(text, read_json(text) if receipt.parsed else outcome.value)
    return outcome


def text_place(outcome: Outcome, said: Sequence[Message]) -> int | None:
    """Which of the messages has the outcome's text, if one does."""
    if not isinstance(outcome, Finished) or not outcome.text:
        return None
    for place in range(len(said) - 1, -1, -1):
        if said[place].role == "assistant":
            return place if said[place].text == outcome.text else None
    return None


def read_json(text: str) -> object:
    """The JSON in a model's final text, also when it stands in a code fence. Raises ``ValueError``."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```") and len(bare) > 6:
        bare = bare[3:-3].partition("\n")[2] if "\n" in bare else bare[3:-3]
    try:
        return codec.decode(bare.strip().encode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from None


def outcome_json(outcome: Outcome, without_text: bool = False, without_value: bool = False) -> list[object]:
    match outcome:
        case Finished(text, value):
            return ["finished", "" if without_text else text, None if without_value else value]
        case Stopped(reason, message, code, text):
            return ["stopped", reason, message, code, text]
        case Switched(frame):
            return ["switched", frame.name, frame.task, [message_json(message) for message in frame.seeds]]


def outcome_of(plain: Sequence[object]) -> Outcome:
    if plain[0] == "finished":
        return Finished(cast(str, plain[1]), plain[2])
    if plain[0] == "stopped":
        reason, message, code, text = cast("list[str]", plain[1:])
        return Stopped(cast(StopCause, reason), message, code, text)
    seeds = tuple(message_of(item) for item in cast("list[object]", plain[3]))
    return Switched(SwitchFrame(cast(str, plain[1]), cast(str, plain[2]), seeds))
