"""What the model reads of a long tool result is its beginning and its end, and how much lies between.

Only the reading is cut: the recorded value stays whole, for programs and for whoever looks it up, and the cut says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lash.abc.plugin import Plugin, TurnView
from lash.core.message import Media, Text, ToolCall
from lash.core.tool import ToolOutput
from lash.errors import InvalidAgent
from lash.limits import OUTPUT_BUDGET_BYTES, OUTPUT_BUDGET_LINES


class OutputBudget(Plugin):
    """``bytes_max`` and ``lines_max`` bound the text of one result, of all its parts together, beside the notes on what
    was left out; two thirds of what is kept are the beginning. Short parts are kept whole before long ones are."""

    id: ClassVar[str] = "output_budget"

    def __init__(self, *, bytes_max: int = OUTPUT_BUDGET_BYTES, lines_max: int = OUTPUT_BUDGET_LINES) -> None:
        if bytes_max < 100 or lines_max < 3:
            raise InvalidAgent(f"An output budget is at least 100 bytes and 3 lines, not {bytes_max} and {lines_max}.")
        self.bytes_max = bytes_max
        self.lines_max = lines_max

    async def show_result(self, view: TurnView, call: ToolCall, output: ToolOutput) -> ToolOutput | None:
        del view, call
        texts = [part.text for part in output.content if isinstance(part, Text)]
        shown = iter(self.cut_all(texts))
        parts: list[Text | Media] = [
            Text(next(shown), part.meta) if isinstance(part, Text) else part for part in output.content
        ]
        return None if tuple(parts) == output.content else ToolOutput(tuple(parts))

    def cut_all(self, texts: Sequence[str]) -> list[str]:
        """``texts`` within the budget."""
        sizes = shares([len(encoded(text)) for text in texts], self.bytes_max)
        lines = shares([len(text.splitlines()) for text in texts], self.lines_max)
        return [cut(text, sizes[place], lines[place]) for place, text in enumerate(texts)]


def shares(wanted: Sequence[int], total: int) -> list[int]:
    """``total`` dealt out: nobody gets more than wanted, and those who want little get it whole."""
    found = [0] * len(wanted)
    for rank, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        found[place] = min(wanted[place], total // (len(wanted) - rank))
        total -= found[place]
    return found


def cut(text: str, bytes_max: int, lines_max: int) -> str:
    """``text`` with its middle left out where it is longer."""
    whole = len(encoded(text))
    lines = text.splitlines(keepends=True)
    if whole <= bytes_max and len(lines) <= lines_max:
        return text
    head_bytes = bytes_max * 2 // 3
    start, end = text, text
    if len(lines) > lines_max:
        head_lines = lines_max * 2 // 3
        start, end = "".join(lines[:head_lines]), "".join(lines[len(lines) - lines_max + head_lines :])
    first = encoded(start)[:head_bytes].decode("utf-8", "ignore")
    tail = encoded(end)
    last = tail[max(0, len(tail) - bytes_max + head_bytes) :].decode("utf-8", "ignore")
    left_bytes = whole - len(first.encode()) - len(last.encode())
    left_lines = len(lines) - len(first.splitlines()) - len(last.splitlines())
    left = f"{left_lines} lines, {left_bytes} bytes" if left_lines > 0 else f"{left_bytes} bytes"
    gap = "" if first.endswith("\n") or not first else "\n"
    return f"{first}{gap}[… {left} left out; the recorded result is whole …]\n{last}"


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
