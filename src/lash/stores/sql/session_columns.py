"""How sessions stand in columns, and back: what both dialects read and write of them, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from lash.core.process import ProcessRow
from lash.core.session import ID_PREFIX, Item, NewNode, Node, SessionRow, TurnRecord
from lash.stores.sql.chats import (
    DELIVERIES,
    DELIVERY_CODES,
    ITEM_CODES,
    ITEM_KINDS,
    ITEM_STATES,
    NODE_CODES,
    NODE_KINDS,
    STATE_CODES,
    UNDONE,
    Chat,
    NewNodes,
)
from lash.stores.sql.rows import ROW_COLUMNS, ROW_FROM, Columns, pack_hash, unpack_hash

CHAT_COLUMNS: Final = ("base_row", "base_node", "head", "frame", "turns", "items", "usage")
CHAT_SQL: Final = "row, name, base_row, base_node, head, frame, turns, items, usage"
ITEM_SQL: Final = "number, kind, delivery, state, turn, at_ms, key, payload"
SESSION_SQL: Final = (
    f"SELECT {ROW_COLUMNS}, {', '.join('c.' + name for name in CHAT_SQL.split(', '))}, b.name {ROW_FROM} "
    "LEFT JOIN lash_session c ON c.row = p.row LEFT JOIN lash_session b ON b.row = c.base_row"
)
"""A row of ``ROW_SQL``, then one of ``CHAT_SQL`` (NULL for what is no session), then the name of its base."""
TURN_SQL: Final = "number, witness, first_node, last_node, at_ms, receipt"
NODE_SQL: Final = "n.number, n.kind, n.name, n.turn, n.at_ms, n.body"


def chat_of(columns: Sequence[object], undone: Sequence[Sequence[object]] | None) -> Chat:
    """A row of ``CHAT_SQL``, and the session's unfinished items as rows of ``ITEM_SQL``; None: not read yet."""
    row, name, base_row, base_node, head, frame, turns, items, usage = cast(
        "tuple[int, str, int | None, int, int, int, int, int, bytes | None]", tuple(columns)
    )
    found = {item.number: item for item in map(item_of_columns, undone or ())}
    chat = Chat(row, name, base_row or 0, base_node, head, frame, turns, items, usage or b"", found)
    chat.complete = undone is not None
    chat.stored = chat.columns()
    return chat


def item_of_columns(columns: Sequence[object]) -> Item:
    number, kind, delivery, state, turn, at_ms, key, payload = cast(
        "tuple[int, int, int, int, int, int, str | None, bytes | None]", tuple(columns)
    )
    return Item(
        number, ITEM_KINDS[kind], DELIVERIES[delivery], payload or b"", key, ITEM_STATES[state], turn, at_ms
    )  # fmt: skip


def pack_item(chat: Chat, item: Item) -> Columns:
    """A new item, in the table's order."""
    session, hashed = chat.row, pack_hash(chat.hashes.get(item.number, ""))
    return (
        session, item.number, ITEM_CODES[item.kind], DELIVERY_CODES[item.delivery], STATE_CODES[item.state],
        item.turn, item.at_ms, item.key, hashed, item.payload or None,
    )  # fmt: skip


def changed_item(session: int, item: Item) -> Columns:
    """(state, turn, payload is kept, session, number)."""
    return (STATE_CODES[item.state], item.turn, 1 if item.state in UNDONE else None, session, item.number)


def turn_of_columns(columns: Sequence[object]) -> TurnRecord:
    number, witness, first_node, last_node, at_ms, receipt = cast(
        "tuple[int, bytes | str, int, int, int, bytes]", tuple(columns)
    )
    return TurnRecord(number, unpack_hash(witness), first_node, last_node, receipt, at_ms)


def pack_turn(session: int, record: TurnRecord) -> Columns:
    witness = pack_hash(record.witness) or b""
    return (
        session, record.number, witness, record.first_node, record.last_node, record.at_ms, record.receipt
    )  # fmt: skip


def pack_nodes(session: int, added: NewNodes) -> list[Columns]:
    """In the table's order. A state's name is never NULL: it is looked up by it."""
    return [
        (session, number, NODE_CODES[node.kind] or None, name_of(node), added.turn, added.at_ms, node.body)
        for number, node in enumerate(added.nodes, added.first)
    ]


def name_of(node: NewNode) -> str | None:
    return node.name if node.kind == "state" else node.name or None


def node_of_columns(columns: Sequence[object], name: str) -> Node:
    """A row of ``NODE_SQL``, written by the session called ``name``."""
    number, kind, label, turn, at_ms, body = cast("tuple[int, int | None, str | None, int, int, bytes]", tuple(columns))
    return Node(number, NODE_KINDS[kind or 0], label or "", body, name, turn, at_ms)


def session_row_of(process: ProcessRow, columns: Sequence[object], base: str | None) -> SessionRow:
    """A row of ``CHAT_SQL`` beside its process."""
    chat = chat_of(columns, ())
    return SessionRow(
        process,
        chat.head,
        chat.frame,
        None if base is None else ID_PREFIX + base,
        chat.base_node,
        chat.turns,
        chat.items,
        chat.usage,
    )
