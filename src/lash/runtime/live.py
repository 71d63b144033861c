"""The turns at work in this Python process, as pictures that grow while they are streamed.

Whoever performs a call draws; observers look whenever a picture has changed. A picture is drawn anew when its turn is
run again, so what it shows is always what this run has heard or is hearing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from lash.core.model import Chunk, ModelReply, ReasoningDelta, TextDelta, Usage
from lash.core.observe import Aside, CallPicture, Picture, PluginEvent, Retrying, ToolPicture
from lash.core.tool import ToolOutput
from lash.core.turn import Outcome
from lash.limits import EVENTS_KEPT_MAX

BROKE_OFF: Final = "the model's answer broke off"
"""Why what was shown of a call is taken back."""


@dataclass(slots=True, eq=False)
class LiveTurn:
    """One run of one turn. ``streamed`` is told of each piece of text, for observers in other Python processes."""

    picture: Picture
    streamed: Callable[[int, str, str, str], None] | None = None
    """(call, version, text, reasoning)."""
    at_work: bool = True
    """Whether what it shows is the turn, and not what a former lease of this worker left."""
    _asides: dict[int, Aside] = field(default_factory=dict[int, Aside])
    _change: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.picture.asides = self._asides

    def call(self, number: int) -> CallPicture:
        calls = self.picture.calls
        while len(calls) < number:
            calls.append(CallPicture(""))
        return calls[number - 1]

    def begun(self, number: int, version: str, reason: str = "") -> None:
        """A model call is performed, from its beginning."""
        call = self.call(number)
        call.version, call.text, call.reasoning, call.done = version, "", "", False
        call.part, call.reason, call.tools = 0, reason, []
        self.changed()

    def chunk(self, number: int, version: str, chunk: Chunk) -> None:
        call = self.call(number)
        if call.version != version or call.done:
            return  # of a performance that another has replaced
        if isinstance(chunk, TextDelta):
            between = "\n\n" if call.text and chunk.part != call.part else ""
            call.part = chunk.part
            call.text += between + chunk.text
            self._stream(number, version, between + chunk.text, "")
        elif isinstance(chunk, ReasoningDelta):
            call.reasoning += chunk.text
            self._stream(number, version, "", chunk.text)
        else:
            return
        self.changed()

    def _stream(self, number: int, version: str, text: str, reasoning: str) -> None:
        if self.streamed is not None:
            self.streamed(number, version, text, reasoning)

    def replied(self, number: int, version: str, reply: ModelReply, serial: Collection[int]) -> None:
        """The whole answer, as it was recorded."""
        draw_reply(self.call(number), version, reply, serial)
        self.changed()

    def tool_done(self, number: int, place: int, output: ToolOutput) -> None:
        tools = self.call(number).tools
        if place < len(tools):
            tools[place].output = output
            self.changed()

    def broke_off(self, version: str, retrying: Retrying) -> None:
        """A call failed and is made again, as ``version``: what was shown of it is taken back now, not then."""
        self.begun(retrying.call, version, BROKE_OFF)
        self._tell(retrying)

    def note(self, plugin: str, name: str, payload: object) -> None:
        self._tell(PluginEvent(plugin, name, payload))

    def _tell(self, aside: Aside) -> None:
        picture = self.picture
        self._asides[picture.asides_made] = aside
        self._asides.pop(picture.asides_made - EVENTS_KEPT_MAX, None)
        picture.asides_made += 1
        self.changed()

    def follow(self, former: LiveTurn) -> None:
        """This is the same turn, run again: whoever heard asides of the former run is told each once, and the next."""
        self._asides.update(former._asides)
        self.picture.asides_made = former.picture.asides_made

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        calls = self.picture.calls
        while calls and not calls[-1].done:
            calls.pop()  # what was written of it is no part of the history
        self.picture.outcome, self.picture.usage = outcome, usage
        self.changed()

    def changed(self) -> None:
        change, self._change = self._change, None
        if change is not None and not change.done():
            change.set_result(None)

    def change(self) -> asyncio.Future[None]:
        """Done at the next change. One for all who wait: nobody may cancel it."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        return self._change


def version_of(token: int, attempt: int) -> str:
    """Tells one performance of a call from every other: by the lease it was made under, and the attempt."""
    return f"{token}-{attempt}"


def attempt_of(version: str) -> int:
    return int(version.rpartition("-")[2])


def draw_reply(call: CallPicture, version: str, reply: ModelReply, serial: Collection[int]) -> None:
    """A call of which the whole answer is known. Of one that was cut off no tool call is made. ``serial``: which of
    them wait for the others."""
    call.version, call.text, call.usage, call.done = version, reply.text, reply.usage, True
    call.reasoning = reply.reasoning
    made = reply.calls if reply.stop in ("stop", "tool_use") else ()
    call.tools = [
        ToolPicture(item.id, item.name, item.arguments, serial=place in serial) for place, item in enumerate(made)
    ]


class LiveTurns:
    """By process id of the session. What they show is the turn only while its session is leased to this runtime's
    worker: a picture may outlive that, of a turn that is parked, or whose lease was lost."""

    def __init__(self) -> None:
        self._turns: dict[str, LiveTurn] = {}

    def begin(self, process_id: str, live: LiveTurn) -> None:
        """A turn is run here, perhaps again: who watches a former run goes on with this one."""
        former = self._turns.get(process_id)
        self._turns[process_id] = live
        if former is not None:
            if former.picture.turn == live.picture.turn:
                live.follow(former)
            former.changed()

    def end(self, process_id: str, live: LiveTurn) -> None:
        """It is not at work here any more."""
        if self._turns.get(process_id) is live:
            del self._turns[process_id]
        live.changed()

    def leave(self, process_id: str) -> None:
        """Its session is taken up again, here: what is shown of it is of a former lease. Asides are told on."""
        former = self._turns.get(process_id)
        if former is not None:
            former.at_work = False
            former.changed()

    def forget(self, process_id: str) -> None:
        """Whatever was shown of it is nobody's turn any more."""
        former = self._turns.pop(process_id, None)
        if former is not None:
            former.changed()

    def get(self, process_id: str) -> LiveTurn | None:
        return self._turns.get(process_id)
