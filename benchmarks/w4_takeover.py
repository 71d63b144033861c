"""W4, recovery: a worker is killed in the middle of many processes, and a new OS process brings them to their ends.

The time runs from the spawn of the new one, so interpreter and imports are part of it, and reaching the dead one's
leases too. Each process has recorded half its steps and was performing the next.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import recorded
from benchmarks.child import ROOT, MeasurementFailed, Values, environment, fresh_url, serve

PROGRAM = ROOT / "benchmarks" / "apps" / "takeover.py"
DONE = 5
"""Steps recorded before the kill."""
AFTER = 4
"""Steps after the one in flight."""
SECONDS_MAX = 120


def spawn(life: str, asked: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), life, asked]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_mid_way(asked: str) -> None:
    """Run a first life until every process is in its step in flight, then SIGKILL it."""
    with spawn("first", asked) as worker:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        worker.kill()
        _, errors = worker.communicate(timeout=SECONDS_MAX)
    if line.strip() != "ready":
        raise MeasurementFailed(f"the first life never got there:\n{errors}")


def take_over(asked: str) -> Values:
    began = time.monotonic()
    with spawn("second", asked) as worker:
        output, errors = worker.communicate(timeout=SECONDS_MAX)
    if worker.returncode != 0:
        raise MeasurementFailed(f"the second life ended with {worker.returncode}:\n{errors}")
    marks: Values = json.loads(output)
    moments = [began, *(marks[name] for name in ("born", "imported", "opened", "began", "replayed", "finished"))]
    phases = ("python_ms", "imports_ms", "open_ms", "claim_ms", "replay_ms", "finish_ms")
    values = {name: (moments[at + 1] - moments[at]) * 1_000 for at, name in enumerate(phases)}
    return {"total_s": marks["finished"] - began, "cpu_s": marks["cpu_s"], **values}


def import_ms(module: str, times: int) -> float:
    """Median time of one import in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1000)"
    taken: list[float] = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=60
        )
        taken.append(float(done.stdout))
    return statistics.median(taken)


def bare_python_ms(times: int) -> float:
    """Median time of an interpreter that does nothing, from its spawn to its end."""
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], env=environment(), check=True, timeout=60)
        taken.append((time.perf_counter() - began) * 1_000)
    return statistics.median(taken)


def measure(folder: Path, sizes: Mapping[str, float]) -> Values:
    processes, imports = int(sizes["processes"]), int(sizes["imports"])
    floors = {"import_lash_ms": import_ms("lash", imports), "import_asyncio_ms": import_ms("asyncio", imports)}
    floors["bare_python_ms"] = bare_python_ms(imports)
    asked = json.dumps({"url": fresh_url(folder, "w4"), "processes": processes, "done": DONE, "after": AFTER})
    kill_mid_way(asked)
    path = folder / "w4.db"
    recorded.expect(path, completed=0, steps=processes * DONE)
    values = take_over(asked)
    recorded.expect(path, completed=processes, steps=processes * (DONE + 1 + AFTER))
    return {**values, **floors}


if __name__ == "__main__":
    serve(measure)
