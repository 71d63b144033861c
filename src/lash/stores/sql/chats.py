"""One session within a transaction: its columns and unfinished items as they stand, and what is to be written of them.

Operations change this picture and never send a statement; a dialect reads it at its first mention and writes what was
added, all at once, when the transaction ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from lash.core.session import Item, NewNode, TurnRecord, item_hash

NODE_KINDS: Final = ("message", "frame", "state", "note")
NODE_CODES: Final = {kind: code for code, kind in enumerate(NODE_KINDS)}
ITEM_KINDS: Final = ("input", "wake", "command")
ITEM_CODES: Final = {kind: code for code, kind in enumerate(ITEM_KINDS)}
DELIVERIES: Final = ("next_turn", "earliest_boundary")
DELIVERY_CODES: Final = {kind: code for code, kind in enumerate(DELIVERIES)}
ITEM_STATES: Final = ("pending", "taken", "done", "cancelled")
STATE_CODES: Final = {state: code for code, state in enumerate(ITEM_STATES)}
UNDONE: Final = ("pending", "taken")


@dataclass(slots=True)
class NewNodes:
    """What one commit adds to a path."""

    first: int
    nodes: list[NewNode]
    turn: int
    at_ms: int


@dataclass(slots=True, eq=False)
class Chat:
    """``stored``: the columns as they stand in the table; None: they do not yet."""

    row: int
    name: str
    """The session's id."""
    base_row: int
    base_node: int
    head: int
    frame: int
    turns: int = 0
    items: int = 0
    usage: bytes = b""
    undone: dict[int, Item] = field(default_factory=dict[int, Item])
    """Pending and taken items by number, in order: all of them, or those this transaction has put."""
    complete: bool = True
    """``undone`` has all of them. Who must know asks ``Transaction.undone``: accepting an item reads no others."""
    stored: tuple[object, ...] | None = None
    added: dict[int, Item] = field(default_factory=dict[int, Item])
    """New items, as they are now."""
    hashes: dict[int, str] = field(default_factory=dict[int, str])
    """What the new items said, by number, for those that have a key."""
    keys: dict[str, int] = field(default_factory=dict[str, int])
    """Their numbers, by key."""
    changed: dict[int, Item] = field(default_factory=dict[int, Item])
    """Items that stand in the table, as they are now."""
    nodes: list[NewNodes] = field(default_factory=list[NewNodes])
    records: dict[int, TurnRecord] = field(default_factory=dict[int, TurnRecord])
    """New turn records by number."""
    refs: dict[str, int] = field(default_factory=dict[str, int])
    """Blobs that new nodes speak of, and the first of these."""
    pieces: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])
    """(token, number, payload) of new pieces."""
    cleared: bool = False
    """The pieces in the table go."""

    def columns(self) -> tuple[object, ...]:
        """In the table's order, behind row and name."""
        return (
            self.base_row or None,
            self.base_node,
            self.head,
            self.frame,
            self.turns,
            self.items,
            self.usage or None,
        )

    def fill(self, stored: Iterable[Item]) -> None:
        """``stored``: the unfinished items as they stand in the table, in order."""
        found = {item.number: self.changed.get(item.number, item) for item in stored} | self.added
        self.undone = {number: item for number, item in found.items() if item.state in UNDONE}
        self.complete = True

    def known(self, number: int) -> Item | None:
        """An item that need not be looked up."""
        return self.undone.get(number) or self.added.get(number) or self.changed.get(number)

    def keyed(self, key: str) -> tuple[Item, str] | None:
        """An item that is new, under its key, with the hash of what it said."""
        number = self.keys.get(key)
        return None if number is None else (self.added[number], self.hashes[number])

    def accept(self, item: Item) -> None:
        """A new item."""
        self.put(item)
        if item.key is not None:
            self.hashes[item.number] = item_hash(item.kind, item.payload)
            self.keys[item.key] = item.number

    def put(self, item: Item) -> None:
        """A new item, or another state of one."""
        if item.number > self.items:
            self.items = item.number
            self.added[item.number] = item
        elif item.number in self.added:
            self.added[item.number] = item
        else:
            self.changed[item.number] = item
        if item.state in UNDONE:
            self.undone[item.number] = item
        else:
            self.undone.pop(item.number, None)

    def written(self) -> None:
        """Everything so far stands in the table."""
        self.stored = self.columns()
        self.added, self.changed, self.nodes, self.records = {}, {}, [], {}
        self.hashes, self.keys = {}, {}
        self.refs, self.pieces, self.cleared = {}, [], False
