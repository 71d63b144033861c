"""What a body asked for begins at once, and costs a task only if it has to wait.

Each piece of work has a context of its own and sees one and the same ``asyncio.current_task()`` from its first line to
its last: a task that stands ready, lent to work that ends without waiting, given to work that waits. So a step that
only computes costs neither a task nor a turn of the loop.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, Final, TypeAlias, cast

log = logging.getLogger("lash.body")

Work: TypeAlias = "Coroutine[Any, Any, None]"
Awaited: TypeAlias = "asyncio.Future[Any] | None"
"""What a coroutine yields to its task: the future it waits for, or None for a turn of the loop."""

if sys.version_info >= (3, 12):

    def swap(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
        asyncio.tasks._swap_current_task(loop, task)

    def enter(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        swap(loop, task)

    def leave(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        del task
        swap(loop, None)

else:
    enter: Final = asyncio.tasks._enter_task
    leave: Final = asyncio.tasks._leave_task


class Stand(Coroutine[Any, Any, None]):
    """What the standing task runs: nothing until it is given work that has begun already, then the rest of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._work: Work | None = None
        self._context: Context | None = None
        self._awaited: Awaited = None
        self._handed_over = True
        self._gate: asyncio.Future[None] = loop.create_future()
        self.task: asyncio.Task[None] = loop.create_task(self, name="lash-step")

    def take(self, work: Work, context: Context, awaited: Awaited) -> None:
        """``work`` has begun outside and waits for ``awaited``: go on with it."""
        self._work, self._context, self._awaited = work, context, awaited
        self._handed_over = False
        if not self._gate.done():  # else the work cancelled its own task, which throw() tells it
            self._gate.set_result(None)

    @property
    def spoilt(self) -> bool:
        """Somebody cancelled the task, or asked it to be: it is nobody's to lend any more."""
        task: Any = self.task
        return self._gate.done() or task.done() or task._must_cancel or task.cancelling() > 0

    def send(self, value: None) -> Any:
        if self._work is None or self._context is None:
            gate: Any = self._gate
            gate._asyncio_future_blocking = True  # as awaiting it would
            return gate
        if not self._handed_over:
            return self._hand_over()
        return self._context.run(self._work.send, value)

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        error: BaseException = kind if value is None else value
        del trace
        if self._work is None or self._context is None:
            raise error
        if not self._handed_over:  # cancelled before the task could pass that on to what the work waits for
            awaited = self._hand_over()
            if awaited is not None and awaited.cancel():
                return awaited
        return self._context.run(self._work.throw, error)

    def _hand_over(self) -> Awaited:
        """What the work waits for, to its task; kept no longer, for it may hold a large result."""
        self._handed_over = True
        awaited, self._awaited = self._awaited, None
        return awaited

    def close(self) -> None:
        if self._work is not None:
            self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("a Stand is run by its own task")


class Performers:
    """``begin`` is called from plain callbacks of ``loop``, never inside a task. ``close`` it on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._stand: Stand | None = None

    def begin(self, work: Work) -> asyncio.Task[None] | None:
        """Run ``work`` until it ends or waits. None if it has ended; else the task that goes on with it."""
        stand = self._stand
        if stand is None or stand.spoilt:
            stand = self._stand = Stand(self._loop)
        context = self._context.copy()
        task = stand.task
        enter(self._loop, task)
        try:
            awaited = cast(Awaited, context.run(work.send, None))
        except StopIteration:
            if stand.spoilt:  # it cancelled itself, too late to be met by it
                self._stand = None
            return None
        except BaseException as error:  # noqa: BLE001  # as of a task whose result nobody asks for
            log.error("a piece of work ended with %r", error)
            self._stand = None
            task.cancel()
            return None
        finally:
            leave(self._loop, task)
        self._stand = None
        stand.take(work, context, awaited)
        return task

    def close(self) -> None:
        if self._stand is not None:
            self._stand.task.cancel()
            self._stand = None
