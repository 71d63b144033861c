"""The checkers find what they claim to find: a sound database is broken in one place after the other.

The breaks are plain SQL, so that nothing of the code under test takes part in them.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import lash
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.checkers import Unsound, check_store
from tests.crash.lives import EAGER, runtime_on

PROCESSES = 5


async def build(path: Path) -> None:
    """One that ended, with a retried step, a signal and a second history; one parked on a signal; a parent parked on
    its child, which is parked on a timer; one that runs once and has been started."""
    store = SqliteStore(str(path), sync="normal")
    app = runtime_on(store, EAGER)

    async def flaky() -> int:
        if lash.current().attempt < 2:
            raise ConnectionError
        return 1

    @app.process
    async def ended(ctx: lash.Context) -> int:
        await ctx.step(flaky, retry=lash.Retry(attempts=2, initial="1ms"))
        await ctx.emit("note", 1)
        return await ctx.signal("go", int)

    @app.process
    async def parked(ctx: lash.Context) -> int:
        return await ctx.signal("never", int)

    @app.process
    async def child(ctx: lash.Context) -> None:
        await ctx.sleep("1h")

    @app.process
    async def parent(ctx: lash.Context) -> None:
        await (await ctx.start(child, id="child"))

    @app.process(recovery="once")
    async def once(ctx: lash.Context) -> int:
        return await ctx.step(flaky)

    async with app:
        first = await app.start(ended, id="ended")
        await first.signal("go", 5)
        assert await first == 5
        await app.start(parked, id="parked")
        await app.start(parent, id="parent")
        with pytest.raises(lash.ProcessFailed):
            await (await app.start(once, id="once"))
        for name in ("parked", "parent", "child"):
            while (await app.handle(name).record()).waiting is None:
                await asyncio.sleep(0.002)


@pytest.fixture(scope="module")
def sound() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lash-sound-") as folder:
        path = Path(folder) / "sound.db"
        asyncio.run(build(path))
        yield path


async def checked(path: Path) -> int:
    store = SqliteStore(str(path), sync="normal")
    await store.open()
    try:
        return await check_store(store)
    finally:
        await store.close()


def test_a_sound_store_passes(sound: Path) -> None:
    assert asyncio.run(checked(sound)) == PROCESSES


def test_an_empty_store_passes() -> None:
    async def main() -> int:
        store = MemoryStore()
        await store.open()
        return await check_store(store)

    assert asyncio.run(main()) == 0


def row(process_id: str) -> str:
    return f"(SELECT row FROM lash_process WHERE id = '{process_id}')"


def entry(kind: int, ordinal: int, more: str = "", values: str = "") -> str:
    """An entry for ``ended``, newer than all others."""
    return (
        f"INSERT INTO lash_journal (rank, process, kind, ordinal, at_ms{more}) SELECT max(rank) + 1, {row('ended')}, "
        f"{kind}, {ordinal}, 9000000000000{values} FROM lash_journal"
    )


PLANTS = {
    "a field that no event tells": (
        "UPDATE lash_process SET attempts = 7 WHERE id = 'ended'",
        "fold(events) != record",
    ),
    "a lost event": (f"DELETE FROM lash_event WHERE process = {row('ended')} AND sequence = 2", "not dense"),
    "an event out of time": (
        f"UPDATE lash_event SET at_ms = 5 WHERE process = {row('ended')} AND sequence = 2",
        "event times go backwards",
    ),
    "a second end": (
        f"INSERT INTO lash_event SELECT process, sequence + 1, type, payload, NULL, at_ms FROM lash_event "
        f"WHERE process = {row('ended')} AND type = 'process.completed'",
        "ended 2 times",
    ),
    "an end that the row does not show": ("UPDATE lash_process SET status = 0 WHERE id = 'once'", "status running"),
    "an ended row that is still scheduled": (
        "UPDATE lash_process SET state = 1, wake_ms = 5 WHERE id = 'ended'",
        "has ended and is still scheduled",
    ),
    "a parked row that is leased": (
        "UPDATE lash_process SET state = 3, wake_ms = 5, owner = 'x' WHERE id = 'parked'",
        "is parked and leased at once",
    ),
    "a timer that is late": (
        "UPDATE lash_process SET wake_ms = wake_ms + 1 WHERE id = 'child'",
        "and is due at",
    ),
    "a row nobody will claim": (
        f"DELETE FROM lash_event WHERE process = {row('parked')} AND type = 'process.waiting'; "
        "UPDATE lash_process SET waiting_on = NULL, waiting_key = NULL, last_event = last_event - 1 "
        "WHERE id = 'parked'",
        "is lost",
    ),
    "a second start of what runs once": (
        f"INSERT INTO lash_event SELECT process, 3, type, payload, NULL, at_ms FROM lash_event "
        f"WHERE process = {row('once')} AND type = 'process.started'",
        "is to run once and was started 2 times",
    ),
    "an attempt that is counted twice": (
        f"INSERT INTO lash_event SELECT process, 90, type, payload, NULL, at_ms FROM lash_event "
        f"WHERE process = {row('ended')} AND type = 'process.started'",
        "attempts are not counted up from 1",
    ),
    "a token that did not grow": (
        f"INSERT INTO lash_event SELECT process, 90, type, "
        "CAST(replace(CAST(payload AS TEXT), '\"attempt\":1', '\"attempt\":2') AS BLOB), NULL, at_ms "
        f"FROM lash_event WHERE process = {row('ended')} AND type = 'process.started'",
        "tokens do not grow",
    ),
    "a step recorded twice": (entry(1, 0, ", attempt", ", 2"), "effect 0 is recorded 2 times"),
    "a step recorded as a command": (entry(2, 0), "effect 0 is recorded 2 times"),
    "a timer recorded twice": (entry(3, 0) + "; " + entry(3, 0), "sleep 0 is recorded 2 times"),
    "two replies to one wait": (entry(5, 2, ", attempt", ", 0"), "reply 2 is recorded 2 times"),
    "a reply to no wait": (entry(5, 40, ", attempt", ", 0"), "was never opened"),
    "an attempt that is missing": (
        f"DELETE FROM lash_journal WHERE process = {row('ended')} AND kind = 7",
        "step 0 ended with attempt 2, which is out of turn",
    ),
    "an entry out of time": (
        f"UPDATE lash_journal SET at_ms = 5 WHERE process = {row('ended')} AND kind = 5",
        "is older than its predecessor",
    ),
    "a signal heard with other words": (
        f"UPDATE lash_journal SET payload = CAST('6' AS BLOB) WHERE process = {row('ended')} AND kind = 5",
        "was sent as b'5' and told as b'6'",
    ),
    "a signal heard by two waits": (
        "; ".join(
            [
                entry(4, 40, ", name", ", 'signal:go'"),
                f"INSERT INTO lash_journal SELECT (SELECT max(rank) + 1 FROM lash_journal), process, kind, 40, name, "
                f"witness, payload, failed, attempt, began_ms, due_ms, 9000000000000, open_key FROM lash_journal "
                f"WHERE process = {row('ended')} AND kind = 5",
            ]
        ),
        "was heard 2 times",
    ),
    "a signal that is gone": (
        f"DELETE FROM lash_journal WHERE process = {row('ended')} AND kind IN (5, 9)",
        "stands nowhere in the journal",
    ),
    "a wait whose process has ended": (
        "UPDATE lash_journal SET name = 'process:ended' WHERE name = 'process:child'",
        "is open, and that has ended",
    ),
    "a wait beside its mail": (
        f"INSERT INTO lash_journal (rank, process, kind, ordinal, name, at_ms, open_key) SELECT max(rank) + 1, "
        f"{row('parked')}, 9, 2, 'signal:never', 9000000000000, 'signal:never' FROM lash_journal",
        "is open, with mail for it",
    ),
    "a parked row without a wait": (f"DELETE FROM lash_journal WHERE process = {row('parked')}", "has no open wait"),
    "a child that was not cancelled": (
        f"INSERT INTO lash_event VALUES ({row('parent')}, 90, 'process.cancel_requested', "
        'CAST(\'{"reason":"x"}\' AS BLOB), NULL, 9000000000000); '
        "UPDATE lash_process SET cancel_ms = 9000000000000, cancel_reason = 'x' WHERE id = 'parent'",
        "its parent was asked to cancel ('x') and it was not",
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(sound: Path, tmp_path: Path, name: str) -> None:
    script, found = PLANTS[name]
    path = tmp_path / "broken.db"
    shutil.copyfile(sound, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP INDEX lash_event_sequence; DROP INDEX lash_event_key;")
        before = connection.total_changes
        connection.executescript(script)
        assert connection.total_changes > before, "the plant changed nothing"
    with pytest.raises(Unsound) as broken:
        asyncio.run(checked(path))
    assert found in str(broken.value), str(broken.value)
