"""`lash worker --processes 2`: SIGTERM hands over what runs, SIGKILL loses nothing, and peers go on."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter

from tests.acceptance.kit import Shell, until

GATED = """
import asyncio, os, sys, time
import lash

app = lash.Runtime("sqlite:///jobs.db", linger="50ms")

def note(what: str) -> None:
    with open("performed", "a") as file:
        file.write(what + "\\n")

def slow(name: str) -> str:
    note("begin " + name)
    while not os.path.exists("gate"):
        time.sleep(0.01)
    note("end " + name)
    return name

def quick(name: str) -> str:
    note("quick " + name)
    return name

@app.process
async def gated(ctx: lash.Context, name: str) -> str:
    await ctx.step(slow, name)
    return await ctx.step(quick, name)

async def start_all(names: list[str]) -> None:
    await app.open(with_worker=False)
    await app.start_many([gated.call(name).options(id=name) for name in names])
    await app.close()

if __name__ == "__main__":
    asyncio.run(start_all(sys.argv[1:]))
"""

NAMES = [f"p{number}" for number in range(6)]
URL = "--url=sqlite:///jobs.db"


def begun(shell: Shell, count: int) -> None:
    """Start the processes and two workers, and wait until all slow steps are under way."""
    (shell.folder / "gated.py").write_text(GATED)
    assert shell.python("gated.py", *NAMES).returncode == 0
    shell.begin("worker", "gated.py", "--processes=2")
    until(lambda: performed(shell)["begin"] == count, "all slow steps have begun")


def performed(shell: Shell) -> Counter[str]:
    path = shell.folder / "performed"
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


def workers(shell: Shell) -> list[int]:
    return [int(pid) for pid in re.findall(r"Worker (\d+) serves", shell.log())]


def statuses(shell: Shell) -> Counter[str]:
    rows = shell.document("ls", URL)["processes"]
    return Counter(row["status"] for row in rows)


def test_sigterm_records_the_steps_in_flight_and_hands_the_rest_over(shell: Shell) -> None:
    begun(shell, len(NAMES))
    supervisor = shell.started[0]
    until(lambda: len(workers(shell)) == 2, "both workers serve")
    supervisor.send_signal(signal.SIGTERM)
    (shell.folder / "gate").touch()
    assert supervisor.wait(60) == 0
    assert shell.log().count("drained in") == 2
    assert (performed(shell)["begin"], performed(shell)["end"]) == (6, 6)
    for name in NAMES[:2]:
        shown = shell.document("show", name, URL)
        recorded = [line["name"] for line in shown["timeline"] if line["ending"] == "ok"]
        assert recorded[:1] == ["slow"]
        assert shown["lease"] is None
    shell.begin("worker", "gated.py")
    until(lambda: statuses(shell) == {"completed": 6}, "the peer has finished everything")
    assert performed(shell) == {"begin": 6, "end": 6, "quick": 6}


def test_a_killed_worker_is_replaced_and_its_work_taken_over(shell: Shell) -> None:
    begun(shell, len(NAMES))
    until(lambda: len(workers(shell)) == 2, "both workers serve")
    os.kill(workers(shell)[0], signal.SIGKILL)
    until(lambda: len(workers(shell)) == 3, "another worker serves in its place")
    (shell.folder / "gate").touch()
    until(lambda: statuses(shell) == {"completed": 6}, "everything is finished")
    assert "was killed by SIGKILL" in shell.log()
    assert shell.end(shell.started[0]) == 0
    done = performed(shell)
    assert done["quick"] == 6
    assert 6 <= done["begin"] <= 12


def test_workers_of_a_killed_supervisor_drain_by_themselves(shell: Shell) -> None:
    (shell.folder / "gate").touch()
    begun(shell, len(NAMES))
    until(lambda: len(workers(shell)) == 2, "both workers serve")
    shell.end(shell.started[0], signal.SIGKILL)
    until(lambda: shell.log(0).count("drained in") == 2, "both workers have drained")
