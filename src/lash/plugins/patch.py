"""Files are changed by patches, file by file and hunk by hunk: what came before a failure stays, and is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from lash.abc.plugin import Plugin
from lash.abc.tool import AnyTool, tool
from lash.core.message import Text
from lash.core.tool import ToolOutput
from lash.errors import ToolFailed
from lash.limits import EDIT_FILE_BYTES_MAX, FAILURE_MESSAGE_CHARS_MAX
from lash.plugins.patch_text import BadPatch, Change, applied, parse
from lash.plugins.root import Root, Spot, create, read_whole, replace, wrong

DESCRIPTION = """Change files by a patch. Its form:

*** Begin Patch
*** Update File: src/app.py
*** Move to: src/main.py
@@ def greet():
     name = "you"
-    print("hi")
+    print("hello")
*** Add File: notes.txt
+first line
*** Delete File: old.txt
*** End Patch

A line of a hunk begins with ' ' (it stays), '-' (it goes) or '+' (it is new). Give about three lines around each \
change, so that they stand in one place only; '@@ line' names a line further up to look for first. '*** Move to' is \
optional. Hunks go from top to bottom. If a hunk fails, what came before it stays."""


class Patch(Plugin):
    """The tool ``apply_patch`` on the files below ``root``. Raises ``InvalidAgent`` where there is no such folder."""

    id = "lash.patch"

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Root(root)
        self._tools: tuple[AnyTool, ...] = (
            tool(description=DESCRIPTION, effect="once", serial=True)(self.apply_patch),
        )

    def tools(self) -> Sequence[AnyTool]:
        return self._tools

    def apply_patch(self, patch: str) -> ToolOutput:
        """Apply a patch.

        Args:
            patch: The whole patch, from '*** Begin Patch' to '*** End Patch'.
        """
        try:
            changes = parse(patch)
        except BadPatch as error:
            raise wrong(f"{error} Nothing was changed.", "invalid_patch") from None
        done: list[str] = []
        for place, change in enumerate(changes):
            try:
                done.append(self._apply(change))
            except ToolFailed as error:
                raise broken_off(error, done, [each.path for each in changes[place + 1 :]]) from None
        return ToolOutput((Text("\n".join(done)),), done)

    def _apply(self, change: Change) -> str:
        if change.kind == "add":
            data = change.text.encode()
            if len(data) > EDIT_FILE_BYTES_MAX:
                raise wrong(
                    f"{change.path!r} would have {len(data)} bytes; the most is {EDIT_FILE_BYTES_MAX}.", "too_large"
                )
            with self.root.spot(change.path, follow=False, make=True) as spot:
                create(spot, data)
            return f"added {change.path}"
        if change.kind == "delete":
            with self.root.spot(change.path, follow=False) as spot:
                delete(spot)
            return f"deleted {change.path}"
        return self._update(change)

    def _update(self, change: Change) -> str:
        with self.root.spot(change.path) as spot:
            data, mode = read_whole(spot)
            content = Content(data, change.path)
            problem = content.apply(change)
            if change.move_to is not None and problem is None:
                self._move(change.path, change.move_to, content.encode(), mode)
                return f"updated {change.path} and moved it to {change.move_to}"
            if content.encode() != data:
                replace(spot, content.encode())
            if problem is not None:
                raise problem
        return f"updated {change.path}"

    def _move(self, path: str, target: str, data: bytes, mode: int) -> None:
        with self.root.spot(path, follow=False) as here:
            if stat.S_ISLNK(os.stat(here.name, dir_fd=here.folder, follow_symlinks=False).st_mode):
                raise wrong(f"{path!r} is a link; move the file it leads to.", "not_a_file")
            with self.root.spot(target, follow=False, make=True) as there:
                create(there, data, mode)
            os.unlink(here.name, dir_fd=here.folder)


class Content:
    """The lines of one file. Each keeps its own line end, and the last one may have none."""

    def __init__(self, data: bytes, path: str) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            message = f"{path!r} is not UTF-8 text (byte {error.start}) and cannot be patched."
            raise wrong(message, "binary_file") from None
        if "\0" in text:
            raise wrong(f"{path!r} is a binary file and cannot be patched.", "binary_file")
        self.path = path
        self.end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
        self.is_ended = text.endswith("\n") or not text
        pieces = text.removesuffix("\n").split("\n") if text else []
        self.lines = [piece.removesuffix("\r") for piece in pieces]
        self.ends = ["\r\n" if piece.endswith("\r") else "\n" for piece in pieces]
        if pieces and not self.is_ended:
            self.lines[-1], self.ends[-1] = pieces[-1], self.end

    def apply(self, change: Change) -> ToolFailed | None:
        """Every hunk up to the first that has no place; → what is wrong with that one."""
        begin = 0
        for number, hunk in enumerate(change.hunks, 1):
            try:
                after, following = applied(self.lines, hunk, begin)
            except BadPatch as error:
                kept = "" if number == 1 else " (those before it were applied)"
                return wrong(f"{self.path!r}, hunk {number} of {len(change.hunks)}{kept}: {error}.", "hunk_failed")
            self.take(after)
            begin = following
        return None

    def take(self, after: list[str]) -> None:
        """New lines in place of the old; those above and below what differs keep their ends."""
        room = min(len(self.lines), len(after))
        top = same(self.lines, after, room)
        bottom = same(self.lines[::-1], after[::-1], room - top)
        fresh = [self.end] * (len(after) - top - bottom)
        self.ends = [*self.ends[:top], *fresh, *self.ends[len(self.lines) - bottom :]]
        self.lines = after

    def encode(self) -> bytes:
        text = "".join(line + end for line, end in zip(self.lines, self.ends, strict=True))
        return (text if self.is_ended or not self.ends else text.removesuffix(self.ends[-1])).encode()


def same(one: Sequence[str], other: Sequence[str], most: int) -> int:
    """How many lines at the beginning are equal."""
    return next((place for place in range(most) if one[place] != other[place]), most)


def delete(spot: Spot) -> None:
    """A file or a link, which is not followed."""
    found = os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        raise wrong(f"{spot.shown!r} is a folder; only files are deleted.", "not_a_file")
    os.unlink(spot.name, dir_fd=spot.folder)


def broken_off(error: ToolFailed, done: Sequence[str], left: Sequence[str]) -> ToolFailed:
    """What failed, with what had been done before and what was not begun."""
    told = [str(error)]
    told.append(f"Done before: {'; '.join(done)}." if done else "No other file was changed.")
    if left:
        told.append(f"Not begun: {', '.join(left)}.")
    message = " ".join(told)
    if len(message) > FAILURE_MESSAGE_CHARS_MAX:
        message = f"{told[0]} Done before: {len(done)} files. Not begun: {len(left)} files."
    raw = {"done": list(done), "not_begun": list(left)}
    return ToolFailed(message, code=error.code, failure_class=error.failure_class, raw=raw)
