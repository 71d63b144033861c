"""A turn at work in another OS process is read bit by bit: with each look only what came since the last one.

What is read is the journal of the session and the pieces it streams, and they do not say of which turn they are. So
whoever looks asks afterwards whether the turn is still at work, and only then believes what he has read.
"""

from __future__ import annotations

import re
from typing import Final, cast

from lash.abc.store import Store
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.observe import CallPicture, Picture
from lash.runtime.live import BROKE_OFF, attempt_of, draw_reply
from lash.runtime.modelcall import replied
from lash.runtime.toolcall import output_of

PIECES_MAX: Final = 1_000
"""Pieces read at once."""
STEP: Final = re.compile(r"model (\d+)\Z|tool (\d+)\.(\d+) ")
"""Steps of a turn by their paths. A tool that takes a ``lash.Context`` has steps of its own beside them, with other
names: a model that it asks is named ``provider:model``."""


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
        path = STEP.match(entry.name)
        if path is None or entry.kind not in (EntryKind.STEP, EntryKind.ATTEMPT):
            return
        model, call, place = path.groups()
        if entry.kind is EntryKind.ATTEMPT:
            if model is not None:
                self._failed[int(model)] = entry.attempt
        elif model is None:
            tools = self._recorded[int(call) - 1].tools if int(call) <= len(self._recorded) else []
            if int(place) < len(tools):
                tools[int(place)].output = output_of(entry)
        elif not entry.failed:
            picture = CallPicture("")
            draw_reply(picture, *replied(entry.payload))
            self._recorded.append(picture)
            self._streamed.pop(len(self._recorded), None)

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
