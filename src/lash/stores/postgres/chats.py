"""Sessions on PostgreSQL: what is asked of the server about them, the pictures operations change, and how those are
written, as parts of the one guarded statement of a batch.

The version of a session's process row guards all of it: whoever changes a picture bumps that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from lash.core.session import Item, TurnRecord
from lash.stores.blobs import digests_of
from lash.stores.sql.chats import Chat
from lash.stores.sql.rows import Columns, Hot, unpack_hash
from lash.stores.sql.session_columns import (
    CHAT_SQL,
    ITEM_SQL,
    TURN_SQL,
    changed_item,
    chat_of,
    item_of_columns,
    pack_item,
    pack_nodes,
    turn_of_columns,
)
from lash.stores.sql.session_rows import SessionRows

if TYPE_CHECKING:
    from lash.stores.postgres.facts import Facts

CHAT_FIELDS: Final = CHAT_SQL.split(", ")
ITEM_FIELDS: Final = ITEM_SQL.split(", ")
CHATS_SQL: Final = (
    f"SELECT {', '.join('s.' + name for name in CHAT_FIELDS)}, {', '.join('i.' + name for name in ITEM_FIELDS)} "
    "FROM lash_session s LEFT JOIN lash_item i ON i.session = s.row AND i.state < 2 WHERE s.row = ANY($1::bigint[]) "
    "ORDER BY s.row, i.number"
)
ITEMS_SQL: Final = (
    f"SELECT session, {ITEM_SQL} FROM lash_item JOIN unnest($1::bigint[], $2::bigint[]) AS u(s, n) "
    "ON session = u.s AND number = u.n"
)
KEYS_SQL: Final = (
    f"SELECT session, {ITEM_SQL}, hash FROM lash_item JOIN unnest($1::bigint[], $2::text[]) AS u(s, k) "
    "ON session = u.s AND key = u.k"
)
RECORDS_SQL: Final = (
    f"SELECT session, {TURN_SQL} FROM lash_turn JOIN unnest($1::bigint[], $2::bigint[]) AS u(s, n) "
    "ON session = u.s AND number = u.n"
)
CHAIN_SQL: Final = """WITH RECURSIVE chain (row, name, upto, base_row, base_node) AS (
    SELECT row, name, $2::bigint, base_row, base_node FROM lash_session WHERE row = $1
    UNION ALL
    SELECT s.row, s.name, least(c.upto, c.base_node), s.base_row, s.base_node
    FROM chain c JOIN lash_session s ON s.row = c.base_row
)"""
"""The sessions whose nodes make up a path, each with the place up to which it has them."""
FRAME_SQL: Final = (
    f"{CHAIN_SQL} SELECT max(n.number) FROM chain c JOIN lash_node n ON n.session = c.row AND n.kind = 1 "
    "AND n.number <= c.upto"
)


class ChatPicture(SessionRows):
    """The sessions of one run of a batch."""

    facts: Facts
    hots: dict[int, Hot]
    bumped: set[int]

    def __init__(self) -> None:
        self.chats: dict[int, Chat | None] = {}
        self.touched_chats: dict[int, Chat] = {}

    def chat(self, row: int) -> Chat | None:
        if row not in self.chats and (kept := self.facts.kept_chat(row)) is not None:
            chat = self.chats[row] = chat_of(kept.columns, ())
            chat.undone = dict(kept.undone)
        elif row not in self.chats:
            fetched = cast("tuple[Columns, list[Columns]] | None", self.facts.ask("chat", row))
            self.chats[row] = None if fetched is None else chat_of(*fetched)
        return self.chats[row]

    def add_chat(self, chat: Chat) -> None:
        self.chats[chat.row] = chat
        self.touch_chat(chat)

    def touch_chat(self, chat: Chat) -> None:
        self.touched_chats[chat.row] = chat
        self.bumped.add(chat.row)

    def keep_chat(self, chat: Chat) -> None:
        self.bumped.add(chat.row)

    def item(self, chat: Chat, number: int) -> Item | None:
        return cast("Item | None", self.facts.ask("item", chat.row, number))

    def item_of_key(self, chat: Chat, key: str) -> tuple[Item, str] | None:
        if chat.stored is None:
            return None
        found = cast("tuple[Item, str] | None", self.facts.ask("item_key", chat.row, key))
        if found is None:
            return None
        return chat.known(found[0].number) or found[0], found[1]

    def turn(self, chat: Chat, number: int) -> TurnRecord | None:
        return None if chat.stored is None else cast("TurnRecord | None", self.facts.ask("turn", chat.row, number))

    def frame_before(self, row: int, number: int) -> int:
        chat = self.chat(row)
        new: int = max(
            (
                place
                for added in ([] if chat is None else chat.nodes)
                for place, node in enumerate(added.nodes, added.first)
                if node.kind == "frame" and place <= number
            ),
            default=0,
        )
        if new or chat is None:
            return new
        if chat.stored is None:  # made a moment ago: its path is that of its base
            return self.frame_before(chat.base_row, min(number, chat.base_node)) if chat.base_row else 0
        return cast("int | None", self.facts.ask("frame", row, number)) or 0


# Fetching ----------------------------------------------------------------------------------------------------------


async def fetch_chats(facts: Facts, query: Any, wanted: list[tuple[Any, ...]]) -> None:
    for of in wanted:
        facts.put("chat", of, None)
    found: dict[int, tuple[Columns, list[Columns]]] = {}
    for record in await query(CHATS_SQL, [row for (row,) in wanted]):
        columns, item = tuple(record[: len(CHAT_FIELDS)]), tuple(record[len(CHAT_FIELDS) :])
        _, undone = found.setdefault(columns[0], (columns, []))
        if item[0] is not None:
            undone.append(item)
    for row, chat in found.items():
        facts.put("chat", (row,), chat)


async def fetch_items(facts: Facts, query: Any, wanted: list[tuple[Any, ...]]) -> None:
    for of in wanted:
        facts.put("item", of, None)
    for session, *columns in await query(ITEMS_SQL, *lists(wanted)):
        item = item_of_columns(columns)
        facts.put("item", (session, item.number), item)


async def fetch_keys(facts: Facts, query: Any, wanted: list[tuple[Any, ...]]) -> None:
    for of in wanted:
        facts.put("item_key", of, None)
    for session, *columns, hashed in await query(KEYS_SQL, *lists(wanted)):
        item = item_of_columns(columns)
        facts.put("item_key", (session, item.key), (item, hashed))


async def fetch_records(facts: Facts, query: Any, wanted: list[tuple[Any, ...]]) -> None:
    for of in wanted:
        facts.put("turn", of, None)
    for session, *columns in await query(RECORDS_SQL, *lists(wanted)):
        record = turn_of_columns(columns)
        facts.put("turn", (session, record.number), record)


async def fetch_frames(facts: Facts, query: Any, wanted: list[tuple[Any, ...]]) -> None:
    for row, number in wanted:
        facts.put("frame", (row, number), (await query(FRAME_SQL, row, number))[0][0])


def lists(wanted: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*wanted, strict=True)]


# Writing -----------------------------------------------------------------------------------------------------------


def add_sessions(touched: Sequence[Chat], rows: dict[str, list[Columns]]) -> None:
    """Everything that was added to these pictures, by how it is written."""

    def add(part: str, *columns: Columns) -> None:
        rows.setdefault(part, []).extend(columns)

    for chat in touched:
        row, columns = chat.row, chat.columns()
        if chat.stored is None:
            add("fresh_session", (row, chat.name, *columns))
        elif columns != chat.stored:
            add("session", (row, *columns[2:]))
        for added in chat.nodes:
            add("node", *pack_nodes(row, added))
        for item in chat.added.values():
            add("item", text_hash(pack_item(chat, item), 8))
        for item in chat.changed.values():
            add("item_state", changed_item(row, item))
        for record in chat.records.values():
            span = (record.first_node, record.last_node, record.at_ms, record.receipt)
            add("turn", (row, record.number, record.witness, *span))
        if chat.cleared:
            add("clear", (row,))
        for number, piece in {piece[:2]: piece for piece in reversed(chat.pieces)}.items():
            add("piece", (row, *number, piece[2]))
        for digest, ref in sorted(digests_of([*chat.refs]).items()):
            add("ref", (digest, row, chat.refs[ref]))


def text_hash(columns: Columns, place: int) -> Columns:
    hashed = cast("bytes | str | None", columns[place])
    return (*columns[:place], unpack_hash(hashed) or None, *columns[place + 1 :])
