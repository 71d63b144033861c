"""Markdown while it is still being written: what is complete is printed for good, and only the rest is drawn anew.

A block is complete when the next one has begun, so nothing printed ever changes its meaning afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown
from rich.segment import Segment

FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
ITEM: Final = re.compile(r" {0,3}([-*+]|\d{1,9}[.)])(\s|$)")
TELLING_CHARS: Final = 4
"""Of a line that has begun: enough to see whether it is an item of a list."""


def markdown(text: str) -> Markdown:
    """``text`` to be printed. Tags are shown as they stand, and so are the addresses of links."""
    found = Markdown("", hyperlinks=False)
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    found.markup = text
    found.parsed = parser.disable(["html_inline", "html_block"]).parse(text)
    return found


def complete(text: str) -> tuple[str, str]:
    """``text`` in two: blocks that are complete, and what is still being written."""
    fence, cut, offset = "", 0, 0
    blank = in_list = False
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
            blank = False
        else:
            told = line.endswith("\n") or len(line) >= TELLING_CHARS
            item = bool(ITEM.match(line))
            if blank and told and not line[0].isspace() and not (in_list and item):
                cut, in_list = offset, item
            in_list = in_list or item
            if (opening := FENCE.match(line)) is not None:
                fence = opening[1]
            blank = not bare
        offset += len(line)
    return text[:cut], text[cut:]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Markdown without the blank lines around it; with ``lines_max`` only its last lines, which are all that a terminal
    can take back."""

    text: str
    lines_max: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(markdown(self.text), options, pad=False)
        while lines and is_blank(lines[0]):
            del lines[0]
        while lines and is_blank(lines[-1]):
            del lines[-1]
        for line in lines if self.lines_max is None else lines[-self.lines_max :]:
            yield from line
            yield Segment.line()


def is_blank(line: list[Segment]) -> bool:
    """Nothing stands there, and no colour either: the edge of a code block is a part of it."""
    return all(not part.text.strip() and (part.style is None or part.style.bgcolor is None) for part in line)
