"""Draws the states of a turn on docs/turns.md from the table the turn itself goes by.

The rule of this file: the picture is made of ``TRANSITIONS`` and of nothing else, so that it cannot tell another story.

    python tools/turn_diagram.py            write it between the marks on the page
    python tools/turn_diagram.py --check    exit 1 where the page has another picture
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "turns.md"
BEGIN = "<!-- drawn by tools/turn_diagram.py: do not edit -->\n"
END = "<!-- end of the drawing -->\n"

Table = Mapping[tuple[str, str], frozenset[str]]
"""(phase, name of the reply) → where it can lead."""


def table() -> Table:
    """The machine's own table, in words."""
    from lash.core.turn import TRANSITIONS

    return {
        (phase.value, reply.__name__): frozenset(goal.value for goal in goals)
        for (phase, reply), goals in TRANSITIONS.items()
    }


def phases() -> list[str]:
    """In the order in which they are declared: the first begins a turn."""
    from lash.core.turn import Phase

    return [phase.value for phase in Phase]


def diagram(rows: Table, order: list[str]) -> str:
    """A mermaid state diagram: one arrow for each pair of phases, with all the replies that lead along it."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (phase, reply), goals in rows.items():
        for goal in goals:
            arrows.setdefault((phase, goal), []).append(reply)
    left = {phase for phase, _ in rows}
    lines = ["stateDiagram-v2", f"    [*] --> {order[0]}"]
    lines += [
        f"    {phase} --> {goal}: {', '.join(arrows[phase, goal])}"
        for phase in order
        for goal in order
        if (phase, goal) in arrows
    ]
    lines += [f"    {phase} --> [*]" for phase in order if phase not in left]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def drawn_in(page: str) -> str:
    """What stands between the marks. Raises ``ValueError`` where there are none, or several."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs the line {BEGIN.strip()!r} once, and below it {END.strip()!r} once")
    return page.partition(BEGIN)[2].partition(END)[0]


def redrawn(page: str, block: str) -> str:
    drawn_in(page)
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + block + END + rest.partition(END)[2]


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(ROOT / "src"))
    page = PAGE.read_text("utf-8")
    fresh = redrawn(page, diagram(table(), phases()))
    if "--check" in arguments:
        return int(page != fresh)
    if page != fresh:
        PAGE.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
