"""Commands and the database they are pointed at: none, a wrong one, an older, a newer, one that is unwell."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from lash.cli import exits
from tests.unit.cli.kit import Cli

# The database ------------------------------------------------------------------------------------------------------

LOOKING = [
    "ls",
    "sessions",
    "show x",
    "events x",
    "explain x",
    "signal x y",
    "cancel x",
    "retry x",
    "prune --older-than=1d",
    "doctor",
]


@pytest.mark.parametrize("words", LOOKING)
def test_a_command_without_a_database_says_how_to_name_one(cli: Cli, words: str) -> None:
    failed = cli(*words.split(), "--json", url=None)
    assert (failed.code, failed.error["code"]) == (exits.USAGE, "no_url")
    assert "--url" in failed.error["message"]


@pytest.mark.parametrize("words", LOOKING)
def test_looking_never_makes_a_database(cli: Cli, words: str) -> None:
    failed = cli(*words.split(), "--json", url="sqlite:///typo.db")
    assert (failed.code, failed.error["code"]) == (exits.INFRASTRUCTURE, "no_database")
    assert not (cli.folder / "typo.db").exists()


BAD_URLS = [
    ("nonsense", exits.USAGE, "bad_url"),
    ("mysql://host/db", exits.USAGE, "bad_url"),
    ("postgresql://host:port/db", exits.USAGE, "bad_url"),
    ("postgresql://host/db?schema=Upper", exits.USAGE, "bad_url"),
    ("memory://", exits.USAGE, "no_url"),
    ("sqlite:///text.db", exits.INFRASTRUCTURE, "not_a_database"),
    ("sqlite:////no/such/folder/jobs.db", exits.INFRASTRUCTURE, "no_database"),
]


@pytest.mark.parametrize(("url", "code", "name"), BAD_URLS)
def test_a_bad_database_is_told_apart(cli: Cli, url: str, code: int, name: str) -> None:
    cli.write("text.db", "this is no database, and it is longer than the header of one would be\n" * 20)
    failed = cli("ls", "--json", url=url)
    assert (failed.code, failed.error["code"]) == (code, name)


def test_a_database_of_a_newer_version_is_refused(cli: Cli) -> None:
    cli("migrate")
    with sqlite3.connect(cli.folder / "jobs.db") as connection:
        connection.execute("INSERT INTO lash_migration VALUES (9999, 'future', 'x', 0)")
    connection.close()
    failed = cli("ls", "--json")
    assert (failed.code, failed.error["code"]) == (exits.INFRASTRUCTURE, "store_too_new")


def test_migrate_makes_a_database_and_prints_its_sql_without_one(cli: Cli) -> None:
    printed = cli("migrate", "--sql", "--json", url=None).document["migrations"]
    assert "CREATE TABLE" in printed[0]["sql"]
    assert printed[0]["sql"] in cli("migrate", "--sql", url=None).out
    made = cli("migrate", "--json").document
    assert made["migrations"] == [item["name"] for item in printed]
    assert cli("migrate", "--json").document == made
    assert Path(made["path"]).exists()


# doctor ------------------------------------------------------------------------------------------------------------


def test_a_healthy_database_passes(cli: Cli) -> None:
    cli("migrate")
    examined = cli("doctor", "--json")
    assert examined.code == exits.OK
    assert set(examined.document) == {"ok", "checks", "store", "workers"}
    assert {check["verdict"] for check in examined.document["checks"]} == {"ok"}
    assert "SQLite finds no damage" in cli("doctor").out


def test_work_that_nobody_serves_is_a_warning(cli: Cli) -> None:
    cli.start("twice", "[1]")
    examined = cli("doctor", "--json")
    verdicts = {check["name"]: check["verdict"] for check in examined.document["checks"]}
    assert (examined.code, verdicts["workers"]) == (exits.OK, "warn")


def test_a_blocked_process_fails_the_doctor(cli: Cli) -> None:
    make_diverged(cli)
    examined = cli("doctor", "--json")
    verdicts = {check["name"]: check["verdict"] for check in examined.document["checks"]}
    assert (examined.code, verdicts["blocked"]) == (exits.FAILED, "fail")


def make_diverged(cli: Cli) -> None:
    """A process whose code has changed under its journal."""
    source = """
        import lash

        app = lash.Runtime("sqlite:///jobs.db", linger="10ms")

        def {step}() -> int:
            return 1

        @app.process
        async def changing(ctx: lash.Context) -> int:
            first = await ctx.step({step})
            await ctx.signal("go")
            return first
    """
    cli.write("jobs.py", source.format(step="old_name"))
    cli.start("changing", "[]", "--id=c")
    cli.serve_until_state("c", "waiting")
    cli.write("jobs.py", source.format(step="new_name"))
    sys.modules.pop("jobs", None)
    cli("signal", "c", "go")
    cli.serve_until_state("c", "blocked")


def test_a_divergence_is_explained_with_both_sides_and_what_to_do(cli: Cli) -> None:
    make_diverged(cli)
    explained = cli("explain", "c", "--json").document
    assert explained["state"] == "blocked"
    assert "diverged" in explained["headline"]
    details = " ".join(explained["details"])
    assert "old_name" in details
    assert "new_name" in details
    assert any("Put back the code" in line for line in explained["advice"])
