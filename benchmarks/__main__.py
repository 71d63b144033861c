"""``python -m benchmarks``: measure, print the table, write the JSON. Always exits with 0; a miss is a result.

With ``--peers``, lash is measured beside others instead: see ``benchmarks.peers``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from benchmarks import report
from benchmarks.child import ROOT
from benchmarks.rounds import Measured, run_rounds
from benchmarks.workloads import WORKLOADS, SizeName


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="NAME", help=f"of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, one round; not what the goals are about")
    parser.add_argument("--size", choices=get_args(SizeName), default="full", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where the JSON goes (default: benchmarks/results/<date>-<commit>)")
    parser.add_argument("--dir", type=Path, help="folder on the disk to be measured (default: the temporary folder)")
    parsed = parser.parse_args(words)
    if unknown := [name for name in parsed.workloads if name.upper() not in WORKLOADS]:
        parser.error(f"there is no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if parsed.quick:
        parsed.size, parsed.repeats = "quick", 1
    if parsed.repeats < 1:
        parser.error("--repeats must be 1 or more")
    parsed.workloads = [name for name in WORKLOADS if not parsed.workloads or name in map(str.upper, parsed.workloads)]
    return parsed


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write_json(path: Path, document: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def show(all_measured: Sequence[Measured], size: str, repeats: int) -> None:
    print(f"lash {report.commit()}, size {size}, {repeats} rounds, medians\n")
    print(report.table(all_measured))
    missed = report.misses(all_measured)
    print(f"\n{len(missed)} goals missed: {'; '.join(missed)}" if missed else "\nEvery goal reached.")
    if size != "full":
        print(f"The size was {size}; the goals are about the full one.")


def main(words: Sequence[str]) -> int:
    if "--peers" in words:
        from benchmarks.peers.command import main as peers

        return peers(words)
    asked = arguments(words)
    load_before = report.load()
    if asked.dir is not None:
        asked.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lash-benchmark-", dir=asked.dir, ignore_cleanup_errors=True) as folder:
        all_measured = run_rounds(asked.workloads, asked.repeats, asked.size, Path(folder), say)
    document = report.document(all_measured, asked.size, asked.repeats, load_before)
    show(all_measured, asked.size, asked.repeats)
    name = f"{datetime.now(UTC):%Y-%m-%d}-{document['commit']}.json"
    path = asked.json or ROOT / "benchmarks" / "results" / name
    write_json(path, document)
    print(f"Figures: {path.name}" if asked.json is None else f"Figures: {asked.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
