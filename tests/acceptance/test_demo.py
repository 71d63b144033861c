"""`lash demo` keeps its promises on real files, twice killed, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.kit import Shell, until

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()
SECONDS = "6"


def write_files(folder: Path, count: int) -> None:
    for number in range(count):
        lines = [" ".join(WORDS[number % 12 : number % 12 + line % 9]) for line in range(30 * number)]
        path = folder / f"part{number % 4}" / f"file{number:02}.{('py', 'md', 'txt')[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([f"# {number}", *lines]))


@pytest.fixture
def temporary(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo keeps its database, so that what it leaves behind is seen."""
    folder = shell.folder / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.timeout(240)
def test_the_demo_survives_its_crashes_and_reports_what_a_plain_loop_does(shell: Shell, temporary: Path) -> None:
    files = shell.folder / "files"
    write_files(files, 40)
    done = shell.lash("demo", str(files), "--seconds", SECONDS, "--json", timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert all(check["ok"] for check in told["checks"])
    assert (told["files"], told["completed"]) == (40, 40)
    assert told["report"] == told["direct"]
    assert told["kill"]["held"] >= 1
    assert len(told["kill"]["takeover_ms"]) == told["kill"]["held"]
    assert told["zombie"]["stopped_ms"] > 2_000
    assert told["zombie"]["tokens_presented"] == told["zombie"]["tokens_refused"] >= 1
    assert told["steps_performed"] >= told["steps_recorded"] >= 4 * 40
    assert told["performed_twice"] <= told["in_flight_at_most"]
    assert list(temporary.iterdir()) == []


@pytest.mark.timeout(240)
def test_an_interrupted_demo_leaves_no_worker_and_no_file(shell: Shell, temporary: Path) -> None:
    write_files(shell.folder / "files", 40)
    demo = shell.begin("demo", "files", "--seconds", SECONDS)
    until(lambda: "holds" in shell.log(), "the demo is under way")
    assert shell.end(demo, signal.SIGINT) == 130
    assert list(temporary.iterdir()) == []
    pids = [int(pid) for pid in re.findall(r"\(pid (\d+)\)", shell.log())]
    assert len(pids) >= 2
    assert [pid for pid in pids if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
