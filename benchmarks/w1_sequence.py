"""W1, latency: one process asks for one step after another, so each step waits for its own commit.

A disk shared with others changes from one tenth of a second to the next, and a floor taken before or after is then the
floor of another disk. So the process is measured in slices, and between two slices one of its own steps commits bare
rows. What else the machine does only ever adds time, to both alike, and so pulls the ratio of the medians towards 1:
the goal is judged by the quickest slice over the quickest floor, which is the stricter of the two.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import lash
from benchmarks import recorded
from benchmarks.child import Timed, Values, fresh_url, serve, text_of
from benchmarks.commits import commits
from benchmarks.floors import BareFile
from benchmarks.workloads import PAYLOAD_BYTES

TEXT = text_of(PAYLOAD_BYTES)
SLICES = 10


class Slices:
    """Moments of one process: ``boundary`` ends a slice, measures the floor, and begins the next slice."""

    def __init__(self, bare: BareFile, commits: int) -> None:
        self._bare = bare
        self._commits = commits
        self._began: tuple[float, float] | None = None
        self.own: list[tuple[float, float]] = []
        """Wall and CPU seconds of each slice."""
        self.floor: list[tuple[float, float]] = []
        """Of the bare commits at each boundary: one more than there are slices."""

    def boundary(self) -> None:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        if self._began is not None:
            self.own.append((wall_s - self._began[0], cpu_s - self._began[1]))
        self.floor.append(self._bare.one_row_commits(self._commits))
        self._began = time.perf_counter(), time.process_time()

    def quickest_ratio(self, part: int) -> float:
        """``part`` 0 is wall time, 1 is CPU time."""
        return min(own[part] for own in self.own) / min(floor[part] for floor in self.floor)

    def median_ratio(self) -> float:
        """Each slice over the mean of the floors on its sides."""
        return statistics.median(
            own[0] / statistics.mean((before[0], after[0]))
            for own, before, after in zip(self.own, self.floor, self.floor[1:], strict=False)
        )


slices: list[Slices] = []
"""The one of this OS process; a step function is given only what is recorded."""


async def answer(number: int) -> str:
    del number
    return TEXT


async def boundary(number: int) -> str:
    slices[0].boundary()
    return await answer(number)


@lash.process
async def sequence(ctx: lash.Context, steps: int, per_slice: int) -> int:
    for number in range(steps):
        await ctx.step(boundary if per_slice and number % per_slice == 0 else answer, number)
    return steps


async def run(folder: Path, steps: int) -> Values:
    per_slice = steps // SLICES
    app = lash.Runtime(fresh_url(folder, "w1"))
    app.include(sequence)
    bare = BareFile(folder)
    slices.append(measured := Slices(bare, per_slice))
    async with app:
        with Timed("w1"):  # the warm-up, which a profile is taken of
            await (await app.start(sequence, steps, 0))
        gc.collect()
        await (await app.start(sequence, steps + 1, per_slice))
        committed = await commits(app)
    bare.close()
    recorded.expect(folder / "w1.db", completed=2, steps=steps + steps + 1)
    assert len(measured.own) == SLICES
    return {
        "ms_per_step": statistics.median(wall_s for wall_s, _ in measured.own) / per_slice * 1_000,
        "floor_ms": statistics.median(wall_s for wall_s, _ in measured.floor) / per_slice * 1_000,
        "ratio": measured.quickest_ratio(0),
        "median_ratio": measured.median_ratio(),
        "cpu_ms_per_step": statistics.median(cpu_s for _, cpu_s in measured.own) / per_slice * 1_000,
        "cpu_ratio": measured.quickest_ratio(1),
        "inline_percent": committed.inline_percent,
    }


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    return asyncio.run(run(folder, int(sizes["steps"])))


if __name__ == "__main__":
    serve(measure)
