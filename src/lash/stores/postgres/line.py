"""One connection that is made when it is needed and made again when it broke, and in words what went wrong with it.

What was surely not written may be tried again here; whether a commit whose answer was lost took place is for the caller
to find out, who repeats the operation.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from lash.errors import BadUrl, LashError, NotADatabase, StoreUnavailable
from lash.limits import RECONNECT_DEADLINE_MS
from lash.stores.postgres.place import Place

log = logging.getLogger("lash.store")

CONNECT_S: Final = 5.0
COMMAND_S: Final = 60.0
"""A statement of ours that takes longer waits for somebody's lock or for a server that is gone."""
PAUSE_S: Final = (0.02, 0.2)
STATEMENTS_CACHED: Final = 512
PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "default_transaction_isolation": "read committed",
}
"""Every statement of ours goes through an index from a short list; a table whose statistics are new must not change
that, nor the order in which rows are locked."""
ALIVE: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""The server notices a host that vanished within some ten seconds."""

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""The connection is of no use any more."""
AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.LockNotAvailableError,
)
"""Somebody else was quicker; nothing was written, and another try may succeed."""
HOPELESS = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    asyncpg.UndefinedObjectError,
)
"""Trying again would not help."""


class Unsent(ConnectionResetError):
    """The connection had ended before anything was sent over it."""


UNWRITTEN = (Unsent, asyncpg.IdleInTransactionSessionTimeoutError)
"""Of ``LOST``: what was to be committed surely was not."""


@contextmanager
def closed_is_lost(connection: asyncpg.Connection[Any]) -> Generator[None]:
    """A connection that broke just before counts as one that breaks now: asyncpg calls its use a mistake."""
    try:
        yield
    except asyncpg.InterfaceError as error:
        if connection.is_closed():
            raise Unsent(str(error)) from error
        raise
    except asyncpg.InternalClientError as error:
        if "cannot switch to state" in str(error):  # it had just ended, and the driver was about to begin
            raise Unsent(str(error)) from error
        raise


async def fetch(connection: asyncpg.Connection[Any], sql: str, *values: object) -> list[Any]:
    """Rows."""
    with closed_is_lost(connection):
        return await connection.fetch(sql, *values)


async def say(connection: asyncpg.Connection[Any], sql: str) -> None:
    """Statements without values, as one message: behind a pooler, nothing is prepared outside a transaction."""
    with closed_is_lost(connection):
        await connection.execute(sql)


@asynccontextmanager
async def pinned(connection: asyncpg.Connection[Any], place: Place) -> AsyncGenerator[None]:
    """Behind a pooler, what the driver prepares lasts as long as a transaction: so this block is one."""
    with closed_is_lost(connection):
        if not place.pooler:
            yield
            return
        async with connection.transaction():
            yield


class Patience:
    """How long to go on trying: until a deadline, and at least twice, because a Python process that was itself stopped
    finds its first try over before the server was ever asked. A deadline of 0 is one try."""

    def __init__(self, deadline_ms: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + deadline_ms / 1_000
        self._tries_left = 1 if deadline_ms else 0

    def is_over(self, pause_s: float = 0.0) -> bool:
        """After a try that failed, and before a pause of this length."""
        if self._loop.time() + pause_s <= self._ends:
            return False
        self._tries_left -= 1
        return self._tries_left < 0


class Line:
    """One place's one connection. ``settings`` go to the server at each start of it."""

    def __init__(self, place: Place, purpose: str, **settings: str) -> None:
        self.place = place
        self.connection: asyncpg.Connection[Any] | None = None
        self.settings = {"application_name": f"lash {purpose}"}
        if not place.pooler:
            self.settings |= {"search_path": place.schema, **settings}

    @property
    def pid(self) -> int:
        """Of the server's process; 0 without a connection."""
        return 0 if self.connection is None else self.connection.get_server_pid()

    async def get(self, deadline_ms: int = RECONNECT_DEADLINE_MS) -> asyncpg.Connection[Any]:
        """The connection, made again if need be. Raises ``StoreUnavailable`` after the deadline."""
        if self.connection is not None and not self.connection.is_closed():
            return self.connection
        patience = Patience(deadline_ms)
        pause_s = PAUSE_S[0]
        while True:
            try:
                self.connection = await self._connect()
                return self.connection
            except HOPELESS as error:
                raise explained(error, self.place) from error
            except (*LOST, asyncpg.PostgresError) as error:
                if patience.is_over(pause_s):
                    raise explained(error, self.place) from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, PAUSE_S[1])

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            self.place.dsn,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            statement_cache_size=0 if self.place.pooler else STATEMENTS_CACHED,
            max_cached_statement_lifetime=0,
            server_settings=self.settings,
        )

    def drop(self) -> None:
        """End it at once; the server rolls back what was open."""
        connection, self.connection = self.connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=CONNECT_S)
            except (*LOST, asyncpg.PostgresError):
                connection.terminate()


ADVICE: Final[list[tuple[type[BaseException], str]]] = [
    (asyncpg.InvalidPasswordError, "Check user and password in the URL."),
    (asyncpg.InvalidAuthorizationSpecificationError, "Check the user in the URL, and the server's pg_hba.conf."),
    (asyncpg.InvalidCatalogNameError, "Create the database first: CREATE DATABASE …"),
    (asyncpg.UndefinedObjectError, "Check the options in the URL: those that are not ours go to the server."),
    (asyncpg.InsufficientPrivilegeError, "Grant this role what docs/operations.md lists."),
    (asyncpg.UndefinedTableError, "Is the schema right? `lash migrate` makes the tables."),
    (
        asyncpg.InvalidSchemaNameError,
        "Is the schema right, and has this role what docs/operations.md lists? `lash migrate` makes the tables.",
    ),
    (asyncpg.ReadOnlySQLTransactionError, "This server is read-only: name the primary in the URL."),
    (asyncpg.DiskFullError, "The server's disk is full. Free some space; work goes on by itself."),
    (
        asyncpg.TooManyConnectionsError,
        "The server has no connection left: raise max_connections, or run fewer workers.",
    ),
    (asyncpg.QueryCanceledError, "Look for a long transaction that holds locks: SELECT * FROM pg_stat_activity."),
    (TimeoutError, "The server does not answer. Is it there, and is the network?"),
    (OSError, "Is the server running, and is the address right? Work goes on by itself once it answers."),
]


def explained(error: BaseException, place: Place) -> LashError:
    """What the caller is told."""
    reason = str(error) or type(error).__name__
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return NotADatabase(f"There is no such database at {place.name}: {reason}. {ADVICE[2][1]}", path=place.name)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return BadUrl(f"The URL of {place.name} cannot be used: {reason.rstrip('.')}.")
    advice = next((words for kind, words in ADVICE if isinstance(error, kind)), "The work stays claimable.")
    if "startup parameter" in reason:
        advice = "This is a pooler: add pooler=transaction to the URL, or name the server itself."
    return StoreUnavailable(
        f"The database {place.name} is unavailable: {reason.rstrip('.')}. {advice}", path=place.name, reason=reason
    )
