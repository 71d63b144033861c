"""The memory store's sessions beside their rows: paths, items, turns and streamed pieces, and who shares which nodes.

A path is read from the nodes a session wrote itself and, before those, from its base; ``base`` always names the session
that wrote the last node shared, so a chain of forks is never longer than the number of its writers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lash.abc.sessions import Piece
from lash.core.session import Item, Node, TurnRecord


@dataclass(slots=True, eq=False)
class Chat:
    """One session beside its row."""

    row: int
    head: int
    frame: int
    usage: bytes = b""
    items: list[Item] = field(default_factory=list[Item])
    keyed: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """By key: the number of an item, and the hash of what it said."""
    turns: dict[int, TurnRecord] = field(default_factory=dict[int, TurnRecord])
    committed: int = 0
    pieces: list[Piece] = field(default_factory=list[Piece])

    def in_state(self, *states: str) -> list[Item]:
        return [item for item in self.items if item.state in states]


class Chats:
    """All sessions of one memory store. ``nodes`` outlives the session that wrote them while a fork shares them."""

    def __init__(self) -> None:
        self.chats: dict[int, Chat] = {}
        self.nodes: dict[int, list[Node]] = {}
        """By row: the nodes this session wrote itself."""
        self.bases: dict[int, tuple[int, int]] = {}
        """By row, also of deleted sessions: (row, node) of the base; row 0 has none."""
        self.ids: dict[int, str] = {}
        """By row, alike: the process id."""
        self.refs: dict[int, dict[str, int]] = {}
        """By row, alike: the blobs it speaks of, and the first of its nodes that may."""
        self.blobs: dict[str, bytes] = {}
        self.loose: dict[str, int] = {}
        """Blobs that pruning is to look at, and since when; 0: since a session no longer speaks of them."""

    def path(self, row: int, after: int, upto: int) -> list[Node]:
        """The nodes with ``after < number <= upto``, in path order."""
        found: list[Node] = []
        while row and upto > after:
            found = [node for node in self.nodes.get(row, ()) if after < node.number <= upto] + found
            row, shared = self.bases.get(row, (0, 0))
            upto = min(upto, shared)
        return found

    def owner_of(self, row: int, number: int) -> int:
        """Whose own node ``number`` of this path is."""
        while row and number <= self.bases[row][1]:
            row = self.bases[row][0]
        return row

    def speak(self, row: int, refs: Iterable[str], first: int) -> None:
        """Nodes of this session from ``first`` on may speak of these blobs."""
        spoken = self.refs.setdefault(row, {})
        for ref in refs:
            spoken.setdefault(ref, first)

    def collect(self, row: int) -> None:
        """Drop what no session and no fork of a deleted one can reach any more."""
        while row and row not in self.chats:
            shared = max((node for base, node in self.bases.values() if base == row), default=0)
            self.nodes[row] = [node for node in self.nodes.get(row, ()) if node.number <= shared]
            spoken = self.refs.pop(row, {})
            self.refs[row] = {ref: first for ref, first in spoken.items() if first <= shared}
            for ref in spoken.keys() - self.refs[row].keys() & self.blobs.keys():
                self.loose.setdefault(ref, 0)
            if shared:
                return
            del self.nodes[row], self.refs[row]
            del self.ids[row]
            row = self.bases.pop(row)[0]

    def unfinished(self, row: int) -> list[Item]:
        """Items no turn has consumed; none for a row that is no session."""
        chat = self.chats.get(row)
        return [] if chat is None else chat.in_state("pending", "taken")

    def has_nothing_to_do(self, row: int) -> bool:
        """A session without an unfinished item; False for a row that is no session."""
        return row in self.chats and not self.unfinished(row)

    def forget(self, row: int) -> None:
        """Its row is gone: everything beside it goes, but for nodes that forks share."""
        if self.chats.pop(row, None) is not None:
            self.collect(row)
