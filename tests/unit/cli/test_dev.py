"""`lash dev` starts its worker again after a save, and waits for the next save after a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lash.cli.dev import stamps_of
from tests.unit.cli.kit import DEADLINE_S, Cli

ROOT = Path(__file__).resolve().parents[3]
SOURCE = """
import lash
app = lash.Runtime("sqlite:///dev.db")

@app.process
async def {name}(ctx: lash.Context) -> int:
    return 1
"""


class Dev:
    """`lash dev work.py --json` as a process, heard line by line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as a user's is
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lash.cli.main", "dev", "work.py", "--json"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.errors: list[str] = []
        threading.Thread(target=self._hear_errors, daemon=True).start()
        self.watchdog = threading.Timer(DEADLINE_S, self.process.kill)
        self.watchdog.start()

    def _hear_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)

    def next(self, event: str) -> dict[str, Any]:
        """The next line of this kind; others are passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            document: dict[str, Any] = json.loads(line)
            if document.get("event") == event:
                return document
        raise AssertionError(f"lash dev ended before it told {event!r}: {''.join(self.errors)}")

    def save(self, source: str) -> None:
        fresh = self.folder / "work.py.new"
        fresh.write_text(source)
        fresh.rename(self.folder / "work.py")

    def close(self) -> None:
        self.watchdog.cancel()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    (tmp_path / "work.py").write_text(SOURCE.format(name="first"))
    found = Dev(tmp_path)
    yield found
    found.close()


def test_a_save_restarts_the_worker_and_a_mistake_waits_for_the_next(dev: Dev) -> None:
    assert dev.next("watching")["folder"] == str(dev.folder.resolve())
    first = dev.next("serving")
    assert first["processes"] == ["first"]
    dev.save(SOURCE.format(name="second"))
    assert [Path(name).name for name in dev.next("reload")["files"]] == ["work.py"]
    second = dev.next("serving")
    assert (second["processes"], second["pid"] != first["pid"]) == (["second"], True)
    dev.save("def broken(:\n")
    assert dev.next("ended")["code"] == 2
    dev.save(SOURCE.format(name="third"))
    assert dev.next("serving")["processes"] == ["third"]
    dev.process.send_signal(signal.SIGINT)
    assert dev.next("stopped")
    assert dev.process.wait(DEADLINE_S) == 0


def test_two_saves_of_one_length_within_a_second_both_count(dev: Dev) -> None:
    assert dev.next("serving")["processes"] == ["first"]
    for moment, name in ((0.1, "thing"), (0.9, "other")):
        fresh = dev.folder / "work.py.new"
        fresh.write_text(SOURCE.format(name=name))
        os.utime(fresh, (1_800_000_000 + moment, 1_800_000_000 + moment))
        fresh.rename(dev.folder / "work.py")
        assert dev.next("serving")["processes"] == [name]


def test_only_source_files_of_ones_own_are_watched(tmp_path: Path) -> None:
    watched = ["a.py", "pkg/b.py", "pkg/deep/c.py"]
    others = ["a.txt", ".hidden/x.py", "__pycache__/x.py", "node_modules/x.py", "env/lib/x.py", "env/pyvenv.cfg"]
    for name in (*watched, *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert sorted(os.path.relpath(path, tmp_path) for path in stamps_of(tmp_path)) == watched


def test_dev_refuses_a_target_that_is_not_there(cli: Cli) -> None:
    failed = cli("dev", "missing.py", "--json", url=None)
    assert (failed.code, failed.error["code"]) == (2, "target_missing")
