"""Looks through the files below an open folder, never through a link, and stops when its time is up.

It is run as a program of its own for searches (``search``): a regular expression that takes for ever cannot be stopped
within a worker, and would hold up every session there. So this file imports nothing but the standard library.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import stat
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

IGNORED: Final = frozenset(
    ".git .hg .svn .lash .venv venv .tox node_modules __pycache__ .mypy_cache .pytest_cache .ruff_cache".split()
)
"""Folders that are not looked into unless one of them is where the search begins."""
ALTERNATIVES_MAX: Final = 64
SNIFF_BYTES: Final = 8 * 1024
LINE_BYTES_MAX: Final = 64 * 1024
"""Of a longer line only so much is searched."""
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Segment: TypeAlias = "re.Pattern[str] | None"
"""What one name must match; None stands for ``**``, any number of names."""


class Found(NamedTuple):
    folder: int
    """Open until the next one is asked for."""
    name: str
    path: str
    """From where the walk began."""


def walk(folder: int, depth: int, path: str = "") -> Iterator[Found]:
    """Every file below, folders in order of their names. What cannot be read is passed over."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        below = f"{path}{entry.name}"
        if not entry.is_dir(follow_symlinks=False):
            yield Found(folder, entry.name, below)
        elif depth > 1 and entry.name not in IGNORED:
            try:
                inner = os.open(entry.name, FOLDER_FLAGS, dir_fd=folder)
            except OSError:
                continue
            try:
                yield from walk(inner, depth - 1, below + "/")
            finally:
                os.close(inner)


# Patterns of names -------------------------------------------------------------------------------------------------


class Glob:
    """``*``, ``?``, ``[...]`` within a name, ``**`` for any number of folders, ``{a,b}`` for either. A pattern without
    a slash is for the name, wherever it lies. Raises ``ValueError``."""

    def __init__(self, pattern: str) -> None:
        if not pattern.strip() or pattern.startswith("/") or ".." in pattern.split("/"):
            raise ValueError("a pattern is relative, such as 'src/**/*.py', and has no '..'")
        self.rows = [segments(each) for each in alternatives(pattern)]

    def matches(self, path: str) -> bool:
        names = path.split("/")
        return any(fits(row, names) for row in self.rows)


def alternatives(pattern: str) -> list[str]:
    """Without braces. Raises ``ValueError`` where that makes too many."""
    ready: list[str] = []
    waiting = [pattern]
    while waiting:
        text = waiting.pop()
        if (braces := re.search(r"\{([^{}]*)\}", text)) is None:
            ready.append(text)
        else:
            waiting += [text[: braces.start()] + each + text[braces.end() :] for each in braces[1].split(",")]
        if len(ready) + len(waiting) > ALTERNATIVES_MAX:
            raise ValueError(f"the braces stand for more than {ALTERNATIVES_MAX} patterns")
    return ready


def segments(pattern: str) -> list[Segment]:
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    if "/" not in pattern:
        names = ["**", *names]
    return [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]


def fits(row: Sequence[Segment], names: Sequence[str]) -> bool:
    """All states at once, so that no pattern takes longer than segments times names."""
    states = opened(row, {0})
    for name in names:
        following: set[int] = set()
        for state in states:
            if state < len(row):
                segment = row[state]
                if segment is None:
                    following.add(state)
                elif segment.match(name):
                    following.add(state + 1)
        states = opened(row, following)
    return len(row) in states


def opened(row: Sequence[Segment], states: set[int]) -> set[int]:
    """With the states behind each ``**``, which may stand for nothing."""
    found = set(states)
    for state in sorted(states):
        while state < len(row) and row[state] is None:
            state += 1
            found.add(state)
    return found


# Search, as a program ----------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """Read as JSON from standard input."""

    folder: int
    """An open descriptor."""
    name: str
    """A file in it, or ``"."`` for every file below."""
    depth: int
    glob: str | None
    pattern: str
    ignore_case: bool
    context: int
    limit: int
    shown: int
    """Characters of a line."""
    ms: int


def lines_of(found: Found) -> Iterator[str]:
    """The lines of a text file, without their ends; nothing of a binary one."""
    try:
        file_no = os.open(found.name, FILE_FLAGS, dir_fd=found.folder)
    except OSError:
        return
    with os.fdopen(file_no, "rb") as file:
        if not stat.S_ISREG(os.fstat(file_no).st_mode) or b"\0" in file.read(SNIFF_BYTES):
            return
        file.seek(0)
        while line := file.readline(LINE_BYTES_MAX):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES_MAX)
            yield line.rstrip(b"\r\n").decode("utf-8", "replace")


def search_file(found: Found, pattern: re.Pattern[str], job: Job, left: int) -> Iterator[tuple[int, bool, str]]:
    """(number, whether it matches, text) of the lines that match and those around them."""
    before: deque[tuple[int, bool, str]] = deque(maxlen=job.context)
    after = 0
    for number, text in enumerate(lines_of(found), 1):
        if left <= 0 and not after:
            return
        match = pattern.search(text) if left > 0 else None
        if match:
            left -= 1
            yield from before
            before.clear()
            yield number, True, cut(text, match.start(), job.shown)
            after = job.context
        elif after:
            after -= 1
            yield number, False, cut(text, 0, job.shown)
        else:
            before.append((number, False, cut(text, 0, job.shown)))


def cut(text: str, place: int, shown: int) -> str:
    """At most ``shown`` characters of a line, with those at ``place`` among them."""
    if len(text) <= shown:
        return text
    start = max(0, min(place - shown // 4, len(text) - shown))
    return ("…" if start else "") + text[start : start + shown] + ("…" if start + shown < len(text) else "")


def files_of(job: Job) -> Iterator[Found]:
    if job.name != ".":
        yield Found(job.folder, job.name, job.name)
        return
    glob = None if job.glob is None else Glob(job.glob)
    for found in walk(job.folder, job.depth):
        if glob is None or glob.matches(found.path):
            yield found


def limit_cpu(seconds: int) -> None:
    """Should nobody be left to stop this program, the kernel does."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def main() -> None:
    """Found lines as lines of JSON on standard output, ``[path, number, match, text]``, then ``[why it ended]``."""
    job = Job(**json.load(sys.stdin))
    deadline = time.monotonic() + job.ms / 1_000
    limit_cpu(job.ms // 1_000 + 2)
    pattern = re.compile(job.pattern, re.IGNORECASE if job.ignore_case else 0)
    left = job.limit
    for found in files_of(job):
        for number, hit, text in search_file(found, pattern, job, left):
            left -= hit
            print(json.dumps([found.path, number, hit, text]), flush=True)
        if left <= 0 or time.monotonic() > deadline:
            print(json.dumps(["limit" if left <= 0 else "time"]))
            return
    print(json.dumps(["all"]))


if __name__ == "__main__":
    main()
