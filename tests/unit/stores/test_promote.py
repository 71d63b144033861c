"""A database moves whole or not at all, wherever the move is cut off, and what waited in it goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from lash.abc.sessions import Delete
from lash.abc.store import Enlist, Start
from lash.core.effect import EntryKind
from lash.core.process import Lane, ProcessRow
from lash.errors import (
    BadUrl,
    LashError,
    NotADatabase,
    StoreInUse,
    StoreMoved,
    StoreNotEmpty,
    StoreTooNew,
    StoreUnavailable,
)
from lash.stores.postgres import PostgresStore
from lash.stores.postgres.place import place_of
from lash.stores.promote import Promotion, promote
from lash.stores.sqlite import SqliteStore, moving
from lash.testing.checkers import check_store
from tests.postgres import cluster, fresh_url
from tests.unit.stores import chatting, promoting
from tests.unit.stores.promoting import OUTCOMES, Eater, job, picture_of, settle
from tests.unit.stores.stage import on_open

PHASES = ("checked", "shut", "lash_process", "lash_journal", "lash_node", "lash_blob", "copied", "committed")
ROOT = Path(__file__).resolve().parents[3]
Furnished = tuple[Path, dict[str, object]]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    """A database with everything in it, and what can be read of it."""
    path = tmp_path_factory.mktemp("furnished") / "all.db"
    asyncio.run(promoting.furnish(path))
    asyncio.run(on_open(SqliteStore(str(path)), chatting.furnish))
    return path, asyncio.run(picture_of(SqliteStore(str(path))))


@pytest.fixture
def source(furnished: Furnished, tmp_path: Path) -> Furnished:
    """A copy of it."""
    path = tmp_path / "jobs.db"
    shutil.copyfile(furnished[0], path)
    return path, furnished[1]


def move(path: Path, url: str, phase: Callable[[str], None] | None = None) -> Promotion:
    return asyncio.run(promote(str(path), url, **({"phase": phase} if phase else {})))


def there(url: str) -> dict[str, object]:
    return asyncio.run(picture_of(PostgresStore(url)))


def schema_exists(url: str) -> bool:
    async def look() -> bool:
        connection = await asyncpg.connect(place_of(url).dsn)
        try:
            return bool(await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", place_of(url).schema))
        finally:
            await connection.close()

    return asyncio.run(look())


def with_source(path: Path, work: Callable[[SqliteStore], Coroutine[Any, Any, object]]) -> None:
    asyncio.run(on_open(SqliteStore(str(path)), work))


# The whole move ----------------------------------------------------------------------------------------------------


def test_everything_that_can_be_read_is_the_same_afterwards(source: Furnished) -> None:
    path, before = source
    url = fresh_url()
    done = move(path, url)
    assert not done.already
    assert done.target == place_of(url).name
    after = there(url)
    for name, expected in before.items():
        assert after[name] == expected, name
    assert done.moved["processes"] == len(before["rows"])  # type: ignore[arg-type]
    histories = cast("dict[str, list[object]]", before["histories"])
    assert done.moved["journal entries"] == sum(map(len, histories.values())) + 1, (
        "and what the session at work has taken"
    )
    assert done.moved["blobs"] == len(promoting.BLOBS)
    assert done.moved["tombstones"] == 2
    assert (done.moved["sessions"], done.moved["nodes"]) == (4, 9)


def test_blobs_live_there_by_what_they_lived_by_here(source: Furnished) -> None:
    """And what was put into the target before the move counts as put when it was put last."""
    path, _ = source
    url = fresh_url()

    async def early() -> None:
        store = PostgresStore(url, clock=lambda: later_ms)
        await store.open()
        await store.blobs.put(promoting.BLOBS[0])
        await store.close()

    async def later(before_ms: int) -> list[bool]:
        store = PostgresStore(url)
        await store.open()
        await store.blobs.prune(before_ms, 99)
        found = [await store.blobs.get("sha256:" + name) is not None for name in promoting.blob_names()]
        await store.close()
        return found

    later_ms = round(time.time() * 1_000) + 60_000
    asyncio.run(early())
    move(path, url)
    assert asyncio.run(later(later_ms)) == [True, False, False, True]
    assert asyncio.run(later(10**15)) == [False, False, False, True]


def test_it_is_read_in_pages(source: Furnished, monkeypatch: pytest.MonkeyPatch) -> None:
    path, before = source
    monkeypatch.setattr(moving, "PAGE_ROWS_MAX", 3)
    monkeypatch.setattr(moving, "PAGE_BYTES_MAX", 200)
    url = fresh_url()
    move(path, url)
    assert there(url) == before


def test_the_database_has_one_of_everything(furnished: Furnished) -> None:
    """Else the comparison would say little."""
    connection = sqlite3.connect(furnished[0])
    tables = "process spec tag event journal tombstone lane blob loose session node item turn piece ref".split()
    assert all(connection.execute(f"SELECT count(*) FROM lash_{table}").fetchone()[0] for table in tables)
    for wanted in (
        "waiting_on = 'signal'", "waiting_on = 'sleep'", "waiting_on = 'process'", "waiting_on = 'retry'",
        "owner IS NOT NULL AND wake_ms < 2e12", "cancel_ms IS NOT NULL AND status = 0", "blocked_reason IS NOT NULL",
        "generation > 0 AND row IN (SELECT process FROM lash_journal)",
        "generation > 0 AND row NOT IN (SELECT process FROM lash_journal)",
        "row IN (SELECT process FROM lash_journal WHERE kind = 9 AND open_key IS NOT NULL)",
        "external = 1", "detached = 1", "priority = 7", "typeof(definition) = 'text'", "parent IS NOT NULL",
        *(f"status = {status}" for status in range(4)),
    ):  # fmt: skip
        found = connection.execute(f"SELECT count(*) FROM lash_process WHERE {wanted}").fetchone()[0]
        assert found, wanted
    assert connection.execute("SELECT min(value) FROM lash_floor").fetchone()[0] > 0
    connection.close()


def test_everything_that_waited_goes_on_and_ends(source: Furnished) -> None:
    url = fresh_url()
    move(source[0], url)
    found = asyncio.run(settle(url))
    assert found == OUTCOMES | {"fresh": 42}

    async def check() -> None:
        store = PostgresStore(url)
        await store.open()
        await check_store(store)
        first, *others = await store.page(_all())
        assert first.record.id == "fresh", "the newest row has the largest number"
        assert len(others) == len(source[1]["rows"])  # type: ignore[arg-type]
        await store.close()

    asyncio.run(check())


def test_sessions_go_on_where_they_were(source: Furnished) -> None:
    """Who waits for a turn is told, a key is known, and a fork has its own path after what it shares."""
    url = fresh_url()
    move(source[0], url)

    async def work(store: PostgresStore) -> None:
        (row,) = await store.get(["waiter"])
        assert isinstance(row, ProcessRow)
        again = await chatting.post(store, "chat", "said before", "k-1")
        assert (again.new, again.item.number) == (False, 4)
        fence = (await chatting.claimed(store))["session:chat"]
        assert await chatting.take(store, fence) == b'[[4,"input","said before"]]'
        assert await chatting.commit(store, fence, 4, 6, [chatting.say("three")]) == 7
        reply = (await store.history(row.row, 0))[-1]
        assert (reply.kind, reply.payload) == (EntryKind.REPLY, chatting.RECEIPT)
        assert await chatting.turn(store, "fork of fork", 5, chatting.say("last")) == 6
        await store.write([Delete("session:fork"), Delete("session:chat")])
        (session,) = await store.sessions(["session:fork of fork"])
        nodes = await store.nodes(session.process.row, 0, 6, 99)  # type: ignore[union-attr]
        assert [node.session_id for node in nodes] == ["chat"] * 4 + ["fork", "fork of fork"]
        new = await chatting.open_session(store, "new")
        assert new > row.row, "numbers of rows go on too"

    asyncio.run(on_open(PostgresStore(url), work))


def test_the_old_database_is_shut_and_says_where_to_go(source: Furnished) -> None:
    path, _ = source
    url = fresh_url()
    move(path, url)
    with pytest.raises(StoreMoved) as caught:
        asyncio.run(picture_of(SqliteStore(str(path))))
    assert place_of(url).name in caught.value.message
    assert "was moved to" in caught.value.message


def test_no_password_is_written_into_the_old_database(source: Furnished) -> None:
    path, _ = source
    url = fresh_url().replace("lash@", "lash:sesame@")
    move(path, url)
    assert b"sesame" not in path.read_bytes()


def test_who_has_it_open_can_write_nothing_any_more(source: Furnished) -> None:
    path, _ = source
    url = fresh_url()

    async def work(store: SqliteStore) -> None:
        await promote(str(path), url)
        for write in (lambda: store.write([Start(job("too-late"))]), lambda: store.blobs.put(b"too late")):
            with pytest.raises(StoreUnavailable) as caught:
                await write()
            assert place_of(url).name in caught.value.message

    with_source(path, work)


def test_no_table_can_be_changed_any_more(source: Furnished) -> None:
    """Whoever has it open may know a way to write that no test here does."""
    path, _ = source
    move(path, fresh_url())
    connection = sqlite3.connect(path)
    kept = {"lash_migration", "lash_floor"}  # the mark is there, and numbers given out to nobody hurt nobody
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    refused = connection.execute(
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE(ABORT%' GROUP BY tbl_name "
        "HAVING count(*) = 3"
    )
    assert {name for (name,) in refused} == {name for name in tables if name.startswith("lash_")} - kept
    connection.close()


def test_a_target_that_workers_wait_on_is_filled_under_their_eyes(source: Furnished) -> None:
    path, before = source
    url = fresh_url()

    async def run() -> None:
        store = PostgresStore(url)
        await store.open()
        lanes = [Lane("default", "python", name, "") for name in ("job", "approve")]
        await store.write([Enlist("early", lanes, b"{}", 60_000)])
        heard = asyncio.Event()
        store.listen(heard.set)
        assert await store.next_due_ms(lanes) is None
        await promote(str(path), url)
        await asyncio.wait_for(heard.wait(), 20)
        assert await store.next_due_ms(lanes) is not None
        assert [row.record.id for row in await store.page(_all())] == [r.record.id for r in before["rows"]]  # type: ignore[attr-defined]
        await store.close()

    asyncio.run(run())


def _all() -> Any:
    from lash.abc.store import ProcessFilter

    return ProcessFilter(limit=1_000)


# Cut off -----------------------------------------------------------------------------------------------------------

CRASHING = """
import asyncio, os, sys
from lash.stores.promote import promote

def phase(name):
    if name == sys.argv[3]:
        os._exit(9)

asyncio.run(promote(sys.argv[1], sys.argv[2], phase=phase))
"""


def killed_at(path: Path, url: str, phase: str) -> None:
    command = [sys.executable, "-c", CRASHING, str(path), url, phase]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run(command, env=environment, timeout=60).returncode == 9


@pytest.mark.parametrize("phase", PHASES)
def test_a_move_that_was_killed_is_finished_by_repeating_it(source: Furnished, phase: str) -> None:
    path, before = source
    url = fresh_url()
    killed_at(path, url, phase)
    if phase == "checked":
        assert asyncio.run(picture_of(SqliteStore(str(path)))) == before
    else:
        with pytest.raises(StoreMoved) as caught:
            asyncio.run(picture_of(SqliteStore(str(path))))
        assert "repeat `lash promote`" in caught.value.message
        with pytest.raises(StoreMoved):
            move(path, fresh_url())
    done = move(path, url)
    assert done.already == (phase == "committed")
    assert there(url) == before
    again = move(path, url)
    assert again.already
    assert there(url) == before


def test_work_that_came_to_the_target_in_between_ends_the_move(source: Furnished) -> None:
    path, before = source
    url = fresh_url()
    killed_at(path, url, "copied")
    fill(url)
    with pytest.raises(StoreNotEmpty):
        move(path, url)
    assert asyncio.run(picture_of(SqliteStore(str(path)))) == before
    assert len(there(url)["rows"]) == 1  # type: ignore[arg-type]


def test_the_statement_on_the_page_opens_the_old_database_by_hand(source: Furnished) -> None:
    path, before = source
    url = fresh_url()
    killed_at(path, url, "copied")
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    statement = page[page.index('"DELETE FROM lash_migration') + 1 :].split('"')[0]
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert asyncio.run(picture_of(SqliteStore(str(path)))) == before
    with_source(path, lambda store: store.write([Start(job("goes-on"))]))
    assert not move(path, fresh_url()).already


@pytest.mark.parametrize("phase", PHASES[1:7])
def test_a_move_that_fails_opens_the_old_database_again(source: Furnished, phase: str) -> None:
    path, before = source
    url = fresh_url()

    def fail(name: str) -> None:
        if name == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(path, url, fail)
    assert asyncio.run(picture_of(SqliteStore(str(path)))) == before
    with_source(path, lambda store: store.write([Start(job("goes-on"))]))
    assert not move(path, url).already
    assert "goes-on" in there(url)["events"]  # type: ignore[operator]


@pytest.mark.parametrize("phase", ["lash_process", "copied"])
def test_a_server_that_goes_away_leaves_the_old_database_in_use(source: Furnished, phase: str) -> None:
    """At ``copied`` the next thing sent is the commit: whether it took place is looked up."""
    path, before = source
    url = fresh_url()

    def cut(name: str) -> None:
        if name == phase:
            thread = threading.Thread(target=lambda: asyncio.run(end_backend(url)))
            thread.start()
            thread.join()

    with pytest.raises(StoreUnavailable):
        move(path, url, cut)
    assert asyncio.run(picture_of(SqliteStore(str(path)))) == before
    move(path, url)
    assert there(url) == before


def test_a_commit_whose_answer_was_lost_is_found_done(source: Furnished) -> None:
    path, before = source
    url = fresh_url()
    with Eater(url) as eater:

        def eat(name: str) -> None:
            if name == "copied":
                eater.hungry = True

        done = move(path, eater.url, eat)
        assert not eater.hungry
        assert done.moved["processes"] == len(before["rows"])  # type: ignore[arg-type]
        assert there(url) == before
        assert move(path, eater.url).already
    with pytest.raises(StoreMoved):
        asyncio.run(picture_of(SqliteStore(str(path))))


async def end_backend(url: str) -> None:
    connection = await asyncpg.connect(place_of(url).dsn)
    try:
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lash promote'"
        await connection.execute(sql)
    finally:
        await connection.close()


# Refused -----------------------------------------------------------------------------------------------------------


def refused(path: Path, url: str, error: type[LashError], *words: str) -> None:
    """With the reason, and without a trace on either side."""
    before = path.read_bytes() if path.exists() else b""
    with pytest.raises(error) as caught:
        move(path, url)
    for word in words:
        assert word in caught.value.message
    assert (path.read_bytes() if path.exists() else b"") == before


def test_live_leases_are_not_moved(source: Furnished) -> None:
    path, _ = source
    url = fresh_url()
    with_source(path, lambda store: store.write([Start(job("held"), "w-live", 60_000)]))
    refused(path, url, StoreInUse, "held (w-live)", "Nothing was written")
    assert not schema_exists(url)


def test_live_workers_are_not_left_behind(source: Furnished) -> None:
    path, _ = source
    url = fresh_url()
    with_source(path, lambda store: store.write([Enlist("w-live", [], b"{}", 60_000)]))
    refused(path, url, StoreInUse, "w-live is at work", "Stop every worker")
    assert not schema_exists(url)


def fill(url: str) -> None:
    async def run() -> None:
        store = PostgresStore(url)
        await store.open()
        await store.write([Start(job("theirs"))])
        await store.close()

    asyncio.run(run())


def test_a_target_that_holds_work_is_not_mixed_with(source: Furnished) -> None:
    path, _ = source
    url = fresh_url()
    fill(url)
    refused(path, url, StoreNotEmpty, "holds processes already")
    assert there(url)["counts"]["running"] == 1  # type: ignore[index]


def test_a_second_database_is_not_moved_on_top_of_an_empty_first(tmp_path: Path) -> None:
    url = fresh_url()
    for name in ("one.db", "two.db"):
        with_source(tmp_path / name, lambda store: store.counts())
    move(tmp_path / "one.db", url)
    refused(tmp_path / "two.db", url, StoreNotEmpty, "holds processes already")


def test_what_was_moved_is_not_moved_elsewhere(source: Furnished) -> None:
    path, _ = source
    url = fresh_url()
    move(path, url)
    refused(path, fresh_url(), StoreMoved, place_of(url).name)


def test_what_is_no_lash_database_is_left_alone(tmp_path: Path) -> None:
    url = fresh_url()
    refused(tmp_path / "missing.db", url, NotADatabase, "There is no file")
    (tmp_path / "text.db").write_text("hello\n" * 1_000)
    refused(tmp_path / "text.db", url, NotADatabase, "not an SQLite database")
    with sqlite3.connect(tmp_path / "foreign.db") as foreign:
        foreign.execute("CREATE TABLE t (a)")
    foreign.close()
    refused(tmp_path / "foreign.db", url, NotADatabase, "holds nothing of lash")
    assert not schema_exists(url)


def test_a_newer_database_is_left_alone(source: Furnished) -> None:
    path, _ = source
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO lash_migration VALUES (99, '0099_future.sql', 'x', 0)")
    connection.commit()
    connection.close()
    refused(path, fresh_url(), StoreTooNew, "0099_future.sql")


@pytest.mark.parametrize("url", ["sqlite:///other.db", "memory://", "mysql://h/d", "nonsense"])
def test_only_postgresql_is_a_target(source: Furnished, url: str) -> None:
    refused(source[0], url, BadUrl, "Only PostgreSQL")


def test_a_pooler_is_no_target(source: Furnished) -> None:
    refused(source[0], cluster().url + "&pooler=transaction", BadUrl, "without its pooler")


def test_a_target_that_is_away_changes_nothing(source: Furnished, tmp_path: Path) -> None:
    refused(source[0], f"postgresql://lash@/postgres?host={tmp_path}", StoreUnavailable, "Is the server running")


def test_two_moves_at_once_do_not_meet(source: Furnished) -> None:
    path, before = source
    url = fresh_url()

    def second(name: str) -> None:
        if name == "lash_process":
            failures: list[BaseException] = []

            def work() -> None:
                try:
                    asyncio.run(promote(str(path), url))
                except StoreInUse as error:
                    failures.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert len(failures) == 1

    move(path, url, second)
    assert there(url) == before
