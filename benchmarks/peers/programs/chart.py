"""Draws a results file of the peers: one panel per figure somebody has, one bar per contender, on a logarithmic scale.

    python chart.py results.json chart.png

It runs in an environment with matplotlib. A figure that is not compared has a hollow bar; a missing one has none.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot, ticker

COLOURS: Final = {"SQLite": "#7aa6c2", "Postgres": "#3f6f8f", "own": "#8c8c8c"}
OURS: Final = {"SQLite": "#e8a33d", "Postgres": "#c7752b", "own": "#c7752b"}
COLUMNS: Final = 3


def draw(results: dict[str, Any], path: str) -> None:
    contenders = results["contenders"].values()
    metrics = [metric for metric in results["metrics"] if any(metric["key"] in item["metrics"] for item in contenders)]
    lines = -(-len(metrics) // COLUMNS)
    figure, panels = pyplot.subplots(lines, COLUMNS, figsize=(15, 3.6 * lines), squeeze=False)
    for number, metric in enumerate(metrics):
        panel(panels[number // COLUMNS][number % COLUMNS], metric, results["contenders"])
    for spare in panels.flat[len(metrics) :]:
        spare.set_axis_off()
    machine = results["machine"]
    figure.suptitle(
        f"lash beside its peers: rounds: {results['repeats']}, medians, {machine['cpus']} CPUs, fsync on, "
        f"{results['date'][:10]}; logarithmic scales, hollow: not comparable",
        fontsize=13,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def panel(axes: Any, metric: dict[str, Any], contenders: dict[str, Any]) -> None:
    shown = [item for item in contenders.values() if metric["key"] in item["metrics"]]
    for place, item in enumerate(shown):
        value = item["metrics"][metric["key"]]["median"]
        colour = (OURS if item["ours"] else COLOURS)[item["store"]]
        apart = metric["workload"] in item["not_compared"]
        axes.barh(place, value, color="white" if apart else colour, edgecolor=colour, hatch="//" if apart else None)
        axes.annotate(
            f"{value:,.{metric['digits']}f}",
            (value, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_yticks(range(len(shown)), [label_of(item, metric) for item in shown], fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    if shown:
        found = [item["metrics"][metric["key"]]["median"] for item in shown]
        axes.set_xlim(10 ** math.floor(math.log10(min(found) / 2)), max(found) * 3)
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    better = "more is better" if metric["more_is_better"] else "less is better"
    axes.set_title(f"{metric['title']}, {metric['unit']} ({better})", fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def label_of(item: dict[str, Any], metric: dict[str, Any]) -> str:
    parked = item["parked"]
    if metric["workload"] != "W5" or parked is None:
        return str(item["title"])
    return f"{item['title']} ({parked / 1_000:g}k)"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw(json.load(file), sys.argv[2])
