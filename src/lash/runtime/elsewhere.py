"""A turn at work in another OS process is read bit by bit: with each look only what came since the last one.

What is read is the journal of the session and the pieces it streams, and they do not say of which turn they are. So
whoever looks asks afterwards whether the turn is still at work, and only then believes what he has read.
"""

from __future__ import annotations

from typing import Final, cast

from lash.abc.store import Store
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.observe import CallPicture, Picture
from lash.core.outcome import Failure
from lash.core.tool import ToolOutput, failed
from lash.runtime.live import BROKE_OFF, attempt_of, draw_reply
from lash.runtime.modelcall import replied

PIECES_MAX: Final = 1_000
"""Pieces read at once."""


class Elsewhere:
    """What is known of one turn, of the session in ``row``."""

    def __init__(self, store: Store, row: int, turn: int) -> None:
        self.turn = turn
        self._store = store
        self._row = row
        self._recorded: list[CallPicture] = []
        self._streamed: dict[int, CallPicture] = {}
        """By number of the call: the newest version of what was written of it."""
        self._failed: dict[int, int] = {}
        """By number of the call: attempts that failed, and that are followed by another."""
        self._rank = 0
        self._token = 0
        self._number = 0

    async def look(self) -> Picture:
        for entry in await self._store.history(self._row, self._rank):
            self._rank = entry.rank
            self._read_entry(entry)
        while await self._read_pieces() == PIECES_MAX:
            pass
        writing = self._written(len(self._recorded) + 1)
        return Picture(self.turn, self._recorded if writing is None else [*self._recorded, writing])

    def _written(self, number: int) -> CallPicture | None:
        """Of a call without an answer yet. What a failed attempt wrote is shown nowhere."""
        call, failed_attempts = self._streamed.get(number), self._failed.get(number, 0)
        if not failed_attempts:
            return call
        if call is None or attempt_of(call.version) <= failed_attempts:
            return CallPicture("", reason=BROKE_OFF)
        call.reason = BROKE_OFF
        return call

    def _read_entry(self, entry: Entry) -> None:
        kind, _, rest = entry.name.partition(" ")
        if entry.kind is EntryKind.ATTEMPT and kind == "model":
            self._failed[int(rest)] = entry.attempt
        if entry.kind is not EntryKind.STEP or kind not in ("model", "tool"):
            return
        if kind == "model" and not entry.failed:
            call = CallPicture("")
            draw_reply(call, *replied(entry.payload))
            self._recorded.append(call)
            self._streamed.pop(len(self._recorded), None)
        elif kind == "tool":
            number, _, index = rest.partition(" ")[0].partition(".")
            plain = codec.decode(entry.payload)
            output = failed(Failure.of_json(plain)) if entry.failed else ToolOutput.of_json(plain)
            tools = self._recorded[int(number) - 1].tools if int(number) <= len(self._recorded) else []
            if int(index) < len(tools):
                tools[int(index)].output = output

    async def _read_pieces(self) -> int:
        """How many there were."""
        pieces = await self._store.pieces(self._row, self._token, self._number, PIECES_MAX)
        for piece in pieces:
            self._token, self._number = piece.token, piece.number
            for number, version, text, reasoning in cast(
                "list[tuple[int, str, str, str]]", codec.decode(piece.payload)
            ):
                call = self._streamed.get(number)
                if call is None or call.version != version:
                    call = self._streamed[number] = CallPicture(version)
                call.text += text
                call.reasoning += reasoning
        return len(pieces)
