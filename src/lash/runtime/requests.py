"""A request is one effect a body has asked for and not yet got: the future it awaits, and what is known of its flight.

The body gives a request up by cancelling it, as any future; then nothing that still comes of it is heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from lash.abc.engine import Again, Reply
from lash.core.effect import Effect, Entry
from lash.runtime.steps import StepCall

PerformOnce = Callable[[], Coroutine[Any, Any, "Reply | Again"]]


class Asker(Protocol):
    """Who is told of a request that was given up."""

    def withdraw(self, request: Request) -> None: ...


class Request(asyncio.Future[Entry]):
    """Done with the journal entry that answers it."""

    __slots__ = ("asker", "call", "due_ms", "effect", "perform", "started", "taking", "task", "withdrawn")

    def __init__(
        self,
        asker: Asker,
        effect: Effect,
        perform: PerformOnce | None,
        call: StepCall | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self.asker = asker
        self.effect = effect
        self.perform = perform
        self.call = call
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self.taking: tuple[int, bool] | None = None
        """Of a request for a session's items: the turn, and whether it is at a boundary."""
        self.withdrawn = False
        self.due_ms: int | None = None
        """A step between attempts: when the next is due."""

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            self.asker.withdraw(self)
        return super().cancel(msg)

    def stop(self) -> None:
        """Nobody wants the result any more."""
        if self.call is not None:
            self.call.unwanted = True
        if self.task is not None:
            self.task.cancel()
            self.task = None


async def opened() -> Reply:
    """Waits and timers have nothing to perform: recording them is all."""
    return Reply(b"null")
