"""Where the time goes: a workload under cProfile, timed sections only, and under py-spy where that is installed.

cProfile counts every call and so makes cheap calls look dear; py-spy samples from outside and does not. Believe the
first for counts and the second for shares.

    python -m benchmarks.profile W1 [--top 25] [--quick] [--callers NAME]
"""

from __future__ import annotations

import argparse
import os
import pstats
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks.child import PROFILE, ROOT, MeasurementFailed, ask
from benchmarks.workloads import WORKLOADS, SizeName, Workload

Place: TypeAlias = tuple[str, int, str]
"""File, line, function; ``~`` as the file is C code."""
Costs: TypeAlias = tuple[int, int, float, float, dict[Place, tuple[int, int, float, float]]]
"""Primitive calls, calls, own seconds, seconds with callees, and the same by caller."""
SAMPLES_PER_S: Final = 500
IDLE: Final = "_worker  thread.py"
"""A thread that waits for work, which py-spy takes for a busy one."""


def by_calls(workload: Workload, size: SizeName, folder: Path) -> pstats.Stats:
    """Statistics of every timed section of one measurement."""
    profiles = folder / "profiles"
    profiles.mkdir()
    os.environ[PROFILE] = str(profiles)
    try:
        ask(workload.module, folder / "calls", workload.sizes[size])
    finally:
        del os.environ[PROFILE]
    found = [str(path) for path in sorted(profiles.glob("*.pstats")) if not path.name.startswith("floor")]
    if not found:
        raise MeasurementFailed(f"{workload.name} has no timed section to profile.")
    return pstats.Stats(*found)


def print_calls(stats: pstats.Stats, top: int, callers: str | None) -> None:
    total = stats.get_stats_profile().total_tt
    print(f"\ncProfile: {total:.3f} s in timed sections; own time first\n")
    print(f"{'own s':>8} {'%':>6} {'with callees':>12} {'calls':>9} {'µs/call':>8}  function")
    rows = sorted(raw(stats).items(), key=lambda item: item[1][2], reverse=True)
    for place, (_, calls, own_s, whole_s, _) in rows[:top]:
        each = own_s / calls * 1e6
        print(f"{own_s:8.3f} {own_s / total:6.1%} {whole_s:12.3f} {calls:9} {each:8.2f}  {words(place)}")
    if callers is not None:
        stats.sort_stats("tottime").print_callers(callers)


def print_files(stats: pstats.Stats, top: int) -> None:
    """Own time by file; what is written in C counts for the file that called it."""
    spent: defaultdict[str, float] = defaultdict(float)
    for (file, _, _), (_, _, own_s, _, callers) in raw(stats).items():
        if file != "~":
            spent[short(file)] += own_s
            continue
        for (caller, _, _), (_, _, called_s, _) in callers.items():
            spent["C, from C" if caller == "~" else short(caller)] += called_s
    total = sum(spent.values())
    print("\ncProfile, own time by file, C code counted for its caller\n")
    for file, own_s in sorted(spent.items(), key=lambda item: item[1], reverse=True)[:top]:
        print(f"{own_s:8.3f} {own_s / total:6.1%}  {file}")


def raw(stats: pstats.Stats) -> dict[Place, Costs]:
    found: dict[Place, Costs] = vars(stats)["stats"]
    return found


def words(place: Place) -> str:
    file, line, name = place
    return name if file == "~" else f"{name}  {short(file)}:{line}"


def short(file: str) -> str:
    """A path below the repository or the library, without what the machine puts before it."""
    for mark in (f"{ROOT}{os.sep}", f"{os.sep}site-packages{os.sep}", f"{os.sep}lib{os.sep}"):
        _, found, rest = file.partition(mark)
        if found:
            return rest
    return Path(file).name


def by_samples(workload: Workload, size: SizeName, folder: Path) -> Counter[str] | None:
    """Samples by the function on top of the stack; None without py-spy. The whole OS process, imports included."""
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if spy is None:
        return None
    out = folder / "samples.txt"
    before = [spy, "record", "--rate", str(SAMPLES_PER_S), "--format", "raw", "--subprocesses", "--nolineno"]
    command = [*before, "--output", str(out), "--"]
    ask(workload.module, folder / "samples", workload.sizes[size], command)
    counted: Counter[str] = Counter()
    for line in out.read_text("utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        counted[tidy(stack.split(";")[-1])] += int(samples)
    del counted[IDLE]
    return counted


def tidy(frame: str) -> str:
    if frame.startswith("process "):
        return "the interpreter itself"
    name, found, rest = frame.rpartition(" (")
    return f"{name}  {short(rest.rstrip(')'))}" if found else frame


def print_samples(counted: Counter[str], top: int) -> None:
    total = sum(counted.values())
    print(f"\npy-spy: {total} samples at {SAMPLES_PER_S}/s, whole OS process; function on top first\n")
    for frame, samples in counted.most_common(top):
        print(f"{samples / total:7.1%}  {frame}")


def main(wanted: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("workload", choices=sorted(WORKLOADS), type=str.upper)
    parser.add_argument("--top", type=int, default=25, help="functions to print (default 25)")
    parser.add_argument("--quick", action="store_true", help="the smaller size")
    parser.add_argument("--callers", metavar="NAME", help="also who calls this function")
    asked = parser.parse_args(wanted)
    workload = WORKLOADS[asked.workload]
    size: SizeName = "quick" if asked.quick else "full"
    with tempfile.TemporaryDirectory(prefix="lash-profile-", ignore_cleanup_errors=True) as folder:
        stats = by_calls(workload, size, Path(folder))
        print_calls(stats, asked.top, asked.callers)
        print_files(stats, asked.top)
        try:
            samples = by_samples(workload, size, Path(folder))
        except MeasurementFailed as error:
            print(f"\npy-spy could not look into the process: {error}")
            return 0
        if samples is None:
            print("\npy-spy is not installed; `pip install py-spy` adds a profile by samples.")
        else:
            print_samples(samples, asked.top)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
