"""The commands on a PostgreSQL URL: the same answers as on a file, no schema made by looking, no password told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from lash.cli import exits
from lash.cli.doctor_postgres import postgres_checks
from lash.stores.postgres import PostgresStore
from lash.stores.postgres.place import place_of
from lash.stores.sql.script import script
from tests.postgres import cluster, fresh_url
from tests.unit.cli.bots import BOT
from tests.unit.cli.kit import Cli
from tests.unit.cli.test_database import LOOKING


@pytest.fixture
def pg(cli: Cli) -> Cli:
    """The same on a schema of its own; a password in the URL, which the server does not ask for."""
    cli.url = fresh_url().replace("//lash@", "//lash:sesame@")
    return cli


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        place = place_of(url)
        connection = await asyncpg.connect(place.dsn, server_settings={"search_path": place.schema})
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def schema_exists(url: str) -> bool:
    try:
        execute(url, f"SELECT '{place_of(url).schema}'::regnamespace")
    except asyncpg.InvalidSchemaNameError:
        return False
    return True


# The commands ------------------------------------------------------------------------------------------------------


def test_a_process_is_started_run_signalled_and_looked_at(pg: Cli) -> None:
    assert pg.start("approve", "[]", "--id=a").code == exits.OK
    pg.serve_until_state("a", "waiting")
    assert pg("signal", "a", "approval", '"yes"').code == exits.OK
    pg.serve_until_state("a", "completed")
    assert [row["id"] for row in pg("ls", "--json").document["processes"]] == ["a"]
    for words in ("show a", "events a", "explain a", "ls", "doctor", "migrate"):
        found = pg(*words.split())
        assert found.code == exits.OK, words
        assert "sesame" not in found.out + found.err


@pytest.mark.parametrize("words", LOOKING)
def test_looking_makes_no_schema(pg: Cli, words: str) -> None:
    failed = pg(*words.split(), "--json")
    assert (failed.code, failed.error["code"]) == (exits.INFRASTRUCTURE, "no_database")
    assert "lash migrate" in failed.error["message"]
    assert "sesame" not in failed.out
    assert not schema_exists(pg.url)


def test_a_url_that_says_verify_itself_is_answered_in_its_own_words(pg: Cli) -> None:
    failed = pg("migrate", "--json", url=pg.url + "&migrate=verify")
    assert (failed.code, failed.error["code"]) == (exits.INFRASTRUCTURE, "store_not_migrated")
    assert "0001_processes.sql" in failed.error["message"]


WRONG = [
    ("postgresql://lash:sesame@127.0.0.1:1/db", exits.INFRASTRUCTURE, "store_unavailable", "Is the server running"),
    ("postgresql://lash:ses/ame@h/db", exits.USAGE, "bad_url", "%2F"),
    ("postgresql://lash:sesame@[::1/db", exits.USAGE, "bad_url", "no PostgreSQL URL"),
    ("postgresq://lash:sesame@h/db", exits.USAGE, "bad_url", "no known kind of store"),
    ("postgresql:lash:sesame@h", exits.USAGE, "bad_url", "no database URL"),
    ("{url}&nonsense=1", exits.INFRASTRUCTURE, "store_unavailable", "Check the options in the URL"),
    ("{url}&sslmode=maybe", exits.USAGE, "bad_url", "sslmode"),
    ("{url}&pooler=transaction", exits.USAGE, "bad_url", "ALTER ROLE"),
]


@pytest.mark.parametrize(("url", "code", "name", "words"), WRONG)
def test_a_wrong_url_is_told_without_its_password(pg: Cli, url: str, code: int, name: str, words: str) -> None:
    failed = pg("ls", "--json", url=url.format(url=pg.url))
    assert (failed.code, failed.error["code"]) == (code, name)
    assert words in failed.error["message"]
    assert "sesame" not in failed.out + failed.err
    assert "ame@" not in failed.out


def test_a_database_that_is_not_there_is_told_by_name(pg: Cli) -> None:
    failed = pg("ls", "--json", url=pg.url.replace("/postgres?", "/nowhere?"))
    assert (failed.code, failed.error["code"]) == (exits.INFRASTRUCTURE, "not_a_database")
    assert "CREATE DATABASE" in failed.error["message"]


# migrate -----------------------------------------------------------------------------------------------------------


def test_the_printed_sql_makes_what_opening_would(pg: Cli) -> None:
    printed = pg("migrate", "--sql", pg.url)
    assert printed.code == exits.OK
    execute(pg.url, printed.out)
    found = pg("migrate", "--json", url=pg.url + "&migrate=verify")
    assert found.document["migrations"] == ["0001_processes.sql", "0002_sessions.sql"]
    assert {check.verdict for check in postgres_checks(diagnose(pg.url)) if check.name == "indexes"} == {"ok"}


def test_the_printed_sql_is_all_or_nothing(pg: Cli) -> None:
    pg("migrate")
    pg.start("twice", "[1]", "--id=kept")
    with pytest.raises(asyncpg.DuplicateTableError):
        execute(pg.url, script("postgres", place_of(pg.url).schema))
    assert pg("show", "kept").code == exits.OK


@pytest.mark.parametrize(
    ("arguments", "dialect"),
    [
        (["--dialect=postgres"], "postgres"),
        (["--dialect=sqlite"], "sqlite"),
        ([], "sqlite"),
        (["postgresql://h/d?schema=jobs"], "postgres"),
        (["--url=postgresql://h/d?schema=jobs"], "postgres"),
        (["sqlite:///x.db"], "sqlite"),
    ],
)
def test_the_sql_is_of_the_kind_that_was_named(cli: Cli, arguments: list[str], dialect: str) -> None:
    printed = cli("migrate", "--sql", "--json", *arguments, url=None).document
    assert printed["dialect"] == dialect
    assert ("bigint" in printed["script"]) == (dialect == "postgres")
    assert ("CREATE SCHEMA jobs" in printed["script"]) == ("jobs" in "".join(arguments))


@pytest.mark.parametrize("arguments", [["--dialect=oracle"], ["--dialect=sqlite", "postgresql://h/d"], ["memory://"]])
def test_a_kind_that_does_not_fit_is_refused(cli: Cli, arguments: list[str]) -> None:
    assert cli("migrate", "--sql", *arguments, url=None).code == exits.USAGE


def test_the_printed_sqlite_script_makes_a_database_too(cli: Cli) -> None:
    import sqlite3

    with sqlite3.connect(cli.folder / "made.db") as connection:
        connection.executescript(cli("migrate", "--sql", "--dialect=sqlite", url=None).out)
    connection.close()
    assert cli("ls", "--json", url="sqlite:///made.db").code == exits.OK


# promote -----------------------------------------------------------------------------------------------------------


def test_promote_moves_and_says_so_and_says_so_again(pg: Cli) -> None:
    source = f"sqlite:///{pg.folder}/jobs.db"
    target = pg.url
    pg.url = source
    pg.start("twice", "[1]", "--id=moved")
    first = pg("promote", source, target)
    assert first.code == exits.OK
    assert "1 process, 0 sessions, 0 events" in first.out
    assert "sesame" not in first.out
    assert pg("promote", source, target, "--json").document["already"] is True
    old = pg("ls", "--json")
    assert (old.code, old.error["code"]) == (exits.INFRASTRUCTURE, "store_moved")
    pg.url = target
    pg.serve_until_state("moved", "completed")


@pytest.mark.parametrize(
    ("source", "target", "code", "name"),
    [
        ("sqlite:///missing.db", "{url}", exits.INFRASTRUCTURE, "not_a_database"),
        ("{url}", "{url}", exits.USAGE, "bad_url"),
        ("sqlite:///jobs.db", "sqlite:///other.db", exits.USAGE, "bad_url"),
        ("sqlite:///jobs.db", "nonsense", exits.USAGE, "bad_url"),
    ],
)
def test_a_move_that_cannot_be_is_refused(pg: Cli, source: str, target: str, code: int, name: str) -> None:
    pg("migrate", url="sqlite:///jobs.db")
    failed = pg("promote", source.format(url=pg.url), target.format(url=pg.url), "--json")
    assert (failed.code, failed.error["code"]) == (code, name)
    assert "sesame" not in failed.out
    assert not Path("missing.db").exists()
    assert not schema_exists(pg.url)


# doctor ------------------------------------------------------------------------------------------------------------


def diagnose(url: str) -> dict[str, object]:
    async def run() -> dict[str, object]:
        store = PostgresStore(url)
        await store.open()
        try:
            return await store.diagnose()
        finally:
            await store.close()

    return asyncio.run(run())


def verdicts(about: dict[str, object]) -> dict[str, str]:
    return {check.name: check.verdict for check in postgres_checks(about)}


def test_a_fresh_server_is_well_but_for_its_durability(pg: Cli) -> None:
    """Servers of tests keep no promise about power failures and are not vacuumed; one that was named may be."""
    about = diagnose(pg.url) | {"fsync": "on", "autovacuum": "on"}
    assert verdicts(about) == dict.fromkeys(
        "server durability isolation clock connections notices indexes leases transactions".split(), "ok"
    ) | {"dead rows": "ok"}
    assert abs(about["clock_ahead_ms"]) < 1_000  # type: ignore[arg-type]
    assert about["notices"] == "heard"


def test_a_lost_index_fails_and_the_advice_mends_it(pg: Cli) -> None:
    pg("migrate")
    execute(pg.url, "DROP INDEX lash_process_ready")
    examined = pg("doctor", "--json")
    assert examined.code == exits.FAILED
    (words,) = [check["words"] for check in examined.document["checks"] if check["name"] == "indexes"]
    execute(pg.url, words[words.index("DROP INDEX") :])
    assert verdicts(diagnose(pg.url))["indexes"] == "ok"


def test_an_old_lease_is_seen(pg: Cli) -> None:
    pg.start("approve", "[]", "--id=a")
    execute(pg.url, "UPDATE lash_process SET owner = 'w-gone', state = 3, token = 1, wake_ms = 1")
    assert verdicts(diagnose(pg.url))["leases"] == "warn"


def test_a_role_that_forgets_commits_is_seen(pg: Cli) -> None:
    pg("migrate")
    about = diagnose(pg.url + "&synchronous_commit=off")
    assert about["synchronous_commit"] == "off"
    assert verdicts(about | {"fsync": "on"})["durability"] == "warn"


def test_an_open_transaction_is_named(pg: Cli) -> None:
    async def run() -> dict[str, object]:
        store = PostgresStore(pg.url)
        await store.open()
        connection = await asyncpg.connect(cluster().url, server_settings={"application_name": "a shell"})
        try:
            await connection.execute("BEGIN")
            await connection.execute("SELECT 1")
            about = await store.diagnose()
            assert about["oldest_transaction"]["pid"]  # type: ignore[index]
            return about
        finally:
            await connection.close()
            await store.close()

    oldest = asyncio.run(run())["oldest_transaction"]
    assert isinstance(oldest, dict)
    assert set(oldest) == {"seconds", "pid", "application", "state"}


JUDGED = [
    ({"server_version": "13.4"}, "server", "fail", "too old"),
    ({"server_version": "14.0"}, "server", "ok", "PostgreSQL 14.0"),
    ({"server_version": "18beta1"}, "server", "ok", "newer than those"),
    ({"server_version": "16.1", "standby": True}, "server", "fail", "primary"),
    ({"server_version": "16.1", "encoding": "LATIN1"}, "server", "fail", "UTF8"),
    ({"fsync": "off"}, "durability", "warn", "power failure"),
    ({"fsync": "on", "synchronous_commit": "off"}, "durability", "warn", "last commits"),
    ({"fsync": "on", "autovacuum": "off"}, "durability", "warn", "autovacuum"),
    ({"isolation": "serializable"}, "isolation", "warn", "ALTER ROLE"),
    ({"clock_ahead_ms": 5_000, "round_trip_ms": 0.3}, "clock", "warn", "5.0s ahead of"),
    ({"clock_ahead_ms": -5_000, "round_trip_ms": 0.3}, "clock", "warn", "5.0s behind"),
    ({"clock_ahead_ms": 1_400, "round_trip_ms": 800.0}, "clock", "ok", "800.0 ms"),
    ({"connections": {"lash": 30, "all": 80, "max": 100}}, "connections", "warn", "80 of 100"),
    ({"connections": {"lash": 30, "all": 79, "max": 100}}, "connections", "ok", "30 of them by lash"),
    ({"notices": "lost"}, "notices", "warn", "pooler=transaction"),
    ({"notices": "away"}, "notices", "warn", "cannot be had"),
    ({"notices": "off"}, "notices", "ok", "off behind a transaction pooler"),
    ({"dead_rows": {"lash_process": 12_000}, "schema": "s"}, "dead rows", "warn", "VACUUM (ANALYZE) s.lash_process"),
    ({"leases_stuck": 1}, "leases", "warn", "1 lease ran out"),
    ({"oldest_transaction": {"seconds": 600, "pid": 7}}, "transactions", "warn", "pg_terminate_backend(7)"),
    ({"oldest_transaction": {"seconds": 200, "pid": 7}}, "transactions", "ok", "none is old"),
]


@pytest.mark.parametrize(("about", "name", "verdict", "words"), JUDGED)
def test_each_fact_has_its_verdict(about: dict[str, object], name: str, verdict: str, words: str) -> None:
    (check,) = postgres_checks(about)
    assert (check.name, check.verdict) == (name, verdict)
    assert words in check.words


# Sessions ----------------------------------------------------------------------------------------------------------


def test_a_session_is_talked_to_listed_and_shown(pg: Cli) -> None:
    pg.write("bots.py", BOT)
    asked = pg("chat", "bots.py", "--session=s", "--print", "order")
    assert (asked.code, asked.out) == (exits.OK, "It was **shipped**.\n")
    (pg.folder / "bots.py").unlink()
    assert [row["id"] for row in pg("sessions", "--json").document["sessions"]] == ["s"]
    shown = pg("show", "s")
    assert "> order" in shown.out
    assert pg("explain", "s").code == exits.OK
    for said in (asked, shown, pg("doctor")):
        assert "sesame" not in said.out + said.err
