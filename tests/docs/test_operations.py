"""The SQL on the page about operations is enough for a role that may only work, and behind a pooler, and not too much.

Roles belong to a whole server, so each test makes its own under names of its own, and removes them.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

import lash
from lash.cli.doctor import store_checks
from lash.errors import StoreNotMigrated
from lash.stores.postgres import PostgresStore
from lash.stores.postgres.place import place_of
from lash.stores.sql.script import script
from tests.postgres import cluster

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
SQL = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Roles:
    """What the page calls ``lash_owner``, ``lash_app`` and the schema ``lash``, under other names."""

    owner: str
    app: str
    schema: str

    def named(self, text: str) -> str:
        text = text.replace("lash_owner", self.owner).replace("lash_app", self.app)
        return re.sub(r"\blash\b(?!_)", self.schema, text)

    def url(self, role: str, options: str = "") -> str:
        parts = re.sub(r"//[^@/]*@", f"//{role}@", cluster().schema_url(self.schema))
        return parts + options


def execute(sql: str, role: str = "") -> None:
    async def run() -> None:
        url = cluster().url if not role else re.sub(r"//[^@/]*@", f"//{role}@", cluster().url)
        connection = await asyncpg.connect(place_of(url).dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.fixture
def roles() -> Iterator[Roles]:
    """After the first block of the page, the printed migration and the second block."""
    tag = uuid.uuid4().hex[:8]
    found = Roles(f"owner_{tag}", f"app_{tag}", f"s_{tag}")
    first, second, _ = (found.named(block) for block in SQL.findall(PAGE.read_text(encoding="utf-8")))
    execute(first)
    try:
        execute(script("postgres", found.schema), found.owner)
        execute(second, found.owner)
        yield found
    finally:
        for role in (found.owner, found.app):
            execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def run_something(url: str) -> list[str]:
    """Everything a worker does, pruning and blobs too; the checks of the doctor that are not well."""
    app = lash.Runtime(url, linger="10ms")

    @app.process
    async def work(ctx: lash.Context, number: int) -> int:
        await ctx.sleep("100ms")
        await ctx.emit("half", number)
        return await ctx.step(abs, -number)

    async def main() -> list[str]:
        async with app:
            handles = [await app.start(work, number, tags=["t"]) for number in range(3)]
            assert [await handle.result(timeout=DEADLINE_S) for handle in handles] == [0, 1, 2]
            await (await app.start(work, 9, delay="1h")).cancel()
            reference = await app.store.blobs.put(b"blob")
            assert await app.store.blobs.get(reference) == b"blob"
            await asyncio.sleep(0.01)
            assert await app.prune("1ms") > 0
            about = await app.store.diagnose()
        return [check.name for check in store_checks(about) if check.verdict != "ok" and check.name != "durability"]

    return asyncio.run(main())


def test_the_role_on_the_page_can_do_all_work(roles: Roles) -> None:
    assert run_something(roles.url(roles.app, "&migrate=verify")) == []


def test_it_can_not_change_the_schema(roles: Roles) -> None:
    for sql in (
        f"DROP TABLE {roles.schema}.lash_process",
        f"CREATE TABLE {roles.schema}.mine (a int)",
        f"DELETE FROM {roles.schema}.lash_migration",
        f"SELECT setval('{roles.schema}.lash_row', 1)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            execute(sql, roles.app)


def test_without_a_schema_it_is_told_what_to_do(roles: Roles) -> None:
    execute(f"DROP SCHEMA {roles.schema} CASCADE")

    async def main() -> None:
        with pytest.raises(StoreNotMigrated) as caught:
            await PostgresStore(roles.url(roles.app, "&migrate=verify")).open()
        assert "lash migrate" in caught.value.message
        assert "0001_processes.sql" in caught.value.message

    asyncio.run(main())


def test_behind_a_pooler_the_search_path_of_the_role_is_enough(roles: Roles) -> None:
    execute(roles.named(SQL.findall(PAGE.read_text(encoding="utf-8"))[2]))
    assert run_something(roles.url(roles.app, "&migrate=verify&pooler=transaction")) == []


def test_the_tables_on_the_page_name_every_check_and_option() -> None:
    page = PAGE.read_text(encoding="utf-8")
    about: dict[str, object] = {
        "store": "postgres", "server_version": "15.1", "fsync": "on", "isolation": "read committed", "round_trip_ms": 0,
        "clock_ahead_ms": 0, "connections": {}, "notices": "heard", "missing_indexes": {}, "dead_rows": {},
        "leases_stuck": 0, "oldest_transaction": {},
    }  # fmt: skip
    names = [check.name for check in store_checks(about)][1:]
    assert len(names) == 10
    assert names == re.findall(r"^\| ([a-z ]+) \|", page[page.index("### `lash doctor`") :], re.MULTILINE)[1:]
