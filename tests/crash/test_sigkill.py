"""Promise: what a simulated crash leaves is what SIGKILL leaves. A sample of the same, with real Python processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.lives import EAGER, PATIENT, Life, Mode, fast_folder, judge
from tests.crash.scenarios import LEDGER, SCENARIOS, Scenario

ROOT = Path(__file__).resolve().parents[2]
KILLS = 26
AT_ONCE = 2
CHILD_S = 60


class Sample(NamedTuple):
    scenario: Scenario
    mode: Mode
    crash_at: int
    when: str
    path: Path

    @property
    def ledger(self) -> str:
        return f"{self.path}.ledger"

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.mode.name}, {self.when} write {self.crash_at}"


@pytest.fixture(autouse=True)
def ledger_of_this_process() -> Iterator[None]:
    yield
    LEDGER.path = None


def writes_of(scenario: Scenario, mode: Mode) -> int:
    """How many writes an undisturbed first life makes."""
    with fast_folder() as folder:
        life = Life(scenario, folder / "count.db", mode)
        asyncio.run(life.run())
        return life.store.writes


def start_child(sample: Sample) -> subprocess.Popen[str]:
    words = [sample.path, sample.scenario.name, sample.mode.name, sample.crash_at, sample.when, sample.ledger]
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


def test_a_real_sigkill_changes_no_outcome(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    samples: list[Sample] = []
    names = list(SCENARIOS)
    for number in range(KILLS):
        scenario = SCENARIOS[names[number % len(names)]]
        mode = chance.choice([EAGER, PATIENT])
        crash_at = chance.randint(1, writes_of(scenario, mode))
        when = chance.choice(["before", "after"])
        samples.append(Sample(scenario, mode, crash_at, when, tmp_path / f"{number}.db"))
    faults: list[str] = []
    killed = 0
    for sample, died, output in run_children(samples):
        killed += died
        LEDGER.path = sample.ledger
        told = asyncio.run(Life(sample.scenario, sample.path, sample.mode, first=False).run())
        faults += [f"{sample}: {fault}" for fault in judge(sample.scenario, told, int(died))]
        if "Traceback" in output:
            faults.append(f"{sample}: {output}")
    print(f"{killed} of {KILLS} killed")
    assert faults == [], f"seed {seed}"
    assert killed > KILLS // 2
