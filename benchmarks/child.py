"""Every measurement is made by a fresh OS process of its own; this is how one is asked, and how it answers.

The asking side never imports lash, so that what is measured begins cold. The measuring side is a module with a
``measure(folder, sizes)`` and a last line ``serve(measure)``; its answer is one marked line of its standard output.
"""

from __future__ import annotations

import cProfile
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

ROOT: Final = Path(__file__).resolve().parent.parent
SECONDS_MAX: Final = 900
"""A measurement that takes longer hangs."""
ANSWER: Final = "measured: "
PROFILE: Final = "LASH_BENCHMARK_PROFILE"
"""Names a folder: every timed section is profiled, and its statistics are written there."""

Values = dict[str, float]
Measure = Callable[[Path, Mapping[str, float]], Values]


class MeasurementFailed(Exception):
    """The measuring process ended with an error; its output is the message."""


def environment() -> dict[str, str]:
    """Ours, with the source tree of this repository first, whether or not it is installed.

    Switches of the interpreter are left out: without byte code on disk, for one, every import would be a compilation.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONHOME"}
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def ask(module: str, folder: Path, sizes: Mapping[str, float], before: Sequence[str] = ()) -> Values:
    """Run ``module`` in a new OS process and return what it measured. ``before`` is put in front of the command.

    Raises ``MeasurementFailed``.
    """
    command = [*before, sys.executable, "-m", module, json.dumps({"folder": str(folder), "sizes": dict(sizes)})]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    if done.returncode != 0:
        raise MeasurementFailed(f"{module} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    told = [line.removeprefix(ANSWER) for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if not told:
        raise MeasurementFailed(f"{module} gave no answer:\n{done.stdout}{done.stderr}")
    answer: Values = json.loads(told[-1])
    return answer


def serve(measure: Measure) -> None:
    """In the measuring process: do as asked, print the answer."""
    asked = json.loads(sys.argv[1])
    folder = Path(asked["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    print(ANSWER + json.dumps(measure(folder, asked["sizes"])), flush=True)


def fresh_url(folder: Path, name: str) -> str:
    """The URL of a database that does not exist yet."""
    path = folder / f"{name}.db"
    for old in folder.glob(f"{name}.db*"):
        if old.is_file():
            old.unlink()
    return url_of(path)


def url_of(path: Path) -> str:
    return "sqlite:///" + quote(str(path.resolve()))


def text_of(json_bytes: int) -> str:
    """A string that is ``json_bytes`` long as JSON."""
    return "x" * (json_bytes - 2)


def resident_bytes() -> int:
    """Resident set of this OS process; where the system does not tell, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class Timed:
    """``with Timed("name") as timed:`` measures wall and CPU time of this OS process, and profiles when asked to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._profile = cProfile.Profile() if PROFILE in os.environ else None
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()
        if self._profile is not None:
            self._profile.enable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profile is not None:
            self._profile.disable()
        self.wall_s = time.perf_counter() - self._wall_s
        self.cpu_s = time.process_time() - self._cpu_s
        if self._profile is not None:
            self._profile.dump_stats(Path(os.environ[PROFILE], f"{self._name}.{os.getpid()}.pstats"))
