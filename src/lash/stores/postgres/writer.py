"""Batches are committed one after another over one connection: decided on what is remembered, checked at the commit.

A batch is run on facts that were read without locks, and written by a statement that writes only if nobody has changed
those facts meanwhile; else it is run again, on facts read anew, and from the third time on under locks. A claim takes
its locks at once, past the rows that others have locked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import asyncpg

from lash.abc.store import Claim, Op, Verdict
from lash.errors import StoreUnavailable
from lash.limits import BUSY_DEADLINE_MS
from lash.stores.postgres.clock import Clock, local_ms
from lash.stores.postgres.facts import Changed, Facts, Known, Missing
from lash.stores.postgres.fetching import Fetcher, Query
from lash.stores.postgres.line import AGAIN, LOST, UNWRITTEN, Line, Patience, explained, fetch, say
from lash.stores.postgres.picture import Picture
from lash.stores.postgres.writing import Written, written
from lash.stores.sql.perform import perform

TRUSTING: Final = 1
"""Tries on remembered rows."""
UNLOCKED: Final = 3
"""Tries without locks, those included."""
ROUNDS_MAX: Final = 1_000
"""Fetches of one batch: a family tree is fetched level by level."""
PAUSE_S: Final = 0.01
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 2000"
"""A Python process that is stopped within a transaction must not hold its locks for longer."""


class Batch:
    """What one committed batch did."""

    def __init__(self, verdicts: list[Verdict], expired: list[str]) -> None:
        self.verdicts = verdicts
        self.expired = expired


class Unsure(Exception):
    """The connection broke when the commit was under way: it may have taken place."""


class Writer:
    """Owns the one connection that writes."""

    def __init__(self, line: Line, clock: Clock, known: Known, outside: Query) -> None:
        self.line = line
        self.clock = clock
        self.known = known
        self.outside = outside
        self.batches = 0
        self.repeated = 0
        """Runs of a batch that came to nothing because others had written."""
        self._lock = asyncio.Lock()
        self._closed = False

    async def write(self, ops: Sequence[Op]) -> Batch:
        """One transaction. Raises ``StoreUnavailable``."""
        async with self._lock:
            return await self._try(ops)

    async def _try(self, ops: Sequence[Op]) -> Batch:
        patience = Patience(BUSY_DEADLINE_MS)
        tries = 0
        while True:
            if self._closed:
                raise StoreUnavailable(f"The store {self.line.place.name} is closed; nothing was written.")
            connection = await self.line.get()
            try:
                batch = await self._attempt(connection, ops, tries)
                self.batches += 1
                return batch
            except Changed as error:
                await self._roll_back(connection)
                cause: BaseException = error
            except AGAIN as error:
                await self._roll_back(connection)
                self.known.clear()
                cause = error
            except Unsure as error:
                self._drop()
                raise explained(error.__cause__ or error, self.line.place) from error
            except LOST as error:
                self._drop()
                cause = error
            except asyncpg.PostgresError as error:
                await self._roll_back(connection)
                raise explained(error, self.line.place) from error
            except BaseException:
                self._drop()  # cancelled, or an operation failed: whatever is open on the server must go
                raise
            self.repeated += 1
            tries += 1
            if patience.is_over():
                raise explained(cause, self.line.place) from cause
            if tries > TRUSTING:
                await asyncio.sleep(random.uniform(0, PAUSE_S))

    def _drop(self) -> None:
        self.known.clear()
        self.line.drop()

    async def _roll_back(self, connection: asyncpg.Connection[Any]) -> None:
        try:
            if connection.is_in_transaction():
                await say(connection, "ROLLBACK")
        except (*LOST, asyncpg.PostgresError):
            self._drop()

    async def _attempt(self, connection: asyncpg.Connection[Any], ops: Sequence[Op], tries: int) -> Batch:
        locked = tries >= UNLOCKED
        claims = any(isinstance(op, Claim) for op in ops)
        if locked or claims or self.line.place.pooler:
            await say(connection, BEGIN)
        facts = Facts(self.known, trust=tries < TRUSTING)
        fetcher = Fetcher(facts, partial(fetch, connection), self.outside, locked)
        now_ms = self.clock.now_ms()
        for _ in range(ROUNDS_MAX):
            picture = Picture(now_ms, facts)
            verdicts = run(picture, ops)
            if verdicts is not None:
                break
            await fetcher.fetch()
        else:
            raise StoreUnavailable(f"A batch of {len(ops)} operations needed more than {ROUNDS_MAX} fetches.")
        writes = written(picture)
        try:
            if writes.nothing and facts.trusted:
                raise Changed  # perhaps: only what is read again may be answered without a commit
            await self._commit(connection, writes, picture, hurried=claims and not locked)
        except Changed:
            for row in facts.trusted:
                self.known.forget(row)
            raise
        return Batch(verdicts, picture.expired)

    async def _commit(
        self, connection: asyncpg.Connection[Any], writes: Written, picture: Picture, hurried: bool
    ) -> None:
        """``hurried``: rows are locked already, in an order that others need not share, so wait for no others."""
        if writes.nothing:
            if connection.is_in_transaction():
                await say(connection, "COMMIT")
            return
        if writes.rare and not connection.is_in_transaction():
            await say(connection, BEGIN)
        now_ms = picture.now_ms if self.clock.given is None else None
        sql, values = writes.statement(now_ms, self.line.place.channel if picture.stirred else None, hurried)
        alone = not connection.is_in_transaction()
        sent_ms = local_ms()
        try:
            same, ok, at_ms, *_ = (await fetch(connection, sql, *values))[0]
        except LOST as error:
            if alone and not isinstance(error, UNWRITTEN):
                raise Unsure from error
            raise
        self.clock.heard(at_ms, sent_ms)
        if not ok:
            raise Changed if not same else Changed("the server's time was not what it was taken for")
        for statement in writes.rare:
            await fetch(connection, statement.sql, *statement.values)
        if not alone:
            try:
                await say(connection, "COMMIT")
            except LOST as error:
                if isinstance(error, UNWRITTEN):
                    raise
                raise Unsure from error
        for row, columns in writes.settled():
            self.known.settle(row, columns)
        for chat in picture.chats.values():
            if chat is not None:
                self.known.keep_chat(chat, picture.facts.stored_spec(chat.row))
        for row in picture.args:
            self.known.specs.pop(row, None)

    async def close(self) -> None:
        """After the batch under way."""
        async with self._lock:
            self._closed = True
            await self.line.close()

    def crash(self) -> None:
        self._closed = True
        self.line.drop()


def run(picture: Picture, ops: Sequence[Op]) -> list[Verdict] | None:
    """Every operation in turn; None when something they need was not fetched yet, which the facts then know."""
    verdicts: list[Verdict] = []
    complete = True
    for op in ops:
        try:
            verdicts.append(perform(picture, op))
        except Missing:
            complete = False
        except Exception:
            if complete:
                raise
            # else it worked on a picture with holes, and is run again
    return verdicts if complete else None
