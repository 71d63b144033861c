"""Files below one folder, read and written in portions a model can take; every cut is told, with how to go on."""

from __future__ import annotations

import asyncio
import codecs
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from lash.abc.plugin import Plugin
from lash.abc.tool import AnyTool, ToolContext, tool
from lash.core import codec
from lash.core.message import Text
from lash.core.tool import ToolOutput
from lash.errors import ToolFailed
from lash.limits import (
    ATTACHMENT_BYTES_MAX,
    EDIT_FILE_BYTES_MAX,
    GLOB_MS_MAX,
    GLOB_RESULTS_MAX,
    LIST_DEPTH_MAX,
    LIST_ENTRIES_MAX,
    READ_FILE_BYTES_MAX,
    READ_FILE_LINE_CHARS_MAX,
    READ_FILE_LINES_MAX,
    WALK_DEPTH_MAX,
)
from lash.plugins.root import FOLDER_FLAGS, Root, open_file, replace, shown_name, where_link_leads, wrong
from lash.plugins.walking import IGNORED, SNIFF_BYTES, Glob, walk

PIECE_BYTES: Final = 4 * READ_FILE_LINE_CHARS_MAX
"""Read of one line at a time."""
MEDIA: Final = (
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF8"),
    ("image/bmp", b"BM"),
    ("application/pdf", b"%PDF-"),
)
"""What a file begins with, whatever it is called."""


class Files(Plugin):
    """The tools ``read_file``, ``list_dir``, ``glob`` and, unless ``read_only``, ``write_file`` on the files below
    ``root``. Raises ``InvalidAgent`` where there is no such folder."""

    id = "lash.files"

    def __init__(self, root: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.root = Root(root)
        pure = tool(effect="pure")
        reading: tuple[AnyTool, ...] = (pure(self.read_file), pure(self.list_dir), pure(self.glob))
        self._tools = reading if read_only else (*reading, tool(effect="once", serial=True)(self.write_file))

    def tools(self) -> Sequence[AnyTool]:
        return self._tools

    async def read_file(
        self, ctx: ToolContext, path: str, offset: int = 1, limit: int = READ_FILE_LINES_MAX
    ) -> ToolOutput:
        """Read a text file, each line with its number and a tab before it. An image or a PDF is shown as it is.

        Args:
            path: The file, from the root.
            offset: The first line to show.
            limit: The most lines to show.
        """
        if offset < 1 or limit < 1:
            raise wrong("offset and limit count from 1.", "invalid_tool_args")
        found = await asyncio.to_thread(self._read, path, offset, min(limit, READ_FILE_LINES_MAX))
        if isinstance(found, ToolOutput):
            return found
        media_type, data = found
        return ToolOutput((Text(f"{path} ({media_type}, {len(data)} bytes)"), await ctx.put(data, media_type, path)))

    def _read(self, path: str, offset: int, limit: int) -> ToolOutput | tuple[str, bytes]:
        with self.root.spot(path) as spot, os.fdopen(open_file(spot), "rb") as file:
            head = file.read(SNIFF_BYTES)
            file.seek(0)
            if (media_type := media_type_of(head)) is not None:
                data = file.read(ATTACHMENT_BYTES_MAX + 1)
                if len(data) > ATTACHMENT_BYTES_MAX:
                    raise wrong(f"{path!r} is larger than {ATTACHMENT_BYTES_MAX} bytes.", "too_large")
                return media_type, data
            if not is_text(head):
                size = os.fstat(file.fileno()).st_size
                raise wrong(f"{path!r} is a binary file of {size} bytes; only text can be read.", "binary_file")
            return Reading(path, offset, limit).run(file)

    def list_dir(self, path: str = ".", depth: int = LIST_DEPTH_MAX) -> ToolOutput:
        """List a folder and the folders in it. Folders end with '/', links show where they lead, and a name with
        unusual characters stands in quotes, as JSON.

        Args:
            path: The folder, from the root.
            depth: How many levels to show, at most 3.
        """
        if depth < 1:
            raise wrong("depth counts from 1.", "invalid_tool_args")
        with self.root.spot(path) as spot:
            top = os.open(spot.name, FOLDER_FLAGS, dir_fd=spot.folder)
            return Listing(self.root, min(depth, LIST_DEPTH_MAX)).run(top, spot.shown)

    def glob(self, ctx: ToolContext, pattern: str, path: str = ".") -> ToolOutput:
        """Find files by a pattern of their path; folders such as .git and node_modules are passed over.

        Args:
            pattern: '*' and '?' stand for characters of one name, '**' for any folders, '{a,b}' for either. Without a
                slash it is for the name alone, wherever the file lies.
            path: The folder to look in, from the root; the pattern begins there.
        """
        try:
            wanted = Glob(pattern)
        except ValueError as error:
            raise wrong(f"pattern: {error}.", "invalid_tool_args") from None
        with self.root.spot(path) as spot:
            top = os.open(spot.name, FOLDER_FLAGS, dir_fd=spot.folder)
            try:
                found, end = matching(top, wanted, lambda: ctx.cancelled)
            finally:
                os.close(top)
            before = "" if spot.shown == "." else spot.shown + "/"
        paths = [before + each for each in found]
        rows = [*map(shown_name, paths), f"[{end}]"]
        return ToolOutput((Text("\n".join(rows)),), list(map(codec.safe_text, paths)))

    def write_file(self, path: str, content: str) -> ToolOutput:
        """Write a text file as a whole, new or in place of the old one. Folders that are missing are created.

        Args:
            path: The file, from the root.
            content: All of its text.
        """
        data = content.encode()
        if len(data) > EDIT_FILE_BYTES_MAX:
            raise wrong(f"The content is {len(data)} bytes; the most is {EDIT_FILE_BYTES_MAX}.", "too_large")
        with self.root.spot(path, make=True) as spot:
            new = replace(spot, data)
        lines = content.count("\n") + (not content.endswith("\n") and bool(content))
        text = f"{'created' if new else 'replaced'} {spot.shown}: {lines} lines, {len(data)} bytes"
        return ToolOutput((Text(text),), {"path": spot.shown, "created": new, "bytes": len(data)})


def media_type_of(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:2] == b"BM" and is_text(head):
        return None  # a text that begins like a bitmap
    return next((media_type for media_type, magic in MEDIA if head.startswith(magic)), None)


def is_text(head: bytes) -> bool:
    """Whether the beginning of a file is UTF-8 without NUL; a character may be cut off at the end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


# Reading -----------------------------------------------------------------------------------------------------------


class Reading:
    """The lines ``offset`` and following of one file."""

    def __init__(self, path: str, offset: int, limit: int) -> None:
        self.path = path
        self.offset = offset
        self.limit = limit
        self.rows: list[str] = []
        self.size = 0

    def run(self, file: BinaryIO) -> ToolOutput:
        number = 0
        while piece := file.readline(PIECE_BYTES):
            number += 1
            length = len(piece) + skip_line(file, piece)
            if number >= self.offset and not self.take(number, piece, length):
                return self.told(f"more lines follow: go on with offset={number}", number - 1, False)
        if not number:
            return self.told("the file is empty", 0, True)
        if number < self.offset:
            raise wrong(f"{self.path!r} has {number} lines; there is no line {self.offset}.", "invalid_tool_args")
        return self.told(f"end of the file, {number} lines", number, True)

    def take(self, number: int, piece: bytes, length: int) -> bool:
        """Show one line, of which ``piece`` was read. False where there is no room for it any more."""
        text = codec.safe_text(piece.decode("utf-8-sig" if number == 1 else "utf-8", "replace").rstrip("\r\n"))
        if length > len(piece) or len(text) > READ_FILE_LINE_CHARS_MAX:
            text = f"{text[:READ_FILE_LINE_CHARS_MAX]}… [the line is cut: it has {length} bytes]"
        row = f"{number}\t{text}"
        self.size += len(row.encode()) + 1
        if len(self.rows) >= self.limit or self.size > READ_FILE_BYTES_MAX:
            return False
        self.rows.append(row)
        return True

    def told(self, note: str, last: int, complete: bool) -> ToolOutput:
        value = {"path": self.path, "first": self.offset, "last": last, "complete": complete}
        return ToolOutput((Text("\n".join([*self.rows, f"[{note}]"])),), value)


def skip_line(file: BinaryIO, piece: bytes) -> int:
    """Read on to the end of the line that ``piece`` begins; → the bytes passed over."""
    skipped = 0
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(PIECE_BYTES)
        skipped += len(piece)
    return skipped


# Names -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Branch:
    """A folder in a listing."""

    path: str
    """From the root."""
    level: int
    entries: list[tuple[str, Branch | None]] = field(default_factory=list[tuple[str, "Branch | None"]])
    note: str = ""
    """What is not shown of it, and why."""


class Listing:
    """Level by level, so that one large folder does not hide the others."""

    def __init__(self, root: Root, depth: int) -> None:
        self.root = root
        self.depth = depth
        self.left = LIST_ENTRIES_MAX
        self.waiting: deque[tuple[int, Branch]] = deque()

    def run(self, folder: int, shown: str) -> ToolOutput:
        top = Branch(shown, 1)
        self.waiting.append((folder, top))
        try:
            while self.waiting:
                inner, branch = self.waiting.popleft()
                try:
                    self.read(inner, branch)
                finally:
                    os.close(inner)
        finally:
            for inner, _ in self.waiting:
                os.close(inner)
        rows = [shown_name(shown) + "/", *drawn(top)]
        if self.left <= 0:
            rows.append(f"[stopped at {LIST_ENTRIES_MAX} names: list a folder further down]")
        return ToolOutput(
            (Text("\n".join(rows)),), {"entries": LIST_ENTRIES_MAX - self.left, "complete": self.left > 0}
        )

    def read(self, folder: int, branch: Branch) -> None:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for place, entry in enumerate(entries):
            if self.left <= 0:
                branch.note = f"{len(entries) - place} more"
                return
            self.left -= 1
            branch.entries.append(self.entry(folder, branch, entry))

    def entry(self, folder: int, branch: Branch, entry: os.DirEntry[str]) -> tuple[str, Branch | None]:
        path = f"{branch.path}/{entry.name}"
        if entry.is_symlink():
            return shown_name(entry.name) + self.target(folder, entry.name, path), None
        if not entry.is_dir(follow_symlinks=False):
            return shown_name(entry.name), None
        below = Branch(path, branch.level + 1)
        if entry.name in IGNORED:
            below.note = "not shown"
        elif below.level <= self.depth:
            try:
                self.waiting.append((os.open(entry.name, FOLDER_FLAGS, dir_fd=folder), below))
            except OSError as error:
                below.note = f"cannot be read: {os.strerror(error.errno or 0)}"
        return shown_name(entry.name + "/"), below

    def target(self, folder: int, name: str, path: str) -> str:
        try:
            target = os.readlink(name, dir_fd=folder)
        except OSError:
            return " -> [cannot be read]"
        leads = where_link_leads(self.root, path)
        return " -> " + (shown_name(target.rstrip("/") + "/") if leads == "/" else shown_name(target) + leads)


def drawn(branch: Branch) -> list[str]:
    indent = "  " * branch.level
    rows: list[str] = []
    for name, below in branch.entries:
        single = below is not None and bool(below.note) and not below.entries
        rows.append(f"{indent}{name}" + (f" [{below.note}]" if below is not None and single else ""))
        if below is not None and not single:
            rows += drawn(below)
    if branch.note and branch.entries:
        rows.append(f"{indent}[{branch.note}]")
    return rows


def matching(folder: int, wanted: Glob, is_cancelled: Callable[[], bool]) -> tuple[list[str], str]:
    """Paths that match, and how the search ended."""
    found: list[str] = []
    deadline = time.monotonic() + GLOB_MS_MAX / 1_000
    for file in walk(folder, WALK_DEPTH_MAX):
        if is_cancelled():
            raise ToolFailed("The call was cancelled.", code="cancelled")
        if time.monotonic() > deadline:
            return found, f"stopped after {GLOB_MS_MAX // 1_000} s: narrow path or pattern"
        if wanted.matches(file.path):
            if len(found) == GLOB_RESULTS_MAX:
                return found, f"stopped at {GLOB_RESULTS_MAX} files, there are more: narrow path or pattern"
            found.append(file.path)
    return found, "no file matches" if not found else "1 file" if len(found) == 1 else f"{len(found)} files"
