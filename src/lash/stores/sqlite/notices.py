"""Notices between Python processes on one machine: a byte into every other store's pipe, after a commit that matters.

Hints only: a lost one is made good by the safety poll, so nothing here ever raises or waits. A pipe without a reader
belongs to a process that died; whoever meets it removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Final

SUFFIX: Final = ".wake"
SETTLED_S: Final = 0.05
"""A folder listed sooner than this after its last change is listed again: its time stamp is that coarse."""
POLL_S: Final = 0.05


class Notices:
    """One store's pipe, and the other stores' pipes beside it."""

    def __init__(self, folder: str, heard: Callable[[], None]) -> None:
        self._folder = folder
        self._heard = heard
        self._name = ""
        self._pipe = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._others: dict[str, int] = {}
        self._listed_ns = -1
        self._poll: asyncio.TimerHandle | None = None

    def open(self, version: Callable[[], int]) -> None:
        """Listen on the running loop. Where pipes cannot be had, ``version()`` is polled for changes instead."""
        self._loop = asyncio.get_running_loop()
        try:
            self._make_pipe()
            self._loop.add_reader(self._pipe, self._drain)
        except (OSError, NotImplementedError, AttributeError):
            self._close_pipe()
            self._poll_version(version, version())

    def _make_pipe(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        name = f"{os.getpid()}-{random.getrandbits(48):012x}{SUFFIX}"
        path = os.path.join(self._folder, name)
        os.mkfifo(path + ".new", 0o600)
        self._pipe = os.open(path + ".new", os.O_RDWR | os.O_NONBLOCK)
        os.rename(path + ".new", path)  # only a pipe that has its reader is seen by others
        self._name = name

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while len(os.read(self._pipe, 65_536)) == 65_536:
                pass
        self._heard()

    def _poll_version(self, version: Callable[[], int], last: int) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        newest = version()
        if newest != last:
            self._heard()
        self._poll = self._loop.call_later(POLL_S, self._poll_version, version, newest)

    def send(self) -> None:
        """Tell every other store on this database."""
        if not self._name:
            return
        with contextlib.suppress(OSError):
            self._list_others()
        for name, pipe in list(self._others.items()):
            try:
                os.write(pipe, b"!")
            except BlockingIOError:
                pass  # full: it has plenty to wake up for
            except OSError:
                self._bury(name)

    def _list_others(self) -> None:
        """Open what is new in the folder, forget what is gone. One ``stat`` when nothing changed."""
        changed_ns = os.stat(self._folder).st_mtime_ns
        if changed_ns == self._listed_ns:
            return
        names = {name for name in os.listdir(self._folder) if name.endswith(SUFFIX) and name != self._name}
        for name in self._others.keys() - names:
            os.close(self._others.pop(name))
        for name in names - self._others.keys():
            try:
                self._others[name] = os.open(os.path.join(self._folder, name), os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                self._bury(name)
        self._listed_ns = changed_ns if time.time_ns() - changed_ns > SETTLED_S * 1e9 else -1

    def _bury(self, name: str) -> None:
        pipe = self._others.pop(name, None)
        if pipe is not None:
            os.close(pipe)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._folder, name))

    def close(self) -> None:
        if self._name:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, self._name))
        self.drop()

    def drop(self) -> None:
        """Close every descriptor and leave the files, as the death of the Python process does."""
        if self._poll is not None:
            self._poll.cancel()
        self._close_pipe()
        for pipe in self._others.values():
            os.close(pipe)
        self._others.clear()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
        self._pipe = -1
        self._name = ""
