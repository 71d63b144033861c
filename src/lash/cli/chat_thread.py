"""The event loop of a chat has a thread of its own, so that reading a line and a slow terminal never hold up a worker.

The main thread reads, prints and hears Ctrl-C; the runtime lives on the loop. Between them go coroutines one way, and
events through a queue the other way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

NUDGES_S: Final = (0.01, 0.05, 0.2)


class LoopThread:
    """``with LoopThread() as loop: loop.call(coroutine())``."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lash-chat", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        """What is still at work on the loop is cancelled."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Set ``work`` going on the loop. Harmless in a signal handler."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` on the loop, and wait for what it returns or raises."""
        return self.start(work).result()


@contextmanager
def nudged() -> Generator[None]:
    """No Ctrl-C waits for the next key. A signal that arrives just before the main thread begins to wait for input, or
    in another thread, is noted by Python, and looked at when the wait is over. So whatever signal arrives, the main
    thread is soon sent another that does nothing but end its wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    thread = threading.Thread(target=nudge, args=(heard, threading.get_ident()), name="lash-nudge", daemon=True)
    others = signal.signal(signal.SIGURG, lambda number, frame: None)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)
        thread.join()
        os.close(heard)
        signal.signal(signal.SIGURG, signal.SIG_DFL if others is None else others)


def nudge(heard: int, main: int) -> None:
    """Until the other end is closed: send ``main`` a few signals after each that was heard."""
    while signals := os.read(heard, 1_000):
        if signals.strip(bytes([signal.SIGURG])):
            for pause in NUDGES_S:
                time.sleep(pause)
                signal.pthread_kill(main, signal.SIGURG)


@contextmanager
def interrupts(first: Callable[[], None]) -> Generator[None]:
    """Ctrl-C calls ``first``; pressed again, it raises ``KeyboardInterrupt``. Outside the main thread nothing is
    changed: no signal is heard there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def heard(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        first()

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
