"""The table: every contender has a row, every figure that is missing or not comparable says why beneath it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.peers.contenders import Store
from benchmarks.peers.metrics import METRICS, PROCESS_METRICS, TABLES, Metric
from benchmarks.peers.rounds import Row

NOT_OFFERED: Final = "–"
NOT_ASKED: Final = ""
FAILED: Final = "failed"
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
TITLE_WIDTH: Final = 28
CELL_WIDTH: Final = 15


@dataclass(slots=True)
class Remarks:
    """Texts beneath a table, each with its letter; the same text has one letter."""

    texts: list[str] = field(default_factory=list[str])

    def mark(self, text: str) -> str:
        if text not in self.texts:
            self.texts.append(text)
        return letter_of(self.texts.index(text))

    def lines(self) -> list[str]:
        return [f"{letter_of(number)}  {text}" for number, text in enumerate(self.texts)]


def letter_of(number: int) -> str:
    """a to z, then aa and on."""
    more, last = divmod(number, len(LETTERS))
    return (letter_of(more - 1) if more else "") + LETTERS[last]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better one of ours is than the best of some peers, and which that is."""

    ours: str
    against: str
    key: str
    best: str
    times: float
    parked_ours: float | None = None
    parked_best: float | None = None


def figures(rows: Sequence[Row]) -> str:
    """A table of those with processes and one of those with conversations, and what is to be said of both."""
    remarks = Remarks()
    tables = [figures_of(those, metrics, remarks) for metrics in TABLES if (those := rows_in(rows, metrics))]
    legend = [f"{NOT_OFFERED} means that the peer has no such work", "(…) is shown and not compared"]
    return "\n\n".join([*tables, "\n".join([*legend, *remarks.lines()])])


def rows_in(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[Row]:
    wanted = {metric.workload for metric in metrics}
    return [row for row in rows if wanted & set(row.contender.workloads)]


def figures_of(rows: Sequence[Row], metrics: Sequence[Metric], remarks: Remarks) -> str:
    beside = metrics is PROCESS_METRICS
    lines = [
        line_of("", [metric.title for metric in metrics] + ["parked"] * beside),
        line_of("", [metric.unit for metric in metrics] + ["in W5"] * beside),
    ]
    for row in rows:
        if row.missing:
            lines.append(f"{row.contender.title:<{TITLE_WIDTH}}  not measured: {row.missing}")
        else:
            parked = row.median("parked")
            cells = [cell_of(row, metric, remarks) for metric in metrics]
            lines.append(line_of(row.contender.title, [*cells, "" if parked is None else f"{parked:,.0f}"]))
    return "\n".join(lines)


def cell_of(row: Row, metric: Metric, remarks: Remarks) -> str:
    contender = row.contender
    if metric.workload not in contender.workloads:
        return NOT_OFFERED
    if metric.workload in row.faults:
        return f"{FAILED} {remarks.mark(f'{contender.title}: {row.faults[metric.workload]}')}"
    value = row.median(metric.key)
    if value is None:
        return NOT_ASKED
    text = metric.text(value)
    if metric.workload in contender.apart:
        text = f"({text})"
    note = contender.notes.get(metric.workload)
    peer = contender.title.split(",")[0]
    return text if note is None else f"{text} {remarks.mark(f'{peer}: {note}')}"


def line_of(title: str, cells: Sequence[str]) -> str:
    return (title.ljust(TITLE_WIDTH) + "".join(cell.rjust(CELL_WIDTH) for cell in cells)).rstrip()


def ratios(rows: Sequence[Row]) -> list[Ratio]:
    """Each of ours against the best peer on its store, and against the best of those that bring their own."""
    return [
        found
        for row in rows
        if row.contender.ours
        for against in (row.contender.store, "own")
        for metric in METRICS
        for found in ratio_of(row, rows, metric, against)
    ]


def ratio_of(ours: Row, rows: Sequence[Row], metric: Metric, store: Store) -> Iterator[Ratio]:
    value = ours.median(metric.key)
    if value is None or not ours.comparable(metric.workload):
        return
    best = best_of(rows, metric, store)
    if best is None:
        return
    row, theirs = best
    parked = (ours.median("parked"), row.median("parked")) if metric.workload == "W5" else (None, None)
    yield Ratio(ours.contender.title, store, metric.key, row.contender.title, metric.ratio(value, theirs), *parked)


def best_of(rows: Sequence[Row], metric: Metric, store: Store) -> tuple[Row, float] | None:
    """The peer with the best comparable figure, and the figure."""
    found = [
        (row, value)
        for row in rows
        if not row.contender.ours and row.contender.store == store and row.comparable(metric.workload)
        if (value := row.median(metric.key)) is not None
    ]
    if not found:
        return None
    pick = max if metric.more_is_better else min
    return pick(found, key=lambda item: item[1])


def ratio_table(found: Sequence[Ratio]) -> str:
    """One line for each of ours and each field of peers; a cell names the best of them."""
    remarks = Remarks()
    tables = [ratios_of(found, metrics, remarks) for metrics in TABLES]
    return "\n\n".join([*filter(None, tables), "\n".join(remarks.lines())])


def ratios_of(found: Sequence[Ratio], metrics: Sequence[Metric], remarks: Remarks) -> str:
    keys = [metric.key for metric in metrics]
    lines: list[str] = []
    for ours, against in dict.fromkeys((ratio.ours, ratio.against) for ratio in found if ratio.key in keys):
        cells = {ratio.key: ratio for ratio in found if (ratio.ours, ratio.against) == (ours, against)}
        title = f"{ours} : {'own store' if against == 'own' else against}"
        lines.append(line_of(title, [ratio_cell(cells.get(key), remarks) for key in keys]))
    heading = line_of("times better than the best", [metric.title for metric in metrics])
    return "\n".join([heading, *lines]) if lines else ""


def ratio_cell(ratio: Ratio | None, remarks: Remarks) -> str:
    if ratio is None:
        return NOT_OFFERED
    text = f"{ratio.times:,.3g} × " + remarks.mark(ratio.best)
    if ratio.parked_ours == ratio.parked_best or ratio.parked_ours is None or ratio.parked_best is None:
        return text
    return f"{text} " + remarks.mark(f"ours beside {ratio.parked_ours:,.0f} parked, theirs {ratio.parked_best:,.0f}")
