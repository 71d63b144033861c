"""Where commits are made follows what the disk can do, not what it did in one busy moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from lash.abc.store import Put, Recorded
from tests.unit.stores.stage import leased, opened, step

QUICK_S, SLOW_S = 0.0002, 0.0200
WATCHED = 64


class Disk:
    """Every commit takes as long as the next of ``seconds``."""

    def __init__(self, seconds: Iterator[float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.began = True

    def __call__(self) -> float:
        self.began = not self.began
        if self.began:
            self.now += next(self.seconds)
        return self.now


@pytest.mark.parametrize(
    ("starts_inline", "seconds", "ends_inline"),
    [
        (True, repeat(SLOW_S), False),
        (True, chain(repeat(SLOW_S, WATCHED - 1), repeat(QUICK_S)), True),
        (False, repeat(QUICK_S), True),
        (False, chain([QUICK_S], repeat(SLOW_S)), True),
        (False, repeat(SLOW_S), False),
        (True, repeat(0.0020), True),
        (False, repeat(0.0020), False),
    ],
    ids=["slow", "a busy while", "quick", "one quick commit", "stays slow", "between, inline", "between, thread"],
)
def test_the_quickest_of_some_commits_decides(
    tmp_path: Path, starts_inline: bool, seconds: Iterator[float], ends_inline: bool
) -> None:
    async def main() -> None:
        async with opened(tmp_path / "a.db") as store:
            fence = await leased(store, "p")
            writer = store._writer
            assert writer is not None
            writer.inline = starts_inline
            writer._timer = Disk(seconds)
            writer._commits, writer._quickest_s = 0, float("inf")
            for number in range(WATCHED):
                assert writer.inline is starts_inline, f"changed its mind at commit {number}"
                await store.write([Put(fence, number, (step(number),))])
            assert writer.inline is ends_inline
            verdict = (await store.write([Put(fence, 0, ())]))[0]
            assert isinstance(verdict, Recorded)
            assert [entry.ordinal for entry in verdict.entries] == list(range(WATCHED)), "order over the change"

    asyncio.run(main())
