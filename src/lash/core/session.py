"""A session is one path of nodes that only grows; what is known of it besides follows from what was committed.

Node ``n`` of a path is its ``n``-th node, in every session that shares it: a fork begins as the first ``n`` nodes of
another session and goes on with its own from ``n + 1``. So the parent of a node is the node before it, a session's head
is a number, and nothing is ever rewritten or moved (docs/adr/0010).

A session stands in the store as a process of kind ``session``: claimed, leased, fenced and given back as any other.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from lash.core import codec
from lash.core.ids import check_name
from lash.core.process import ProcessRow
from lash.errors import InvalidName, NodeUnknown
from lash.limits import ID_CHARS_MAX

SESSION: Final = "session"
"""The kind of its process."""
ID_PREFIX: Final = "session:"
"""Process ids of sessions begin so: sessions and processes may bear the same name."""
TURN_PREFIX: Final = "turn:"
NUMBER_DIGITS_MAX: Final = 18
"""Of a number that is sure to fit a store's 64 bits."""

NodeKind: TypeAlias = Literal["message", "frame", "state", "note"]
"""``message``: one :class:`~lash.core.message.Message`. ``frame``: a new context begins after it; what is before it is
kept and no longer sent. ``state``: the value of one named component, until the next of its name. ``note``: anything a
plugin wants to keep; never sent."""
ItemKind: TypeAlias = Literal["input", "wake", "command"]
Delivery: TypeAlias = Literal["next_turn", "earliest_boundary"]
ItemState: TypeAlias = Literal["pending", "taken", "done", "cancelled"]
"""``taken``: a turn has it, and will commit it or be run again with it."""
ITEM_OVER: Final = ("done", "cancelled")
"""States of an item whose turn is over."""


class NewNode(NamedTuple):
    """A node as a commit brings it."""

    kind: NodeKind
    name: str
    """Of the frame, the component or the plugin; empty for messages."""
    body: bytes
    """JSON."""


class Node(NamedTuple):
    number: int
    """Its place on the path, from 1."""
    kind: NodeKind
    name: str
    body: bytes
    session_id: str
    """Whose turn wrote it: of a fork, this is another session for the nodes they share."""
    turn: int
    at_ms: int

    @property
    def id(self) -> str:
        return node_id(self.session_id, self.number)


class NewItem(NamedTuple):
    """Something for a session to work on."""

    kind: ItemKind
    delivery: Delivery
    payload: bytes
    """JSON."""
    key: str | None = None
    """The sender's: the same key again is the same item, or a conflict."""


class Item(NamedTuple):
    """An input, wake or command that was accepted. It is consumed by exactly one turn."""

    number: int
    """1, 2, 3 … within the session, in the order of acceptance."""
    kind: ItemKind
    delivery: Delivery
    payload: bytes
    """Empty once it is done: what was said is in the nodes then."""
    key: str | None
    state: ItemState
    turn: int
    """The turn that took it; 0 while it is pending."""
    at_ms: int


class TurnRecord(NamedTuple):
    """A committed turn. Its number is that of the first item it took."""

    number: int
    witness: str
    """Hash of what it committed: a repeated commit must be the same."""
    first_node: int
    """It committed the nodes ``first_node`` … ``last_node``; none where ``last_node`` is smaller."""
    last_node: int
    receipt: bytes
    """JSON: the outcome and what it used."""
    at_ms: int


class SessionRow(NamedTuple):
    """What the store keeps of one session beside its nodes, items and turns."""

    process: ProcessRow
    head: int
    """How many nodes its path has."""
    frame: int
    """Number of the newest ``frame`` node on its path; 0: none yet."""
    base: str | None
    """Process id of the session it was forked from, which may be deleted by now."""
    base_node: int
    """It shares the first ``base_node`` nodes with its base."""
    turns: int
    """Turns committed."""
    items: int
    """Items accepted."""
    usage: bytes
    """JSON, as the last commit gave it; empty before the first."""

    @property
    def id(self) -> str:
        return session_id_of(self.process.record.id)

    @property
    def agent(self) -> str:
        return self.process.record.spec.name


def process_id_of(session_id: str) -> str:
    """The process id of a session. Raises ``InvalidName``."""
    text = check_name(session_id, "session id")
    if len(text) > ID_CHARS_MAX - len(ID_PREFIX):
        raise InvalidName(
            f"The session id has {len(text)} characters; the limit is {ID_CHARS_MAX - len(ID_PREFIX)}.",
            what="session id",
            chars=len(text),
        )
    return ID_PREFIX + text


def session_id_of(process_id: str) -> str:
    return process_id.removeprefix(ID_PREFIX)


def node_id(session_id: str, number: int) -> str:
    return f"{session_id}#{number}"


def node_number(text: str) -> int:
    """The place a node id tells. Raises ``NodeUnknown`` for what is no node id."""
    _, mark, digits = text.rpartition("#") if isinstance(text, str) else ("", "", "")
    plain = digits.isascii() and digits.isdecimal() and not digits.startswith("0")
    if not mark or not plain or len(digits) > NUMBER_DIGITS_MAX:
        raise NodeUnknown(f"{text!r} is no node id. Node ids look like 'chat-1#12'; session.history() has them.")
    return int(digits)


def turn_key(process_id: str, item: int) -> str:
    """What a wait for the turn that consumes an item waits for."""
    return f"{TURN_PREFIX}{process_id}/{item}"


def item_of_turn_key(key: str) -> tuple[str, int]:
    """(process id, item) of a wait key that :func:`turn_key` made."""
    process_id, _, item = key.removeprefix(TURN_PREFIX).rpartition("/")
    return process_id, int(item)


def item_hash(kind: str, payload: bytes) -> str:
    """What the same key must agree on."""
    return codec.fingerprint("lash.item/1", kind, codec.decode(payload))


def taken_payload(items: list[Item]) -> bytes:
    """The payload of the journal entry that took these items: ``[[number, kind, payload], …]``."""
    return b"[" + b",".join(
        b'[%d,"%s",%s]' % (item.number, item.kind.encode(), item.payload) for item in items
    ) + b"]"  # fmt: skip
