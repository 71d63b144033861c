"""The table of docs/performance.md out of a results file, so that nobody copies a figure by hand.

python -m benchmarks.figures benchmarks/results/baseline.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import VERDICTS
from benchmarks.workloads import FLOORS, WORKLOADS, Workload


def markdown(document: dict[str, Any]) -> str:
    lines = ["| | | median | min – max | goal | |", "|---|---|---:|---:|---:|---|"]
    for workload in (FLOORS, *WORKLOADS.values()):
        if workload.name in document["workloads"]:
            lines += rows_of(workload, document["workloads"][workload.name]["metrics"])
    return "\n".join(lines)


def rows_of(workload: Workload, metrics: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for metric in workload.metrics:
        found = metrics[metric.key]
        median, least, most = (f"{found[name]:,.{metric.digits}f}" for name in ("median", "min", "max"))
        first = f"**{workload.name}** {workload.title}" if not lines else ""
        goal = found["goal"] or ""
        lines.append(f"| {first} | {metric.words} | {median} | {least} – {most} | {goal} | {VERDICTS[found['met']]} |")
    return lines


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
