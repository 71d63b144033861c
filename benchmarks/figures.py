"""The tables of docs/performance.md out of a results file, so that nobody copies a figure by hand.

python -m benchmarks.figures benchmarks/results/baseline.json    # or peers.json: a table of each family that is in it
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.metrics import TABLES, Metric
from benchmarks.report import VERDICTS
from benchmarks.workloads import FLOORS, WORKLOADS, Workload


def markdown(document: dict[str, Any]) -> str:
    return markdown_of_peers(document) if "contenders" in document else markdown_of_workloads(document)


def markdown_of_workloads(document: dict[str, Any]) -> str:
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


def markdown_of_peers(document: dict[str, Any]) -> str:
    contenders = list(document["contenders"].values())
    return "\n\n".join(filter(None, (table_of(contenders, metrics) for metrics in TABLES)))


def table_of(contenders: list[dict[str, Any]], metrics: tuple[Metric, ...]) -> str:
    """Whoever has a figure of this family, and the figures that anybody has."""
    shown = [metric for metric in metrics if any(metric.key in item["metrics"] for item in contenders)]
    rows = [item for item in contenders if any(metric.key in item["metrics"] for metric in shown)]
    if not rows:
        return ""
    heading = "| | " + " | ".join(f"{metric.title} {metric.unit}" for metric in shown) + " |"
    lines = [heading, "|---|" + "---:|" * len(shown)]
    lines += ["| " + " | ".join([row["title"], *(peer_cell(row, metric) for metric in shown)]) + " |" for row in rows]
    return "\n".join(lines)


def peer_cell(row: dict[str, Any], metric: Metric) -> str:
    """In parentheses what is not compared."""
    if metric.workload in row["faults"]:
        return "failed"
    found = row["metrics"].get(metric.key)
    if found is None:
        return "–"
    text = metric.text(found["median"])
    return f"({text})" if metric.workload in row["not_compared"] else text


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
