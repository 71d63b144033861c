"""A path that a model names is walked inside one folder, name by name, and never leaves it.

The walk holds each folder open and reads links itself, so a link that leads out is refused however late it was put
there: what is opened in the end is a name in an open folder, and is not followed. The folder is no jail for programs
(``shell``), and a hard link made by somebody else is a file of the folder like any other.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from lash.errors import InvalidAgent, ToolFailed
from lash.limits import EDIT_FILE_BYTES_MAX, PATH_CHARS_MAX, PATH_LINKS_MAX

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A pipe in a file's place must not hold the reader up until somebody writes."""
NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Spot:
    """A name in an open folder; there need be nothing of this name. ``name`` is ``"."`` for the folder itself."""

    folder: int
    name: str
    shown: str
    """The path from the root, without links on the way; ``"."`` for the root."""


class Root:
    """One folder, given by the operator. Raises ``InvalidAgent`` where there is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given: object = os.fspath(path) if isinstance(path, os.PathLike) else path
        if not isinstance(given, str) or not given.strip() or "\0" in given:
            raise InvalidAgent(f"The folder tools work in is named by a path, not {path!r}.")
        self.given = Path(os.path.abspath(given))
        self.path = Path(os.path.realpath(given))
        if not self.path.is_dir():
            what = "is a file, and no" if self.path.exists() else "is no"
            raise InvalidAgent(f"{given!r} {what} folder that tools could work in. Create it first, or name another.")

    @contextmanager
    def spot(self, path: str, *, follow: bool = True, make: bool = False) -> Generator[Spot]:
        """Where ``path`` leads. ``follow``: through a link in the last place too. ``make``: create folders that are
        missing on the way. Raises ``ToolFailed``, also for an ``OSError`` within the block."""
        try:
            with ExitStack() as held:
                yield Walk(self, path, held, make).run(follow)
        except OSError as error:
            refuse(path, error)

    def names(self, path: str) -> list[str]:
        """``path`` as names from the root. Raises ``ToolFailed`` where it is no path, or lies elsewhere."""
        if not path.strip():
            raise wrong("A path is missing. The root is '.'.")
        if len(path) > PATH_CHARS_MAX or "\0" in path:
            raise wrong(f"A path has 1 to {PATH_CHARS_MAX} characters and no NUL; this has {len(path)}.")
        if path.startswith("/"):
            for top in (self.path, self.given):
                if Path(path).is_relative_to(top):
                    return list(Path(path).relative_to(top).parts)
            raise outside(path)
        return [name for name in path.split("/") if name not in ("", ".")]


class Walk:
    """One walk. Every folder on the way stays open until ``held`` closes."""

    def __init__(self, root: Root, path: str, held: ExitStack, make: bool) -> None:
        self.root = root
        self.path = path
        self.held = held
        self.make = make
        self.folders = [self.keep(os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))]
        self.crumbs: list[str] = []
        self.ahead = root.names(path)[::-1]

    def keep(self, folder: int) -> int:
        self.held.callback(os.close, folder)
        return folder

    def run(self, follow: bool) -> Spot:
        links = 0
        while self.ahead:
            name = self.ahead.pop()
            if name == "..":
                self.up()
                continue
            target = self.link(name) if self.ahead or follow else None
            if target is not None:
                links += 1
                if links > PATH_LINKS_MAX:
                    raise OSError(errno.ELOOP, "circle")
                self.turn_to(target)
            elif not self.ahead:
                return Spot(self.folders[-1], name, "/".join([*self.crumbs, name]))
            else:
                self.down(name)
        return Spot(self.folders[-1], ".", "/".join(self.crumbs) or ".")

    def up(self) -> None:
        if not self.crumbs:
            raise outside(self.path)
        self.crumbs.pop()
        self.folders.pop()

    def down(self, name: str) -> None:
        folder = self.folders[-1]
        if self.make:
            try:
                os.mkdir(name, dir_fd=folder)
            except FileExistsError:
                pass
        self.folders.append(self.keep(os.open(name, FOLDER_FLAGS, dir_fd=folder)))
        self.crumbs.append(name)

    def link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self.folders[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None  # no link, or nothing at all
            raise

    def turn_to(self, target: str) -> None:
        try:
            names = self.root.names(target)
        except ToolFailed:
            raise outside(self.path) from None
        if target.startswith("/"):
            self.crumbs.clear()
            del self.folders[1:]
        self.ahead += names[::-1]


# Files -------------------------------------------------------------------------------------------------------------


def open_file(spot: Spot) -> int:
    """A descriptor to read a regular file. Raises ``ToolFailed`` for a folder, a pipe, a device, a late link."""
    opened = os.open(spot.name, READ_FLAGS, dir_fd=spot.folder)
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return opened
    os.close(opened)
    if stat.S_ISDIR(mode):
        raise wrong(f"{spot.shown!r} is a folder, not a file.", "not_a_file")
    raise wrong(f"{spot.shown!r} is neither a file nor a folder.", "not_a_file")


def read_whole(spot: Spot) -> tuple[bytes, int]:
    """A file that is to be changed, and its permission bits. Raises ``ToolFailed`` where it is too large."""
    with os.fdopen(open_file(spot), "rb") as file:
        data = file.read(EDIT_FILE_BYTES_MAX + 1)
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    if len(data) > EDIT_FILE_BYTES_MAX:
        raise wrong(
            f"{spot.shown!r} is larger than {EDIT_FILE_BYTES_MAX} bytes, the most that can be edited.", "too_large"
        )
    return data, mode


def create(spot: Spot, data: bytes, mode: int | None = None) -> None:
    """A new file. Raises ``FileExistsError`` for anything of this name, a link too."""
    made = os.open(spot.name, NEW_FLAGS, 0o666, dir_fd=spot.folder)
    try:
        with os.fdopen(made, "wb") as file:
            if mode is not None:
                os.fchmod(made, mode)
            file.write(data)
    except BaseException:
        os.unlink(spot.name, dir_fd=spot.folder)
        raise


def replace(spot: Spot, data: bytes) -> bool:
    """Put ``data`` in the place of what is there, as a whole; → whether there was nothing. A reader sees the old file
    or the new one, and a link put there meanwhile is replaced, not followed."""
    try:
        found = os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)
    except FileNotFoundError:
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise wrong(f"{spot.shown!r} is no regular file and cannot be written.", "not_a_file")
    beside = Spot(spot.folder, f".lash-{secrets.token_hex(8)}", spot.shown)
    create(beside, data, None if found is None else stat.S_IMODE(found.st_mode))
    try:
        os.replace(beside.name, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder)
    except BaseException:
        os.unlink(beside.name, dir_fd=spot.folder)
        raise
    return found is None


# Names -------------------------------------------------------------------------------------------------------------

UNUSUAL: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
"""Ends a line, or changes how one is read; or is a byte that is no UTF-8."""
CONFUSING: Final = re.compile(r'^["\s]|\s$| -> | \[|^\[.*\]$')
"""Looks like what a listing writes around names."""


def shown_name(name: str) -> str:
    """A name or path as a line of a listing can hold it: itself, or in quotes as JSON, which a model can send back."""
    if not UNUSUAL.search(name) and not CONFUSING.search(name):
        return name
    return UNUSUAL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(name, ensure_ascii=False))


def where_link_leads(root: Root, path: str) -> str:
    """What stands behind the target of a link: ``/`` for a folder, or why it cannot be followed."""
    try:
        with root.spot(path) as spot:
            mode = os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False).st_mode
    except ToolFailed as error:
        return f" [{LINKS.get(error.code, 'cannot be followed')}]"
    return "/" if stat.S_ISDIR(mode) else ""


LINKS: Final = {
    "outside_root": "leads out of the root",
    "not_found": "leads to nothing",
    "not_a_folder": "leads to nothing",
    "link": "leads in a circle",
}


# Refusals ----------------------------------------------------------------------------------------------------------


def wrong(message: str, code: str = "invalid_path") -> ToolFailed:
    return ToolFailed(message, code=code, failure_class="invalid_request")


def outside(path: str) -> ToolFailed:
    return ToolFailed(
        f"{path!r} leads out of the folder these tools work in. Name paths relative to it, without leaving it by '..' "
        "or a link.",
        code="outside_root",
        failure_class="permission_denied",
    )


REASONS: Final = {
    errno.ENOENT: ("not_found", "invalid_request", "there is no such file or folder"),
    errno.EEXIST: ("exists", "invalid_request", "it exists already"),
    errno.ENOTDIR: ("not_a_folder", "invalid_request", "it, or a part of it, is no folder"),
    errno.EISDIR: ("not_a_file", "invalid_request", "it is a folder"),
    errno.ENOTEMPTY: ("not_empty", "invalid_request", "the folder is not empty"),
    errno.ELOOP: ("link", "invalid_request", "links on the way go in a circle, or changed meanwhile"),
    errno.ENAMETOOLONG: ("invalid_path", "invalid_request", "a name in it is too long"),
    errno.EACCES: ("not_permitted", "permission_denied", "the operating system does not permit it"),
    errno.EPERM: ("not_permitted", "permission_denied", "the operating system does not permit it"),
    errno.EROFS: ("not_permitted", "permission_denied", "it lies on a read-only disk"),
    errno.ENOSPC: ("disk_full", "resource_limit", "the disk is full"),
}


def refuse(path: str, error: OSError) -> NoReturn:
    code, kind, words = REASONS.get(error.errno or 0, ("io_error", "external", os.strerror(error.errno or errno.EIO)))
    raise ToolFailed(f"{path!r}: {words}.", code=code, failure_class=kind) from error
