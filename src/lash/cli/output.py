"""What a command prints: colour and tables on a terminal, plain columns in a pipe, one JSON document with ``--json``.

Nothing a user's data says is ever taken for markup or for a terminal's control codes, and no id is cut or wrapped:
what is printed can be copied. Results go to stdout, remarks to stderr. rich is loaded only for a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from lash.core.schedule import show_ms

Cell: TypeAlias = "str | tuple[str, str]"
"""Text, or text and a rich style for terminals."""

STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "abandoned": "red",
    "blocked": "bold red",
    "back-off": "yellow",
    "lost": "yellow",
    "running": "cyan",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}
CUT: Final = ("detail", "result", "payload")
"""Headings of columns that may be cut to fit a terminal; what is in the others may have to be copied."""
CUT_CHARS_MIN: Final = 12
VALUE_CHARS_MAX: Final = 2_000
"""Of one value shown to a person; ``--json`` has all of it."""


def on_terminal() -> bool:
    return sys.stdout.isatty()


def print_json(document: object) -> None:
    """One JSON document on one line."""
    print(json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str), flush=True)


def say(text: str = "", style: str = "") -> None:
    """A line of the result."""
    if style and on_terminal():
        from rich.console import Console
        from rich.text import Text

        Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(Text(clean(text), style))
    else:
        print(clean(text), flush=True)


def remark(text: str) -> None:
    """A line that is not part of the result."""
    print(clean(text), file=sys.stderr, flush=True)


def heading(text: str) -> None:
    say()
    say(text, "bold")


def facts(pairs: Iterable[tuple[str, Cell | None]]) -> None:
    """Name and value, one pair to a line; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text, style = parts_of(value or "")
        indented = clean(text).replace("\n", "\n" + " " * (width + 2))
        say(f"{name.ljust(width)}  {indented}", style)


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Columns under headings, padded with blanks. Only on a terminal, and only in ``CUT`` columns, is anything cut."""
    texts = [list(headings), *([one_line(parts_of(cell)[0]) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(headings))]
    if not on_terminal():
        for row in texts:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    narrow(widths, headings, console.width)
    styles = [["bold dim"] * len(headings), *([parts_of(cell)[1] for cell in row] for row in rows)]
    for row, row_styles in zip(texts, styles, strict=True):
        line = Text()
        for text, style, width in zip(row, row_styles, widths, strict=True):
            line.append(text if len(text) <= width else text[: width - 1] + "…", style)
            line.append(" " * (max(0, width - len(text)) + 2))
        line.rstrip()
        console.print(line)


def narrow(widths: list[int], headings: Sequence[str], room: int) -> None:
    """Make the columns that may be cut so narrow that a line fits, as far as that goes."""
    for column, name in enumerate(headings):
        if name in CUT:
            over = sum(widths) + 2 * (len(widths) - 1) - room
            widths[column] = max(min(widths[column], CUT_CHARS_MIN), widths[column] - max(0, over))


def parts_of(cell: Cell) -> tuple[str, str]:
    return (cell, STYLES.get(cell, "")) if isinstance(cell, str) else cell


def clean(text: str) -> str:
    """``text`` without characters that would steer a terminal; newlines stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    return clean(" ".join(text.split("\n")))


def plain(value: object) -> object:
    """A typed value as plain JSON."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def show_value(value: object, chars_max: int = VALUE_CHARS_MAX) -> str:
    """Plain JSON for a person: short, on one line, ending in what was left out."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= chars_max else f"{text[:chars_max]}… ({len(text):,} characters; --json has all)"


def short_value(value: object, chars_max: int) -> str:
    """The beginning of :func:`show_value`, for a column."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


# Times -------------------------------------------------------------------------------------------------------------


def local_iso(at_ms: int) -> str:
    """The moment in the local time zone, to the second."""
    try:
        return datetime.fromtimestamp(at_ms / 1_000).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # beyond what a calendar can say
        return f"{at_ms} ms"


def relative(at_ms: int, now_ms: int) -> str:
    """``3.0s ago``, ``in 2h00m``, ``now``."""
    if abs(at_ms - now_ms) < 1:
        return "now"
    return f"in {show_ms(at_ms - now_ms)}" if at_ms > now_ms else f"{show_ms(now_ms - at_ms)} ago"


def moment(at_ms: int, now_ms: int) -> str:
    """Both: ``2026-01-31T08:00:00+01:00 (3.0s ago)``."""
    return f"{local_iso(at_ms)} ({relative(at_ms, now_ms)})"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``2,345 files``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
