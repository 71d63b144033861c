"""The pieces of the PostgreSQL store that say something by themselves: its URL, its clock, its statements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace

import asyncpg
import pytest

import lash
from lash.abc.store import Claim, Claims, Finish, Put, Recorded, Release, Start
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.outcome import Completed
from lash.core.process import Blocked, ProcessRow, lane_of
from lash.errors import BadUrl, StoreUnavailable
from lash.stores.naming import without_password
from lash.stores.postgres import PostgresStore, clock as clock_module, writing
from lash.stores.postgres.clock import Clock
from lash.stores.postgres.columns import numbers
from lash.stores.postgres.line import Line, explained
from lash.stores.postgres.place import place_of
from lash.stores.postgres.writing import PARTS, overflow, text_of
from tests.postgres import fresh_url
from tests.unit.stores.stage import leased, on_open, spec


def with_store(work: Callable[[PostgresStore], Coroutine[None, None, None]]) -> None:
    asyncio.run(on_open(PostgresStore(fresh_url()), work))


# The URL -----------------------------------------------------------------------------------------------------------


def test_our_options_are_taken_out_and_the_drivers_stay() -> None:
    place = place_of("postgresql://me:secret@db.example:5433/work?schema=jobs&migrate=verify&sslmode=require")
    assert place.dsn == "postgresql://me:secret@db.example:5433/work?sslmode=require"
    assert (place.schema, place.migrate, place.pooler, place.channel) == ("jobs", "verify", False, "lash_jobs")
    assert place.name == "postgresql://db.example:5433/work (schema jobs)"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://h/d?schema=Jobs", "schema='Jobs'"),
        ("postgresql://h/d?schema=", "schema=''"),
        ("postgresql://h/d?schema=a;drop", "schema='a;drop'"),
        ("postgresql://h/d?migrate=never", "migrate='never'"),
        ("postgresql://h/d?pooler=yes", "pooler='yes'"),
        ("postgresql://h:port/d", "no PostgreSQL URL"),
    ],
)
def test_a_bad_url_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(BadUrl) as caught:
        place_of(url)
    assert words in str(caught.value)


def test_who_forgot_to_name_the_pooler_is_told() -> None:
    error = asyncpg.ProtocolViolationError("unsupported startup parameter: search_path")
    assert "pooler=transaction" in str(explained(error, place_of("postgresql://h/d")))


def test_no_password_is_shown() -> None:
    assert without_password("postgresql://me:se:cr@et@h/d") == "postgresql://me:***@h/d"
    assert without_password("postgresql://h/d?password=secret&user=me") == "postgresql://h/d?password=***&user=me"
    assert without_password("postgresql://me:pa/ss?@h/d") == "postgresql://me:***@h/d"
    assert "secret" not in place_of("postgresql://me:secret@h/d").name


# The clock ---------------------------------------------------------------------------------------------------------


def test_the_servers_time_is_known_within_the_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    local = [1_000.0]
    monkeypatch.setattr(clock_module, "local_ms", lambda: local[0])
    clock = Clock()
    local[0] = 1_010.0
    clock.heard(50_004, 1_000.0)  # read somewhere in these 10 ms
    assert abs(clock.now_ms() - 50_009) <= 6
    local[0] = 1_020.0
    clock.heard(50_019, 1_019.0)  # a quicker answer narrows it down
    assert abs(clock.now_ms() - 50_020) <= 1
    local[0] = 2_020.0
    assert abs(clock.now_ms() - 51_020) <= 1


def test_a_clock_that_was_set_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    local = [1_000.0]
    monkeypatch.setattr(clock_module, "local_ms", lambda: local[0])
    clock = Clock()
    clock.heard(50_000, 999.0)
    local[0] = 1_100.0
    clock.heard(20_000, 1_099.0)
    assert abs(clock.now_ms() - 20_000) <= 1


def test_given_time_is_the_only_time() -> None:
    clock = Clock(lambda: 7)
    clock.heard(50_000, 0.0)
    assert clock.now_ms() == 7


def test_a_store_whose_time_is_wrong_writes_with_the_servers() -> None:
    async def work(store: PostgresStore) -> None:
        right_ms = store.now_ms()
        store._clock.heard(right_ms + 3_600_000, clock_module.local_ms())  # as if the server's clock were an hour ahead
        assert store.now_ms() > right_ms + 3_000_000
        await leased(store, "p")
        (row,) = await store.get(["p"])
        assert isinstance(row, ProcessRow)
        assert abs(row.record.created_ms - right_ms) < 60_000

    with_store(work)


# Statements --------------------------------------------------------------------------------------------------------


def test_numbers_are_written_as_an_array() -> None:
    assert numbers([1, None, -3]) == "{1,NULL,-3}"
    assert numbers([]) == "{}"


def test_each_shape_numbers_its_parameters_without_gaps() -> None:
    text = text_of(("bump", "step"), True, False)
    assert {number for number in range(1, 17) if f"${number}" in text} == set(range(1, 17))
    assert "SKIP LOCKED" not in text
    assert "SKIP LOCKED" in text_of(("bump",), False, True)


def test_what_is_too_much_for_one_message_is_written_by_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MESSAGE_BYTES_MAX", 10)
    rows: list[tuple[object, ...]] = [(n, n, "t", b"12345", None, 0) for n in range(5)]
    later = list(overflow(PARTS["event"], rows))
    assert [row[0] for row in rows] == [0, 1]
    assert [statement.values[0] for statement in later] == ["{2,3}", "{4}"]
    assert list(overflow(PARTS["event"], rows)) == []


def test_a_batch_larger_than_a_message_is_one_transaction() -> None:
    large = b'"' + b"x" * (4 * 1024 * 1024 - 2) + b'"'

    async def work(store: PostgresStore) -> None:
        fence = await leased(store, "p")
        entries = [Entry(EntryKind.STEP, number, "work", "ab" * 16, large) for number in range(9)]
        (recorded,) = await store.write([Put(fence, 0, entries)])
        assert isinstance(recorded, Recorded)
        found = await store.history(fence.row, 0)
        assert [(entry.rank, len(entry.payload)) for entry in found] == [(n + 1, len(large)) for n in range(9)]

    with_store(work)


# What others do meanwhile ------------------------------------------------------------------------------------------


def test_a_remembered_row_costs_no_read_and_is_never_believed_blindly() -> None:
    async def work(store: PostgresStore) -> None:
        fence = await leased(store, "p")
        await store.write([Put(fence, 0, [Entry(EntryKind.STEP, 0, "work", "", b"1")])])
        writer = store._open().writer
        before = writer.repeated
        await store.write([Put(fence, 1, [Entry(EntryKind.STEP, 1, "work", "", b"1")])])
        assert writer.repeated == before
        await store._open().readers.fetch("UPDATE lash_process SET version = version + 1 WHERE id = 'p'")
        await store.write([Put(fence, 2, [Entry(EntryKind.STEP, 2, "work", "", b"1")])])
        assert writer.repeated == before + 1
        assert [entry.ordinal for entry in await store.history(fence.row, 0)] == [0, 1, 2]

    with_store(work)


def test_histories_asked_for_together_are_read_by_one_statement() -> None:
    async def work(store: PostgresStore) -> None:
        rows: list[int] = []
        for number in range(10):
            fence = await leased(store, f"p{number}")
            entries = [Entry(EntryKind.STEP, place, "work", "", b"%d" % number) for place in range(number)]
            await store.write([Put(fence, 0, entries)])
            rows.append(fence.row)
        reads = store._open().reads
        plain, statements = reads.fetch, 0

        async def counted(sql: str, *values: object) -> list[object]:
            nonlocal statements
            statements += 1
            return await plain(sql, *values)

        reads.fetch = counted
        found = await asyncio.gather(*[store.history(row, 2) for row in rows], store.history(10**12, 0))
        assert statements == 1
        assert [[(entry.rank, entry.payload) for entry in entries] for entries in found] == [
            [(rank, b"%d" % number) for rank in range(3, number + 1)] for number in range(10)
        ] + [[]]

    with_store(work)


def test_rows_that_somebody_has_locked_are_left_to_him() -> None:
    """A claim waits for nobody: neither for rows to take, nor for those its batch changes."""

    async def work(store: PostgresStore) -> None:
        for name in ("a", "b"):
            await store.write([Start(spec(name))])
        other = PostgresStore(store.place.dsn + f"&schema={store.place.schema}")
        await other.open()
        connection = await other._open().writer.line.get()
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM lash_process WHERE id = 'a' FOR UPDATE")
            (claims,) = await store.write([Claim("w", [lane_of(spec("a"))], 5, 60_000)])
        await other.close()
        assert isinstance(claims, Claims)
        assert [claimed.row.record.id for claimed in claims.rows] == ["b"]
        await store.write([Finish(claims.rows[0].lease.fence, Completed(b"1"))])

    with_store(work)


def test_text_that_postgres_cannot_keep_is_spelled_out() -> None:
    detail = codec.safe_text("nul \0 and \ud800")
    assert detail == "nul \\x00 and \\ud800"

    async def work(store: PostgresStore) -> None:
        fence = await leased(store, "p")
        await store.write([Release(fence, 0, Blocked("trouble", detail, ""))])
        (row,) = await store.get(["p"])
        assert getattr(row, "record").blocked.detail == detail  # noqa: B009  # a row, not a tombstone

    with_store(work)


def test_a_timer_goes_by_the_servers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is wrong waits neither longer nor shorter."""
    plain = time.time_ns

    async def nap(ctx: lash.Context) -> None:
        await ctx.sleep("300ms")

    async def took_s() -> float:
        app = lash.Runtime(fresh_url(), linger="0ms")
        process = app.process(nap)
        async with app:
            began = time.monotonic()
            await (await app.start(process)).result(timeout="10s")
            return time.monotonic() - began

    for wrong_s in (-3_600, 3_600):
        monkeypatch.setattr(time, "time_ns", lambda wrong_s=wrong_s: plain() + wrong_s * 10**9)
        monkeypatch.setattr(time, "time", lambda wrong_s=wrong_s: (plain() / 1e9) + wrong_s)
        assert 0.28 <= asyncio.run(took_s()) < 3


def test_what_is_started_behind_a_pooler_is_told_to_who_is_not() -> None:
    """NOTIFY is a transaction's; only LISTEN needs a connection of its own."""

    async def work(store: PostgresStore) -> None:
        heard = asyncio.Event()
        store.listen(heard.set)
        url = f"{store.place.dsn}&schema={store.place.schema}"
        behind = PostgresStore(url)
        behind.place = replace(behind.place, pooler=True)
        connection = await store._open().writer.line.get()
        role: str = await connection.fetchval("SELECT current_user")
        await connection.execute(f"ALTER ROLE {role} SET search_path = {store.place.schema}")
        try:
            await behind.open()
            await behind.write([Start(spec("p"))])
            await asyncio.wait_for(heard.wait(), 3)
        finally:
            await connection.execute(f"ALTER ROLE {role} RESET search_path")
            await behind.close()

    with_store(work)


@pytest.mark.parametrize(("deadline_ms", "tries"), [(1, 2), (0, 1)])
def test_who_was_stopped_while_connecting_tries_once_more(
    deadline_ms: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try was over before the server was asked: that says nothing about the server."""
    made = 0

    async def stopped(self: Line) -> None:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)  # as long as the whole deadline
        raise TimeoutError

    monkeypatch.setattr(Line, "_connect", stopped)

    async def run() -> None:
        with pytest.raises(StoreUnavailable):
            await Line(place_of("postgresql://h/d"), "test").get(deadline_ms)

    asyncio.run(run())
    assert made == tries
