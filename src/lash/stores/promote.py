"""The content of a SQLite database moves to PostgreSQL once and whole, however often and wherever the move is cut off.

First the source is shut; then every row is copied in one transaction of the target; then the source is told that it has
arrived. The number of the move stands in the source from the first, and in the target from that transaction on: whoever
finds a source that is shut knows by it whether the copy is there or has to be made again. A copy that surely did not
come about opens the source again; one of which that is not known leaves it shut until the move is repeated.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar, cast

import asyncpg

from lash.abc.store import wait_key_of_process
from lash.core.session import TURN_PREFIX
from lash.errors import BadUrl, StoreMoved, StoreNotEmpty, StoreUnavailable
from lash.stores.clock import system_ms
from lash.stores.postgres.columns import COLUMNS
from lash.stores.postgres.fetching import ADD_LANE_SQL
from lash.stores.postgres.line import ALIVE, LOST, Line, explained
from lash.stores.postgres.migrate import applied, migrate
from lash.stores.postgres.place import Place, place_of
from lash.stores.sql.lanes import LANES_SQL
from lash.stores.sql.migrations import lacking, migrations
from lash.stores.sql.rows import HOT, HOT_SQL, unpack_hash
from lash.stores.sql.script import lock_number
from lash.stores.sql.session_columns import CHAT_COLUMNS
from lash.stores.sqlite.connection import explained as explained_here
from lash.stores.sqlite.moving import Mark, Row, Source

T = TypeVar("T")
ARRIVED: Final = 0
"""Number of the entry among the target's migrations that says what has arrived there."""
ARRIVED_SQL: Final = f"SELECT sha256 FROM lash_migration WHERE number = {ARRIVED}"
LOCK_SQL: Final = "LOCK TABLE lash_process, lash_tombstone, lash_loose, lash_blob IN SHARE ROW EXCLUSIVE MODE"
FULL_SQL: Final = "SELECT EXISTS (SELECT FROM lash_process) OR EXISTS (SELECT FROM lash_tombstone)"
FLOOR: Final = "(SELECT value FROM lash_floor WHERE name = 'rank')"
NEWEST: Final = "ifnull((SELECT max(j.rank) FROM lash_journal j WHERE j.process = p.row), 0)"
PROCESS_SQL: Final = (
    # A journal that was cut had larger ranks than what is left of it, and those stay used.
    f"SELECT {HOT_SQL}, CASE WHEN p.generation > 0 OR (p.first_ms IS NOT NULL AND {NEWEST} = 0) "
    f"THEN max({NEWEST}, {FLOOR}) ELSE {NEWEST} END, "
    f"ifnull((SELECT k.at_ms FROM lash_journal k WHERE k.rank = {NEWEST}), 0), "
    f"EXISTS (SELECT 1 FROM lash_journal w WHERE w.open_key = '{wait_key_of_process('')}' || p.id) OR "
    # From 'turn:<id>/' on, before 'turn:<id>0': 0 comes next to the stroke.
    f"EXISTS (SELECT 1 FROM lash_journal w WHERE w.open_key >= '{TURN_PREFIX}' || p.id || '/' "
    f"AND w.open_key < '{TURN_PREFIX}' || p.id || '0'), 1 FROM lash_process p ORDER BY p.row"
)
ROW_SQL: Final = (
    "SELECT max(ifnull((SELECT max(row) FROM lash_process), 0), (SELECT value FROM lash_floor WHERE name = 'row'))"
)
SESSIONS_SQL: Final = "SELECT count(*) FROM lash_session WHERE gone IS NULL"
BLOB_SQL: Final = "INSERT INTO lash_blob VALUES ($1, $2) ON CONFLICT DO NOTHING"
LOOSE_SQL: Final = (
    "INSERT INTO lash_loose AS l VALUES ($1, $2) "
    "ON CONFLICT (hash) DO UPDATE SET at_ms = greatest(l.at_ms, excluded.at_ms)"
)
LANE: Final = HOT.index("lane")
DEFINITION: Final = HOT.index("definition")


class Copied(NamedTuple):
    """A table that goes over as it stands, but for its hashes, which are text there."""

    table: str
    noun: str
    columns: str
    order: str
    hashed: int | None = None


PLAIN: Final = (
    Copied("lash_spec", "", "row, args, more", "row"),
    Copied("lash_tag", "", "tag, row", "row"),
    Copied("lash_event", "events", "process, sequence, type, payload, key, at_ms", "rowid"),
    Copied(
        "lash_journal",
        "journal entries",
        "process, rank, kind, ordinal, name, witness, payload, failed, attempt, began_ms, due_ms, at_ms, open_key",
        "rank",
        5,
    ),
    Copied("lash_tombstone", "tombstones", "id, definition, status, ended_ms, pruned_ms", "id", 1),
    Copied("lash_session", "", f"row, name, gone, {', '.join(CHAT_COLUMNS)}", "row"),
    Copied("lash_node", "nodes", "session, number, kind, name, turn, at_ms, body", "rowid"),
    Copied("lash_item", "", "session, number, kind, delivery, state, turn, at_ms, key, hash, payload", "rowid", 8),
    Copied("lash_turn", "", "session, number, witness, first_node, last_node, at_ms, receipt", "session, number", 2),
    Copied("lash_piece", "", "session, token, number, payload", "rowid"),
    Copied("lash_ref", "", "hash, session, node", "hash, session"),
)


@dataclass(frozen=True, slots=True)
class Promotion:
    """What came of a move."""

    source: str
    target: str
    """Without a password."""
    moved: Mapping[str, int] = field(default_factory=dict[str, int])
    """Noun → how many. Empty when everything was there already."""
    already: bool = False


def nobody(_: str) -> None:
    pass


async def promote(
    path: str, url: str, *, clock: Callable[[], int] = system_ms, phase: Callable[[str], None] = nobody
) -> Promotion:
    """Move everything in the SQLite file ``path`` to the PostgreSQL ``url``, or finish a move that was cut off.

    ``clock``: epoch milliseconds of the machine the file is on. ``phase`` is told how far the move has come.

    Raises, with nothing written: ``NotADatabase``, ``StoreTooNew``, ``StoreNotMigrated`` and ``StoreMoved`` of either
    side, ``StoreInUse`` of the source, ``StoreNotEmpty`` of the target, ``BadUrl``, ``StoreUnavailable``.
    """
    place = target_of(url)
    source = Source(path, clock)
    try:
        source.open()
        with source.alone():
            move = Move(source, place, phase)
            try:
                return await move.run()
            finally:
                await move.line.close()
                await asyncio.sleep(0)  # what was dropped is closed in the loop's next turn
    except sqlite3.Error as error:
        raise explained_here(error, source.path) from error
    except OSError as error:
        raise StoreUnavailable(f"{source.path} cannot be moved: {error}.", path=source.path) from error
    finally:
        source.close()


def target_of(url: str) -> Place:
    if not url.startswith(("postgresql://", "postgres://")):
        raise BadUrl("Only PostgreSQL can be moved to: name the target as postgresql://user@host/database.")
    place = place_of(url)
    if place.pooler:
        raise BadUrl("A move needs the server itself: name the target without its pooler and pooler=transaction.")
    return place


class Move:
    """One attempt."""

    def __init__(self, source: Source, place: Place, phase: Callable[[str], None]) -> None:
        self.source = source
        self.place = place
        self.phase = phase
        self.line = Line(place, "promote", **ALIVE)
        self.sure = False
        """The target has nothing of this move, and nobody can bring it there but the transaction at hand."""
        self.committing = False
        self.moved: dict[str, int] = {}

    async def run(self) -> Promotion:
        mark = self.source.mark()
        if mark is None:
            self.source.check_idle()
        try:
            connection = await self.line.get()
            there = await applied(connection)
            if mark is not None and there.get(ARRIVED, ("", ""))[1] == mark.id:
                return self._arrived(mark)
            self._check_goes_on(mark)
            known = migrations("postgres")
            lacking(there, known, self.place.name)
            if there and mark is None:  # else that is decided once nobody can commit this move any more
                await self._check_empty(connection)
            await migrate(connection, known, self.place, system_ms())
        except (*LOST, asyncpg.PostgresError) as error:
            raise explained(error, self.place) from error
        self.phase("checked")
        if mark is None:
            mark = self.source.shut(uuid.uuid4().hex, self.place.name)
            self.sure = True
        return await self._copy_or_open(connection, mark)

    def _check_goes_on(self, mark: Mark | None) -> None:
        if mark is None:
            return
        if mark.arrived:
            raise StoreMoved(
                f"The content of {self.source.path} was moved to {mark.target}. It is not in {self.place.name}.",
                path=self.source.path,
                moved_to=mark.target,
            )
        if mark.target != self.place.name:
            raise StoreMoved(
                f"A move of {self.source.path} to {mark.target} was begun and not finished. Repeat it with that "
                "target; docs/operations.md says what to do if that one is lost.",
                path=self.source.path,
                moved_to=mark.target,
            )

    async def _check_empty(self, connection: asyncpg.Connection[Any]) -> None:
        if await connection.fetchval(ARRIVED_SQL) is not None or await connection.fetchval(FULL_SQL):
            raise StoreNotEmpty(
                f"{self.place.name} holds processes already, and two histories cannot be mixed. Name an empty schema: "
                "…?schema=another. Nothing was written.",
                path=self.place.name,
            )

    # Copying -------------------------------------------------------------------------------------------------------

    async def _copy_or_open(self, connection: asyncpg.Connection[Any], mark: Mark) -> Promotion:
        """Copied and committed, or the source is open again; only what is in doubt leaves it shut."""
        try:
            self.phase("shut")
            await self._copy(connection, mark)
        except BaseException as error:
            self.line.drop()  # the server rolls back what was not committed
            if self.committing and not is_refusal(error):
                if not isinstance(error, (*LOST, asyncpg.InterfaceError)):
                    raise  # interrupted: the same command finds out
                if await self._has_arrived(mark):
                    return self._arrived(mark)
            if self.sure:
                self.source.reopen()
            if isinstance(error, (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError)):
                raise explained(error, self.place) from error
            raise
        return self._arrived(mark)

    def _arrived(self, mark: Mark) -> Promotion:
        self.phase("committed")
        self.source.say_arrived(mark)
        return Promotion(self.source.path, self.place.name, self.moved, not self.moved)

    async def _copy(self, connection: asyncpg.Connection[Any], mark: Mark) -> None:
        transaction = connection.transaction(isolation="read_committed")
        await transaction.start()
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SET LOCAL synchronous_commit = on")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock_number("lash promote", self.place.schema))
        await connection.execute(LOCK_SQL)
        if await connection.fetchval(ARRIVED_SQL) == mark.id:
            await transaction.rollback()
            return
        self.sure = True
        await self._check_empty(connection)
        moved = await self._copy_rows(connection)
        name = f"promoted from {self.source.path}"
        await connection.execute(
            "INSERT INTO lash_migration VALUES ($1, $2, $3, $4)", ARRIVED, name, mark.id, system_ms()
        )
        await connection.execute("SELECT pg_notify($1, '')", self.place.channel)
        self.phase("copied")
        self.moved = moved
        self.committing = True
        await transaction.commit()

    async def _copy_rows(self, connection: asyncpg.Connection[Any]) -> dict[str, int]:
        lanes = await self._lanes(connection)
        (((number,),),) = self.source.rows(SESSIONS_SQL)
        sessions = cast(int, number)
        moved = {"processes": -sessions, "sessions": sessions}
        for page in self.source.rows(PROCESS_SQL):
            rows = [packed(columns, lanes) for columns in page]
            await connection.copy_records_to_table(
                "lash_process", records=rows, columns=COLUMNS, schema_name=self.place.schema
            )
            moved["processes"] += len(page)
        self.phase("lash_process")
        for item in PLAIN:
            count = await self._copy_plain(connection, item)
            if item.noun:
                moved[item.noun] = count
            self.phase(item.table)
        moved["blobs"] = 0
        for page in self.source.rows("SELECT hash, data FROM lash_blob ORDER BY hash"):
            await connection.executemany(BLOB_SQL, page)
            moved["blobs"] += len(page)
        for page in self.source.rows("SELECT hash, at_ms FROM lash_loose ORDER BY hash"):
            await connection.executemany(LOOSE_SQL, page)
        self.phase("lash_blob")
        (((row,),),) = self.source.rows(ROW_SQL)
        await connection.execute("SELECT setval('lash_row', greatest($1, last_value, 1)) FROM lash_row", row)
        return moved

    async def _lanes(self, connection: asyncpg.Connection[Any]) -> dict[object, int]:
        """Number here → number there: a lane that a worker has made there already stays as it is."""
        ours = [columns for page in self.source.rows(LANES_SQL) for columns in page]
        for _, *names in ours:
            await connection.execute(ADD_LANE_SQL, *names)
        theirs = {tuple(names): number for number, *names in await connection.fetch(LANES_SQL)}
        return {number: theirs[tuple(names)] for number, *names in ours}

    async def _copy_plain(self, connection: asyncpg.Connection[Any], item: Copied) -> int:
        count = 0
        for page in self.source.rows(f"SELECT {item.columns} FROM {item.table} ORDER BY {item.order}"):
            rows = page if item.hashed is None else [with_text(columns, item.hashed) for columns in page]
            await connection.copy_records_to_table(
                item.table, records=rows, columns=item.columns.split(", "), schema_name=self.place.schema
            )
            count += len(page)
        return count

    async def _has_arrived(self, mark: Mark) -> bool:
        """Once whatever was sent has come to its end. Raises ``StoreUnavailable`` when it cannot be found out."""
        self.line.drop()
        try:
            connection = await self.line.get()
            async with connection.transaction():
                number = lock_number("lash promote", self.place.schema)
                await connection.execute("SELECT pg_advisory_xact_lock($1)", number)
                return bool(await connection.fetchval(ARRIVED_SQL) == mark.id)
        except (*LOST, asyncpg.PostgresError, StoreUnavailable) as error:
            raise StoreUnavailable(
                f"The connection to {self.place.name} ended while the copy was being committed, and the server does "
                f"not answer now: {error}. {self.source.path} stays shut; repeat the same command, which finds out.",
                path=self.place.name,
            ) from error


def is_refusal(error: BaseException) -> bool:
    """The server itself said no, so nothing was committed."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, LOST)


def packed(columns: Row, lanes: dict[object, int]) -> Row:
    """A row of ``lash_process`` as it stands there."""
    changed = list(columns)
    changed[LANE] = lanes[columns[LANE]]
    changed[DEFINITION] = unpack_hash(columns[DEFINITION])  # type: ignore[arg-type]  # the schema's type
    return tuple(changed)


def with_text(columns: Row, place: int) -> Row:
    """NULL stays NULL."""
    value = columns[place]
    if not isinstance(value, bytes):
        return columns
    return (*columns[:place], unpack_hash(value), *columns[place + 1 :])
