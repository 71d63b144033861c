"""An event is a fact in one process's log: dense sequence from 1, a type, a payload, perhaps a key.

The same key with the same content is the stored event and writes nothing; the same key with other content is a
conflict. No clock value ever enters a keyed payload, so a re-run says the same thing twice (spec 18, W-11).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lash.core import codec
from lash.core.outcome import Status

STARTED: Final = "process.started"
WAITING: Final = "process.waiting"
RESUMED: Final = "process.resumed"
CANCEL_REQUESTED: Final = "process.cancel_requested"
BLOCKED: Final = "process.blocked"
UNBLOCKED: Final = "process.unblocked"
CONTINUED: Final = "process.continued"
COMMITTED: Final = "process.committed"
"""A session committed a turn; its journal was cut."""
TERMINAL: Final = {
    Status.COMPLETED: "process.completed",
    Status.FAILED: "process.failed",
    Status.CANCELLED: "process.cancelled",
    Status.ABANDONED: "process.abandoned",
}
STATUS_OF: Final = {name: status for status, name in TERMINAL.items()}
SIGNAL_PREFIX: Final = "signal."


class Event(NamedTuple):
    sequence: int
    """1, 2, 3 … without gaps within one process."""
    type: str
    payload: bytes
    """JSON."""
    key: str | None
    at_ms: int
    """Store time of the write, in epoch milliseconds."""

    def value(self) -> object:
        """The payload as plain Python."""
        return codec.decode(self.payload)


def content_hash(event_type: str, payload: bytes) -> str:
    """What the same key must agree on. Compares the payload's meaning, not its spelling."""
    return codec.fingerprint("lash.event/1", event_type, codec.decode(payload))


def cancel_key(reason: str) -> str:
    """Equal reasons coalesce into one request; another reason is another request."""
    return "cancel:" + codec.fingerprint("lash.cancel/1", reason)


def signal_key(key: str) -> str:
    """Keys of signals live apart from the keys of other events."""
    return "signal:" + key
