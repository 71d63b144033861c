"""`lash` as a user runs it: processes of its own, in a folder of its own, and never one left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
POLL = threading.Event()


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "LASH_URL"}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll for a fact, not for a time; fails after ``DEADLINE_S``."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {DEADLINE_S:.0f} s: {what}"
        POLL.wait(0.02)


class Shell:
    """A folder, and what is started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def lash(self, *arguments: str, timeout: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lash.cli.main", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=timeout
        )

    def document(self, *arguments: str) -> Any:
        """stdout of a command that must succeed, as JSON."""
        done = self.lash(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on; its output is in ``<number>.log``."""
        with (self.folder / f"{len(self.started)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lash.cli.main", *arguments],
                cwd=self.folder, env=environment(), stdout=log, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def log(self, number: int = -1) -> str:
        count = len(self.started)
        return (self.folder / f"{number % count}.log").read_text()

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
        """Signal it and wait; its exit code."""
        process.send_signal(number)
        return process.wait(DEADLINE_S)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
