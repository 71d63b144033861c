"""``python -m benchmarks --peers [NAME …]``: measure contenders side by side; print, write JSON, draw a chart.

A name is a contender's, the beginning of one (``dbos`` for both of DBOS, ``agents`` for all with conversations), or a
workload's. Always exits with 0: a peer that is missing, and a figure that is worse than a peer's, are results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import report as machine_report
from benchmarks.child import ROOT
from benchmarks.peers import report
from benchmarks.peers.contenders import CONTENDERS, Contender, chosen
from benchmarks.peers.environments import ENVIRONMENTS, Installed, PeerMissing, prepare
from benchmarks.peers.measure import Sizes, Values, measure
from benchmarks.peers.metrics import WORKLOADS
from benchmarks.peers.rounds import Row, run_rounds
from benchmarks.peers.table import figures, ratio_table, ratios

SIZES: Final[Mapping[str, Mapping[str, int]]] = {
    "full": {
        **{"steps": 1_000, "workflows": 1_000, "empty": 2_000, "resumed": 500, "starts": 200},
        **{"alone": 50, "conversations": 100, "turns": 10, "disk_turns": 400},
    },
    "quick": {
        **{"steps": 300, "workflows": 200, "empty": 400, "resumed": 100, "starts": 50},
        **{"alone": 20, "conversations": 100, "turns": 3, "disk_turns": 100},
    },
    "tiny": {
        **{"steps": 20, "workflows": 10, "empty": 20, "resumed": 10, "starts": 5},
        **{"alone": 3, "conversations": 5, "turns": 2, "disk_turns": 5},
    },
}
PARKED_MAX: Final = {"full": 100_000, "quick": 2_000, "tiny": 50}
CHART_SECONDS_MAX: Final = 120
REASON_SIGNS_MAX: Final = 200
TERMINATED: Final = 128 + signal.SIGTERM


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks --peers", description=__doc__)
    parser.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    known = f"of {', '.join(CONTENDERS)}, or of {', '.join(WORKLOADS)}; default: all"
    parser.add_argument("names", nargs="*", metavar="NAME", help=known)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--parked", type=int, help="workflows parked in W5 (default: 100,000, fewer for slow peers)")
    parser.add_argument("--size", choices=list(SIZES), default="full", help="quick and tiny only show that it runs")
    parser.add_argument("--json", type=Path, help="where the JSON goes (default: benchmarks/results/peers-<date>-…)")
    parser.add_argument("--chart", type=Path, help="where the PNG goes (default: beside the JSON)")
    parser.add_argument("--no-chart", action="store_true", help="draw none: its environment needs a package index")
    parser.add_argument("--dir", type=Path, help="folder on the disk to be measured (default: the temporary folder)")
    parsed = parser.parse_args(words)
    parsed.workloads = [name for name in WORKLOADS if name in map(str.upper, parsed.names)] or list(WORKLOADS)
    try:
        named = chosen([name for name in parsed.names if name.upper() not in WORKLOADS])
    except KeyError as error:
        parser.error(f"there is no contender {error}; there are {', '.join(CONTENDERS)}")
    parsed.contenders = [item for item in named if set(item.workloads) & set(parsed.workloads)]
    if parsed.repeats < 1:
        parser.error("--repeats must be 1 or more")
    if parsed.parked is not None and parsed.parked < 1:
        parser.error("--parked must be 1 or more")
    return parsed


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def postgres(wanted: bool) -> Iterator[tuple[str, str, str]]:
    """URL and version of a server with fsync on, or why there is none."""
    with ExitStack() as stack:
        found = "", "", ""
        if wanted:
            try:
                found = start_postgres(stack)
            except ImportError as error:
                found = "", "", f"{error.name} is not installed"
        yield found


def start_postgres(stack: ExitStack) -> tuple[str, str, str]:
    from benchmarks.peers import databases
    from lash.testing.postgres import PostgresMissing, postgres_cluster

    try:
        url = stack.enter_context(postgres_cluster(durable=True)).url
    except PostgresMissing as error:
        return "", "", str(error).splitlines()[0][:REASON_SIGNS_MAX]
    version, durable = asyncio.run(databases.about(url))
    return url, version, "" if durable else "the named server does not wait for its disk (fsync, synchronous_commit)"


def row_of(contender: Contender, no_postgres: str, installed: dict[str, Installed]) -> Row:
    """With the environment made ready, or the reason why there is none."""
    row = Row(contender)
    if contender.store == "Postgres" and no_postgres:
        row.missing = no_postgres
        return row
    say(f"environment of {contender.name}")
    try:
        installed[contender.name] = prepare(contender.environment)
    except PeerMissing as error:
        row.missing = str(error)
    return row


def sizes_of(contender: Contender, asked: argparse.Namespace) -> Sizes:
    parked = asked.parked or min(contender.parked, PARKED_MAX[asked.size])
    return {**SIZES[asked.size], "parked": parked, "batches": asked.repeats}


def run(asked: argparse.Namespace, folder: Path) -> tuple[list[Row], str]:
    """The filled rows, and the version of PostgreSQL."""
    installed: dict[str, Installed] = {}
    wanted = any(contender.store == "Postgres" for contender in asked.contenders)
    with postgres(wanted) as (url, version, no_postgres):
        rows = [row_of(contender, no_postgres, installed) for contender in asked.contenders]

        def ask(contender: Contender, workload: str) -> Values:
            sizes = sizes_of(contender, asked)
            return measure(contender, workload, installed[contender.name], url, folder, sizes)

        run_rounds(rows, asked.workloads, asked.repeats, ask, say)
    return rows, version


def draw(results: Path, picture: Path) -> str:
    """Draw the chart in an environment of its own. Returns what to tell of it."""
    try:
        python = prepare(ENVIRONMENTS["chart"]).python
    except PeerMissing as error:
        return f"No chart: {error}"
    command = [python, str(ROOT / "benchmarks" / "peers" / "programs" / "chart.py"), str(results), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHART_SECONDS_MAX)
    return f"Chart: {picture.name}" if done.returncode == 0 else f"No chart: {done.stderr.strip()[-300:]}"


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    load_before = machine_report.load()
    if asked.dir is not None:
        asked.dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="lash-peers-", dir=asked.dir))
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # servers and folders go with us
    try:
        rows, version = run(asked, folder)
    finally:
        signal.signal(signal.SIGTERM, handler)
        shutil.rmtree(folder, ignore_errors=True)
    sizes = {**SIZES[asked.size], "parked": asked.parked or PARKED_MAX[asked.size]}
    found = report.document(rows, asked.repeats, sizes, version, load_before)
    print(f"lash {found['commit']} beside its peers, size {asked.size}, rounds: {asked.repeats}, told are medians")
    print(f"load of the machine: {load_before} before, {machine_report.load()} after\n")
    print(figures(rows), ratio_table(ratios(rows)), report.setups(asked.contenders), sep="\n\n")
    name = f"peers-{datetime.now(UTC):%Y-%m-%d}-{found['commit']}.json"
    path: Path = asked.json or ROOT / "benchmarks" / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"\nFigures: {path.name}")
    if not asked.no_chart:
        print(draw(path, asked.chart or path.with_suffix(".png")))
    return 0
