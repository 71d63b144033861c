"""What can be read of sessions, one statement each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from lash.abc.sessions import Piece
from lash.core.process import ProcessRow, Tombstone
from lash.core.session import Item, Node, SessionRow, TurnRecord
from lash.stores.postgres.chats import CHAIN_SQL, CHAT_FIELDS
from lash.stores.sql.session_columns import (
    ITEM_SQL,
    NODE_SQL,
    TURN_SQL,
    item_of_columns,
    node_of_columns,
    session_row_of,
    turn_of_columns,
)

Fetch: TypeAlias = Callable[..., Awaitable[Sequence[Sequence[Any]]]]

ROWS_SQL: Final = (
    f"SELECT p.id, {', '.join('s.' + name for name in CHAT_FIELDS)}, b.name FROM lash_process p "
    "JOIN lash_session s ON s.row = p.row LEFT JOIN lash_session b ON b.row = s.base_row "
    "WHERE p.id = ANY($1::text[]) AND s.gone IS NULL"
)
NODES_SQL: Final = (
    f"{CHAIN_SQL} SELECT {NODE_SQL}, c.name FROM chain c CROSS JOIN LATERAL (SELECT * FROM lash_node m "
    "WHERE m.session = c.row AND m.number > $3 AND m.number <= c.upto ORDER BY m.number DESC LIMIT $4) n "
    "ORDER BY n.number DESC LIMIT $4"
)
STATES_SQL: Final = (
    f"{CHAIN_SQL} SELECT {NODE_SQL}, c.name FROM chain c JOIN lash_node n ON n.session = c.row AND n.kind = 2 "
    "AND n.number <= c.upto ORDER BY n.number"
)
UNDONE_SQL: Final = f"SELECT {ITEM_SQL} FROM lash_item WHERE session = $1 AND state < 2 ORDER BY number"
ITEMS_SQL: Final = f"SELECT {ITEM_SQL} FROM lash_item WHERE session = $1 AND number = ANY($2::bigint[]) ORDER BY number"
RECORDS_SQL: Final = f"SELECT {TURN_SQL} FROM lash_turn WHERE session = $1 AND number > $2 ORDER BY number LIMIT $3"
PIECES_SQL: Final = (
    "SELECT token, number, payload FROM lash_piece WHERE session = $1 AND (token, number) > ($2, $3) "
    "ORDER BY token, number LIMIT $4"
)


class ChatReads:
    """Every question about sessions, by name."""

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch

    async def beside(self, found: Sequence[ProcessRow | Tombstone | None]) -> list[SessionRow | Tombstone | None]:
        """What stands beside these processes."""
        rows = {row.record.id: row for row in found if isinstance(row, ProcessRow)}
        beside: dict[str, SessionRow] = {}
        if rows:
            for process_id, *columns, base in await self.fetch(ROWS_SQL, list(rows)):
                beside[process_id] = session_row_of(rows[process_id], columns, base)
        return [beside.get(item.record.id) if isinstance(item, ProcessRow) else item for item in found]

    async def nodes(self, row: int, after: int, upto: int, limit: int) -> list[Node]:
        found = await self.fetch(NODES_SQL, row, upto, after, limit)
        return [node_of_columns(columns[:-1], columns[-1]) for columns in map(tuple, reversed(found))]

    async def states(self, row: int, upto: int) -> Mapping[str, Node]:
        found = [tuple(columns) for columns in await self.fetch(STATES_SQL, row, upto)]
        return {node.name: node for node in (node_of_columns(columns[:-1], columns[-1]) for columns in found)}

    async def items(self, row: int, numbers: Sequence[int]) -> list[Item]:
        if numbers:
            found = await self.fetch(ITEMS_SQL, row, list(numbers))
        else:
            found = await self.fetch(UNDONE_SQL, row)
        return [item_of_columns(columns) for columns in found]

    async def turns(self, row: int, after: int, limit: int) -> list[TurnRecord]:
        return [turn_of_columns(columns) for columns in await self.fetch(RECORDS_SQL, row, after, limit)]

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        return [Piece(*columns) for columns in await self.fetch(PIECES_SQL, row, token, after, limit)]
