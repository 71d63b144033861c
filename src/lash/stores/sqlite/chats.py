"""Every statement about sessions that SQLite is sent: look-ups through an index, writes by the list."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, cast

from lash.abc.sessions import Piece
from lash.core.process import Tombstone
from lash.core.session import Item, Node, SessionRow, TurnRecord
from lash.stores.blobs import digests_of
from lash.stores.sql.chats import Chat
from lash.stores.sql.reading import tombstone_of
from lash.stores.sql.rows import Columns, unpack_hash
from lash.stores.sql.session_columns import (
    CHAT_COLUMNS,
    CHAT_SQL,
    ITEM_SQL,
    NODE_SQL,
    SESSION_SQL,
    TURN_SQL,
    changed_item,
    chat_of,
    item_of_columns,
    node_of_columns,
    pack_item,
    pack_nodes,
    pack_turn,
    session_row_of,
    turn_of_columns,
)
from lash.stores.sqlite import blobs
from lash.stores.sqlite.book import Book
from lash.stores.sqlite.reads import GONE_SQL, decoded

CHAT_WIDTH: Final = len(CHAT_SQL.split(", "))
BRIEF_COLUMNS: Final = ITEM_SQL.replace("payload", "NULL")
BY_ROW_SQL: Final = f"SELECT {CHAT_SQL} FROM lash_session WHERE row = ?"
BRIEF_SQL: Final = (
    f"SELECT {BRIEF_COLUMNS} FROM lash_item INDEXED BY lash_item_undone WHERE session = ? AND state < 2 ORDER BY number"
)
SAID_SQL: Final = (
    "SELECT number, payload FROM lash_item WHERE session = ? AND number IN (SELECT value FROM json_each(?))"
)
UNDONE_SQL: Final = (
    f"SELECT {ITEM_SQL} FROM lash_item INDEXED BY lash_item_undone WHERE session = ? AND state < 2 ORDER BY number"
)
ITEMS_SQL: Final = (
    f"SELECT {ITEM_SQL} FROM lash_item WHERE session = ? AND number IN (SELECT value FROM json_each(?)) ORDER BY number"
)
KEY_SQL: Final = f"SELECT {ITEM_SQL}, hash FROM lash_item WHERE session = ? AND key = ?"
RECORD_SQL: Final = f"SELECT {TURN_SQL} FROM lash_turn WHERE session = ? AND number = ?"
RECORDS_SQL: Final = f"SELECT {TURN_SQL} FROM lash_turn WHERE session = ? AND number > ? ORDER BY number LIMIT ?"
CHAIN: Final = """WITH RECURSIVE chain (row, name, upto, base_row, base_node) AS (
    SELECT row, name, ?2, base_row, base_node FROM lash_session WHERE row = ?1
    UNION ALL
    SELECT s.row, s.name, min(chain.upto, chain.base_node), s.base_row, s.base_node
    FROM chain JOIN lash_session s ON s.row = chain.base_row
)"""
"""The sessions whose nodes make up a path, each with the place up to which it has them."""
FRAME_SQL: Final = (
    f"{CHAIN} SELECT max((SELECT max(number) FROM lash_node n INDEXED BY lash_node_frame "
    "WHERE n.session = chain.row AND n.kind = 1 AND n.number <= chain.upto)) FROM chain"
)
NODES_SQL: Final = f"""WITH RECURSIVE chain (row, name, upto, after, base_row, base_node) AS (
    SELECT row, name, min(?3, head), max(?2, min(?3, head) - ?4), base_row, base_node FROM lash_session WHERE row = ?1
    UNION ALL
    SELECT s.row, s.name, min(chain.upto, chain.base_node), chain.after, s.base_row, s.base_node
    FROM chain JOIN lash_session s ON s.row = chain.base_row WHERE chain.base_node > chain.after
) SELECT {NODE_SQL}, chain.name FROM chain JOIN lash_node n ON n.session = chain.row
AND n.number > chain.after AND n.number <= chain.upto"""
"""Numbers on a path are dense, so the newest ones are a range: nothing before it is read."""
FIRST_NAME: Final = (
    "SELECT min(name) FROM lash_node s INDEXED BY lash_node_state WHERE s.session = {}.row AND s.kind = 2"
)
STATES_SQL: Final = f"""{CHAIN}, component (row, writer, upto, name) AS (
    SELECT row, name, upto, ({FIRST_NAME.format("chain")}) FROM chain
    UNION ALL
    SELECT row, writer, upto, ({FIRST_NAME.format("component")} AND s.name > component.name)
    FROM component WHERE component.name IS NOT NULL
) SELECT {NODE_SQL}, writer FROM component JOIN lash_node n ON n.session = component.row AND n.number = (
    SELECT max(number) FROM lash_node s INDEXED BY lash_node_state
    WHERE s.session = component.row AND s.kind = 2 AND s.name = component.name AND s.number <= component.upto
)"""
"""From name to name through the index, and of each the newest value: how often it was set before costs nothing."""
PIECES_SQL: Final = (
    "SELECT token, number, payload FROM lash_piece WHERE session = ? AND (token, number) > (?, ?) "
    "ORDER BY token, number LIMIT ?"
)
FIND_SQL: Final = SESSION_SQL + " WHERE p.id = ?"
SHARED_SQL: Final = "SELECT max(base_node) FROM lash_session INDEXED BY lash_session_base WHERE base_row = ?"
SESSIONS_SQL: Final = "SELECT row FROM lash_session WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"
INSERT_SQL: Final = (
    f"INSERT INTO lash_session (row, name, {', '.join(CHAT_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE_SQL: Final = f"UPDATE lash_session SET {' = ?, '.join(CHAT_COLUMNS)} = ? WHERE row = ?"
NODE_INSERT: Final = "INSERT INTO lash_node VALUES (?, ?, ?, ?, ?, ?, ?)"
ITEM_INSERT: Final = "INSERT INTO lash_item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ITEM_UPDATE: Final = (
    "UPDATE lash_item SET state = ?, turn = ?, payload = CASE WHEN ? THEN payload END WHERE session = ? AND number = ?"
)
TURN_INSERT: Final = "INSERT OR REPLACE INTO lash_turn VALUES (?, ?, ?, ?, ?, ?, ?)"
PIECE_INSERT: Final = "INSERT OR IGNORE INTO lash_piece VALUES (?, ?, ?, ?)"
OWNED: Final = ("item", "turn", "piece")
"""Tables whose rows go with their session; the nodes, and with them references, may be shared."""


# In a transaction --------------------------------------------------------------------------------------------------


def load(connection: sqlite3.Connection, row: int) -> Chat | None:
    columns = connection.execute(BY_ROW_SQL, (row,)).fetchone()
    return None if columns is None else chat_of(columns, None)


def undone(connection: sqlite3.Connection, row: int) -> list[Item]:
    """Without what they say."""
    return [item_of_columns(columns) for columns in connection.execute(BRIEF_SQL, (row,))]


def whole(connection: sqlite3.Connection, row: int, items: Sequence[Item]) -> list[Item]:
    """These, with what they say."""
    numbers = json.dumps([item.number for item in items if not item.payload])
    said: dict[int, bytes] = dict(connection.execute(SAID_SQL, (row, numbers)))
    return [item._replace(payload=said[item.number]) if item.number in said else item for item in items]


def item(connection: sqlite3.Connection, row: int, number: int) -> Item | None:
    columns = connection.execute(ITEMS_SQL, (row, f"[{number}]")).fetchone()
    return None if columns is None else item_of_columns(columns)


def item_of_key(connection: sqlite3.Connection, row: int, key: str) -> tuple[Item, str] | None:
    columns = connection.execute(KEY_SQL, (row, key)).fetchone()
    return None if columns is None else (item_of_columns(columns[:-1]), unpack_hash(columns[-1]))


def turn(connection: sqlite3.Connection, row: int, number: int) -> TurnRecord | None:
    columns = connection.execute(RECORD_SQL, (row, number)).fetchone()
    return None if columns is None else turn_of_columns(columns)


def frame_before(connection: sqlite3.Connection, row: int, number: int) -> int:
    return cast("int | None", connection.execute(FRAME_SQL, (row, number)).fetchone()[0]) or 0


def write(connection: sqlite3.Connection, chat: Chat) -> None:
    """Everything that was added to the picture."""
    row, columns = chat.row, chat.columns()
    if chat.stored is None:
        connection.execute(INSERT_SQL, (row, chat.name, *columns))
    elif columns != chat.stored:
        connection.execute(UPDATE_SQL, (*columns, row))
    for added in chat.nodes:
        connection.executemany(NODE_INSERT, pack_nodes(row, added))
    if chat.added:
        connection.executemany(ITEM_INSERT, [pack_item(chat, item) for item in chat.added.values()])
    if chat.changed:
        connection.executemany(ITEM_UPDATE, [changed_item(row, item) for item in chat.changed.values()])
    if chat.records:
        connection.executemany(TURN_INSERT, [pack_turn(row, record) for record in chat.records.values()])
    if chat.cleared:
        connection.execute("DELETE FROM lash_piece WHERE session = ?", (row,))
    if chat.pieces:
        connection.executemany(PIECE_INSERT, [(row, *piece) for piece in chat.pieces])
    if chat.refs:
        refs = [(digest, row, chat.refs[ref]) for digest, ref in digests_of([*chat.refs]).items()]
        connection.executemany(blobs.SPEAK_SQL, refs)
    chat.written()


def bury(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """These rows are gone: whatever those of them that were sessions had goes, but for nodes that forks share."""
    for (row,) in connection.execute(SESSIONS_SQL, (json.dumps(rows),)).fetchall():
        for table in OWNED:
            connection.execute(f"DELETE FROM lash_{table} WHERE session = ?", (row,))
        connection.execute("UPDATE lash_session SET gone = 1, usage = NULL WHERE row = ?", (row,))
        collect(connection, row)


def collect(connection: sqlite3.Connection, row: int | None) -> None:
    """Drop what no session and no fork of a deleted one can reach any more."""
    while row is not None:
        found = connection.execute("SELECT gone, base_row FROM lash_session WHERE row = ?", (row,)).fetchone()
        if found is None or not found[0]:
            return
        shared = connection.execute(SHARED_SQL, (row,)).fetchone()[0] or 0
        connection.execute("DELETE FROM lash_node WHERE session = ? AND number > ?", (row, shared))
        blobs.silence(connection, row, shared)
        if shared:
            return
        connection.execute("DELETE FROM lash_session WHERE row = ?", (row,))
        row = found[1]


# Reads -------------------------------------------------------------------------------------------------------------


def find(connection: sqlite3.Connection, lanes: Book, process_id: str) -> SessionRow | Tombstone | None:
    columns = connection.execute(FIND_SQL, (process_id,)).fetchone()
    if columns is None:
        gone = connection.execute(GONE_SQL, (process_id,)).fetchone()
        return None if gone is None else tombstone_of(gone)
    process, beside, base = columns[: -CHAT_WIDTH - 1], columns[-CHAT_WIDTH - 1 : -1], columns[-1]
    return None if beside[0] is None else session_row_of(decoded(connection, lanes, [process])[0], beside, base)


def nodes(connection: sqlite3.Connection, row: int, after: int, upto: int, limit: int) -> list[Node]:
    if limit <= 0:
        return []
    return in_order(connection.execute(NODES_SQL, (row, after, upto, limit)).fetchall())


def states(connection: sqlite3.Connection, row: int, upto: int) -> dict[str, Node]:
    return {node.name: node for node in in_order(connection.execute(STATES_SQL, (row, upto)).fetchall())}


def in_order(rows: list[Columns]) -> list[Node]:
    """Rows of ``NODE_SQL`` with the writer's name behind, as the sessions of a chain come."""
    rows.sort(key=itemgetter(0))
    return [node_of_columns(columns[:-1], cast(str, columns[-1])) for columns in rows]


def items(connection: sqlite3.Connection, row: int, numbers: Sequence[int]) -> list[Item]:
    if numbers:
        found = connection.execute(ITEMS_SQL, (row, json.dumps(list(numbers))))
    else:
        found = connection.execute(UNDONE_SQL, (row,))
    return [item_of_columns(columns) for columns in found]


def turns(connection: sqlite3.Connection, row: int, after: int, limit: int) -> list[TurnRecord]:
    return [turn_of_columns(columns) for columns in connection.execute(RECORDS_SQL, (row, after, limit))]


def pieces(connection: sqlite3.Connection, row: int, token: int, after: int, limit: int) -> list[Piece]:
    return [Piece(*columns) for columns in connection.execute(PIECES_SQL, (row, token, after, limit))]
