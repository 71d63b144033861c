"""A supervisor keeps its workers alive, says once that a target is broken, and drains all of them when asked."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lash.cli import exits, serving
from lash.cli.serving import Supervisor, hand_down, worker_command
from tests.unit.cli.kit import DEADLINE_S, Cli

CHILD = """
import os, signal, socket, sys, time

folder, fate = sys.argv[1], sys.argv[2]
line = socket.socket(fileno=int(sys.argv[3].partition("=")[2]))
name = os.path.join(folder, f"{time.time_ns()}-{os.getpid()}")
open(name, "w").close()

def drained(number, frame):
    open(name + ".drained", "w").close()
    sys.exit(0)

signal.signal(signal.SIGTERM, drained)
if fate.isdigit():
    sys.exit(int(fate))
line.sendall(b"ready\\n")
if fate == "orphan":
    while line.recv(10):
        pass
    drained(0, None)
while True:
    signal.pause()
"""


class Crew:
    """Stub workers that leave a file when they start and another when they drain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "child.py"
        self.script.write_text(CHILD)
        self.marks = folder / "marks"
        self.marks.mkdir()

    def supervisor(self, count: int, fate: str = "serve") -> Supervisor:
        return Supervisor([sys.executable, str(self.script), str(self.marks), fate], count, as_json=True)

    def started(self) -> list[int]:
        return [int(path.name.split("-")[1]) for path in sorted(self.marks.iterdir()) if not path.suffix]

    def drained(self) -> list[int]:
        return [int(path.stem.split("-")[1]) for path in sorted(self.marks.iterdir()) if path.suffix]


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crew:
    monkeypatch.setattr(serving, "backoff_ms", lambda failures, maximum_ms: 10)
    return Crew(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def with_supervisor(supervisor: Supervisor, story: Callable[[], object]) -> int:
    """Run it while ``story`` (an async function) is told; then ask it to stop. Its exit code."""
    running = asyncio.create_task(supervisor.run())
    try:
        await story()  # type: ignore[misc]
    finally:
        supervisor.stop()
        async with asyncio.timeout(DEADLINE_S):
            code = await running
    return code


def test_all_are_started_and_all_drain_on_a_signal(crew: Crew) -> None:
    async def story() -> None:
        await until(lambda: len(crew.started()) == 3)
        await until(lambda: all(child.ready for child in supervisor.children.values()))
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: len(crew.drained()) == 3)

    supervisor = crew.supervisor(3)
    assert asyncio.run(with_supervisor(supervisor, story)) == exits.OK
    assert sorted(crew.drained()) == sorted(crew.started())


def test_a_killed_worker_is_started_again(crew: Crew) -> None:
    async def story() -> None:
        await until(lambda: len(crew.started()) == 2)
        os.kill(crew.started()[0], signal.SIGKILL)
        await until(lambda: len(crew.started()) == 3)

    assert asyncio.run(with_supervisor(crew.supervisor(2), story)) == exits.OK
    assert len(set(crew.started())) == 3


def test_a_pause_grows_while_a_worker_keeps_dying(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[int] = []

    def pause(number: int, maximum_ms: int) -> int:
        failures.append(number)
        return 1

    monkeypatch.setattr(serving, "backoff_ms", pause)

    async def story() -> None:
        for number in range(1, 4):
            await until(lambda count=number: len(crew.started()) == count)  # type: ignore[misc]
            os.kill(crew.started()[-1], signal.SIGKILL)
        await until(lambda: len(crew.started()) == 4)

    asyncio.run(with_supervisor(crew.supervisor(1), story))
    assert failures[:3] == [1, 2, 3]


@pytest.mark.parametrize(("fate", "code"), [("2", exits.USAGE), ("3", exits.INFRASTRUCTURE), ("7", exits.DEFECT)])
def test_a_target_that_never_serves_is_told_once_and_ends_it(crew: Crew, fate: str, code: int) -> None:
    async def run() -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await crew.supervisor(3, fate).run()

    assert asyncio.run(run()) == code
    assert len(crew.started()) == 1


def test_a_worker_whose_supervisor_is_gone_drains(crew: Crew) -> None:
    async def story() -> None:
        await until(lambda: bool(supervisor.children) and supervisor.children[0].ready)
        supervisor.children[0].line.close()
        await until(lambda: len(crew.drained()) == 1)

    supervisor = crew.supervisor(1, "orphan")
    asyncio.run(with_supervisor(supervisor, story))


def test_the_command_of_a_child_is_this_python_with_the_same_options() -> None:
    command = worker_command("jobs:app", verbose=True, as_json=True)
    assert command[:4] == [sys.executable, "-m", "lash.cli.main", "worker"]
    assert command[4:] == ["jobs:app", "--verbose", "--json"]


def test_children_inherit_the_database_where_nobody_can_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASH_URL", "sqlite:///before.db")
    hand_down("postgresql://me:secret@h/d")
    assert os.environ["LASH_URL"] == "postgresql://me:secret@h/d"
    hand_down(None)
    assert os.environ["LASH_URL"] == "postgresql://me:secret@h/d"


def test_a_worker_without_processes_is_refused(cli: Cli) -> None:
    cli.write("empty.py", "import lash\napp = lash.Runtime('sqlite:///jobs.db')\n")
    failed = cli("worker", "empty.py", "--json")
    assert (failed.code, failed.error["code"]) == (exits.USAGE, "nothing_registered")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["missing.py"], exits.USAGE), (["jobs.py", "--url=sqlite:///text.db"], exits.INFRASTRUCTURE)],
)
def test_a_worker_that_cannot_serve_says_why(cli: Cli, arguments: list[str], code: int) -> None:
    cli.write("text.db", "this is no database, and it is longer than the header of one would be\n" * 20)
    assert cli("worker", *arguments, url=None).code == code
