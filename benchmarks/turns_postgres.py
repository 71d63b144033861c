"""TURN-PG, the turns of TURN on PostgreSQL: a server started for it, with fsync, on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from benchmarks.child import Values, serve
from benchmarks.turns import overhead
from lash.testing.postgres import postgres_cluster


def nothing() -> None:
    """Between two turns: the floors are of SQLite's file."""


async def expect_turns(url: str, turns: int) -> None:
    """Looked up without lash. Raises ``AssertionError``."""
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'lash_turn'")
        counts = [int(await connection.fetchval(f'SELECT count(*) FROM "{row[0]}".lash_turn')) for row in names]
    finally:
        await connection.close()
    assert counts == [turns], f"expected {turns} committed turns, the server has {counts}"


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    del folder
    with postgres_cluster(durable=True) as cluster:
        values, turns = asyncio.run(overhead(cluster.schema_url(), sizes, nothing))
        asyncio.run(expect_turns(cluster.url, turns))
    return values


if __name__ == "__main__":
    serve(measure)
