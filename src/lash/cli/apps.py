"""Opening a database for one command. A command that only looks never makes a database, and never runs a worker.

Where the database is: ``--url``, else ``LASH_URL``, else the app's own where there is a TARGET.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

from lash.cli.target import load_target
from lash.core.process import ProcessRow, Tombstone
from lash.core.session import ID_PREFIX, SessionRow
from lash.errors import InfrastructureError, LashError, StoreNotMigrated, UsageError
from lash.runtime.runtime import Runtime
from lash.runtime.watch import gone
from lash.stores.naming import without_password
from lash.wiring import Runtime as WiredRuntime, store_of

T = TypeVar("T")
FIRST_MIGRATION: Final = "0001_processes.sql"


class NoUrl(UsageError):
    code = "no_url"


class NoDatabase(InfrastructureError):
    """There is nothing where the URL points, and the command at hand has no business making it."""

    code = "no_database"


class IsSession(UsageError):
    """The id of a session was given where a process is meant."""

    code = "is_session"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def database_url(url: str | None) -> str:
    """``url``, checked to be one that outlives this command. Raises ``NoUrl`` and ``BadUrl``."""
    if not url:
        raise NoUrl("Which database? Give --url sqlite:///file.db or postgresql://user@host/database, or set LASH_URL.")
    store = store_of(url)
    if not all(store.facets.values()):
        raise NoUrl(f"{url} keeps nothing beyond one Python process, so there is nothing to see. Name a database file.")
    return url


@asynccontextmanager
async def opened(url: str | None, create: bool = False) -> AsyncGenerator[Runtime]:
    """A Runtime without processes and without a worker. Raises ``NoDatabase`` where there is none to open."""
    where = database_url(url)
    if not create:
        check_exists(where)
        where = unchanged(where)
    app = WiredRuntime(where, worker=False)
    try:
        await app.open(with_worker=False)
    except StoreNotMigrated as error:
        raise nothing_there(error, url or "") from None
    try:
        yield app
    finally:
        await app.close()


def unchanged(url: str) -> str:
    """The URL, with which no schema and no table is made on a server."""
    if not url.startswith(("postgresql://", "postgres://")):
        return url
    return f"{url}{'&' if '?' in url else '?'}migrate=verify"


def nothing_there(error: StoreNotMigrated, url: str) -> LashError:
    """The same for people who did not write ``migrate=verify`` themselves."""
    path, missing = error.fields.get("path"), error.fields.get("missing")
    if not isinstance(missing, list) or "migrate=verify" in url:
        return error
    if FIRST_MIGRATION in missing:
        return NoDatabase(
            f"There is no lash in {path}. Check --url and LASH_URL; `lash migrate` or a first start makes it.",
            path=path,
        )
    names = ", ".join(map(str, cast("list[object]", missing)))
    return StoreNotMigrated(
        f"The database {path} was made by an older lash and lacks {names}. Run `lash migrate`.", **error.fields
    )


def check_exists(url: str) -> None:
    path = getattr(store_of(url), "path", None)
    if isinstance(path, str) and not os.path.exists(path):
        raise NoDatabase(
            f"There is no database {path}. Check --url and LASH_URL; `lash migrate` or a first start makes one.",
            path=path,
        )


def load_app(target: str, url: str | None) -> Runtime:
    """The Runtime of a TARGET, moved to another database where one is named."""
    app = load_target(target)
    if url and isinstance(app, WiredRuntime):
        app.move(url)
    return app


def outlives_us(app: Runtime) -> bool:
    """Whether what an opened app keeps is there after this command has ended."""
    return all(app.store.facets.values())


def url_of(app: Runtime) -> str:
    """Where an app keeps its work, for people."""
    return without_password(app.url) if isinstance(app, WiredRuntime) else "a store of its own"


async def row_of(app: Runtime, process_id: str) -> ProcessRow:
    """The row of a process, or with ``session:<id>`` that of a session. Raises ``ProcessUnknown``, ``ProcessPruned``,
    and ``IsSession`` for the bare id of a session."""
    (row,) = await app.store.get((process_id,))
    if row is None:
        await refuse_session(app, process_id)
    if row is None or isinstance(row, Tombstone):
        raise gone(process_id, row)
    return row


async def session_of(app: Runtime, text: str) -> SessionRow | None:
    """The session that has this id."""
    (found,) = await app.store.sessions((ID_PREFIX + text,))
    return found if isinstance(found, SessionRow) else None


async def refuse_session(app: Runtime, process_id: str) -> None:
    """Raises ``IsSession`` where no process has this id and a session does."""
    (row,) = await app.store.get((process_id,))
    if row is None and await session_of(app, process_id) is not None:
        raise IsSession(
            f"{process_id!r} is a session, not a process. `lash show {process_id}` tells about it, "
            f"`lash chat TARGET --session {process_id}` goes on with it, and {ID_PREFIX}{process_id} is the process "
            "its turns run in.",
            session_id=process_id,
        )
