"""Stands between the PostgreSQL store and asyncpg: the n-th thing sent to the server meets trouble, on whatever
connection it is sent.

The trouble is real where it can be: sockets are closed, errors come from the server, and what a statement did before
its answer was lost has been done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, NoReturn, TypeAlias, get_args

import asyncpg

Trouble: TypeAlias = Literal[
    "gone", "cut before", "cut after", "silence", "serialization", "deadlock", "lock timeout", "shutdown"
]
"""``gone``: the connection is found closed. ``cut before``: it breaks, and the statement is not executed. ``cut
after``: it is executed, and the answer never comes. ``silence``: the same, and the connection looks sound. Then errors
of the server in the place of the statement; ``shutdown`` ends the connection with a last word."""
TROUBLES: Final[tuple[Trouble, ...]] = get_args(Trouble)
CODES: Final = {"serialization": "40001", "deadlock": "40P01", "lock timeout": "55P03"}
CONNECT: Final = "connect"
"""Making a connection counts as a statement."""
REFUSALS: Final[dict[str, Callable[[], Exception]]] = {
    "gone": lambda: ConnectionRefusedError("planted: connection refused"),
    "cut before": lambda: ConnectionResetError("planted: connection reset"),
    "serialization": lambda: asyncpg.CannotConnectNowError("planted: the database system is starting up"),
    "deadlock": lambda: asyncpg.TooManyConnectionsError("planted: sorry, too many clients already"),
    "lock timeout": lambda: asyncpg.CannotConnectNowError("planted: the database system is in recovery mode"),
    "shutdown": lambda: asyncpg.CannotConnectNowError("planted: the database system is shutting down"),
    "silence": TimeoutError,
}


class Driver:
    """What the stores opened in one context go through: statement ``at`` (from 1) meets ``trouble``; 0 only counts."""

    def __init__(self, at: int = 0, trouble: Trouble = "gone", on_trouble: Callable[[], None] | None = None) -> None:
        self.at = at
        self.trouble: Trouble = trouble
        self.on_trouble = on_trouble
        """Called instead of the trouble, before the statement; and nothing is ever sent again."""
        self.statements: list[str] = []
        self.met = ""
        """The statement that met it."""
        self.dead = False
        self.paused = False

    async def pass_on(self, sql: str, call: Callable[[], Awaitable[Any]], connection: Faulty | None) -> Any:
        """What ``call`` gives, or the trouble."""
        if self.dead:
            raise self._end(connection)
        if self.paused:
            return await call()
        self.statements.append(sql)
        if len(self.statements) != self.at:
            return await call()
        self.met = sql
        if self.on_trouble is not None:
            self.dead = True
            self.on_trouble()
            raise self._end(connection)
        if connection is None:
            await self._refuse(call)
        else:
            await self._disturb(call, connection)
        raise AssertionError(f"{self.trouble} did no harm")

    def _end(self, connection: Faulty | None) -> Exception:
        if connection is not None:
            connection.terminate()
        return ConnectionRefusedError("planted: this process is dead")

    async def _refuse(self, call: Callable[[], Awaitable[Any]]) -> NoReturn:
        """Making a connection fails."""
        if self.trouble == "cut after":
            (await call()).terminate()
            raise ConnectionResetError("planted: connection reset")
        raise REFUSALS[self.trouble]()

    async def _disturb(self, call: Callable[[], Awaitable[Any]], connection: Faulty) -> None:
        plain = super(Faulty, connection).execute
        if self.trouble in CODES:
            await plain(f"DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{CODES[self.trouble]}'; END $$")
        elif self.trouble == "shutdown":
            await plain("SELECT pg_terminate_backend(pg_backend_pid())")
        elif self.trouble == "gone":
            connection.terminate()
            await call()
        elif self.trouble == "silence":
            await call()
            raise TimeoutError
        else:
            if self.trouble == "cut after":
                await call()
            connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("planted: connection was closed in the middle of operation")


class Faulty(asyncpg.Connection):  # type: ignore[type-arg]
    """A connection whose every statement passes a driver."""

    driver: Driver

    async def execute(self, query: str, *args: Any, **more: Any) -> Any:
        return await self.driver.pass_on(query, lambda: super(Faulty, self).execute(query, *args, **more), self)

    async def fetch(self, query: str, *args: Any, **more: Any) -> Any:
        return await self.driver.pass_on(query, lambda: super(Faulty, self).fetch(query, *args, **more), self)

    async def fetchval(self, query: str, *args: Any, **more: Any) -> Any:
        return await self.driver.pass_on(query, lambda: super(Faulty, self).fetchval(query, *args, **more), self)

    async def fetchrow(self, query: str, *args: Any, **more: Any) -> Any:
        return await self.driver.pass_on(query, lambda: super(Faulty, self).fetchrow(query, *args, **more), self)


DRIVER: Final[ContextVar[Driver | None]] = ContextVar("driver", default=None)
"""Of the stores that are opened in this context."""


@contextmanager
def installed() -> Iterator[None]:
    """Meanwhile every connection asyncpg makes asks its context for a driver. The same in several threads at once
    would not do."""
    plain = asyncpg.connect

    async def connect(*args: Any, **more: Any) -> Any:
        driver = DRIVER.get()
        if driver is None:
            return await plain(*args, **more)
        connection = await driver.pass_on(CONNECT, lambda: plain(*args, connection_class=Faulty, **more), None)
        connection.driver = driver
        return connection

    asyncpg.connect = connect
    try:
        yield
    finally:
        asyncpg.connect = plain
