"""What the model reads of a long tool result is its beginning and its end, and how much lies between.

Only the reading is cut: the recorded value stays whole, for programs and for whoever looks it up.
"""

from __future__ import annotations

from typing import ClassVar

from lash.abc.plugin import Plugin, TurnView
from lash.core.message import Media, Text, ToolCall
from lash.core.tool import ToolOutput
from lash.errors import InvalidAgent
from lash.limits import OUTPUT_BUDGET_BYTES, OUTPUT_BUDGET_LINES


class OutputBudget(Plugin):
    """``bytes_max`` and ``lines_max`` bound the text of one result; two thirds of what is kept are its beginning."""

    id: ClassVar[str] = "output_budget"

    def __init__(self, *, bytes_max: int = OUTPUT_BUDGET_BYTES, lines_max: int = OUTPUT_BUDGET_LINES) -> None:
        if bytes_max < 100 or lines_max < 3:
            raise InvalidAgent(f"An output budget is at least 100 bytes and 3 lines, not {bytes_max} and {lines_max}.")
        self.bytes_max = bytes_max
        self.lines_max = lines_max

    async def show_result(self, view: TurnView, call: ToolCall, output: ToolOutput) -> ToolOutput | None:
        del view, call
        parts: list[Text | Media] = []
        for part in output.content:
            parts.append(Text(self.cut(part.text), part.meta) if isinstance(part, Text) else part)
        return None if tuple(parts) == output.content else ToolOutput(tuple(parts))

    def cut(self, text: str) -> str:
        """``text`` within the budget."""
        lines = text.splitlines(keepends=True)
        if len(lines) > self.lines_max:
            head = self.lines_max * 2 // 3
            first, last = "".join(lines[:head]), "".join(lines[head - self.lines_max :])
            text = f"{first}[… {len(lines) - self.lines_max} lines left out …]\n{last}"
        data = text.encode("utf-8", "surrogatepass")
        if len(data) <= self.bytes_max:
            return text
        head = self.bytes_max * 2 // 3
        first = data[:head].decode("utf-8", "ignore")
        last = data[head - self.bytes_max :].decode("utf-8", "ignore")
        return f"{first}\n[… {len(data) - self.bytes_max} bytes left out …]\n{last}"
