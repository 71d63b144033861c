"""What asyncio and the interpreter do behind a body's back is caught here, while a body runs and at no other time.

Two holes the loop alone cannot close: blocking calls that need no loop (sockets, sub-processes, threads), refused
through an audit hook, and ``asyncio.as_completed``, which loses the caller's order in a set. Both are installed when
the first body runs, never at import, and outside a body they do nothing. See docs/adr/0002.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Generator, Iterable, Sequence, Set
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any, cast

from lash.errors import InvalidArguments, NotInStep

REFUSED_EVENTS = {
    "socket.connect": "connecting a socket",
    "socket.bind": "binding a socket",
    "socket.getaddrinfo": "looking up a host",
    "socket.gethostbyname": "looking up a host",
    "socket.sendto": "sending a datagram",
    "subprocess.Popen": "starting a sub-process",
    "os.system": "os.system",
    "os.fork": "os.fork",
    "os.posix_spawn": "os.posix_spawn",
    "_thread.start_new_thread": "starting a thread",
    "_thread.start_joinable_thread": "starting a thread",
    "time.sleep": "time.sleep",
    "sqlite3.connect": "opening a database",
}

active: set[int] = set()
"""The threads in which a body is running right now; kept by the body loop."""
installed = False
plain_start = threading.Thread.start


def install() -> None:
    global installed
    if installed:
        return
    installed = True
    sys.addaudithook(audit)
    if sys.version_info < (3, 12):  # which has no audit event for it yet
        setattr(threading.Thread, "start", start_thread)  # noqa: B010  # mypy refuses a plain assignment
    replace_as_completed()


def replace_as_completed() -> None:
    """Change the function where it stands, so that ``from asyncio import as_completed`` made earlier means it too."""
    function = cast(FunctionType, asyncio.as_completed)
    plain = FunctionType(function.__code__, function.__globals__, function.__name__)
    plain.__kwdefaults__ = function.__kwdefaults__

    def as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Any:
        """In a process body a generator is first made a list, which keeps its order; a set of coroutines has none."""
        if threading.get_ident() in active:
            if isinstance(fs, Set) and any(asyncio.iscoroutine(item) for item in fs):
                raise InvalidArguments(
                    "asyncio.as_completed was given a set of coroutines in a process body: their order would be "
                    "another in each run. Give it a list."
                )
            fs = fs if isinstance(fs, Sequence) else list(fs)
        return plain(fs, timeout=timeout)

    def shim(fs: Any, *, timeout: Any = None) -> Any:
        return lash_as_completed(fs, timeout=timeout)  # type: ignore[name-defined]  # noqa: F821  # see below

    function.__globals__["lash_as_completed"] = as_completed
    function.__code__ = shim.__code__


@contextmanager
def lifted() -> Generator[None]:
    """For code of others that runs within a body but is not the body: handlers of the log."""
    thread = threading.get_ident()
    within = thread in active
    active.discard(thread)
    try:
        yield
    finally:
        if within:
            active.add(thread)


def start_thread(self: threading.Thread) -> None:
    if threading.get_ident() in active:
        refuse("starting a thread")
    plain_start(self)


def audit(event: str, args: tuple[object, ...]) -> None:
    if active and event in REFUSED_EVENTS and threading.get_ident() in active:
        refuse(REFUSED_EVENTS[event])


def refuse(what: str) -> None:
    raise NotInStep(
        f"{what[0].upper() + what[1:]} was attempted in a process body. A body may only wait for lash: wrap the "
        "call in `await ctx.step(function, ...)`, where I/O and threads are fine and the result is recorded.",
        call=what,
    )


def given_to_as_completed() -> Sequence[object] | None:
    """The sequence a running ``asyncio.as_completed`` was given, when the caller of ``create_task`` is one."""
    frame: FrameType | None = sys._getframe(3)  # pyright: ignore[reportPrivateUsage]  # inspect's is 20 times slower
    for _ in range(5):
        if frame is None or frame.f_globals.get("__name__") != "asyncio.tasks":
            return None
        names = frame.f_locals
        given = names.get("fs", names.get("aws"))
        if isinstance(given, (list, tuple)):
            return cast("Sequence[object]", given)
        frame = frame.f_back
    return None
