"""Sessions in a SQLite file: upgraded with everything in it, reopened at once however long, no larger than what was
said."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lash.abc.sessions import Delete, Open, Post, Stream
from lash.abc.store import Cancel, Count, ProcessFilter, Prune, Put, Recorded, Renew, Started
from lash.core.effect import Entry, EntryKind
from lash.core.session import NewItem, NewNode, SessionRow
from lash.errors import StoreUnavailable
from lash.stores.sql.migrations import migrations
from lash.stores.sqlite import SqliteStore
from lash.stores.sqlite.connection import connect
from lash.stores.sqlite.migrate import migrate
from tests.unit.stores import chatting, promoting
from tests.unit.stores.chatting import begin, claimed, commit, open_session, post, say, turn
from tests.unit.stores.stage import leased, opened, put, step

SESSION_TABLES = ("session", "node", "item", "turn", "piece", "ref")
NODES = 10_000


def run(path: Path, work: Callable[[SqliteStore], Coroutine[Any, Any, object]]) -> None:
    async def main() -> None:
        async with opened(path) as store:
            await work(store)

    asyncio.run(main())


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# The upgrade -------------------------------------------------------------------------------------------------------


def schema_of(path: Path) -> set[tuple[Any, ...]]:
    return set(query(path, "SELECT type, name, tbl_name, sql FROM sqlite_master"))


def back_to_the_first(path: Path) -> None:
    """The same database as a lash without sessions leaves it: what such a one would make is compared."""
    connection = sqlite3.connect(path)
    for table in SESSION_TABLES:
        connection.execute(f"DROP TABLE lash_{table}")
    connection.execute("DELETE FROM lash_migration WHERE number > 1")
    connection.commit()
    connection.close()
    old = path.with_name("old.db")
    made = connect(str(old), "normal")
    migrate(made, migrations("sqlite")[:1], str(old), 0)
    made.close()
    assert schema_of(path) == schema_of(old)


def test_a_database_without_sessions_is_upgraded_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    asyncio.run(promoting.furnish(path))
    before = asyncio.run(promoting.picture_of(SqliteStore(str(path))))
    back_to_the_first(path)
    assert asyncio.run(promoting.picture_of(SqliteStore(str(path)))) == before
    known = migrations("sqlite")
    found = query(path, "SELECT number, name, sha256 FROM lash_migration ORDER BY number")
    assert found == [(item.number, item.name, hashlib.sha256(item.sql.encode()).hexdigest()) for item in known]
    assert [name for _, name, _ in found][:2] == ["0001_processes.sql", "0002_sessions.sql"]

    async def use(store: SqliteStore) -> None:
        await chatting.furnish(store)
        assert len(await store.page(ProcessFilter(sessions=True))) == 4

    run(path, use)


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    run(path, lambda store: leased(store, "p"))
    back_to_the_first(path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE lash_ref (mine TEXT)")  # the last table of the upgrade cannot be made
    connection.commit()
    connection.close()
    before = schema_of(path)
    with pytest.raises(StoreUnavailable):
        run(path, lambda store: leased(store, "q"))
    assert schema_of(path) == before
    assert query(path, "SELECT number FROM lash_migration") == [(1,)]


# Costs -------------------------------------------------------------------------------------------------------------


async def fill(store: SqliteStore, name: str, head: int, upto: int) -> None:
    """Turns of fifty nodes: every other one a state of one component."""
    body = b'"' + b"x" * 500 + b'"'
    while head < upto:
        nodes = [NewNode("state", "mood", body) if number % 2 else say("y" * 500) for number in range(50)]
        head = await turn(store, name, head, *nodes[: upto - head])


async def instructions(store: SqliteStore, work: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """SQLite's own, in hundreds, once its statements are prepared."""
    assert store._writer is not None
    assert store._reader is not None
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    await work()
    for connection in (store._writer.connection, store._reader):
        connection.set_progress_handler(tick, 100)
    await work()
    for connection in (store._writer.connection, store._reader):
        connection.set_progress_handler(None, 0)
    return count


@pytest.fixture(scope="module")
def long_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of ten thousand nodes, one of a thousand, and a fork of a fork of the long one, near its end."""
    path = tmp_path_factory.mktemp("long") / "a.db"

    async def work(store: SqliteStore) -> None:
        await open_session(store, "short")
        await fill(store, "short", 0, 1_000)
        await open_session(store, "long")
        await fill(store, "long", 0, NODES)
        await open_session(store, "fork", "long", NODES - 100)
        await fill(store, "fork", NODES - 100, NODES)
        await open_session(store, "fork of fork", "fork", NODES - 50)
        await fill(store, "fork of fork", NODES - 50, NODES)

    run(path, work)
    return path


async def reopen(store: SqliteStore, name: str) -> tuple[SessionRow, list[Any]]:
    """What going on with a session reads, but for its states."""
    (session,) = await store.sessions([f"session:{name}"])
    assert isinstance(session, SessionRow)
    row = session.process.row
    assert await store.items(row, ()) == []
    return session, await store.nodes(row, session.frame, session.head, 200)


def test_a_long_session_is_reopened_as_quickly_as_a_short_one(long_path: Path) -> None:
    """Measured in SQLite's own instructions: two hundred nodes are read, whatever is before them."""

    async def work(store: SqliteStore) -> None:
        costs = {name: await instructions(store, partial(reopen, store, name)) for name in ("short", "long")}
        assert costs["long"] <= costs["short"] + 1, costs
        fork = await instructions(store, lambda: reopen(store, "fork of fork"))
        assert fork <= 2 * costs["short"], (fork, costs)
        for name, writers in (("long", {"long"}), ("fork of fork", {"long", "fork", "fork of fork"})):
            session, nodes = await reopen(store, name)
            assert [node.number for node in nodes] == list(range(NODES - 199, NODES + 1))
            assert {node.session_id for node in nodes} == writers
            assert session.head == NODES

    run(long_path, work)


def test_states_cost_the_same_however_often_they_were_set(long_path: Path) -> None:
    """A component may say its state in every turn."""

    async def work(store: SqliteStore) -> None:
        (session,) = await store.sessions(["session:fork of fork"])
        assert isinstance(session, SessionRow)
        row = session.process.row
        found = await store.states(row, session.head)
        assert {name: (node.number, node.session_id) for name, node in found.items()} == {
            "mood": (NODES, "fork of fork")
        }
        before = await store.states(row, NODES - 150)
        assert (before["mood"].number, before["mood"].session_id) == (NODES - 150, "long")
        assert await store.states(row, 0) == {}

        costs: list[int] = []
        for name in ("short", "long"):
            (session,) = await store.sessions([f"session:{name}"])
            assert isinstance(session, SessionRow)
            costs.append(await instructions(store, partial(store.states, session.process.row, session.head)))
        assert costs[1] <= costs[0] + 1, costs

    run(long_path, work)


def test_states_are_found_under_any_name(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        row = await open_session(store, "s")
        names = ["b", "", "a", "b", "", "ä", "a b"]
        states = [NewNode("state", name, b"%d" % number) for number, name in enumerate(names, 1)]
        head = await turn(store, "s", 0, *states, NewNode("note", "c", b"9"), NewNode("frame", "d", b"9"))
        found = await store.states(row, head)
        assert {name: node.number for name, node in found.items()} == {"a": 3, "b": 4, "": 5, "ä": 6, "a b": 7}
        assert {name: node.number for name, node in (await store.states(row, 2)).items()} == {"b": 1, "": 2}

    run(tmp_path / "a.db", work)


def test_a_backlog_makes_an_item_no_dearer(tmp_path: Path) -> None:
    """Whoever sends to a session that is behind reads none of what others sent."""

    async def work(store: SqliteStore) -> None:
        await open_session(store, "s")
        number = 0

        async def send() -> None:
            nonlocal number
            number += 1
            await post(store, "s", "x" * 1_000, f"k-{number}")

        await send()
        first = await instructions(store, send)
        for _ in range(600):
            await send()
        assert await instructions(store, send) <= first + 3

    run(tmp_path / "a.db", work)


def test_a_turn_is_a_few_statements(tmp_path: Path) -> None:
    """What an item, its take, a step and the commit send, transaction brackets not counted."""

    async def work(store: SqliteStore) -> None:
        await open_session(store, "s")
        head = await turn(store, "s", 0, say("one"), say("two"))
        assert store._writer is not None
        sent: list[str] = []
        store._writer.connection.set_trace_callback(sent.append)
        counts: list[int] = []

        def count() -> None:
            counts.append(len([line for line in sent if not line.startswith(("BEGIN", "COMMIT", "PRAGMA"))]))
            sent.clear()

        fence, number = await begin(store, "s")
        count()
        await put(store, fence, step(1))
        count()
        await commit(store, fence, number, head, [say("three"), say("four")])
        count()
        store._writer.connection.set_trace_callback(None)
        assert counts[0] <= 12, "post and take"
        assert counts[1] <= 2, "a step"
        assert counts[2] <= 15, "commit"

    run(tmp_path / "a.db", work)


def test_four_hundred_turns_take_no_more_than_twice_what_was_said(tmp_path: Path) -> None:
    """A megabyte of text: items, journals and streamed pieces leave their pages to what comes after them."""
    path = tmp_path / "a.db"
    said = 1_310  # twice a turn: what was asked, and the answer

    async def work(store: SqliteStore) -> None:
        await open_session(store, "s")
        head = 0
        for number in range(400):
            item = NewItem("input", "next_turn", say("q" * said).body, f"message-{number}")
            (posted,) = await store.write([Post("session:s", item, "w1", 60_000)])
            fence = posted.claimed.lease.fence  # type: ignore[union-attr]
            await chatting.take(store, fence)
            for piece in range(5):
                await store.write([Stream(fence, piece, b'"' + b"a" * (said // 5) + b'"')])
            await put(store, fence, Entry(EntryKind.STEP, 1, "model", "ab" * 16, say("a" * said).body))
            head = await commit(store, fence, number + 1, head, [say("q" * said), say("a" * said)])

    run(path, work)
    assert os.path.getsize(path) <= 2 * 1024 * 1024
    assert query(path, "SELECT count(*), sum(length(body)) FROM lash_node")[0] == (800, 800 * (said + 2))
    for table in ("journal", "piece"):
        assert query(path, f"SELECT count(*) FROM lash_{table}") == [(0,)]
    assert query(path, "SELECT count(payload) FROM lash_item") == [(0,)]


# What is kept ------------------------------------------------------------------------------------------------------


def counts(path: Path) -> dict[str, int]:
    return {table: query(path, f"SELECT count(*) FROM lash_{table}")[0][0] for table in SESSION_TABLES}


def test_of_a_deleted_session_nothing_stays_but_what_forks_share(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def work(store: SqliteStore) -> None:
        await open_session(store, "base")
        await turn(store, "base", 0, say("one"), say("two"), refs=(chatting.BLOB_REF,))
        await open_session(store, "fork", "base", 1)
        await open_session(store, "fork of fork", "fork", 1)
        await begin(store, "base", "unfinished")
        assert await store.write([Delete("session:base")]) == [Count([])]
        assert counts(path) == {"session": 3, "node": 1, "item": 0, "turn": 0, "piece": 0, "ref": 1}, (
            "the shared node is of the turn that spoke of a blob"
        )
        await store.write([Delete("session:fork")])
        assert counts(path)["session"] == 2, "the base of what is left, and that"
        await store.write([Delete("session:fork of fork")])
        assert set(counts(path).values()) == {0}

    run(path, work)


def test_pruning_processes_leaves_sessions_alone_and_takes_ended_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def work(store: SqliteStore) -> None:
        await chatting.furnish(store)
        before = await chatting.picture(store)
        assert await store.write([Prune(2**50, 1_000)]) == [Count([])]
        assert await chatting.picture(store) == before
        (row,) = await store.sessions(["session:fork of fork"])
        assert isinstance(row, SessionRow)
        path_of = await store.nodes(row.process.row, 0, 5, 9)
        there = counts(path)
        await store.write([Cancel("session:fork", "enough")])
        assert await store.write([Prune(2**50, 1_000)]) == [Count(["session:fork"])]
        assert await store.nodes(row.process.row, 0, 5, 9) == path_of
        assert counts(path) == there | {
            "node": there["node"] - 1,
            "item": there["item"] - 1,
            "turn": there["turn"] - 1,
        }, "one node of the two it wrote is shared, and its row stays for that"

    run(path, work)


def test_references_are_kept_as_the_blobs_they_speak_of_are(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def work(store: SqliteStore) -> None:
        reference = await store.blobs.put(b"a picture")
        await open_session(store, "s")
        await turn(store, "s", 0, say("see"), refs=(reference,))

    run(path, work)
    assert query(path, "SELECT count(*) FROM lash_ref r JOIN lash_blob b ON b.hash = r.hash") == [(1,)]


def test_everything_is_there_after_closing_and_after_a_crash(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(str(tmp_path / "a.db"))
        await store.open()
        await chatting.furnish(store)
        before = await chatting.picture(store)
        store.crash()
        other = SqliteStore(str(tmp_path / "a.db"))
        await other.open()
        assert await chatting.picture(other) == before
        await other.close()

    asyncio.run(main())


def test_ranks_of_a_committed_turn_are_not_given_out_again(tmp_path: Path) -> None:
    """Not by another connection either, though the journal that had them is empty."""
    path = tmp_path / "a.db"

    async def main() -> None:
        async with opened(path) as store, opened(path) as other:
            await open_session(store, "s")
            fence, number = await begin(store, "s")
            (recorded,) = await store.write([Put(fence, 0, [step(1), step(2)])])
            assert isinstance(recorded, Recorded)
            newest = recorded.entries[-1].rank
            await commit(store, fence, number, 0, [])
            fence = await leased(other, "p")
            entries = await put(other, fence, step(0))
            assert entries[0].rank > newest

    asyncio.run(main())


def test_another_connection_goes_on_with_a_session(tmp_path: Path) -> None:
    """What one remembers of a row is dropped when another has written it."""
    path = tmp_path / "a.db"

    async def main() -> None:
        async with opened(path) as one, opened(path) as two:
            await open_session(one, "s")
            head = 0
            for number in range(6):
                store = (one, two)[number % 2]
                head = await turn(store, "s", head, say(f"turn {number}"))
            nodes = await two.nodes(1, 0, head, 100)
            assert [node.body for node in nodes] == [b'"turn %d"' % number for number in range(6)]
            await post(one, "s")
            assert list(await claimed(two)) == ["session:s"]
            assert (await two.write([Renew("w-new", 60_000)]))[0] is not None

    asyncio.run(main())


def test_the_doctor_counts_sessions_apart(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await chatting.furnish(store)
        found = await store.diagnose()
        assert (found["sessions"], found["unfinished_items"]) == (4, 2)
        assert found["nodes"] == 6 + 2 + 1
        assert found["counts"] == await store.counts()
        assert (await store.counts())["running"] == 1, "the process that waits"
        assert found["integrity"] == "ok"

    run(tmp_path / "a.db", work)


def test_sessions_are_durable_here(tmp_path: Path) -> None:
    facets = SqliteStore(str(tmp_path / "a.db")).facets
    assert list(facets) == ["attachment_store", "artifact_store", "session_store", "process_registry"]
    assert all(facets.values())


def test_an_open_that_fails_midway_leaves_no_session(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        broken = Post("session:s", None)  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            await store.write([Open(chatting.session_spec("s")), broken])
        assert await store.sessions(["session:s"]) == [None]
        (started,) = await store.write([Open(chatting.session_spec("s"))])
        assert isinstance(started, Started)
        assert started.created

    run(tmp_path / "a.db", work)
