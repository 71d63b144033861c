"""Where a database is and how to connect to it: the URL taken apart once, and a name for it without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from lash.errors import BadUrl
from lash.stores.naming import without_password
from lash.stores.sql.script import DEFAULT_SCHEMA

SCHEMA_FORM: Final = re.compile(r"[a-z_][a-z0-9_]{0,40}")
"""Usable without quotes, and short enough for the name of a channel."""


@dataclass(frozen=True, slots=True)
class Place:
    """One schema of one database."""

    dsn: str
    """As the driver takes it: without the options that are ours."""
    name: str
    """For people: without a password."""
    schema: str = DEFAULT_SCHEMA
    pooler: bool = False
    """Behind a transaction pooler: nothing may live longer than a transaction."""
    migrate: Literal["run", "verify"] = "run"

    @property
    def channel(self) -> str:
        return "lash_" + self.schema


def place_of(url: str) -> Place:
    """``postgresql://user@host/database?schema=lash&migrate=verify&pooler=transaction``; raises ``BadUrl``.

    Every other option of the query is the driver's (``sslmode``, ``host`` for a socket's folder …).
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # whose text may hold a part of the password
        raise BadUrl(
            f"{without_password(url)!r} is no PostgreSQL URL: write postgresql://user:password@host:5432/database, and "
            "signs like / ? # @ in a password as %2F %3F %23 %40."
        ) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = options.pop("schema", DEFAULT_SCHEMA)
    if SCHEMA_FORM.fullmatch(schema) is None:
        raise BadUrl(
            f"schema={schema!r} cannot be used: take a lower-case letter, then up to 40 letters, digits, underscores."
        )
    migrate = options.pop("migrate", "run")
    if migrate not in ("run", "verify"):
        raise BadUrl(f"migrate={migrate!r}: use migrate=run (the default) or migrate=verify.")
    pooler = options.pop("pooler", "none")
    if pooler not in ("none", "transaction"):
        raise BadUrl(f"pooler={pooler!r}: use pooler=none (the default) or pooler=transaction.")
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options, quote_via=quote), ""))
    where = host or options.get("host", "localhost")
    name = f"postgresql://{where}{port}{parts.path or '/'} (schema {schema})"
    return Place(dsn, name, schema, pooler == "transaction", "verify" if migrate == "verify" else "run")
