"""Watches a store being opened, statement by statement, so that a test can have it die between any two.

Run as a script, it opens the store and SIGKILLs itself before statement N: ``opening.py DB N``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lash.stores.sqlite.store as module
from lash.stores.sqlite import SqliteStore

FILES = ("", "-wal")
"""What SIGKILL leaves of a database; the -shm file is an index that is built again."""


@contextmanager
def watched(before_statement: Callable[[str], None]) -> Iterator[None]:
    """Every connection a store makes meanwhile reports each statement before it runs."""
    plain = module.connect

    def connect(*args: object) -> sqlite3.Connection:
        before_statement("connect")
        connection = plain(*args)  # type: ignore[arg-type]
        connection.set_trace_callback(before_statement)
        return connection

    module.connect = connect  # type: ignore[assignment]
    try:
        yield
    finally:
        module.connect = plain


async def opened_and_crashed(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    store.crash()


def snapshots(path: Path, folder: Path) -> list[Path]:
    """The files of ``path`` as they are before each statement of an opening, and after it."""
    taken: list[Path] = []

    def take(statement: str) -> None:
        del statement
        target = folder / f"{len(taken):03}"
        target.mkdir()
        for ending in FILES:
            source = Path(f"{path}{ending}")
            if source.exists():
                shutil.copyfile(source, f"{target / path.name}{ending}")
        taken.append(target / path.name)

    with watched(take):
        asyncio.run(opened_and_crashed(path))
    take("closed")
    return taken


def main(path: str, number: str) -> None:
    left = int(number)

    def count(statement: str) -> None:
        nonlocal left
        del statement
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with watched(count):
        asyncio.run(opened_and_crashed(Path(path)))


if __name__ == "__main__":
    main(*sys.argv[1:])
