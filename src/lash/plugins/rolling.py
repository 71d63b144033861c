"""A long conversation is sent as its newest part, which fits, and, where that is wanted, summed up before it does not.

Nothing of the history changes: this is a view of one turn. It begins with something a user said and holds every call
with its results, so that any provider takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from lash.abc.plugin import Compact, Decisions, Plugin, TurnView
from lash.core.estimate import tokens_of, weight
from lash.core.message import Media, Message, Text, ToolResult
from lash.core.turn import Outcome
from lash.errors import InvalidAgent
from lash.limits import ROLLING_MARGIN_TOKENS, ROLLING_TAIL_TOKENS

MEDIA_TURNS = 2
"""Pictures are sent for so many turns of the user after the one they came with."""
MEDIA_FROM = 0.6
"""Share of the context from which older pictures are left out."""
COMPACT_FROM = 0.8
"""Share of what may be sent from which a turn is followed by a summary: before anything has to be left out."""
GONE = Text("[an attachment that was shown before]")


class RollingContext(Plugin):
    """``tail_tokens`` are kept once the conversation comes within ``margin_tokens`` of what the model can read. With
    ``compact``, a turn that comes that near is followed by a summary instead, and the next ones go on from it."""

    id: ClassVar[str] = "rolling_context"

    def __init__(
        self,
        *,
        tail_tokens: int = ROLLING_TAIL_TOKENS,
        margin_tokens: int = ROLLING_MARGIN_TOKENS,
        compact: bool = False,
    ) -> None:
        if tail_tokens < 1 or margin_tokens < 0:
            raise InvalidAgent(f"A tail of {tail_tokens} tokens within {margin_tokens} of the end leaves nothing.")
        self.tail_tokens = tail_tokens
        self.margin_tokens = margin_tokens
        self.compact = compact

    async def view(self, view: TurnView) -> Sequence[Message] | None:
        messages = list(view.messages)
        used = max(tokens_of(messages), view.last_input_tokens)
        if used >= view.context_tokens * MEDIA_FROM:
            messages = without_old_media(messages)
        if tokens_of(messages) > view.context_tokens - self.margin_tokens:
            messages = tail_of(messages, min(self.tail_tokens, view.context_tokens - self.margin_tokens))
        return messages

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        del outcome
        near = view.last_input_tokens > (view.context_tokens - self.margin_tokens) * COMPACT_FROM
        return Compact() if self.compact and near else None


def tail_of(messages: Sequence[Message], tokens: int) -> list[Message]:
    """The newest messages that fit, from something a user said on; at least the last thing a user said, and what
    followed it."""
    start = len(messages)
    total = 0
    for place in range(len(messages) - 1, -1, -1):
        total += weight(messages[place])
        if total > tokens and start < len(messages):
            break
        if messages[place].role == "user":
            start = place
    return list(messages[start:]) if start < len(messages) else list(messages)


def without_old_media(messages: Sequence[Message]) -> list[Message]:
    """Attachments older than some turns of the user stand as a word."""
    found: list[Message] = []
    turns = 0
    for message in reversed(messages):
        found.append(message if turns <= MEDIA_TURNS else bare(message))
        turns += message.role == "user"
    return found[::-1]


def bare(message: Message) -> Message:
    """Without attachments; the same object where it has none."""
    parts = tuple(
        replace(part, content=tuple(GONE if isinstance(item, Media) else item for item in part.content))
        if isinstance(part, ToolResult)
        else GONE
        if isinstance(part, Media)
        else part
        for part in message.parts
    )
    return message if parts == message.parts else replace(message, parts=parts)
