"""The command starts quickly: what a command does not need is not imported, and completion works in the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}
HEAVY = "pydantic rich.console lash.stores.sqlite lash.stores.memory lash.cli.demo lash.cli.lint sqlite3".split()
HELP_S_MAX = 1.0


def lash(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lash.cli.main", *arguments]
    environment = {**ENVIRONMENT, **{name: str(value) for name, value in options.items()}}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom lash.cli.main import run\nassert run(['--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.stderr.strip() == "[]"


def test_help_takes_less_than_a_second_of_computing() -> None:
    """CPU time of the best of three, which a busy machine does not stretch."""
    lash("--help")
    assert min(cpu_s() for _ in range(3)) < HELP_S_MAX


def cpu_s() -> float:
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "lash.cli.main", "--help"],
        ENVIRONMENT,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def test_the_shell_can_complete_commands() -> None:
    completed = lash("", _LASH_COMPLETE="complete_bash", COMP_WORDS="lash ev", COMP_CWORD=1)
    assert completed.stdout.split() == ["events"]


@pytest.mark.parametrize("words", ["migrate --sql", "--help", "migrate --sql --json"])
def test_a_reader_that_went_away_is_no_defect(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "lash.cli.main", *words.split()]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=60)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_output_that_the_terminal_cannot_spell_is_no_defect(tmp_path: Path, encoding: str) -> None:
    done = lash("show", "日本", f"--url=sqlite:///{tmp_path}/x.db", PYTHONIOENCODING=encoding, PYTHONUTF8=0)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
