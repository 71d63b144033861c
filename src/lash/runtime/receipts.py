"""The receipt of a turn: its outcome and what it used, in few bytes.

A text that stands in the history is named there by its node, and is not stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

from lash.core import codec
from lash.core.message import Message, decode_message
from lash.core.model import NO_USAGE, Usage
from lash.core.session import Node
from lash.core.turn import Finished, Outcome
from lash.core.turn_json import outcome_json, outcome_of
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

    def _kept(self) -> Outcome:
        """Without what stands in a node."""
        if not self.text_node or not isinstance(self.outcome, Finished):
            return self.outcome
        return replace(self.outcome, text="", value=None if self.parsed else self.outcome.value)

    def encode(self) -> bytes:
        return codec.encode(
            [
                outcome_json(self._kept()),
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
            return replace(outcome, text=text, value=read_json(text) if receipt.parsed else outcome.value)
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
