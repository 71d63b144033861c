"""Runs the test lanes one after another and prints one line for each.

The rule of this file: a lane joins by existing. Every folder of tests/ that holds a test file is one, and the test
files lying in tests/ itself are the lane ``house``. A lane that collects nothing or skips a test fails when CI is set
(tests/conftest.py has the other half of this), so that no promise goes quietly untested.

    python tools/lanes.py            every lane, then the other Pythons of this machine
    python tools/lanes.py unit crash only these
    python tools/lanes.py --list     their names
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
HOUSE = "house"
OTHER_PYTHONS = "pythons"

ORDER = ("unit", "conformance", "simulation", "wire", "typing", "acceptance", "docs", "crash", "concurrency")
"""Quick ones first; a lane not named here runs after these, in order of its name."""

PARALLEL = ("unit", "conformance", "simulation", "wire", "typing", "acceptance", "docs", "crash")
"""Lanes whose tests may run beside one another. The others measure time or load the machine: one test at a time."""

WORKERS = 3
"""On two cores: tests wait more than they compute."""
WAITS = "concurrency"
"""A lane that leaves more than half of the machine idle: the other Pythons get that, and no more."""
LANE_SECONDS_MAX = 600
"""A lane that takes longer hangs."""
NO_TESTS = 5
"""What pytest exits with when it collected nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one lane went; ``output`` is what pytest printed."""

    ok: bool
    tests: int
    skipped: int
    seconds: float
    output: str


def lane_names(tests: Path = TESTS) -> list[str]:
    """Every lane on disk, in the order they run."""
    folders = {path.name for path in tests.iterdir() if path.is_dir() and next(path.rglob("test_*.py"), None)}
    known = [name for name in ORDER if name in folders]
    house = [HOUSE] if next(tests.glob("test_*.py"), None) else []
    return [*house, *known, *sorted(folders - set(ORDER))]


def paths_of(lane: str) -> list[str]:
    if lane == HOUSE:
        return [str(path.relative_to(ROOT)) for path in sorted(TESTS.glob("test_*.py"))]
    return [f"tests/{lane}"]


def run_lane(lane: str) -> Result:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lash-lane-") as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *paths_of(lane)]
        if lane in PARALLEL:
            command += ["-n", str(WORKERS)]
        code, output = run(command)
        tests, skipped = counts_of(report)
    ok = code == 0 or (code == NO_TESTS and not in_ci())
    return Result(ok and not (in_ci() and (skipped or not tests)), tests, skipped, time.monotonic() - began, output)


def run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command that gets ``LANE_SECONDS_MAX`` and its own process group."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as child:
        try:
            output, _ = child.communicate(timeout=LANE_SECONDS_MAX)
        except BaseException as error:
            os.killpg(child.pid, 9)
            output, _ = child.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return 1, f"{output}\nStopped after {LANE_SECONDS_MAX} s: the lane hangs.\n"
    return child.returncode, output


def counts_of(report: Path) -> tuple[int, int]:
    """Tests and skipped tests of a junit report; zeros when pytest never wrote one."""
    if not report.exists():
        return 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    tests = sum(int(suite.get("tests", "0")) for suite in suites)
    return tests, sum(int(suite.get("skipped", "0")) for suite in suites)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def line_of(lane: str, result: Result) -> str:
    skipped = f", {result.skipped} skipped" if result.skipped else ""
    verdict = "ok" if result.ok else "FAILED"
    return f"{lane:<12} {verdict:<6} {result.tests:>5} tests{skipped} in {result.seconds:.1f} s"


class OtherPythons:
    """Started when they are least in the way, and waited for last."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None

    def begin(self) -> subprocess.Popen[str]:
        if self.child is None:
            command = ["nice", "-n", "19", sys.executable, str(ROOT / "tools" / "other_pythons.py")]
            self.child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        return self.child

    def end(self) -> bool:
        """Whether all went well; prints what they said."""
        child = self.begin()
        print(child.communicate()[0].rstrip(), flush=True)
        return child.returncode == 0


def main(wanted: Sequence[str]) -> int:
    names = lane_names()
    if "--list" in wanted:
        print(*names, sep="\n")
        return 0
    if unknown := sorted(set(wanted) - {*names, OTHER_PYTHONS}):
        print(f"There is no lane called {', '.join(unknown)}. There are: {', '.join([*names, OTHER_PYTHONS])}.")
        return 2
    began = time.monotonic()
    failed: list[str] = []
    chosen = [name for name in names if not wanted or name in wanted]
    pythons = OtherPythons() if not wanted or OTHER_PYTHONS in wanted else None
    for lane in chosen:
        if lane == WAITS and pythons is not None:
            pythons.begin()
        result = run_lane(lane)
        print(line_of(lane, result), flush=True)
        if not result.ok:
            failed.append(lane)
            print(result.output, flush=True)
    if pythons is not None and not pythons.end():
        failed.append(OTHER_PYTHONS)
    verdict = f"failed: {', '.join(failed)}" if failed else "all passed"
    print(f"{len(chosen)} lanes in {time.monotonic() - began:.0f} s, {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
