"""Every measurement gets a database that nobody else has used, on a server that is still when it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg


def url_of(cluster_url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(cluster_url)._replace(path=f"/{name}"))


@contextmanager
def database(cluster_url: str, name: str) -> Iterator[str]:
    """URL of a new database, which is dropped at the end."""
    asyncio.run(perform(cluster_url, f'CREATE DATABASE "{name}"', "CHECKPOINT"))
    try:
        yield url_of(cluster_url, name)
    finally:
        asyncio.run(perform(cluster_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


async def perform(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def about(url: str) -> tuple[str, bool]:
    """Version of the server, and whether a commit waits for its disk."""
    connection = await asyncpg.connect(url)
    try:
        version = str(await connection.fetchval("SHOW server_version"))
        waits = [str(await connection.fetchval(f"SHOW {name}")) for name in ("fsync", "synchronous_commit")]
    finally:
        await connection.close()
    return version.split(" ")[0], waits == ["on", "on"]
