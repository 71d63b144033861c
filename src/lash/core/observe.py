"""What an observer of a turn is told: the difference between the turn as it is and what the observer has seen.

A turn can be drawn at any moment, from what is streamed now, from the journal of a turn under way, or from what was
committed; whoever observes it says, in a cursor, how much of that picture it has seen. So observers need no queue, may
come late, from another process or after a crash, and are never told a text twice: a version that differs from the one
seen is a ``Reset`` of exactly the characters shown. A cursor the picture cannot go on from is a ``Gap``, and then the
turn is told from its beginning (spec sessions 11, 25.1 on ADR 0002).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from lash.core import codec
from lash.core.model import NO_USAGE, Usage
from lash.core.tool import ToolOutput
from lash.core.turn import Outcome
from lash.errors import BadCursor
from lash.limits import TOOLS_AT_ONCE_MAX

MARK_CHARS: Final = 12

# Events ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """Base of all events. ``cursor``: go on after this event with ``stream(after=cursor)``."""

    cursor: str = field(kw_only=True, default="")


@dataclass(frozen=True, slots=True)
class TextDelta(TurnEvent):
    """More of what the model says in its ``call``-th call of the turn (from 1)."""

    text: str
    call: int


@dataclass(frozen=True, slots=True)
class ReasoningDelta(TurnEvent):
    text: str
    call: int


@dataclass(frozen=True, slots=True)
class Reset(TurnEvent):
    """Forget what was shown of this call: the last ``text_chars`` of its text and ``reasoning_chars`` of reasoning."""

    call: int
    text_chars: int
    reasoning_chars: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelFinished(TurnEvent):
    call: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class ToolStarted(TurnEvent):
    """The call begins. One of a serial tool waits for those beside it, and then for the serial ones before it."""

    call_id: str
    name: str
    arguments: str
    """JSON text as the model wrote it."""


@dataclass(frozen=True, slots=True)
class ToolFinished(TurnEvent):
    call_id: str
    name: str
    output: ToolOutput
    """While the turn is at work, all the tool returned; once it is committed, what stands in the history of that: the
    content, and the code and message of a failure."""


@dataclass(frozen=True, slots=True)
class PluginEvent(TurnEvent):
    """A plugin's or a tool's own word. Live only: it is not told again."""

    plugin: str
    name: str
    payload: object


@dataclass(frozen=True, slots=True)
class Retrying(TurnEvent):
    """A model call failed and is made again after ``delay_ms``, as try ``attempt`` (from 2) ``of`` so many. ``message``
    and ``code`` say why. Live only: it is not told again."""

    attempt: int
    of: int
    delay_ms: int
    message: str
    code: str
    """The ``kind`` of a ``ProviderError``."""
    call: int


Aside: TypeAlias = PluginEvent | Retrying
"""What is told beside the story of a turn, live, and moves no cursor."""


@dataclass(frozen=True, slots=True)
class Committed(TurnEvent):
    """The turn has ended and is part of the history. The last event of its stream."""

    turn: int
    outcome: Outcome
    usage: Usage


@dataclass(frozen=True, slots=True)
class Gap(TurnEvent):
    """What followed the cursor cannot be told any more: forget what was shown of this turn; it is told anew.

    ``unavailable``: the turn is not what it was (a restored backup, or a cursor from ahead of it).
    """

    reason: Literal["unavailable"]


# Pictures ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ToolPicture:
    call_id: str
    name: str
    arguments: str
    output: ToolOutput | None = None
    serial: bool = False


@dataclass(slots=True)
class CallPicture:
    """One model call. ``version`` tells the performances of a call apart: a retry, or a run by another worker."""

    version: str
    text: str = ""
    reasoning: str = ""
    usage: Usage = NO_USAGE
    done: bool = False
    part: int = 0
    """The text part that is being written: parts are two newlines apart."""
    reason: str = ""
    """Why this version took another's place."""
    tools: list[ToolPicture] = field(default_factory=list[ToolPicture])


@dataclass(slots=True)
class Picture:
    """A turn as it is at one moment."""

    turn: int
    calls: list[CallPicture] = field(default_factory=list[CallPicture])
    outcome: Outcome | None = None
    """Once it is committed."""
    usage: Usage = NO_USAGE
    asides: Mapping[int, Aside] = field(default_factory=dict[int, Aside])
    """By number, as far as they are kept; live only."""
    asides_made: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """How much of a turn an observer has been told."""

    session: str
    """The mark of the session: see :func:`mark_of`."""
    turn: int
    call: int = 0
    """The call it is at, from 1; everything of earlier calls was told. 0: nothing yet."""
    version: str = ""
    text: int = 0
    reasoning: int = 0
    done: bool = False
    started: frozenset[int] = frozenset()
    """Tools of this call whose start was told, by index."""
    finished: frozenset[int] = frozenset()
    """The same of their end."""
    ended: bool = False
    asides: int = -1
    """Those seen so far, in this sitting; -1: none are owed."""

    @property
    def cursor(self) -> str:
        starts, ends = (",".join(map(str, sorted(told))) for told in (self.started, self.finished))
        flags = f"{int(self.done)}{int(self.ended)}"
        place = f"{self.call}.{self.version}.{self.text}.{self.reasoning}"
        return f"t{self.session}.{self.turn}.{place}.{flags}.{starts}.{ends}"


def mark_of(session_id: str) -> str:
    """What a cursor names its session by: short, and without a character that would part it."""
    return codec.digest(f"lash.cursor/1:{session_id}")[:MARK_CHARS]


def seen_of(cursor: object, session_id: str, turn: int | None = None) -> Seen:
    """What a cursor says. Raises ``BadCursor`` for one that is malformed, of another session, or of another turn than
    ``turn``."""
    try:
        if not isinstance(cursor, str) or not cursor.startswith("t"):
            raise ValueError
        session, number, call, version, text, reasoning, flags, starts, ends = cursor[1:].split(".")
        counts = [int(item) for item in (number, call, text, reasoning)]
        started, finished = (frozenset(map(int, filter(None, places.split(",")))) for places in (starts, ends))
        if (
            not counts[0]
            or min(*counts, *started, *finished) < 0
            or flags not in ("00", "01", "10", "11")
            or len(version) > 64
            or len(session) != MARK_CHARS
        ):
            raise ValueError
    except ValueError:
        raise BadCursor(
            f"{cursor!r} is no cursor. Pass the .cursor of an event of this turn, or None to begin at its beginning."
        ) from None
    seen = Seen(session, counts[0], counts[1], version, counts[2], counts[3], flags[0] == "1", started, finished)
    if session != mark_of(session_id):
        raise BadCursor(
            f"The cursor {cursor!r} belongs to another session, not to {session_id!r}. Pass the .cursor of an event of "
            "this session, or None to begin at the beginning."
        )
    if turn is not None and seen.turn != turn:
        raise BadCursor(f"The cursor {cursor!r} belongs to turn {seen.turn}, not to turn {turn} of this session.")
    return replace(seen, ended=flags[1] == "1")


# The difference ----------------------------------------------------------------------------------------------------


def unknown_to(picture: Picture, seen: Seen) -> bool:
    """The picture cannot go on from there: it has less than the observer was told."""
    if seen.call > len(picture.calls):
        return seen.done or seen.call > len(picture.calls) + 1
    if not seen.call:
        return False
    call = picture.calls[seen.call - 1]
    if call.version != seen.version:
        return seen.done  # what was complete may not change
    return call.done and (seen.text > len(call.text) or max(seen.started, default=-1) >= len(call.tools))


def difference(picture: Picture, seen: Seen) -> Iterator[tuple[TurnEvent, Seen]]:
    """The events that bring an observer from ``seen`` to ``picture``, each with what has been seen after it."""
    if unknown_to(picture, seen):
        seen = Seen(seen.session, picture.turn, asides=seen.asides)
        yield Gap("unavailable", cursor=seen.cursor), seen
    if picture.outcome is not None and seen.call > len(picture.calls) and (seen.text or seen.reasoning):
        shown, seen = (seen.text, seen.reasoning), replace(seen, text=0, reasoning=0)
        yield Reset(seen.call, *shown, "the turn ended first", cursor=seen.cursor), seen
    while not seen.ended:
        if 0 < seen.call <= len(picture.calls):
            for event, after in of_call(picture.calls[seen.call - 1], seen, over=seen.call < len(picture.calls)):
                seen = after
                yield event, after
        if seen.call >= len(picture.calls):
            break
        seen = Seen(seen.session, seen.turn, seen.call + 1, picture.calls[seen.call].version, asides=seen.asides)
    for event, after in of_asides(picture, seen):
        seen = after
        yield event, after
    if picture.outcome is not None and not seen.ended:
        seen = replace(seen, ended=True)
        yield Committed(picture.turn, picture.outcome, picture.usage, cursor=seen.cursor), seen


Told: TypeAlias = "Iterator[tuple[TurnEvent, Seen]]"


def of_call(call: CallPicture, seen: Seen, over: bool) -> Told:
    """``over``: the model was asked again since."""
    number = seen.call
    if call.version != seen.version:
        shown = (seen.text, seen.reasoning)
        seen = replace(seen, version=call.version, text=0, reasoning=0)
        if any(shown):
            yield Reset(number, *shown, call.reason or "the call was made again", cursor=seen.cursor), seen
    if len(call.reasoning) > seen.reasoning:
        more = call.reasoning[seen.reasoning :]
        seen = replace(seen, reasoning=len(call.reasoning))
        yield ReasoningDelta(more, number, cursor=seen.cursor), seen
    if len(call.text) > seen.text:
        more = call.text[seen.text :]
        seen = replace(seen, text=len(call.text))
        yield TextDelta(more, number, cursor=seen.cursor), seen
    if call.done and not seen.done:
        seen = replace(seen, done=True)
        yield ModelFinished(number, call.usage, cursor=seen.cursor), seen
    yield from of_tools(call.tools, seen, over)


def of_tools(tools: Sequence[ToolPicture], seen: Seen, over: bool) -> Told:
    """Starts and ends in the order of the work."""
    for group in groups_of(tools, over):
        for index, tool in group:
            if index not in seen.started:
                seen = replace(seen, started=seen.started | {index})
                yield ToolStarted(tool.call_id, tool.name, tool.arguments, cursor=seen.cursor), seen
        for index, tool in group:
            if tool.output is not None and index not in seen.finished:
                seen = replace(seen, finished=seen.finished | {index})
                yield ToolFinished(tool.call_id, tool.name, tool.output, cursor=seen.cursor), seen


def groups_of(tools: Sequence[ToolPicture], over: bool) -> list[list[tuple[int, ToolPicture]]]:
    """The calls that have begun: those side by side, as many as may be at work at once, and then each serial one once
    all before it have ended. One that has ended has begun, whatever the others did (the turn was halted), and when
    they are ``over`` all have, also those whose ends are not known elsewhere."""

    def ended(tool: ToolPicture) -> bool:
        return over or tool.output is not None

    together = [(index, tool) for index, tool in enumerate(tools) if not tool.serial]
    through = sum(ended(tool) for _, tool in together)
    begun = TOOLS_AT_ONCE_MAX + through
    groups = [[item for place, item in enumerate(together) if place < begun or ended(item[1])]]
    waiting = through < len(together)
    for index, tool in enumerate(tools):
        if tool.serial and (ended(tool) or not waiting):
            groups.append([(index, tool)])
            waiting = waiting or not ended(tool)
    return groups


def of_asides(picture: Picture, seen: Seen) -> Told:
    """Asides since the observer came; those it was too slow for are gone."""
    if seen.asides < 0:
        seen = replace(seen, asides=picture.asides_made)
    for number in range(seen.asides, picture.asides_made):
        seen = replace(seen, asides=number + 1)
        if (aside := picture.asides.get(number)) is not None:
            yield replace(aside, cursor=seen.cursor), seen
