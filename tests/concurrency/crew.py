"""OS processes a test has started itself: killed, stopped, continued by their own numbers, and none left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.concurrency.databases import Database
from tests.concurrency.jobs import FLAGS_VARIABLE, LEDGER_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
START_S = 60
"""A Python process that takes longer to come up hangs."""
SUSPICIOUS = ("Traceback", "database is locked", "never retrieved", "ERROR", "asyncpg", "StoreUnavailable")


def wait_until(ready: Callable[[], object], seconds: float, what: str) -> None:
    """Look every few milliseconds, for this long at most."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


class Member:
    """One child process; what it prints goes to ``log``."""

    def __init__(self, name: str, folder: Path, script: str, words: list[str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.report = folder / f"{name}.json"
        self.stopped = False
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
            LEDGER_VARIABLE: str(folder / "ledger"),
            FLAGS_VARIABLE: str(folder),
        }
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, str(HERE / script), *words], env=environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(30)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        os.kill(self.pid, signal.SIGCONT)

    def drain(self) -> None:
        """Ask it to leave; ``wait`` says when it has."""
        self.child.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        return self.child.wait(seconds)

    @property
    def is_open(self) -> bool:
        return self.report.with_suffix(".open").exists()

    def wait_open(self) -> None:
        wait_until(lambda: self.is_open or not self.alive, START_S, f"{self.name} is up")
        assert self.alive, self.log.read_text()

    def counters(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.report.read_text())
        return found


class Crew:
    """The members of one test on one database, in one folder. Leaves nobody behind."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.url = database.url
        self.ledger = folder / "ledger"
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        os.environ[LEDGER_VARIABLE] = str(self.ledger)
        os.environ[FLAGS_VARIABLE] = str(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            if member.alive:
                member.kill()

    def worker(self, **options: object) -> Member:
        return self.start("worker", lambda report: [self.url, report, json.dumps(options)])

    def client(self, seed: int, seconds: float) -> Member:
        return self.start("client", lambda _: [self.url, str(seed), str(seconds), str(self.folder / "accepted")])

    def start(self, role: str, words: Callable[[str], list[str]]) -> Member:
        name = f"{role}-{len(self.members)}"
        member = Member(name, self.folder, f"{role}.py", words(str(self.folder / f"{name}.json")))
        self.members.append(member)
        return member

    def flag(self, name: str) -> Path:
        return self.folder / name

    def performed(self) -> list[tuple[str, int, int, str]]:
        """Lines of the ledger: key and attempt, pid, epoch milliseconds, label."""
        if not self.ledger.exists():
            return []
        found: list[tuple[str, int, int, str]] = []
        for line in self.ledger.read_text().splitlines():
            key, pid, at_ms, label = line.split(" ")
            found.append((key, int(pid), int(at_ms), label))
        return found

    def performs(self) -> Counter[str]:
        return Counter(key for key, _, _, _ in self.performed())

    def wait_performed(self, label: str, seconds: float = 30, pid: int | None = None) -> None:
        def there() -> bool:
            return any(found == label and pid in (None, by) for _, by, _, found in self.performed())

        wait_until(there, seconds, f"a step {label!r} is performed")

    def complaints(self) -> list[str]:
        """Lines of any log that no user should see."""
        found: list[str] = []
        for member in self.members:
            for line in member.log.read_text().splitlines():
                if any(word in line for word in SUSPICIOUS):
                    found.append(f"{member.name}: {line}")
        return found
