"""The PostgreSQL store: one database for a fleet; whoever loses a connection loses nothing but time.

Of one Python process: one connection that writes, a few that read, one that listens, and one that proves a worker's
life. The server's time decides leases, also where this machine's clock is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg

from lash.abc.sessions import Piece
from lash.abc.store import BlobsPruned, Op, ProcessFilter, Verdict, WorkerRecord
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessRow, Tombstone
from lash.core.session import Item, Node, SessionRow, TurnRecord
from lash.errors import BadUrl, StoreUnavailable
from lash.stores.blobs import StoredBlobs, digest_of, digests_of, reference_of, reference_to
from lash.stores.listeners import Listeners
from lash.stores.postgres import doctor
from lash.stores.postgres.clock import Clock, local_ms
from lash.stores.postgres.facts import Known
from lash.stores.postgres.line import ALIVE, LOST, PLANS, Line, explained, pinned
from lash.stores.postgres.listening import Listening
from lash.stores.postgres.migrate import migrate
from lash.stores.postgres.place import Place, place_of
from lash.stores.postgres.proof import Proofs
from lash.stores.postgres.reads import Readers, Reads
from lash.stores.postgres.writer import Writer
from lash.stores.postgres.writing import CLOCK_SQL
from lash.stores.sql.migrations import migrations

KEEP_SQL = "SELECT * FROM lash_keep_blobs($1, $2, $3)"
OLD_SQL = "SELECT EXISTS (SELECT FROM lash_loose WHERE at_ms < $1)"


def migration_sql() -> list[tuple[str, str]]:
    """File name and SQL of every migration, in order: what ``lash migrate --sql`` prints."""
    return [(migration.name, migration.sql) for migration in migrations("postgres")]


class PostgresStore:
    """``url`` as :func:`lash.stores.postgres.place.place_of` takes it.

    ``clock`` gives epoch milliseconds, for tests; without one the server's time is what counts.
    """

    journal_durable = True

    def __init__(self, url: str, *, clock: Callable[[], int] | None = None) -> None:
        self.place: Place = place_of(url)
        self._clock = Clock(clock)
        self._listeners = Listeners()
        self._opened: Opened | None = None
        self._blobs = StoredBlobs(self)

    @property
    def facets(self) -> dict[str, bool]:
        return {"attachment_store": True, "artifact_store": True, "session_store": True, "process_registry": True}

    @property
    def blobs(self) -> StoredBlobs:
        return self._blobs

    # Opening and closing -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Opening an open store does nothing."""
        if self._opened is not None:
            return
        line = Line(self.place, "writer", **PLANS, **ALIVE)
        try:
            connection = await line.get()
            async with pinned(connection, self.place):
                await self._check_schema(connection)
                for _ in range(3):
                    sent_ms = local_ms()
                    self._clock.heard(await connection.fetchval(f"SELECT {CLOCK_SQL}"), sent_ms)
                await migrate(connection, migrations("postgres"), self.place, self._clock.now_ms())
        except (*LOST, asyncpg.PostgresError) as error:
            line.drop()
            raise explained(error, self.place) from error
        except BaseException:
            line.drop()
            raise
        self._opened = Opened(self.place, line, self._clock, self._listeners)
        await self._opened.listening.open()

    async def _check_schema(self, connection: asyncpg.Connection[Any]) -> None:
        """Behind a pooler the role's own search path decides."""
        if self.place.pooler:
            path: str = await connection.fetchval("SHOW search_path")
            if path.split(",")[0].strip(' "') != self.place.schema:
                raise BadUrl(
                    f"Behind a transaction pooler the role's search_path decides, and it is {path!r}, not "
                    f"{self.place.schema!r}: ALTER ROLE … SET search_path = {self.place.schema}."
                )

    async def close(self) -> None:
        """Waits for the write under way. Closing a closed store does nothing."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await opened.close()

    def crash(self) -> None:
        """Testing aid: end as SIGKILL would. No lease is released, no worker discharged."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.crash()

    def _open(self) -> Opened:
        if self._opened is None:
            raise StoreUnavailable(f"The store {self.place.name} is not open. Call open() first.", path=self.place.name)
        return self._opened

    # Writing -------------------------------------------------------------------------------------------------------

    async def write(self, ops: Sequence[Op]) -> list[Verdict]:
        opened = self._open()
        try:
            batch = await opened.writer.write(ops)
        except StoreUnavailable:
            self._listeners.notify()  # it may have been committed all the same: look
            raise
        for owner in batch.expired:
            await opened.proofs.acted_upon(owner)
        return batch.verdicts

    def write_now(self, ops: Sequence[Op]) -> list[Verdict] | None:
        """Never: a server's answer takes its time."""
        self._open()
        return None

    # Reading -------------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def get(self, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
        return await self._open().reads.get(ids)

    async def not_running(self, ids: Sequence[str]) -> list[str]:
        return await self._open().reads.not_running(ids)

    async def page(self, wanted: ProcessFilter) -> list[ProcessRow]:
        return await self._open().reads.page(wanted)

    async def events(self, process_id: str, after: int, limit: int) -> list[Event]:
        return await self._open().reads.events(process_id, after, limit)

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        return await self._open().reads.history(row, after_rank)

    async def sessions(self, ids: Sequence[str]) -> list[SessionRow | Tombstone | None]:
        reads = self._open().reads
        return await reads.chats.beside(await reads.get(ids))

    async def nodes(self, row: int, after: int, upto: int, limit: int) -> list[Node]:
        return await self._open().reads.chats.nodes(row, after, upto, limit)

    async def states(self, row: int, upto: int) -> Mapping[str, Node]:
        return await self._open().reads.chats.states(row, upto)

    async def items(self, row: int, numbers: Sequence[int]) -> list[Item]:
        return await self._open().reads.chats.items(row, numbers)

    async def turns(self, row: int, after: int, limit: int) -> list[TurnRecord]:
        return await self._open().reads.chats.turns(row, after, limit)

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        return await self._open().reads.chats.pieces(row, token, after, limit)

    async def next_due_ms(self, lanes: Sequence[Lane]) -> int | None:
        return await self._open().reads.next_due_ms(lanes)

    async def news(self, owner: str) -> list[Fence]:
        return await self._open().reads.news(owner)

    async def workers(self) -> list[WorkerRecord]:
        return await self._open().reads.workers(self._clock.now_ms())

    async def counts(self) -> dict[str, int]:
        return await self._open().reads.counts()

    async def put_blob(self, data: bytes) -> str:
        reference = reference_of(data)
        values = (digest_of(reference), data, self._clock.now_ms())
        await self._open().readers.fetch("SELECT lash_put_blob($1, $2, $3)", *values)
        return reference

    async def keep_blobs(self, refs: Sequence[str], row: int) -> list[str]:
        wanted = digests_of(refs)
        values = ([*wanted], row if len(wanted) == len({*refs}) else 0, self._clock.now_ms())
        missing = {wanted[digest] for (digest,) in await self._open().readers.fetch(KEEP_SQL, *values)}
        return [ref for ref in dict.fromkeys(refs) if ref in missing or ref not in wanted.values()]

    async def prune_blobs(self, before_ms: int, limit: int) -> BlobsPruned:
        fetch = self._open().readers.fetch
        if not (await fetch(OLD_SQL, before_ms))[0][0]:
            return BlobsPruned(0, ())  # looking costs no write
        found = await fetch("SELECT looked, gone FROM lash_prune_blobs($1, $2)", before_ms, limit)
        return BlobsPruned(len(found), [reference_to(digest) for digest, gone in found if gone])

    async def get_blob(self, ref: str) -> bytes | None:
        if (digest := digest_of(ref)) is None:
            return None
        found = await self._open().readers.fetch("SELECT data FROM lash_blob WHERE hash = $1", digest)
        return bytes(found[0][0]) if found else None

    async def diagnose(self) -> dict[str, object]:
        opened = self._open()
        about: dict[str, object] = {
            "store": "postgres",
            "durable": True,
            "path": self.place.name,
            "pooler": self.place.pooler,
            "batches": opened.writer.batches,
            "batches_repeated": opened.writer.repeated,
            "migrations": await doctor.migrations_run(opened.readers),
            "counts": await opened.reads.counts(),
            "workers": [worker.owner for worker in await self.workers()],
        }
        known = migrations("postgres")
        return about | await doctor.examine(opened.readers, opened.listening, known, self._clock.now_ms())

    # Hints ---------------------------------------------------------------------------------------------------------

    def listen(self, changed: Callable[[], None]) -> None:
        self._listeners.add(changed)

    async def prove_life(self, owner: str) -> None:
        try:
            await self._open().proofs.hold(owner)
        except (*LOST, asyncpg.PostgresError) as error:
            raise explained(error, self.place) from error

    async def dead_owners(self) -> list[str]:
        """The same owners again until an ``Expire`` of theirs was committed through this store."""
        return await self._open().proofs.take_dead()


class Opened:
    """Everything that exists only while the store is open."""

    def __init__(self, place: Place, line: Line, clock: Clock, listeners: Listeners) -> None:
        known = Known()
        self.readers = Readers(place, **PLANS, **ALIVE)
        self.readers.closed = False
        self.reads = Reads(self.readers, known)
        self.writer = Writer(line, clock, known, self.readers.fetch)
        self.listening = Listening(place, listeners.notify, lambda: line.pid)
        self.proofs = Proofs(place)

    async def close(self) -> None:
        await self.listening.close()
        await self.writer.close()
        await self.proofs.close()
        await self.readers.close()

    def crash(self) -> None:
        self.listening.crash()
        self.writer.crash()
        self.proofs.crash()
        self.readers.crash()
