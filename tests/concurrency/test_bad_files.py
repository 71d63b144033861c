"""Promise: a file that cannot serve is refused in words that help, nothing in it is touched, and nothing is lost.

A disk that is full for a while costs no process: what was accepted goes on when there is space again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

import lash
from lash.stores.sqlite import SqliteStore
from lash.testing.checkers import check_store
from tests.concurrency.disks import fill, quota, read_only, small_disk

PAYLOAD = 300_000
AT_WORK = 6
"""Processes in the middle of a step when the disk fills."""
SETTLE_S = 60


def open_and_close(path: Path, worker: bool = True) -> None:
    async def main() -> None:
        async with lash.Runtime(f"sqlite:///{path}", worker=worker):
            pass

    asyncio.run(main())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear reader, this is a letter and no database at all.\n" * 40)
    before = contents(tmp_path)
    with pytest.raises(lash.NotADatabase) as refused:
        open_and_close(path)
    assert refused.value.code == "not_a_database"
    assert "letter.db" in str(refused.value)
    assert "Name another file" in str(refused.value)
    assert contents(tmp_path) == before


def test_a_database_of_a_newer_lash_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    open_and_close(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO lash_migration VALUES (999, '0999_future.sql', 'x', 0)")
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    with pytest.raises(lash.StoreTooNew) as refused:
        open_and_close(path)
    assert refused.value.fields["found"] == 999
    assert "Upgrade" in str(refused.value)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("made", [True, False], ids=["an existing file", "a new file"])
def test_what_may_not_be_written_is_unavailable_and_keeps_what_it_has(made: bool) -> None:
    app_values: list[object] = []

    async def serve(path: Path, finish: bool) -> None:
        app = lash.Runtime(f"sqlite:///{path}", worker=finish)

        @app.process
        async def double(ctx: lash.Context, value: int) -> int:
            return 2 * value

        async with app:
            handle = await app.start(double, 21, id="kept")
            if finish:
                app_values.append(await handle.result(timeout=SETTLE_S))

    with tempfile.TemporaryDirectory(prefix="lash-ro-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if made:
            asyncio.run(serve(folder / "a.db", finish=False))
        with read_only(folder):
            assert not os.access(folder, os.W_OK, effective_ids=True)
            with pytest.raises(lash.StoreUnavailable) as refused:
                open_and_close(folder / "a.db")
        assert "write access" in str(refused.value) or "may this user write" in str(refused.value)
        asyncio.run(serve(folder / "a.db", finish=True))
    assert app_values == [42]


async def written_until_full(app: lash.Runtime, process: lash.Process[..., int]) -> tuple[list[int], str]:
    """Start one after the other until the store refuses → (those it took, what it said)."""
    taken: list[int] = []
    for number in range(10_000):
        try:
            await app.start(process, number, id=f"f{number}")
        except lash.StoreUnavailable as error:
            return taken, str(error)
        taken.append(number)
        await asyncio.sleep(0.005)
    raise AssertionError("the disk was never full")


async def fill_and_free(path: Path, ballast_in: Path | None) -> None:
    app = lash.Runtime(f"sqlite:///{path}", lease_ttl="2s", linger="0ms")

    async def bulky(number: int, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return f"{number:06}" * (PAYLOAD // 6)

    @app.process
    async def hungry(ctx: lash.Context, number: int, seconds: float = 0) -> int:
        total = 0
        for part in range(3):
            total += len(await ctx.step(bulky, number * 10 + part, seconds))
        return total

    async with app:
        assert await app.start(hungry, 1, id="before") is not None
        assert await app.handle("before").result(timeout=SETTLE_S) == 3 * PAYLOAD
        for number in range(AT_WORK):
            await app.start(hungry, number, 0.3, id=f"at-work-{number}")
        if ballast_in is not None:
            ballast = fill(ballast_in)
            free = ballast.unlink
        else:
            assert isinstance(app.store, SqliteStore)
            assert app.store._writer is not None
            free = quota(app.store._writer.connection)
        taken, said = await written_until_full(app, hungry)
        assert "full" in said
        assert "Free some space" in said
        await asyncio.sleep(1)  # let every process at work meet the trouble
        await app.store.counts()  # what is there can still be read
        free()
        async with asyncio.timeout(SETTLE_S):
            while True:
                try:
                    await app.start(hungry, len(taken), id=f"f{len(taken)}")
                    break
                except lash.StoreUnavailable:
                    await asyncio.sleep(0.1)
            for number in [*taken, len(taken)]:
                assert await app.handle(f"f{number}") == 3 * PAYLOAD
            for number in range(AT_WORK):
                assert await app.handle(f"at-work-{number}") == 3 * PAYLOAD
        assert await check_store(app.store) == len(taken) + 2 + AT_WORK
        assert (await app.store.counts())["failed"] == 0
        print(f"\n{len(taken)} processes were accepted before the disk was full")


def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_space() -> None:
    with small_disk() as folder, tempfile.TemporaryDirectory(prefix="lash-full-") as other:
        print("\na small disk" if folder is not None else "\nno mount here: a quota")
        asyncio.run(fill_and_free((folder or Path(other)) / "full.db", folder))


def test_a_quota_loses_nothing_and_work_goes_on_when_it_is_lifted(tmp_path: Path) -> None:
    asyncio.run(fill_and_free(tmp_path / "quota.db", None))
