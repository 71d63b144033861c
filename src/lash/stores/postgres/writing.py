"""A picture becomes one statement that checks and writes: all of it, or nothing.

The statement locks every row the batch decided on, in the order of their numbers, and compares their versions with
those the decisions were made on. Only if all are unchanged, and the server's time is what the batch took it for, does
any of its other parts do anything. Which parts it has depends on what there is to write, so that each shape is
prepared once. What is rare (cut journals, pruning, workers) is written by statements of its own behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count, pairwise
from operator import itemgetter
from typing import Final, NamedTuple, cast

from lash.stores.postgres.chats import add_sessions
from lash.stores.postgres.columns import (
    CHANGING,
    COLUMNS,
    ENTRY_TYPES,
    ID,
    STEP_NAMES,
    STEP_TYPES,
    VERSION,
    all_of,
    arrays,
    changing_of,
    fresh_of,
    numbers,
    pack_entry,
    pack_step,
    parameter,
    type_of,
)
from lash.stores.postgres.picture import Picture
from lash.stores.sql.rows import CANCEL, HOT, Columns, Hot, columns_of, pack_more, unpack_hash
from lash.stores.sql.script import NOW

CLOCK_SQL: Final = NOW["postgres"]
SKEW_MS_MAX: Final = 1_000
"""What a batch took for the server's time may be off by so much."""
GUARD_SQL: Final = (
    "WITH guard AS MATERIALIZED (SELECT p.row FROM unnest($1::text::bigint[], $2::text::bigint[]) AS u(row, version) "
    "JOIN lash_process p ON p.row = u.row AND p.version = u.version ORDER BY p.row FOR NO KEY UPDATE OF p), "
    f"sure AS MATERIALIZED (SELECT count(*) = cardinality($1::text::bigint[]) AS same, {CLOCK_SQL} AS at_ms, "
    "count(*) = cardinality($1::text::bigint[]) AND ($3::bigint IS NULL OR "
    f"abs({CLOCK_SQL} - $3::bigint) <= {SKEW_MS_MAX}) AS ok FROM guard)"
)
FIRST_FREE: Final = 4
OK: Final = "(SELECT ok FROM sure)"


class Part(NamedTuple):
    """``{}`` in ``sql`` stands for its arrays, whose element types follow; ``heavy`` is the place of the long one."""

    sql: str
    types: Sequence[str]
    heavy: int | None = None

    def text(self, first: int) -> str:
        """With its parameters numbered from ``first``."""
        return self.sql.replace("{}", ", ".join(map(parameter, count(first), self.types)))


MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Long values of one statement: the protocol ends at 1 GiB, and both sides hold a message several times."""


SESSION_CHANGING: Final = ("head", "frame", "turns", "items", "usage")
PARTS: Final = {
    "bump": Part(
        "UPDATE lash_process p SET version = p.version + 1, last_rank = u.last_rank, last_ms = u.last_ms "
        f"FROM unnest({{}}) AS u(row, last_rank, last_ms) WHERE p.row = u.row AND {OK}",
        ["bigint"] * 3,
    ),
    "change": Part(
        f"UPDATE lash_process p SET version = p.version + 1, {', '.join(f'{name} = u.{name}' for name in CHANGING)} "
        f"FROM unnest({{}}) AS u(row, {', '.join(CHANGING)}) WHERE p.row = u.row AND {OK}",
        [type_of(name) for name in ("row", *CHANGING)],
    ),
    "fresh": Part(
        f"INSERT INTO lash_process ({', '.join(COLUMNS)}) SELECT u.* FROM unnest({{}}) AS u WHERE {OK}",
        [type_of(name) for name in COLUMNS],
    ),
    "spec": Part(
        f"INSERT INTO lash_spec (row, args, more) SELECT u.* FROM unnest({{}}) AS u WHERE {OK}",
        ["bigint", "bytea", "bytea"],
        1,
    ),
    "tag": Part(f"INSERT INTO lash_tag (tag, row) SELECT u.* FROM unnest({{}}) AS u WHERE {OK}", ["text", "bigint"]),
    "event": Part(
        "INSERT INTO lash_event (process, sequence, type, payload, key, at_ms) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK}",
        ["bigint", "bigint", "text", "bytea", "text", "bigint"],
        3,
    ),
    "step": Part(
        f"INSERT INTO lash_journal ({STEP_NAMES}) SELECT u.* FROM unnest({{}}) AS u WHERE {OK}", STEP_TYPES, 6
    ),
    "entry": Part(f"INSERT INTO lash_journal SELECT u.* FROM unnest({{}}) AS u WHERE {OK}", ENTRY_TYPES, 6),
    "shut": Part(
        "UPDATE lash_journal j SET open_key = NULL FROM unnest({}) AS u(process, rank) "
        f"WHERE j.process = u.process AND j.rank = u.rank AND {OK}",
        ["bigint", "bigint"],
    ),
    "wipe": Part(
        "DELETE FROM lash_journal j USING unnest({}) AS u(process, rank) "
        f"WHERE j.process = u.process AND j.rank <= u.rank AND {OK}",
        ["bigint", "bigint"],
    ),
    "fresh_session": Part(
        f"INSERT INTO lash_session (row, name, base_row, base_node, {', '.join(SESSION_CHANGING)}) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK}",
        ["bigint", "text", *["bigint"] * 6, "bytea"],
    ),
    "session": Part(
        f"UPDATE lash_session s SET {', '.join(f'{name} = u.{name}' for name in SESSION_CHANGING)} "
        f"FROM unnest({{}}) AS u(row, {', '.join(SESSION_CHANGING)}) WHERE s.row = u.row AND {OK}",
        [*["bigint"] * 5, "bytea"],
    ),
    "node": Part(
        "INSERT INTO lash_node (session, number, kind, name, turn, at_ms, body) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK}",
        "bigint bigint smallint text bigint bigint bytea".split(),
        6,
    ),
    "item": Part(
        "INSERT INTO lash_item (session, number, kind, delivery, state, turn, at_ms, key, hash, payload) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK}",
        "bigint bigint smallint smallint smallint bigint bigint text text bytea".split(),
        9,
    ),
    "item_state": Part(
        "UPDATE lash_item i SET state = u.state, turn = u.turn, payload = CASE WHEN u.keep = 1 THEN i.payload END "
        "FROM unnest({}) AS u(state, turn, keep, session, number) "
        f"WHERE i.session = u.session AND i.number = u.number AND {OK}",
        "smallint bigint smallint bigint bigint".split(),
    ),
    "turn": Part(
        "INSERT INTO lash_turn (session, number, witness, first_node, last_node, at_ms, receipt) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK} ON CONFLICT (session, number) DO UPDATE SET "
        "witness = excluded.witness, first_node = excluded.first_node, last_node = excluded.last_node, "
        "at_ms = excluded.at_ms, receipt = excluded.receipt",
        "bigint bigint text bigint bigint bigint bytea".split(),
        6,
    ),
    "clear": Part(
        f"DELETE FROM lash_piece p USING unnest({{}}) AS u(row) WHERE p.session = u.row AND {OK}", ["bigint"]
    ),
    "piece": Part(
        "INSERT INTO lash_piece (session, token, number, payload) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK} ON CONFLICT DO NOTHING",
        "bigint bigint bigint bytea".split(),
        3,
    ),
    "ref": Part(
        "INSERT INTO lash_ref (hash, session, node) "
        f"SELECT u.* FROM unnest({{}}) AS u WHERE {OK} ON CONFLICT DO NOTHING",
        ["bytea", "bigint", "bigint"],
    ),
}  # fmt: skip
id_of: Final = itemgetter(ID)
TELL_SQL: Final = ", CASE WHEN ok THEN pg_notify(${}, '') END"

CUT_SQL: Final = (
    f"DELETE FROM lash_journal WHERE process = $1 AND rank <= $2 AND kind <> {CANCEL} AND rank <> ALL($3::bigint[])"
)
TOMBSTONE_TYPES: Final = ("text", "text", "smallint", "bigint")
TOMBSTONE_SQL: Final = (
    "INSERT INTO lash_tombstone (id, definition, status, ended_ms, pruned_ms) "
    f"SELECT u.*, $5::bigint FROM unnest({', '.join(map(parameter, count(1), TOMBSTONE_TYPES))}) AS u "
    "ON CONFLICT DO NOTHING"
)
OF_A_SESSION: Final = ("item", "turn", "piece")
"""Tables whose rows go with their session; the nodes, and with them references, may be shared."""
BURIED: Final = (("tag", "row"), ("spec", "row"), ("event", "process"), ("journal", "process"), ("process", "row"))
PUT_WORKER_SQL: Final = (
    "INSERT INTO lash_worker VALUES ($1, $2, $3, $4) ON CONFLICT (owner) DO UPDATE "
    "SET lanes = excluded.lanes, about = excluded.about, until_ms = excluded.until_ms"
)


class Statement(NamedTuple):
    sql: str
    values: Sequence[object]


@dataclass(slots=True)
class Written:
    """What is to be written of a picture."""

    guard: dict[int, int] = field(default_factory=dict[int, int])
    """Row → the version it must still have."""
    parts: dict[str, list[object]] = field(default_factory=dict[str, list[object]])
    rare: list[Statement] = field(default_factory=list[Statement])
    grown: list[Hot] = field(default_factory=list[Hot])
    """Rows that get another version, and new rows."""

    @property
    def nothing(self) -> bool:
        return not self.parts and not self.rare

    def statement(self, now_ms: int | None, channel: str | None, hurried: bool) -> Statement:
        """``now_ms``: the time it must be at the server, or None where time is given. ``channel``: whom to tell.
        ``hurried``: a row that somebody has locked counts as one that was changed."""
        shape = tuple(self.parts)
        values: list[object] = [numbers(self.guard), numbers(self.guard.values()), now_ms]
        for name in shape:
            values += self.parts[name]
        if channel is not None:
            values.append(channel)
        return Statement(text_of(shape, channel is not None, hurried), values)

    def settled(self) -> list[tuple[int, Columns]]:
        """Once it is committed: the rows that were written, as they stand in the table now."""
        columns: list[tuple[int, Columns]] = []
        for hot in self.grown:
            if hot.stored is not None:
                hot.version += 1
            columns.append((hot.row, all_of(hot)))
        return columns


@cache
def text_of(shape: tuple[str, ...], tells: bool, hurried: bool) -> str:
    """(same, ok, at_ms): nobody else wrote; everything was written; the server's time."""
    texts = [GUARD_SQL.replace("OF p)", "OF p SKIP LOCKED)", 1) if hurried else GUARD_SQL]
    number = FIRST_FREE
    for name in shape:
        part = PARTS[name]
        texts.append(f"{name}_part AS ({part.text(number)})")
        number += len(part.types)
    tell = TELL_SQL.format(number) if tells else ""
    return f"{', '.join(texts)} SELECT same, ok, at_ms{tell} FROM sure"


def written(picture: Picture) -> Written:
    """Sort everything a picture holds by how it is written."""
    out = Written()
    rows: dict[str, list[Columns]] = {}
    for row, hot in picture.hots.items():
        stored = hot.stored
        if stored is None:
            out.grown.append(hot)
            rows.setdefault("fresh", []).append(fresh_of(hot))
            continue
        if columns_of(hot) != stored[: len(HOT)] or row in picture.bumped:
            out.grown.append(hot)
            rows.setdefault("change", []).append(changing_of(hot))
        elif row in picture.noted or row in picture.cuts or row in picture.wipes:
            out.grown.append(hot)
            rows.setdefault("bump", []).append((row, hot.last_rank, hot.last_ms))
        elif row not in picture.facts.trusted:
            continue  # read in this transaction, and only looked at
        out.guard[row] = cast(int, stored[VERSION])
    for hot in picture.buried:
        if hot.stored is not None:
            out.guard[hot.row] = cast(int, hot.stored[VERSION])
    if "fresh" in rows:
        rows["fresh"].sort(key=id_of)  # whoever starts the same ids at the same time meets them in the same order
    add_specs(picture, rows)
    add_history(picture, rows)
    out.rare = [statement for name, part in PARTS.items() if name in rows for statement in overflow(part, rows[name])]
    out.parts = {name: arrays(rows[name], part.types) for name, part in PARTS.items() if name in rows}
    out.rare += rare_of(picture)
    return out


def overflow(part: Part, rows: list[Columns]) -> Iterator[Statement]:
    """Takes from ``rows`` what is too much for one message, and yields the statements that write it."""
    if part.heavy is None:
        return
    ends: list[int] = []
    size = 0
    for place, columns in enumerate(rows):
        value = cast("bytes | None", columns[part.heavy])
        if size and value and size + len(value) > MESSAGE_BYTES_MAX:
            ends.append(place)
            size = 0
        size += len(value or b"")
    for first, last in pairwise([*ends, len(rows)]):
        yield Statement(part.text(1).replace(f" WHERE {OK}", ""), arrays(rows[first:last], part.types))
    if ends:
        del rows[ends[0] :]


def add_specs(picture: Picture, rows: dict[str, list[Columns]]) -> None:
    if "fresh" not in rows:
        return
    specs = rows["spec"] = []
    for row, hot in picture.hots.items():
        if hot.stored is None:
            spec = hot.spec
            assert spec is not None
            specs.append((row, picture.args.pop(row, spec.args), pack_more(spec)))
            if spec.tags:
                rows.setdefault("tag", []).extend((tag, row) for tag in dict.fromkeys(spec.tags))


def add_history(picture: Picture, rows: dict[str, list[Columns]]) -> None:
    """Of a row that was made and pruned in one batch nothing is left."""
    if events := [told for told in picture.events if told[0] in picture.hots]:
        rows["event"] = cast("list[Columns]", events)
    for row, noted in picture.noted.items():
        for entry, open_key in noted:
            step = pack_step(row, entry) if open_key is None else None
            if step is not None:
                rows.setdefault("step", []).append(step)
            else:
                rows.setdefault("entry", []).append(pack_entry(row, entry, open_key))
    add_sessions(list(picture.touched_chats.values()), rows)
    if wipes := [(row, rank) for row, rank in picture.wipes.items() if rank and row in picture.hots]:
        rows["wipe"] = cast("list[Columns]", wipes)
    if picture.shuts:
        rows["shut"] = [(row, rank) for row, ranks in picture.shuts.items() for rank in ranks]


def rare_of(picture: Picture) -> list[Statement]:
    found = [
        Statement("UPDATE lash_spec SET args = $2 WHERE row = $1", (row, args)) for row, args in picture.args.items()
    ]
    for row, kept in picture.cuts.items():
        if (hot := picture.hots.get(row)) is not None and hot.stored is not None:
            found.append(Statement(CUT_SQL, (row, picture.base(row), list(kept))))
    if buried := picture.buried:
        ended = [(hot.id, unpack_hash(hot.definition), hot.status, hot.updated_ms) for hot in buried]
        found.append(Statement(TOMBSTONE_SQL, (*arrays(ended, TOMBSTONE_TYPES), picture.now_ms)))
        gone = [hot.row for hot in buried if hot.stored is not None]
        found += [Statement(f"DELETE FROM lash_{table} WHERE {name} = ANY($1)", (gone,)) for table, name in BURIED]
    if picture.gone:
        found += [
            Statement(f"DELETE FROM lash_{table} WHERE session = ANY($1)", (picture.gone,)) for table in OF_A_SESSION
        ]
        found.append(Statement("UPDATE lash_session SET gone = 1, usage = NULL WHERE row = ANY($1)", (picture.gone,)))
        found += [Statement("SELECT lash_collect($1)", (row,)) for row in picture.gone]
    for owner, entry, until_ms in picture.workers:
        if entry is not None:
            found.append(Statement(PUT_WORKER_SQL, (owner, *entry, until_ms)))
        elif until_ms:
            found.append(Statement("UPDATE lash_worker SET until_ms = $2 WHERE owner = $1", (owner, until_ms)))
        else:
            found.append(Statement("DELETE FROM lash_worker WHERE owner = $1", (owner,)))
    return found
