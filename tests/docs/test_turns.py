"""The page about turns tells what the code does: its picture is the table, its words and numbers are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from lash.core.turn import Phase, StopCause, TurnLimits
from lash.limits import OUTPUT_TRIES_MAX
from tools import turn_diagram

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "turns.md").read_text("utf-8")
PICTURE = """\
```mermaid
stateDiagram-v2
    [*] --> asking
    asking --> asking: ModelReplied
    asking --> working: ModelReplied
    asking --> between: ModelReplied
    asking --> done: ModelReplied, ModelFailed, Halted
    working --> working: ToolReplied
    working --> between: ToolReplied
    working --> done: ToolReplied, Halted
    between --> asking: Passed
    between --> done: Passed, Halted
    done --> [*]
```
"""


def first_cells(title: str) -> list[str]:
    """The first column of the table under a heading."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `?([a-z_]+)`? \|", section, re.MULTILINE)


def test_the_picture_on_the_page_is_drawn_from_the_table() -> None:
    assert turn_diagram.drawn_in(PAGE) == turn_diagram.diagram(turn_diagram.table(), turn_diagram.phases())


def test_the_picture_is_this_one() -> None:
    assert turn_diagram.drawn_in(PAGE) == PICTURE


def test_another_table_gives_another_picture() -> None:
    rows = {("a", "Go"): frozenset({"a", "b"}), ("a", "Stop"): frozenset({"b"})}
    assert turn_diagram.diagram(rows, ["a", "b"]) == (
        "```mermaid\nstateDiagram-v2\n    [*] --> a\n    a --> a: Go\n    a --> b: Go, Stop\n    b --> [*]\n```\n"
    )


def test_only_what_is_between_the_marks_is_drawn_anew() -> None:
    page = f"before\n{turn_diagram.BEGIN}old\n{turn_diagram.END}after\n"
    fresh = turn_diagram.redrawn(page, "new\n")
    assert fresh == page.replace("old", "new")
    assert turn_diagram.drawn_in(fresh) == "new\n"


@pytest.mark.parametrize(
    "page",
    ["", turn_diagram.BEGIN, turn_diagram.END, turn_diagram.END + turn_diagram.BEGIN,
     2 * (turn_diagram.BEGIN + turn_diagram.END)],
)  # fmt: skip
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="the page needs the line"):
        turn_diagram.redrawn(page, "new\n")


def test_the_tool_says_that_the_page_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools" / "turn_diagram.py"), "--check"]
    assert subprocess.run(command, timeout=60).returncode == 0


def test_the_page_has_every_phase_and_every_reason_to_stop_and_no_other() -> None:
    assert first_cells("Phases")[1:] == [phase.value for phase in Phase]
    assert first_cells("How a turn ends")[1:] == list(get_args(StopCause))


def test_the_page_has_the_limits_as_they_are() -> None:
    limits = TurnLimits()
    assert f"| `model_calls` | {limits.model_calls} |" in PAGE
    assert f"| `tool_calls` | {limits.tool_calls} |" in PAGE
    assert limits.tokens is None
    assert "| `tokens` | none |" in PAGE
    assert f"After {OUTPUT_TRIES_MAX} answers that do not fit" in PAGE


def test_what_the_page_says_it_prints_is_what_it_prints() -> None:
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    promised = [line.partition("  # ")[2] for line in code.splitlines() if line.startswith("print(")]
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == promised
    assert len(promised) == 5
