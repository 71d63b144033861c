"""The report: a plain table for people and one JSON document for machines, with the same figures in both.

A goal that was missed says ``miss``; nothing is left out. No path of the machine gets into the document.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from benchmarks.child import ROOT
from benchmarks.rounds import Finding, Measured

SCHEMA: Final = 1
VERDICTS: Final = {True: "ok", False: "miss", None: ""}
WIDTHS: Final = (48, 12, 23, 10)


def table(all_measured: Sequence[Measured]) -> str:
    lines = [line_of(("", "median", "min – max", "goal", ""))]
    for measured in all_measured:
        sizes = measured.workload.title
        lines += ["", f"{measured.workload.name}  {sizes}"]
        lines += [row_of(finding) for finding in measured.findings()]
    return "\n".join(lines)


def row_of(finding: Finding) -> str:
    digits = finding.metric.digits
    median, least, most = (f"{value:,.{digits}f}" for value in (finding.median, *extremes(finding)))
    spread = f"{least} – {most}" if len(finding.values) > 1 else ""
    goal = "" if finding.metric.goal is None else str(finding.metric.goal)
    return line_of((f"  {finding.metric.words}", median, spread, goal, VERDICTS[finding.met]))


def line_of(cells: tuple[str, str, str, str, str]) -> str:
    first, *rest, last = cells
    texts = [first.ljust(WIDTHS[0]), *(text.rjust(width) for text, width in zip(rest, WIDTHS[1:], strict=True))]
    return ("".join(texts) + "  " + last).rstrip()


def extremes(finding: Finding) -> tuple[float, float]:
    return min(finding.values), max(finding.values)


def misses(all_measured: Sequence[Measured]) -> list[str]:
    return [
        f"{measured.workload.name}: {finding.metric.words}"
        for measured in all_measured
        for finding in measured.findings()
        if finding.met is False
    ]


def document(all_measured: Sequence[Measured], size: str, repeats: int, load_before: float) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "size": size,
        "repeats": repeats,
        "machine": machine(load_before),
        "workloads": {measured.workload.name: workload_document(measured) for measured in all_measured},
    }


def workload_document(measured: Measured) -> dict[str, object]:
    return {
        "title": measured.workload.title,
        "metrics": {finding.metric.key: finding_document(finding) for finding in measured.findings()},
    }


def finding_document(finding: Finding) -> dict[str, object]:
    least, most = extremes(finding)
    return {
        "words": finding.metric.words,
        "median": finding.median,
        "min": least,
        "max": most,
        "values": list(finding.values),
        "goal": None if finding.metric.goal is None else str(finding.metric.goal),
        "met": finding.met,
    }


def machine(load_before: float) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load_before": load_before,
        "load_after": load(),
    }


def load() -> float:
    """Of the last minute; what else runs here shows in it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def commit() -> str:
    """Short name of the commit, or ``worktree`` where the files are not those of a commit."""
    try:
        changed = git("status", "--porcelain")
        return "worktree" if changed else git("rev-parse", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "worktree"


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
