"""``migrate`` and ``promote``: a database is made, brought up to date, or moved to a server, whole or not at all."""

from __future__ import annotations

import sys
from typing import Final

from lash.cli import output as out
from lash.cli.apps import NoUrl, opened
from lash.cli.documents import list_in
from lash.errors import BadUrl, InvalidArguments
from lash.stores.naming import without_password
from lash.wiring import store_of

NOUNS: Final = {
    "processes": "process",
    "sessions": "session",
    "events": "event",
    "journal entries": "journal entry",
    "tombstones": "tombstone",
    "nodes": "node",
    "blobs": "blob",
}


# migrate -----------------------------------------------------------------------------------------------------------


async def migrate(url: str | None, as_json: bool) -> None:
    """Opening a store migrates it; afterwards say what it has been through."""
    async with opened(url, create=True) as app:
        about = await app.store.diagnose()
    names = [str(name) for name in list_in(about.get("migrations")) or ()]
    if as_json:
        out.print_json({"path": about.get("path"), "migrations": names})
        return
    out.say(f"{about.get('path')} is up to date: {', '.join(names)}")


def print_migrations(url: str | None, dialect: str | None, as_json: bool) -> None:
    """Everything as SQL, for whoever applies it by hand. Needs no database, only its kind and its schema."""
    from lash.stores.sql.migrations import migrations
    from lash.stores.sql.script import DEFAULT_SCHEMA, DIALECTS, script

    named, schema = kind_of(url) if url else (None, DEFAULT_SCHEMA)
    wanted = dialect or named or "sqlite"
    if wanted not in DIALECTS:
        raise InvalidArguments(f"--dialect {wanted!r} is not known: use {' or '.join(DIALECTS)}.")
    if dialect and named and dialect != named:
        raise InvalidArguments(f"--dialect {dialect} does not fit {without_password(url or '')}. Leave one out.")
    text = script(wanted, schema)
    if as_json:
        files = [{"name": item.name, "sql": item.sql} for item in migrations(wanted)]
        out.print_json({"dialect": wanted, "migrations": files, "script": text})
        return
    print(text, end="", flush=True)
    if not dialect and not named:
        out.remark("This is for SQLite. For PostgreSQL: lash migrate --sql postgresql://…, or --dialect postgres.")


def kind_of(url: str) -> tuple[str, str]:
    """Dialect and schema of a URL. Raises ``BadUrl``, and ``NoUrl`` for a store without tables."""
    store = store_of(url)
    place = getattr(store, "place", None)
    if place is not None:
        return "postgres", str(place.schema)
    if not all(store.facets.values()):
        raise NoUrl(f"{url} has no tables. Name sqlite:///file.db or postgresql://….")
    return "sqlite", ""


# promote -----------------------------------------------------------------------------------------------------------


async def promote(source: str, target: str, as_json: bool) -> None:
    """Move everything of a SQLite file to PostgreSQL, or finish a move that was cut off."""
    path = sqlite_path(source)
    store_of(target)  # a target that names no store is told first
    from lash.stores import promote as moving

    def tell(phase: str) -> None:
        if not as_json and sys.stderr.isatty():
            out.remark(f"… {phase}")

    done = await moving.promote(path, target, phase=tell)
    if as_json:
        document = {"source": done.source, "target": done.target, "moved": dict(done.moved), "already": done.already}
        out.print_json(document)
        return
    if done.already:
        out.say(f"Everything in {done.source} is in {done.target} already.")
    else:
        counts = [out.count_of(number, NOUNS.get(noun, noun), noun) for noun, number in done.moved.items()]
        out.say(f"Moved to {done.target}: {', '.join(counts)}.")
    out.say(f"{done.source} is shut for good. Name the new database in your app and in LASH_URL, and start workers.")


def sqlite_path(source: str) -> str:
    """Raises ``BadUrl``."""
    if not source.startswith("sqlite://"):
        raise BadUrl(
            f"Only SQLite can be moved: name the source as sqlite:///file.db, not {without_password(source)!r}. "
            "The order is: lash promote SOURCE TARGET."
        )
    return str(getattr(store_of(source), "path", ""))
