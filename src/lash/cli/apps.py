"""Opening a database for one command. A command that only looks never makes a database, and never runs a worker.

Where the database is: ``--url``, else ``LASH_URL``, else the app's own where there is a TARGET. What looks at sessions
then turns to the file in which ``lash chat --model`` keeps its own.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from lash.cli import output as out
from lash.cli.target import load_target
from lash.core.process import ProcessRow, Tombstone
from lash.core.session import ID_PREFIX, SessionRow
from lash.errors import InfrastructureError, LashError, ProcessUnknown, SessionUnknown, StoreNotMigrated, UsageError
from lash.runtime.runtime import Runtime
from lash.runtime.watch import gone
from lash.stores.naming import without_password
from lash.wiring import Runtime as WiredRuntime, store_of

T = TypeVar("T")
FIRST_MIGRATION: Final = "0001_processes.sql"


CHAT_FILE: Final = ".lash/chat.db"
"""Where ``lash chat --model`` keeps its sessions, in the home folder."""


WHICH: Final = "Which database? Give --url sqlite:///file.db or postgresql://user@host/database, or set LASH_URL."


class NoUrl(UsageError):
    code = "no_url"


class NoDatabase(InfrastructureError):
    """There is nothing where the URL points, and the command at hand has no business making it."""

    code = "no_database"


class NoHome(InfrastructureError):
    """There is no home folder to keep sessions in, or it may not be written to."""

    code = "no_home"


class IsSession(UsageError):
    """The id of a session was given where a process is meant."""

    code = "is_session"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def database_url(url: str | None) -> str:
    """``url``, checked to be one that outlives this command. Raises ``NoUrl`` and ``BadUrl``."""
    if not url:
        raise NoUrl(WHICH)
    store = store_of(url)
    if not all(store.facets.values()):
        raise NoUrl(f"{url} keeps nothing beyond one Python process, so there is nothing to see. Name a database file.")
    return url


def chat_file() -> Path:
    """Raises ``NoHome`` where this user has none."""
    try:
        return Path.home() / CHAT_FILE
    except RuntimeError as error:
        raise NoHome(f"{error} Name a database: --url sqlite:///chat.db.") from None


def chat_url() -> str:
    """The database of ``lash chat --model``; its folder is made, for this user alone. Raises ``NoHome``."""
    path = chat_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NoHome(
            f"The folder {path.parent} cannot be made: {os.strerror(error.errno or errno.EIO)}. It is where chats with "
            "--model are kept; set HOME to a folder of yours, or name a database: --url sqlite:///chat.db.",
            path=str(path.parent),
        ) from None
    return f"sqlite:///{path}"


def looked_at(url: str | None) -> str:
    """Where sessions are looked for: ``url``, else in the file of ``lash chat --model``, and that is said. Raises
    ``NoUrl`` where there is none."""
    if url:
        return url
    try:
        path = chat_file()
    except NoHome:
        raise NoUrl(WHICH) from None
    if not path.exists():
        raise NoUrl(f"{WHICH} lash chat --model keeps its sessions in {path}, which is not there.")
    out.remark(f"In {path}, where lash chat --model keeps its sessions; --url names another database.")
    return f"sqlite:///{path}"


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
    and what ``no_process`` says."""
    (row,) = await app.store.get((process_id,))
    if row is None:
        raise await no_process(app, process_id)
    if isinstance(row, Tombstone):
        raise gone(process_id, row)
    return row


async def session_of(app: Runtime, text: str) -> SessionRow | None:
    """The session that has this id."""
    (found,) = await app.store.sessions((ID_PREFIX + text,))
    return found if isinstance(found, SessionRow) else None


async def check_process(app: Runtime, process_id: str) -> None:
    """Raises as ``no_process`` says where there is no process of this id."""
    (row,) = await app.store.get((process_id,))
    if row is None:
        raise await no_process(app, process_id)


async def no_process(app: Runtime, process_id: str) -> LashError:
    """What is said of an id that no process has: it is that of a session, or nobody's."""
    if await session_of(app, process_id) is not None:
        return IsSession(
            f"{process_id!r} is a session, not a process. `lash show {process_id}` tells about it, "
            f"`lash chat TARGET --session {process_id}` goes on with it, and {ID_PREFIX}{process_id} is the process "
            "its turns run in.",
            session_id=process_id,
        )
    where = (
        f"in {url_of(app)}: `lash ls` lists its processes, `lash sessions` its sessions. --url names another database."
    )
    if process_id.startswith(ID_PREFIX):
        session_id = process_id.removeprefix(ID_PREFIX)
        return SessionUnknown(f"No session has the id {session_id!r} {where}", session_id=session_id)
    return ProcessUnknown(f"No process has the id {process_id!r}, and no session, {where}", process_id=process_id)
