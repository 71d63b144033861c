"""An effect is one journaled call; a journal entry is what the store keeps of it.

An effect's identity is its ordinal within the scope; kind, name and witness (a hash of the request) are the second
witness. Entries are delivered one at a time in the order of their ranks, live and on replay alike (DESIGN section 5).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class EffectKind(Enum):
    """What a body can ask for. ``sleep`` is a timer, numbered on its own; the others share one count."""

    __hash__ = object.__hash__  # members are single; Enum's own hash is Python code, and this is looked up per step

    STEP = "step"
    COMMAND = "command"
    WAIT = "wait"
    SLEEP = "sleep"


class EntryKind(Enum):
    """What a journal row says.

    ======== ================================================================================================
    step     the reply of step ``ordinal``: payload is its value, or its failure where ``failed``
    command  the reply of command ``ordinal`` (start, signal, cancel, emit …)
    sleep    timer ``ordinal`` fired; ``due_ms`` is when it was due
    wait     wait ``ordinal`` was opened on the key in ``name``; it has no reply yet
    reply    the reply of wait ``ordinal``; ``attempt`` is the sequence of the signal it consumed, if any
    close    the body gave up wait ``ordinal``; a signal it had already consumed goes back to the mail
    attempt  attempt number ``attempt`` of step ``ordinal`` failed; the next is due at ``due_ms``
    cancel   a cancel was requested; payload has the reason
    mail     a signal nobody waited for yet; ``ordinal`` is its event's sequence
    ======== ================================================================================================
    """

    __hash__ = object.__hash__  # as above

    STEP = "step"
    COMMAND = "command"
    SLEEP = "sleep"
    WAIT = "wait"
    REPLY = "reply"
    CLOSE = "close"
    ATTEMPT = "attempt"
    CANCEL = "cancel"
    MAIL = "mail"


ENTRY_KIND = {kind: EntryKind(kind.value) for kind in EffectKind}
"""The entry that answers each kind of effect; for a wait, the one that opens it."""
DELIVERED = frozenset({EntryKind.STEP, EntryKind.COMMAND, EntryKind.SLEEP, EntryKind.REPLY, EntryKind.CANCEL})
"""Entries a body sees. The others are notes beside them."""


class Entry(NamedTuple):
    """One journal row. The store sets ``rank`` and ``at_ms``; a writer leaves them 0."""

    kind: EntryKind
    ordinal: int
    name: str = ""
    witness: str = ""
    payload: bytes = b""
    failed: bool = False
    attempt: int = 1
    began_ms: int = 0
    """When the work of this entry began, by the worker's clock: for the timeline only."""
    due_ms: int = 0
    rank: int = 0
    """Grows with every entry of the scope, in commit order."""
    at_ms: int = 0
    """Store time of the write: the body's clock once the entry is delivered."""


class Effect(NamedTuple):
    """What a body asks for."""

    kind: EffectKind
    ordinal: int
    name: str
    witness: str
    due_ms: int = 0

    def describe(self) -> str:
        return f"{self.kind.value} {self.ordinal} {self.name!r}"
