"""Which files the demo takes, and at what pace, so that it lasts about as long as was asked for.

The choice depends on the folder alone, never on the speed of the machine: a slow one takes longer, it does not do
other work. Files whose text could not be stored as one value, and names that are no text, are passed over and counted.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lash.errors import UsageError

SUFFIXES: Final = (".py", ".md", ".txt")
FILE_BYTES_MAX: Final = 128 * 1024
"""Of one file: its text is recorded as the reply of a step, and once more split in parts."""
FILES_SEEN_MAX: Final = 50_000
"""Files looked at: a folder such as / must not keep the demo from beginning."""
FILES_PER_SECOND: Final = 25
"""What two workers on two slow cores do easily, each file with its steps, its timer and its place in the report."""
PASSED_OVER: Final = frozenset({"__pycache__", "site-packages", "node_modules", "test", "tests", "idle_test"})
WORK_SHARE: Final = 0.6
"""Of the seconds asked for, the part planned for the work; the rest is for starting, crashes and the reckoning."""
WINDOW_MAX: Final = 48
"""Files under way at once."""
NAP_MS: Final = (150, 4_000)
"""Shortest and longest timer of one file."""
TTL_MS: Final = 2_000
"""Of the leases: short, so that nobody waits long for the zombie; long enough for a machine that is busy."""


class NoFiles(UsageError):
    code = "no_files"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done, from where, and how fast."""

    folder: Path
    names: list[str]
    """Relative to ``folder``."""
    found: int
    """Files that could have been taken."""
    passed_over: int
    """Too large, empty, or with a name that is no text."""
    window: int
    stamps: list[tuple[int, int]]
    """Of each file: when it was changed last, and its size."""
    nap_ms: int
    ttl_ms: int
    """Of the workers' leases."""
    seconds: int

    @property
    def deadline_s(self) -> float:
        """When the demo gives up: far later than any machine needs."""
        return 60.0 + 4 * self.seconds


def make_plan(folder: str | None, seconds: int) -> Plan:
    """Raises ``NoFiles`` for a folder that is none, or has nothing to analyse."""
    root = Path(folder or sysconfig.get_path("stdlib")).expanduser().resolve()
    if not root.is_dir():
        raise NoFiles(f"{folder} is no folder. Name one that holds *.py, *.md or *.txt files.", folder=str(root))
    good: list[str] = []
    passed_over = 0
    for path in candidates(root):
        if is_good(path):
            good.append(path.relative_to(root).as_posix())
        else:
            passed_over += 1
    if not good:
        raise NoFiles(f"{root} holds no *.py, *.md or *.txt file that could be taken.", folder=str(root))
    names = spread(sorted(good), seconds * FILES_PER_SECOND)
    window = min(WINDOW_MAX, max(4, len(names) // 8))
    nap_ms = int(seconds * 1_000 * WORK_SHARE * window / len(names))
    nap_ms = min(max(nap_ms, NAP_MS[0]), NAP_MS[1])
    stamps = [stamp_of(root / name) for name in names]
    return Plan(root, names, len(good), passed_over, window, stamps, nap_ms, TTL_MS, seconds)


def stamp_of(path: Path) -> tuple[int, int]:
    """Two equal ones mean that the file has not changed meanwhile."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def candidates(root: Path) -> Iterator[Path]:
    seen = 0
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in PASSED_OVER and not name.startswith("."))
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                yield Path(here, name)
                seen += 1
                if seen >= FILES_SEEN_MAX:
                    return


def is_good(path: Path) -> bool:
    try:
        size = path.stat().st_size
        return path.is_file() and 0 < size <= FILE_BYTES_MAX and str(path).isprintable() and os.access(path, os.R_OK)
    except OSError:
        return False


def spread(names: list[str], count: int) -> list[str]:
    """``count`` of them, evenly over the whole list."""
    if len(names) <= count:
        return names
    return [names[index * len(names) // count] for index in range(count)]
