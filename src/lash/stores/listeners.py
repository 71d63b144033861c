"""Who wants to hear of changes, and on which event loop: a callback always runs on the loop it was given on.

Hints only. They are coalesced per loop turn, and a loop that was closed drops out by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Listener:
    def __init__(self, changed: Callable[[], None], loop: asyncio.AbstractEventLoop | None) -> None:
        self.changed = changed
        self.loop = loop
        self.asked = False

    def run(self) -> None:
        self.asked = False
        self.changed()


class Listeners:
    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, changed: Callable[[], None]) -> None:
        """``changed`` is called soon after every notice, on the loop running now."""
        self._listeners.append(Listener(changed, running_loop()))

    def notify(self) -> None:
        """From any thread. Several notices before the loop's next turn are one call."""
        here = running_loop()
        for listener in list(self._listeners):
            if listener.loop is None:
                listener.changed()
            elif listener.loop.is_closed():
                self._listeners.remove(listener)
            elif not listener.asked:
                listener.asked = True
                if listener.loop is here:
                    listener.loop.call_soon(listener.run)
                else:
                    listener.loop.call_soon_threadsafe(listener.run)


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
