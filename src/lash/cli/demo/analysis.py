"""What the demo finds out about a text, as plain functions; and the same found out directly, without lash.

The direct way reads each file whole and shares no code with the durable way but the definition of a word, so that an
equal report means that nothing was lost, doubled or mixed up in between.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORD: Final = re.compile(r"[^\W\d_]+")
PART_LINES: Final = 400
PARTS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Found:
    """About one text or a part of one."""

    words: int
    lines: int
    longest: str


@dataclass(frozen=True, slots=True)
class Totals:
    """The report."""

    files: int
    words: int
    lines: int
    longest: str
    digest: str
    """Of every file's own numbers."""


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def split_lines(text: str) -> list[str]:
    """At most ``PARTS_MAX`` parts of whole lines."""
    lines = text.splitlines(keepends=True)
    size = max(PART_LINES, -(-len(lines) // PARTS_MAX))
    return ["".join(lines[start : start + size]) for start in range(0, len(lines), size)]


def look_at(part: str) -> Found:
    words = WORD.findall(part)
    return Found(words=len(words), lines=len(part.splitlines()), longest=longest_of(words))


def longest_of(words: Iterable[str]) -> str:
    """The longest; of several, the first in the alphabet."""
    return min(words, key=lambda word: (-len(word), word), default="")


def merge(parts: Sequence[Found]) -> Found:
    return Found(
        words=sum(part.words for part in parts),
        lines=sum(part.lines for part in parts),
        longest=longest_of(part.longest for part in parts),
    )


def total(names: Sequence[str], found: Sequence[Found]) -> Totals:
    whole = merge(found)
    digest = hashlib.sha256()
    for name, item in sorted(zip(names, found, strict=True), key=lambda pair: pair[0]):
        digest.update(f"{name}\0{item.words}\0{item.lines}\0{item.longest}\n".encode())
    return Totals(
        files=len(found),
        words=whole.words,
        lines=whole.lines,
        longest=whole.longest,
        digest=digest.hexdigest()[:16],
    )


def directly(folder: Path, names: Sequence[str]) -> Totals:
    """The report as a plain loop computes it."""
    digest = hashlib.sha256()
    words = lines = 0
    longest = ""
    for name in sorted(names):
        text = text_of(folder / name)
        here = WORD.findall(text)
        chars = max(map(len, here), default=0)
        best = min((word for word in here if len(word) == chars), default="")
        words += len(here)
        lines += len(text.splitlines())
        if len(best) > len(longest) or (len(best) == len(longest) and best < longest):
            longest = best
        digest.update(f"{name}\0{len(here)}\0{len(text.splitlines())}\0{best}\n".encode())
    return Totals(files=len(names), words=words, lines=lines, longest=longest, digest=digest.hexdigest()[:16])
