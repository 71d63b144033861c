"""Promise: a crash while the database is made, brought up to date or opened again loses nothing and harms no later
opening.

Copies of the files, taken before every statement of an opening, are what SIGKILL at that moment leaves.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.crash.lives import EAGER, Life, judge
from tests.crash.opening import snapshots
from tests.crash.places import SQLITE, bystander, fast_folder
from tests.crash.scenarios import LEDGER, SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
SEQUENCE = SCENARIOS["sequence"]
TORN = 24
"""Lengths at which the write of the log is cut short."""
KILLS = 4


def goes_on(path: Path, crashes: int = 0, done: list[str] | None = None) -> list[str]:
    """What is wrong with a life on what a crashed opening has left."""
    lines = LEDGER.begin()
    lines += done or []
    told = asyncio.run(Life(SEQUENCE, f"{SQLITE}{path}", EAGER, first=False).run())
    return [f"{path.parent.name}: {fault}" for fault in judge(SEQUENCE, told, crashes)]


def test_a_crash_before_any_statement_of_the_first_opening() -> None:
    with fast_folder() as folder:
        made = folder / "made"
        made.mkdir()
        taken = snapshots(made / "new.db", folder)
        faults = [fault for path in taken for fault in goes_on(path)]
    print(f"\n{len(taken)} moments")
    assert faults == []
    assert len(taken) > 30, "the migration has more statements than that"


def test_a_crash_before_any_statement_of_a_later_opening_keeps_what_was_written() -> None:
    with fast_folder() as folder:
        made = folder / "made"
        made.mkdir()
        with bystander(made / "old.db"):  # else the log would be folded back, and lost nothing could show
            lines = LEDGER.begin()
            asyncio.run(Life(SEQUENCE, f"{SQLITE}{made / 'old.db'}", EAGER, 5, "after").run())
            assert lines, "the first life performed nothing"
            taken = snapshots(made / "old.db", folder)
        faults = [fault for path in taken for fault in goes_on(path, 1, list(lines))]
    print(f"\n{len(taken)} moments")
    assert faults == []
    assert len(taken) >= 6


def test_a_torn_migration_is_whole_or_absent() -> None:
    """A log cut at any length: the schema is all there or not at all, and the next opening completes it."""
    with fast_folder() as folder:
        made = folder / "made"
        made.mkdir()
        taken = snapshots(made / "new.db", folder)
        logs = [path for path in taken if Path(f"{path}-wal").exists()]
        grown = next(path for path in logs if os.path.getsize(f"{path}-wal") > 20_000)
        log = Path(f"{grown}-wal").read_bytes()
        database = grown.read_bytes()
        faults: list[str] = []
        whole = 0
        for number in range(TORN + 1):
            torn = folder / f"torn-{number}"
            torn.mkdir()
            (torn / "new.db").write_bytes(database)
            (torn / "new.db-wal").write_bytes(log[: len(log) * number // TORN])
            with closing(sqlite3.connect(torn / "new.db")) as connection:
                tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'lash%'").fetchone()[0]
            whole += tables > 0
            if 0 < tables < 10:
                faults.append(f"{tables} tables and indexes of the schema in {torn.name}")
            faults += goes_on(torn / "new.db")
    assert faults == []
    assert 0 < whole < TORN


def test_a_real_sigkill_while_opening(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    faults: list[str] = []
    for number in range(KILLS):
        path = tmp_path / f"{number}.db"
        words = [sys.executable, str(Path(__file__).with_name("opening.py")), str(path), str(chance.randint(1, 30))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode != -signal.SIGKILL:
            faults.append(f"{words[-1]}: exit {done.returncode}: {done.stderr}")
        faults += goes_on(path)
    assert faults == [], f"seed {seed}"
