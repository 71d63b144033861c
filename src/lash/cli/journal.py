"""What a journal tells without running the body: which waits are open, which attempts are due, what came last.

Only rules about entries live here (see ``core/effect.py`` for what each kind says); nothing is read and nothing shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lash.core.effect import Entry, EntryKind

PROCESS_PREFIX: Final = "process:"
DONE: Final = frozenset({EntryKind.STEP, EntryKind.COMMAND, EntryKind.SLEEP, EntryKind.CANCEL})
"""Entries that are a whole line of a timeline by themselves."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline: an effect from when it was asked for to its end."""

    kind: str
    """step, command, sleep, signal, process, cancel."""
    ordinal: int
    name: str
    began_ms: int
    ended_ms: int | None
    """None: still open."""
    ending: str
    """ok, failed, open, withdrawn, retrying."""
    attempts: int
    payload: bytes
    failures: tuple[Entry, ...] = ()
    """The attempts before the last."""


class Journal:
    """``entries`` in rank order, all kinds."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    def of(self, kind: EntryKind) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind is kind]

    @cached_property
    def open_waits(self) -> list[Entry]:
        """Waits the body still has, oldest first."""
        over = {entry.ordinal for entry in self.entries if entry.kind in (EntryKind.REPLY, EntryKind.CLOSE)}
        return [entry for entry in self.of(EntryKind.WAIT) if entry.ordinal not in over]

    @cached_property
    def pending(self) -> dict[int, Entry]:
        """By ordinal: the newest failed attempt of each step that is to be tried again."""
        over = {entry.ordinal for entry in self.of(EntryKind.STEP)}
        return {entry.ordinal: entry for entry in self.of(EntryKind.ATTEMPT) if entry.ordinal not in over}

    @cached_property
    def untaken(self) -> list[Entry]:
        """Signals that came and that no wait has taken; those given back by a closed wait included."""
        mail: dict[int, Entry] = {}
        for entry in self.entries:
            if entry.kind is EntryKind.MAIL:
                mail[entry.ordinal] = entry
            elif entry.kind is EntryKind.REPLY:
                mail.pop(entry.attempt, None)
        return list(mail.values())

    def awaited_ids(self) -> list[str]:
        """Processes the body waits for now, each once."""
        names = (entry.name for entry in self.open_waits if entry.name.startswith(PROCESS_PREFIX))
        return list(dict.fromkeys(name.removeprefix(PROCESS_PREFIX) for name in names))

    def timeline(self) -> list[Line]:
        """One line for each effect, in the order in which they began to be recorded."""
        replies = {entry.ordinal: entry for entry in self.of(EntryKind.REPLY)}
        closes = {entry.ordinal: entry for entry in self.of(EntryKind.CLOSE)}
        failures: dict[int, list[Entry]] = {}
        for entry in self.of(EntryKind.ATTEMPT):
            failures.setdefault(entry.ordinal, []).append(entry)
        lines: list[Line] = []
        for entry in self.entries:
            if entry.kind in DONE:
                before = failures.get(entry.ordinal, []) if entry.kind is EntryKind.STEP else []
                lines.append(done_line(entry, before))
            elif entry.kind is EntryKind.WAIT:
                lines.append(wait_line(entry, replies.get(entry.ordinal), closes.get(entry.ordinal)))
            elif entry.kind is EntryKind.ATTEMPT and self.pending.get(entry.ordinal) is entry:
                lines.append(pending_line(entry, failures[entry.ordinal]))
        return lines


def done_line(entry: Entry, before: Sequence[Entry]) -> Line:
    """A reply. A timer's due time is all that is known of its beginning."""
    began_ms = min([item.began_ms for item in (*before, entry) if item.began_ms], default=entry.at_ms)
    if entry.kind is EntryKind.SLEEP:
        began_ms = entry.at_ms
    return Line(
        entry.kind.value,
        entry.ordinal,
        entry.name,
        min(began_ms, entry.at_ms),
        entry.at_ms,
        "failed" if entry.failed else "ok",
        entry.attempt,
        entry.payload,
        tuple(before),
    )


def wait_line(entry: Entry, reply: Entry | None, close: Entry | None) -> Line:
    kind, _, name = entry.name.partition(":")
    if close is not None:
        return Line(kind, entry.ordinal, name, entry.at_ms, close.at_ms, "withdrawn", 1, b"")
    if reply is not None:
        return Line(kind, entry.ordinal, name, entry.at_ms, reply.at_ms, "ok", 1, reply.payload)
    return Line(kind, entry.ordinal, name, entry.at_ms, None, "open", 1, b"")


def pending_line(entry: Entry, failures: Sequence[Entry]) -> Line:
    began_ms = min([item.began_ms for item in failures if item.began_ms], default=entry.at_ms)
    return Line(
        "step", entry.ordinal, entry.name, began_ms, None, "retrying", entry.attempt, entry.payload, tuple(failures)
    )
