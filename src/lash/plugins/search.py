"""Text is searched by a program of its own, which is stopped when its time is up or nobody wants the result.

The pattern is a model's, and there are patterns that take for ever; within the worker none could be stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from lash.abc.plugin import Plugin
from lash.abc.tool import AnyTool, tool
from lash.core import codec
from lash.core.message import Text
from lash.core.tool import ToolOutput
from lash.errors import ToolFailed
from lash.limits import (
    GREP_CONTEXT_MAX,
    GREP_LINE_CHARS_MAX,
    GREP_MS_MAX,
    GREP_RESULTS,
    GREP_RESULTS_MAX,
    WALK_DEPTH_MAX,
)
from lash.plugins import walking
from lash.plugins.root import FOLDER_FLAGS, Root, shown_name, wrong

PROGRAM: Final = (sys.executable, "-I", "-S", str(Path(walking.__file__)))
"""The interpreter alone: no site packages, no environment."""
LATE_MS: Final = 500
"""What a search may take longer before it is stopped from outside."""


@dataclass(slots=True)
class Hits:
    """What a search has found so far. ``ended``: ``all``, ``limit``, ``time``, or nothing when it was stopped."""

    lines: list[tuple[str, int, bool, str]] = field(default_factory=list[tuple[str, int, bool, str]])
    ended: str = ""

    @property
    def count(self) -> int:
        return sum(1 for _, _, hit, _ in self.lines if hit)


class Search(Plugin):
    """The tool ``grep`` on the files below ``root``. Raises ``InvalidAgent`` where there is no such folder."""

    id = "lash.search"

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Root(root)
        self._tools: tuple[AnyTool, ...] = (tool(effect="pure")(self.grep),)

    def tools(self) -> Sequence[AnyTool]:
        return self._tools

    async def grep(
        self,
        pattern: str,
        path: str = ".",
        glob: str | None = None,
        ignore_case: bool = False,
        context: int = 0,
        limit: int = GREP_RESULTS,
    ) -> ToolOutput:
        """Find the lines that match a regular expression, in a file or in all text files below a folder.

        Binary files, links and folders such as .git and node_modules are passed over. A result begins with
        'path:line:'; lines around it, with 'path-line-'.

        Args:
            pattern: A Python regular expression, matched within one line.
            path: The file or folder to search, from the root.
            glob: Search only files of this pattern, such as '*.py' or 'src/**/*.ts'.
            ignore_case: Take upper and lower case for the same.
            context: Lines to show before and after each match.
            limit: The most matches to show.
        """
        checked(pattern, glob)
        if not 0 <= context <= GREP_CONTEXT_MAX:
            raise wrong(f"context is 0 to {GREP_CONTEXT_MAX}, not {context}.", "invalid_tool_args")
        if not 1 <= limit <= GREP_RESULTS_MAX:
            raise wrong(f"limit is 1 to {GREP_RESULTS_MAX}, not {limit}.", "invalid_tool_args")
        folder, name, shown = await asyncio.to_thread(self._start, path)
        job = walking.Job(
            folder, name, WALK_DEPTH_MAX, glob, pattern, ignore_case, context, limit, GREP_LINE_CHARS_MAX, GREP_MS_MAX
        )
        try:
            hits = await run(job)
        finally:
            os.close(folder)
        return told(hits, shown, name)

    def _start(self, path: str) -> tuple[int, str, str]:
        """An open folder, the name in it that is searched, and what to write before the paths that are found."""
        with self.root.spot(path) as spot:
            try:
                return os.open(spot.name, FOLDER_FLAGS, dir_fd=spot.folder), ".", spot.shown
            except NotADirectoryError:
                return os.dup(spot.folder), spot.name, spot.shown


def checked(pattern: str, glob: str | None) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise wrong(f"pattern is no regular expression: {error}.", "invalid_tool_args") from None
    try:
        if glob is not None:
            walking.Glob(glob)
    except ValueError as error:
        raise wrong(f"glob: {error}.", "invalid_tool_args") from None


async def run(job: walking.Job) -> Hits:
    """Everything the program wrote until it ended or was stopped. Raises ``ToolFailed`` where it broke."""
    program = await asyncio.create_subprocess_exec(
        *PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(job.folder,), start_new_session=True,
    )  # fmt: skip
    hits = Hits()
    try:
        async with asyncio.timeout((job.ms + LATE_MS) / 1_000):
            await listen(program, job, hits)
            await program.wait()
    except TimeoutError:
        return hits
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    if not hits.ended and program.returncode not in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ToolFailed(f"The search broke off with exit code {program.returncode}.", failure_class="internal")
    return hits


async def listen(program: asyncio.subprocess.Process, job: walking.Job, hits: Hits) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(json.dumps(job._asdict()).encode())
    program.stdin.close()
    while line := await program.stdout.readline():
        found = cast("list[object]", json.loads(line))
        if len(found) == 1:
            hits.ended = str(found[0])
        else:
            hits.lines.append(cast("tuple[str, int, bool, str]", tuple(found)))


def told(hits: Hits, shown: str, name: str) -> ToolOutput:
    """As the model reads it; programs get the matches as (path, line) pairs."""
    rows: list[str] = []
    last: tuple[str, int] | None = None
    places: list[list[object]] = []
    for path, number, hit, text in hits.lines:
        where = shown if name != "." else path if shown == "." else f"{shown}/{path}"
        if last is not None and last != (where, number - 1):
            rows.append("--") if any(not each[2] for each in hits.lines) else None
        last = (where, number)
        mark = ":" if hit else "-"
        rows.append(codec.safe_text(f"{shown_name(where)}{mark}{number}{mark}{text}"))
        if hit:
            places.append([codec.safe_text(where), number])
    rows.append(verdict(hits))
    return ToolOutput((Text("\n".join(rows)),), {"matches": places, "complete": hits.ended == "all"})


def verdict(hits: Hits) -> str:
    count = hits.count
    lines = "no line matches" if not count else "1 line matches" if count == 1 else f"{count} lines match"
    if hits.ended == "all":
        return f"[{lines}]"
    if hits.ended == "limit":
        return f"[stopped at {count} matches, there may be more: narrow path or glob, or raise limit]"
    return (
        f"[stopped after {GREP_MS_MAX // 1_000} s, until then {lines}: narrow path or glob; a pattern such as (a+)+ "
        "can take for ever on one line]"
    )
