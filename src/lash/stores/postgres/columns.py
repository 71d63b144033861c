"""How values stand in PostgreSQL columns: one array per column goes to the server, and tuples come back.

As in :mod:`lash.stores.sql.rows`, but hashes are text, and a row also carries its last rank and its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Final, cast

from lash.core.effect import Entry
from lash.stores.sql.rows import HOT, KIND_CODES, Columns, Hot, pack_rest, unpack_hash

COLUMNS: Final = (*HOT, "last_rank", "last_ms", "awaited", "version")
"""Of ``lash_process``, in the order of the fields of ``Hot``."""
COLUMNS_SQL: Final = ", ".join("p." + name for name in COLUMNS)
FIXED: Final = frozenset(
    {"row", "id", "lane", "priority", "created_ms", "external", "parent", "detached", "definition"}
)
"""What no operation ever changes."""
CHANGING: Final = tuple(name for name in COLUMNS if name not in FIXED and name != "version")
VERSION: Final = COLUMNS.index("version")
LAST_RANK: Final = COLUMNS.index("last_rank")
STATE: Final = COLUMNS.index("state")
ID: Final = COLUMNS.index("id")

SMALL: Final = frozenset({"status", "state", "news", "lost", "external", "detached", "awaited"})
TEXT: Final = frozenset(
    "id owner first_owner waiting_on waiting_key cancel_reason blocked_reason blocked_detail blocked_hash parent "
    "definition".split()
)


def type_of(column: str) -> str:
    """SQL type of a column of ``lash_process``."""
    if column == "lane":
        return "integer"
    return "text" if column in TEXT else "smallint" if column in SMALL else "bigint"


all_of: Final = cast("Callable[[Hot], Columns]", attrgetter(*COLUMNS))
changing_of: Final = cast("Callable[[Hot], Columns]", attrgetter("row", *CHANGING))


def hot_of(columns: Columns) -> Hot:
    """A row as operations change it."""
    hot = Hot(*columns)  # type: ignore[arg-type]  # the schema's types
    hot.stored = columns
    return hot


def fresh_of(hot: Hot) -> Columns:
    """Of a row that is new. Its definition came as bytes."""
    hot.definition = unpack_hash(hot.definition)
    return all_of(hot)


def arrays(rows: Iterable[Sequence[object]], types: Sequence[str]) -> list[object]:
    """Rows of columns → one parameter for each column. Numbers go as the text of an array: that is written at a tenth
    of what the driver takes to look at each of them."""
    columns = zip(*rows, strict=True)
    return [numbers(column) if kind in NUMBERS else list(column) for column, kind in zip(columns, types, strict=True)]


def numbers(column: Iterable[object]) -> str:
    """``{1,2,NULL}``."""
    return "{" + ",".join(map(str, column)).replace("None", "NULL") + "}"


NUMBERS: Final = frozenset({"bigint", "integer", "smallint"})


def parameter(number: int, kind: str) -> str:
    """How the parameter of a column is spelled."""
    return f"${number}::text::{kind}[]" if kind in NUMBERS else f"${number}::{kind}[]"


ENTRY_TYPES: Final = "bigint bigint smallint bigint text text bytea smallint bigint bigint bigint bigint text".split()
"""Of ``lash_journal``, in the order of its columns."""
STEP_NAMES: Final = "process, rank, kind, ordinal, name, witness, payload, began_ms, at_ms"
STEP_TYPES: Final = "bigint bigint smallint bigint text text bytea bigint bigint".split()


def pack_step(row: int, noted: Entry) -> Columns | None:
    """Columns ``STEP_NAMES`` of an ordinary entry, or None."""
    kind, ordinal, name, witness, payload, failed, attempt, began_ms, due_ms, rank, at_ms = noted
    if failed or attempt != 1 or due_ms:
        return None
    return (
        row,
        rank,
        KIND_CODES[kind],
        ordinal,
        name or None,
        witness or None,
        payload or None,
        began_ms or None,
        at_ms,
    )


def pack_entry(row: int, noted: Entry, open_key: str | None) -> Columns:
    """Every column, in the table's order."""
    return (row, noted.rank, *pack_rest(noted, noted.witness or None, open_key))
