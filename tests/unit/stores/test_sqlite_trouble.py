"""What is wrong with a file is said in words, with advice; a failed transaction has written nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from lash.abc.store import Claim, Claims, Put, Start
from lash.core.process import lane_of
from lash.errors import LashError, NotADatabase, StoreTooNew, StoreUnavailable
from lash.stores.sql.migrations import migrations
from lash.stores.sqlite import SqliteStore, migration_sql
from lash.stores.sqlite.migrate import statements
from tests.unit.stores.stage import check_a_failing_operation_leaves_nothing_behind, leased, opened, put, spec, step


def open_error(path: Path) -> LashError:
    async def main() -> None:
        store = SqliteStore(str(path))
        try:
            await store.open()
        finally:
            await store.close()

    with pytest.raises(LashError) as caught:
        asyncio.run(main())
    return caught.value


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def make(path: Path) -> None:
    async with opened(path) as store:
        await leased(store, "p")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("Dear diary, today I wrote a text file. " * 30)
    before = path.read_bytes()
    error = open_error(path)
    assert isinstance(error, NotADatabase)
    assert str(path) in error.message
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    error = open_error(tmp_path / "nowhere" / "a.db")
    assert isinstance(error, StoreUnavailable)
    assert "folder exist" in error.message


def test_a_database_of_a_newer_lash_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    asyncio.run(make(path))
    edit(path, "INSERT INTO lash_migration VALUES (99, '0099_future.sql', 'x', 0)")
    error = open_error(path)
    assert isinstance(error, StoreTooNew)
    assert error.fields["found"] == 99
    assert "0099_future.sql" in error.message


def test_a_migration_of_another_build_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    asyncio.run(make(path))
    edit(path, "UPDATE lash_migration SET sha256 = 'tampered' WHERE number = 1")
    assert isinstance(open_error(path), StoreTooNew)


def test_migrations_are_numbered_without_gaps_and_printed(tmp_path: Path) -> None:
    known = migrations("sqlite")
    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    assert [name for name, _ in migration_sql()] == [migration.name for migration in known]
    connection = sqlite3.connect(tmp_path / "printed.db")
    for _, script in migration_sql():
        connection.executescript(script)
    connection.close()


def test_statements_are_split_where_they_end() -> None:
    script = "CREATE TABLE a (x); -- a; b\nINSERT INTO a VALUES (';');\n\n-- the end"
    assert [statement.strip() for statement in statements(script)] == [
        "CREATE TABLE a (x); -- a; b",
        "INSERT INTO a VALUES (';');",
        "-- the end",
    ]


@pytest.mark.parametrize(
    ("break_it", "mend_it", "advice"),
    [
        ("PRAGMA query_only = 1", "PRAGMA query_only = 0", "read-only"),
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 100000", "full"),
    ],
    ids=["read-only", "full"],
)
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "thread"])
def test_a_disk_in_trouble_is_unavailability_and_heals(
    tmp_path: Path, break_it: str, mend_it: str, advice: str, inline: bool
) -> None:
    async def main() -> None:
        async with opened(tmp_path / "a.db", inline=inline) as store:
            fence = await leased(store, "p")
            assert store._writer is not None
            sql = store._writer.connection.execute
            sql(break_it)
            big = step(0, b'"' + b"x" * 100_000 + b'"')
            with pytest.raises(StoreUnavailable, match=advice):
                await store.write([Start(spec("q")), Put(fence, 0, [big])])
            assert await store.get(["q"]) == [None]
            sql(mend_it)
            assert [entry.ordinal for entry in await put(store, fence, big)] == [0]

    asyncio.run(main())


def test_a_damaged_row_is_an_error_and_no_missing_one(tmp_path: Path) -> None:
    """W-12: an answer of None means that there is no such process."""
    path = tmp_path / "a.db"
    asyncio.run(make(path))
    edit(path, "UPDATE lash_spec SET more = CAST('{broken' AS BLOB)")

    async def main() -> None:
        async with opened(path) as store:
            with pytest.raises(StoreUnavailable, match="process 'p' is damaged"):
                await store.get(["p"])
            assert await store.get(["nobody"]) == [None]

    asyncio.run(main())


def test_a_damaged_row_does_not_stop_the_worklist(tmp_path: Path) -> None:
    """W-12: it is put off, visibly, and the rows beside it are claimed."""
    path = tmp_path / "a.db"

    async def fill() -> None:
        async with opened(path) as store:
            await store.write([Start(spec("bad", priority=9)), Start(spec("good"))])

    asyncio.run(fill())
    edit(path, "UPDATE lash_spec SET more = CAST('{broken' AS BLOB) WHERE row = 1")

    async def main() -> None:
        async with opened(path) as store:
            for claimed in (["good"], []):
                claims = (await store.write([Claim("w1", [lane_of(spec("good"))], 10, 1_000)]))[0]
                assert isinstance(claims, Claims)
                assert [row.row.record.id for row in claims.rows] == claimed
                assert claims.postponed == (["bad"] if claimed else [])

    asyncio.run(main())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(str(tmp_path / "a.db"))
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.write([Start(spec("p"))])
        await store.open()
        await store.close()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.get(["p"])

    asyncio.run(main())


def test_a_failing_operation_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither in the file nor in what the store remembers of it."""

    async def main() -> None:
        async with opened(tmp_path / "a.db") as store:
            await check_a_failing_operation_leaves_nothing_behind(store)

    asyncio.run(main())
