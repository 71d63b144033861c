"""What is wrong with a database is said in words, with advice; a refused opening and a failed transaction have written
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from lash.abc.store import Claim, Claims, Put, Start
from lash.core.process import lane_of
from lash.errors import LashError, NotADatabase, StoreNotMigrated, StoreTooNew, StoreUnavailable
from lash.stores.postgres import PostgresStore, migration_sql
from lash.stores.postgres.place import place_of
from lash.stores.sql.migrations import migrations
from tests.postgres import cluster, fresh_url
from tests.unit.stores.stage import check_a_failing_operation_leaves_nothing_behind, leased, put, spec, step


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def beside(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A plain connection in the schema of ``url``."""
    place = place_of(url)
    connection = await asyncpg.connect(place.dsn, server_settings={"search_path": place.schema})
    try:
        yield connection
    finally:
        await connection.close()


async def edit(url: str, *statements: str) -> None:
    async with beside(url) as connection:
        for statement in statements:
            assert await connection.execute(statement) not in ("UPDATE 0", "INSERT 0 0")


async def make(url: str) -> None:
    async with opened(url) as store:
        await leased(store, "p")


async def content(url: str) -> list[object]:
    """Tables, migrations and processes as they stand."""
    schema = place_of(url).schema
    async with beside(url) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", schema)
        schemas = await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema)
        if not tables:
            return [schemas]
        rows = await connection.fetch("SELECT * FROM lash_migration ORDER BY number")
        return [schemas, tables, rows, await connection.fetch("SELECT * FROM lash_process ORDER BY row")]


async def open_error(url: str) -> LashError:
    store = PostgresStore(url)
    with pytest.raises(LashError) as caught:
        await store.open()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.counts()
    assert "p4ss" not in str(caught.value)
    return caught.value


def elsewhere(url: str, *, database: str = "postgres", user: str = "lash") -> str:
    return url.replace("//lash@/postgres?", f"//{user}@/{database}?")


async def opened_and_written(store: PostgresStore) -> None:
    await store.open()
    await store.write([Start(spec("q"))])


@pytest.fixture
def folder() -> Path:
    """Of a server whose configuration a test may change."""
    if not cluster().folder:
        pytest.skip("the server was only named; its roles and its settings are not ours")
    return Path(cluster().folder)


def test_a_database_of_a_newer_lash_is_left_alone() -> None:
    async def main() -> None:
        url = fresh_url()
        await make(url)
        await edit(url, "INSERT INTO lash_migration VALUES (99, '0099_future.sql', 'x', 0)")
        before = await content(url)
        for asked in (url, url + "&migrate=verify"):
            error = await open_error(asked)
            assert isinstance(error, StoreTooNew)
            assert error.fields["found"] == 99
            assert "0099_future.sql" in error.message
        assert await content(url) == before

    asyncio.run(main())


def test_a_migration_of_another_build_is_refused() -> None:
    async def main() -> None:
        url = fresh_url()
        await make(url)
        await edit(url, "UPDATE lash_migration SET sha256 = 'tampered' WHERE number = 1")
        before = await content(url)
        error = await open_error(url)
        assert isinstance(error, StoreTooNew)
        assert "another build" in error.message
        assert await content(url) == before

    asyncio.run(main())


def test_where_migrating_is_forbidden_nothing_is_written() -> None:
    async def main() -> None:
        url = fresh_url()
        error = await open_error(url + "&migrate=verify")
        assert isinstance(error, StoreNotMigrated)
        assert "lash migrate" in error.message
        assert error.fields["missing"] == [item.name for item in migrations("postgres")]
        assert await content(url) == [0]
        await make(url)
        async with opened(url + "&migrate=verify") as store:
            assert (await store.counts())["running"] == 1

    asyncio.run(main())


def test_migrations_are_numbered_without_gaps_and_printed() -> None:
    known = migrations("postgres")
    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    assert [name for name, _ in migration_sql()] == [migration.name for migration in known]

    async def main() -> None:
        url = fresh_url()
        await edit(url, f"CREATE SCHEMA {place_of(url).schema}", *(script for _, script in migration_sql()))

    asyncio.run(main())


def test_who_is_not_let_in_is_told_at_once(folder: Path) -> None:
    async def main() -> None:
        url = fresh_url()
        role = f"picky_{uuid4().hex[:8]}"
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        await edit(url, f"CREATE ROLE {role} LOGIN PASSWORD 'right'", "SELECT pg_reload_conf()")
        loop = asyncio.get_running_loop()
        began = loop.time()
        error = await open_error(elsewhere(url, user=f"{role}:p4ss"))
        assert isinstance(error, StoreUnavailable)
        assert "Check user and password" in error.message
        error = await open_error(elsewhere(url, user="nobody_at_all"))
        assert isinstance(error, StoreUnavailable)
        assert "Check the user" in error.message
        error = await open_error(elsewhere(url, database="no_such_database"))
        assert isinstance(error, NotADatabase)
        assert "CREATE DATABASE" in error.message
        assert loop.time() - began < 3, "what is hopeless was tried again"

    asyncio.run(main())


def test_a_server_that_is_not_there_is_waited_for_a_little() -> None:
    async def main() -> None:
        places = ["@127.0.0.1:1/postgres", "@nowhere.invalid/postgres", "@/postgres?host=/no/such/folder"]
        errors = await asyncio.gather(*(open_error(f"postgresql://lash:p4ss{place}") for place in places))
        for error in errors:
            assert isinstance(error, StoreUnavailable)
            assert "Is the server running, and is the address right?" in error.message

    asyncio.run(main())


def test_a_role_without_privileges_is_told_what_to_grant(folder: Path) -> None:
    del folder

    async def main() -> None:
        url = fresh_url()
        schema = place_of(url).schema
        role = f"plain_{uuid4().hex[:8]}"
        await make(url)
        before = await content(url)
        await edit(url, f"CREATE ROLE {role} LOGIN")
        for grant in (
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        ):
            store = PostgresStore(elsewhere(url, user=role))
            with pytest.raises(StoreUnavailable, match=r"docs/operations\.md lists"):
                await opened_and_written(store)
            await store.close()
            assert await content(url) == before
            await edit(url, grant)
        async with opened(elsewhere(url, user=role)) as store:
            await leased(store, "q")

    asyncio.run(main())


def test_a_server_that_became_read_only_is_unavailability_and_heals(folder: Path) -> None:
    """A fail-over has made it a standby, or the operator has."""
    del folder

    async def main() -> None:
        database = f"d_{uuid4().hex[:8]}"
        admin = fresh_url()
        await edit(admin, f"CREATE DATABASE {database}")
        url = elsewhere(admin, database=database)
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        read_only = f"ALTER DATABASE {database} SET default_transaction_read_only ="
        async with opened(url) as store:
            fence = await leased(store, "p")
            await edit(admin, f"{read_only} on", cut)
            with pytest.raises(StoreUnavailable, match="read-only: name the primary"):
                await store.write([Start(spec("q")), Put(fence, 0, [step(0)])])
            assert await store.get(["q"]) == [None]
            error = await open_error(url.replace("schema=", "schema=x"))
            assert "read-only: name the primary" in error.message
            await edit(admin, f"{read_only} off", cut)
            while True:
                try:
                    await store.write([Start(spec("q"))])
                    break
                except StoreUnavailable:  # the connection broke under it
                    pass
            assert [entry.ordinal for entry in await put(store, fence, step(0))] == [0]

    asyncio.run(main())


def test_a_lock_that_somebody_holds_for_long_is_unavailability_and_heals() -> None:
    async def main() -> None:
        url = fresh_url()
        async with opened(url + "&statement_timeout=150") as store, beside(url) as other:
            fence = await leased(store, "p")
            async with other.transaction():
                await other.execute("SELECT * FROM lash_process FOR UPDATE")
                with pytest.raises(StoreUnavailable, match="long transaction that holds locks"):
                    await put(store, fence, step(0))
            assert [entry.ordinal for entry in await put(store, fence, step(0))] == [0]

    asyncio.run(main())


def test_a_damaged_row_is_an_error_and_no_missing_one() -> None:
    """W-12: an answer of None means that there is no such process."""

    async def main() -> None:
        url = fresh_url()
        await make(url)
        await edit(url, "UPDATE lash_spec SET more = '{broken'")
        async with opened(url) as store:
            with pytest.raises(StoreUnavailable, match="process 'p' is damaged"):
                await store.get(["p"])
            assert await store.get(["nobody"]) == [None]

    asyncio.run(main())


def test_a_damaged_row_does_not_stop_the_worklist() -> None:
    """W-12: it is put off, visibly, and the rows beside it are claimed."""

    async def main() -> None:
        url = fresh_url()
        async with opened(url) as store:
            await store.write([Start(spec("bad", priority=9)), Start(spec("good"))])
        bad = "(SELECT row FROM lash_process WHERE id = 'bad')"
        await edit(url, f"UPDATE lash_spec SET more = '{{broken' WHERE row = {bad}")
        async with opened(url) as store:
            for claimed in (["good"], []):
                claims = (await store.write([Claim("w1", [lane_of(spec("good"))], 10, 1_000)]))[0]
                assert isinstance(claims, Claims)
                assert [row.row.record.id for row in claims.rows] == claimed
                assert claims.postponed == (["bad"] if claimed else [])

    asyncio.run(main())


def test_a_closed_store_says_so() -> None:
    async def main() -> None:
        store = PostgresStore(fresh_url())
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.write([Start(spec("p"))])
        await store.open()
        await store.close()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.get(["p"])

    asyncio.run(main())


def test_a_failing_operation_leaves_nothing_behind() -> None:
    """Neither in the database nor in what the store remembers of it."""

    async def main() -> None:
        async with opened(fresh_url()) as store:
            await check_a_failing_operation_leaves_nothing_behind(store)

    asyncio.run(main())
