"""The results file: the same figures as the table, every value of every round, and what was compared with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from benchmarks import report
from benchmarks.peers import __doc__ as terms
from benchmarks.peers.contenders import Contender
from benchmarks.peers.metrics import METRICS, Metric
from benchmarks.peers.rounds import Row
from benchmarks.peers.table import ratios

SCHEMA: Final = 1


def document(
    rows: Sequence[Row], repeats: int, sizes: Mapping[str, int], postgres: str, load_before: float
) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": report.commit(),
        "repeats": repeats,
        "sizes": dict(sizes),
        "machine": {**report.machine(load_before), "postgres": postgres},
        "metrics": [asdict(metric) for metric in METRICS],
        "contenders": {row.contender.name: row_document(row) for row in rows},
        "ratios": [asdict(ratio) for ratio in ratios(rows)],
    }


def row_document(row: Row) -> dict[str, object]:
    contender = row.contender
    return {
        "title": contender.title,
        "store": contender.store,
        "ours": contender.ours,
        "versions": contender.environment.pins,
        "setup": contender.setup,
        "notes": dict(contender.notes),
        "not_compared": list(contender.apart),
        "missing": row.missing or None,
        "faults": dict(row.faults),
        "metrics": {metric.key: found for metric in METRICS if (found := metric_document(row, metric)) is not None},
        "parked": row.median("parked"),
        "fill_s": row.median("fill_s"),
    }


def metric_document(row: Row, metric: Metric) -> dict[str, object] | None:
    values = row.values.get(metric.key)
    if not values:
        return None
    return {"median": row.median(metric.key), "min": min(values), "max": max(values), "values": values}


def setups(contenders: Sequence[Contender]) -> str:
    """The terms of the comparison, and how each contender was set up."""
    told: dict[str, list[str]] = {}
    for contender in contenders:
        told.setdefault(contender.setup, []).append(contender.title)
    lines = [f"{' and '.join(titles)}: {setup}" for setup, titles in told.items()]
    pins = dict.fromkeys(contender.environment.pins for contender in contenders if contender.environment.pins)
    return "\n".join([(terms or "").strip(), "", *lines, "", f"Versions: {', '.join(pins)}"])
