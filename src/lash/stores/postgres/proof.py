"""A proof of life: an advisory lock held by a connection of its own, which the server lets go when the worker dies.

Whoever can take the lock twice, a moment apart, knows that the owner is dead: a living one whose connection broke has
it again by then. It is a hint that saves waiting for the lease to run out; the token stays the guarantee.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

import asyncpg

from lash.errors import LashError
from lash.stores.postgres.line import ALIVE, LOST, Line, explained, fetch
from lash.stores.postgres.place import Place
from lash.stores.sql.script import lock_number

log = logging.getLogger("lash.store")
GRACE_S: Final = 1.5
"""After a connection of ours was mended nobody is judged for so long: the same trouble may have hit the others."""
PAUSE_S: Final = 0.05
REGISTER_SQL: Final = "INSERT INTO lash_proof VALUES ($1, $2) ON CONFLICT (owner) DO UPDATE SET lock = excluded.lock"
TRY_SQL: Final = "SELECT owner, lock, pg_try_advisory_lock(lock) FROM lash_proof WHERE owner "
OTHERS_SQL: Final = TRY_SQL + "<> ALL($1::text[])"
THESE_SQL: Final = TRY_SQL + "= ANY($1::text[])"
SECOND_LOOK_S: Final = 0.15
"""A living worker whose connection broke has its lock again within this time, on the same network."""


class Proofs:
    """Own proofs held, and those of the dead taken."""

    def __init__(self, place: Place) -> None:
        self.line = Line(place, "proof", **ALIVE)
        self._held: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        """Locked by us, and not yet acted upon: a crash of ours leaves them to the next sweeper."""
        self._judge_from = 0.0
        self._lock = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self._closed = False

    async def hold(self, owner: str) -> None:
        if self.line.place.pooler or owner in self._held:
            return
        async with self._lock:
            number = lock_number("lash worker", self.line.place.schema, owner)
            connection = await self._connection()
            await self._prove(connection, owner, number)
            self._held[owner] = number

    async def _prove(self, connection: asyncpg.Connection[Any], owner: str, number: int) -> None:
        """Locked first: nobody may ever find an entry of a living worker without its lock."""
        await fetch(connection, "SELECT pg_advisory_lock($1)", number)
        await fetch(connection, REGISTER_SQL, owner, number)

    async def _connection(self) -> asyncpg.Connection[Any]:
        """Ours; a new one gets all the locks we held."""
        before = self.line.connection
        connection = await self.line.get()
        if connection is not before:
            connection.add_termination_listener(self._ended)
            if before is not None or self._held:
                self._judge_from = asyncio.get_running_loop().time() + GRACE_S
            self._taken.clear()
            for owner, number in self._held.items():
                await self._prove(connection, owner, number)
        return connection

    async def _ended(self, connection: object) -> None:
        if not self._closed and self._held and self._mending is None:
            with suppress(RuntimeError):  # the loop is going
                self._mending = asyncio.get_running_loop().create_task(self._mend(), name="lash-proof")

    async def _mend(self) -> None:
        try:
            while not self._closed:
                try:
                    async with self._lock:
                        await self._connection()
                    return
                except (LashError, *LOST, asyncpg.PostgresError) as error:
                    log.warning("the proof of life is gone for now: %s", error)
                    self.line.drop()
                await asyncio.sleep(PAUSE_S)
        finally:
            self._mending = None

    async def take_dead(self) -> list[str]:
        """Owners whose proof is ours now, until :meth:`acted_upon`; the same ones again when called again."""
        if self.line.place.pooler or self._closed:
            return []
        async with self._lock:
            try:
                await self._take()
            except (*LOST, asyncpg.PostgresError) as error:
                self.line.drop()
                raise explained(error, self.line.place) from error
            return sorted(self._taken)

    async def _take(self) -> None:
        connection = await self._connection()
        if asyncio.get_running_loop().time() < self._judge_from:
            return
        suspects = await self._lock_all(connection, OTHERS_SQL, [*self._held, *self._taken])
        if suspects:
            for number in suspects.values():
                await fetch(connection, "SELECT pg_advisory_unlock($1)", number)
            await asyncio.sleep(SECOND_LOOK_S)
            self._taken |= await self._lock_all(connection, THESE_SQL, list(suspects))

    async def _lock_all(self, connection: asyncpg.Connection[Any], sql: str, owners: list[str]) -> dict[str, int]:
        """Those whose lock could be had, and now is."""
        return {owner: number for owner, number, got in await fetch(connection, sql, owners) if got}

    async def acted_upon(self, owner: str) -> None:
        """The leases of a dead owner were expired: its proof may go."""
        async with self._lock:
            number = self._taken.pop(owner, None)
            if number is not None:
                await self._forget(owner, number)

    async def _forget(self, owner: str, number: int) -> None:
        with suppress(LashError, *LOST, asyncpg.PostgresError):
            connection = await self._connection()
            await fetch(connection, "DELETE FROM lash_proof WHERE owner = $1", owner)
            await fetch(connection, "SELECT pg_advisory_unlock($1)", number)

    async def close(self) -> None:
        """Own proofs end; those taken but not acted upon are left to another sweeper."""
        self._closed = True
        if self._mending is not None:
            self._mending.cancel()
        async with self._lock:
            if self.line.connection is not None and not self.line.connection.is_closed():
                for owner, number in self._held.items():
                    await self._forget(owner, number)
            self._held.clear()
            await self.line.close()

    def crash(self) -> None:
        self._closed = True
        self.line.drop()
