"""A long conversation is sent as its newest part, which fits, and, where that is wanted, summed up before it does not.

Nothing of the history changes: this is a view of one turn, made again when the turn itself grows too long. It begins
with something a user said and holds every call with its results, so that any provider takes it.
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
LEFT_OUT = Message(
    "user", (Text("[what was done here before is left out; go on from what follows]"),), "rolling_context"
)
CUT_STATE = "cut"
"""In a plugin's state while a turn is at work whose own messages were left out."""


class RollingContext(Plugin):
    """``tail_tokens`` are kept once the conversation comes within ``margin_tokens`` of what the model can read, also in
    the middle of a turn. With ``compact``, a turn that comes that near is followed by a summary, and the next ones go
    on from it."""

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
        return self._tail(messages, view) if tokens_of(messages) > self._room(view) else messages

    async def view_again(self, view: TurnView) -> Sequence[Message] | None:
        newest = max((place for place, message in enumerate(view.messages) if message.role == "assistant"), default=0)
        used = view.last_input_tokens + tokens_of(view.messages[newest:])
        if max(used, tokens_of(view.messages)) <= self._room(view):
            return None
        if self.compact:
            view.state[CUT_STATE] = True
        return self._tail(view.messages, view)

    async def after_turn(self, view: TurnView, outcome: Outcome) -> Decisions:
        del outcome
        near = view.last_input_tokens > self._room(view) * COMPACT_FROM
        was_cut = view.state.pop(CUT_STATE, False)
        return Compact() if self.compact and (near or was_cut) else None

    def _room(self, view: TurnView) -> int:
        return view.context_tokens - self.margin_tokens

    def _tail(self, messages: Sequence[Message], view: TurnView) -> list[Message]:
        return tail_of(messages, min(self.tail_tokens, self._room(view)))


def tail_of(messages: Sequence[Message], tokens: int) -> list[Message]:
    """The newest messages that fit, from something a user said on; at least what a user said last, and the newest call
    or answer. Where whole turns would leave much room, or none fits, a turn is cut: what the user said in it, a word
    about what is left out, and what was done last."""
    turns = whole_turns(messages, tokens)
    total = tokens_of(turns)
    room_is_used = total >= tokens // 2 or len(turns) == len(messages)
    return turns if total <= tokens and room_is_used else cut_turn(messages, tokens)


def whole_turns(messages: Sequence[Message], tokens: int) -> list[Message]:
    """From something a user said on; at least the last such, and all that followed it."""
    start = len(messages)
    total = 0
    for place in range(len(messages) - 1, -1, -1):
        total += weight(messages[place])
        if total > tokens and start < len(messages):
            break
        if messages[place].role == "user":
            start = place
    return list(messages[start:]) if start < len(messages) else list(messages)


def cut_turn(messages: Sequence[Message], tokens: int) -> list[Message]:
    """From any message on that is no result; what the user said in that turn before it stands first."""
    start = len(messages)
    total = 0
    for place in range(len(messages) - 1, -1, -1):
        total += weight(messages[place])
        if start < len(messages) and total + tokens_of([*asked(messages, place), LEFT_OUT]) > tokens:
            break
        if messages[place].role != "tool":
            start = place
    first = asked(messages, start)
    if list(messages[start - len(first) : start]) == first:  # nothing of the turn is left out
        return list(messages[start - len(first) :])
    return [*first, LEFT_OUT, *messages[start:]]


def asked(messages: Sequence[Message], place: int) -> list[Message]:
    """What a user said in the turn that ``messages[place]`` belongs to, before it."""
    found: list[Message] = []
    while place and not is_answer(messages[place - 1]):
        place -= 1
        if messages[place].role == "user" and messages[place].origin != LEFT_OUT.origin:
            found.append(messages[place])
    return found[::-1]


def is_answer(message: Message) -> bool:
    """It ends a turn."""
    return message.role == "assistant" and not message.calls


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
