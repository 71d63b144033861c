"""Promise: what a simulated crash leaves is what SIGKILL leaves. A sample of the same, with real Python processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.lives import EAGER, PATIENT, Life, Mode, judge
from tests.crash.places import SQLITE, STORES, fast_folder, fresh_place
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario

ROOT = Path(__file__).resolve().parents[2]
KILLS = {"sqlite": 26, "postgres": 14}
AT_ONCE = 2
CHILD_S = 60


class Sample(NamedTuple):
    scenario: Scenario
    mode: Mode
    crash_at: int
    when: str
    url: str
    ledger: str

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.mode.name}, {self.when} write {self.crash_at}"


@pytest.fixture(autouse=True)
def ledger_of_this_process() -> Iterator[None]:
    yield
    LEDGER.path = None


def writes_of(scenario: Scenario, mode: Mode) -> int:
    """How many writes an undisturbed first life makes."""
    with fast_folder() as folder:
        life = Life(scenario, f"{SQLITE}{folder / 'count.db'}", mode)
        asyncio.run(life.run())
        return life.store.writes


def start_child(sample: Sample) -> subprocess.Popen[str]:
    words = [sample.url, sample.scenario.name, sample.mode.name, sample.crash_at, sample.when, sample.ledger]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("child.py")), *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_children(samples: list[Sample]) -> list[tuple[Sample, bool, str]]:
    """Two at a time → (sample, whether SIGKILL ended it, what it printed)."""
    ended: list[tuple[Sample, bool, str]] = []
    for start in range(0, len(samples), AT_ONCE):
        group = [(sample, start_child(sample)) for sample in samples[start : start + AT_ONCE]]
        try:
            for sample, child in group:
                output, _ = child.communicate(timeout=CHILD_S)
                assert child.returncode in (0, -signal.SIGKILL), f"{sample}: exit {child.returncode}\n{output}"
                ended.append((sample, child.returncode != 0, output))
        finally:
            for _, child in group:
                if child.poll() is None:
                    child.kill()
                    child.wait()
    return ended


@pytest.fixture(params=STORES)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """URLs of new places, one for each kill."""
    kind = str(request.param)
    if kind == "sqlite":
        yield [f"{SQLITE}{tmp_path / str(number)}.db" for number in range(KILLS[kind])]
    else:
        with ExitStack() as stack:
            yield [stack.enter_context(fresh_place(kind)) for _ in range(KILLS[kind])]


def test_a_real_sigkill_changes_no_outcome(places: list[str], tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    samples: list[Sample] = []
    names = chance.sample(list(SCENARIOS), len(SCENARIOS))
    for number, url in enumerate(places):
        scenario = SCENARIOS[names[number % len(names)]]
        mode = chance.choice([EAGER, PATIENT])
        crash_at = chance.randint(1, writes_of(scenario, mode))
        when = chance.choice(["before", "after"])
        samples.append(Sample(scenario, mode, crash_at, when, url, str(tmp_path / f"{number}.ledger")))
    faults: list[str] = []
    killed = 0
    for sample, died, output in run_children(samples):
        killed += died
        LEDGER.path = sample.ledger
        told = asyncio.run(Life(sample.scenario, sample.url, sample.mode, first=False).run())
        faults += [f"{sample}: {fault}" for fault in judge(sample.scenario, told, int(died))]
        if "Traceback" in output:
            faults.append(f"{sample}: {output}")
    print(f"{killed} of {len(places)} killed")
    assert faults == [], f"seed {seed}"
    assert killed > len(places) // 2
