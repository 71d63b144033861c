"""A patch is read as a whole before anything is touched, and each hunk finds its one place by the lines it names.

Pure: from text to changes, and from a file's lines and a hunk to the lines after it. Models write blanks and quotes
not quite as they stand in the file, so a place is looked for exactly first and then ever more leniently; what is kept
of the file is always the file's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

BEGIN: Final = "*** Begin Patch"
END: Final = "*** End Patch"
END_OF_FILE: Final = "*** End of File"
MOVE: Final = "*** Move to:"
RANGES: Final = re.compile(r"^ *-\d+(,\d+)? \+\d+(,\d+)? *@@")
"""What a unified diff has there; the lines themselves say where they belong."""
FORM: Final = (
    f"A patch is '{BEGIN}', then '*** Add File: path' with lines that begin with '+', '*** Update File: path' with "
    f"hunks, or '*** Delete File: path', then '{END}'."
)
PLAIN: Final = str.maketrans(
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00a0\u2002\u2003"
    "\u2009\u200a\u202f\u3000",
    "-------''''\"\"\"\"       ",
)
"""Punctuation that looks like ASCII."""


class BadPatch(ValueError):
    """It cannot be read, or a hunk has no place. The message is for the model."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """``lines``: (' ', '-' or '+', text). ``headers``: lines to look for first, in order."""

    lines: tuple[tuple[str, str], ...]
    headers: tuple[str, ...] = ()
    at_end: bool = False

    @property
    def old(self) -> list[str]:
        return [text for mark, text in self.lines if mark != "+"]


@dataclass(frozen=True, slots=True)
class Change:
    """Of one file. ``text`` is a new file's; ``move_to`` and ``hunks`` belong to an update."""

    kind: Literal["add", "update", "delete"]
    path: str
    text: str = ""
    move_to: str | None = None
    hunks: tuple[Hunk, ...] = ()


# Reading -----------------------------------------------------------------------------------------------------------

Numbered: TypeAlias = "tuple[int, str]"


def parse(text: str) -> list[Change]:
    """All changes. Raises ``BadPatch`` with the number of the line that is wrong."""
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1)]
    first = next((place for place, (_, line) in enumerate(lines) if line.rstrip() == BEGIN), None)
    if first is None:
        raise BadPatch(f"The line '{BEGIN}' is missing. {FORM}")
    last = next((place for place, (_, line) in enumerate(lines) if line.rstrip() == END and place > first), None)
    if last is None:
        raise BadPatch(f"The line '{END}' is missing: the patch may be cut off. {FORM}")
    changes: list[Change] = []
    ahead = lines[first + 1 : last]
    while ahead:
        number, line = ahead[0]
        if not line.strip():
            ahead = ahead[1:]
            continue
        size = next((place for place, (_, each) in enumerate(ahead[1:], 1) if begins_file(each)), len(ahead))
        changes.append(change_of(number, line.strip(), ahead[1:size]))
        ahead = ahead[size:]
    if not changes:
        raise BadPatch(f"The patch changes nothing. {FORM}")
    return changes


def begins_file(line: str) -> bool:
    return line.startswith(("*** Add File:", "*** Update File:", "*** Delete File:"))


def change_of(number: int, line: str, body: Sequence[Numbered]) -> Change:
    head, colon, path = line.partition(":")
    path = path.strip()
    if not begins_file(line) or not colon:
        raise BadPatch(f"Line {number} is not understood: {short(line)}. {FORM}")
    if not path:
        raise BadPatch(f"Line {number} names no file: {short(line)}.")
    if head == "*** Add File":
        return Change("add", path, added_text(body))
    if head == "*** Delete File":
        if extra := next((each for each in body if each[1].strip()), None):
            raise BadPatch(f"Line {extra[0]} follows a file that is deleted: {short(extra[1])}.")
        return Change("delete", path)
    return update_of(number, path, body)


def added_text(body: Sequence[Numbered]) -> str:
    while body and not body[-1][1].strip():
        body = body[:-1]  # an empty line between two files
    for number, line in body:
        if line and not line.startswith("+"):
            raise BadPatch(f"Line {number} of a new file does not begin with '+': {short(line)}.")
    return "".join(f"{line[1:]}\n" for _, line in body)


def update_of(number: int, path: str, body: Sequence[Numbered]) -> Change:
    move_to = None
    if body and body[0][1].startswith(MOVE):
        move_to = body[0][1].removeprefix(MOVE).strip()
        if not move_to:
            raise BadPatch(f"Line {body[0][0]} does not say where {path!r} moves to.")
        body = body[1:]
    hunks = Hunks()
    for place, line in body:
        hunks.take(place, line)
    hunks.close()
    if not hunks.done and move_to is None:
        raise BadPatch(f"Line {number}: {path!r} is updated, but no line of it is removed or added.")
    return Change("update", path, move_to=move_to, hunks=tuple(hunks.done))


class Hunks:
    """The hunks of one file, as they are read."""

    def __init__(self) -> None:
        self.done: list[Hunk] = []
        self.headers: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.blank = 0
        """Empty lines: of the hunk if it goes on behind them, else they only part it from what follows."""

    def take(self, place: int, line: str) -> None:
        if line.startswith("@@"):
            self.close()
            if header := RANGES.sub("", line[2:]).strip().removesuffix("@@").strip():
                self.headers.append(header)
        elif line.rstrip() == END_OF_FILE:
            self.close(at_end=True)
        elif not line:
            self.blank += 1
        elif line[0] in " +-":
            self.lines += [(" ", "")] * self.blank
            self.lines.append((line[0], line[1:]))
            self.blank = 0
        elif not line.startswith("\\ No newline"):
            raise BadPatch(f"Line {place}: a line of a hunk begins with ' ', '-' or '+', not as {short(line)}.")

    def close(self, at_end: bool = False) -> None:
        if any(mark != " " for mark, _ in self.lines):
            self.done.append(Hunk(tuple(self.lines), tuple(self.headers), at_end))
        if self.lines:
            self.headers = []
        self.lines = []
        self.blank = 0


def short(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:79] + "…")


# Applying ----------------------------------------------------------------------------------------------------------

LENIENCY: Final[tuple[Callable[[str], str], ...]] = (
    lambda line: line,
    lambda line: line.rstrip(),
    lambda line: line.strip(),
    lambda line: line.strip().translate(PLAIN),
)


def applied(lines: Sequence[str], hunk: Hunk, begin: int) -> tuple[list[str], int]:
    """``lines`` after the hunk, and where the next one may begin. Raises ``BadPatch`` where it has no place."""
    for header in hunk.headers:
        above = find(lines, [header], begin, False)
        if above is None:
            raise BadPatch(f"no line {short(header)} from line {begin + 1} on")
        begin = above + 1
    old = hunk.old
    if old:
        place = find(lines, old, begin, hunk.at_end)
    else:
        place = begin if hunk.headers and not hunk.at_end else len(lines)
    if place is None:
        raise BadPatch(missed(lines, old, begin, hunk.at_end))
    result = list(lines[:place])
    for mark, text in hunk.lines:
        if mark == "+":
            result.append(text)
        else:
            result += [lines[place]] if mark == " " else []
            place += 1
    return [*result, *lines[place:]], len(result)


def find(lines: Sequence[str], old: Sequence[str], begin: int, at_end: bool) -> int | None:
    """The first place from ``begin`` on, or the last lines if they must stand at the end."""
    last = len(lines) - len(old)
    for lenient in LENIENCY:
        wanted = [lenient(line) for line in old]
        have = [lenient(line) for line in lines[begin:]]
        for place in range(max(begin, last) if at_end else begin, last + 1):
            if have[place - begin] == wanted[0] and have[place - begin : place - begin + len(wanted)] == wanted:
                return place
    return None


def missed(lines: Sequence[str], old: Sequence[str], begin: int, at_end: bool) -> str:
    """Where the file comes nearest to the lines a hunk names, and what it has instead."""
    lenient = LENIENCY[-1]
    wanted = [lenient(line) for line in old]
    have = [lenient(line) for line in lines]
    same, at = 0, -1
    for place in range(begin, len(have)):
        length = next((n for n, line in enumerate(wanted) if have[place + n : place + n + 1] != [line]), len(wanted))
        if length > same:
            same, at = length, place
    if same == len(wanted):
        return f"its lines stand at line {at + 1}, but the file does not end there" if at_end else "no place"
    if not same:
        earlier = find(lines, old, 0, False)
        told = f" (they stand at line {earlier + 1}; hunks go from top to bottom)" if earlier is not None else ""
        return f"no line {short(old[0])} from line {begin + 1} on{told}"
    instead = short(lines[at + same]) if at + same < len(lines) else "its end"
    return f"line {at + same + 1} of the file is {instead}, where the hunk has {short(old[same])}"
