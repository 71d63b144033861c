"""A process body runs on a private event loop in which nothing happens that was not recorded.

The loop has no thread, no transports and no clock of its own. It is activated from a plain callback of the worker's
loop, never inside a task, and runs until everything in it is blocked. Then somebody delivers the next recorded reply
and activates it again. Its rules:

* ``time()`` is the moment the last delivered reply was recorded, so it is the same in every run.
* A timer fires only when :meth:`BodyLoop.fire` is told to, because firing is a recorded fact too.
* Tasks and futures hash by creation order, mixed with the process id, so that the sets inside ``asyncio`` iterate
  alike in every run.
* I/O, threads and executors raise ``NotInStep``.

That is enough for ``gather``, ``wait``, ``as_completed``, ``TaskGroup``, ``timeout``, ``Queue`` and ``Lock`` of the
standard library to replay as written. See docs/adr/0002.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

from lash.core.ids import stable_hash
from lash.errors import NotInProcess, NotInStep
from lash.limits import ACTIVATION_CALLBACKS_MAX
from lash.runtime import generators, guard

log = logging.getLogger("lash.body")
T = TypeVar("T")
CLOSES_MAX = 100
"""How often a coroutine may go on waiting while it is being closed."""


class BodyClosed(BaseException):
    """Ends the coroutines of a body that is put away; no cancellation, for the process goes on."""


class BodyTask(asyncio.Task[T]):
    """A task whose hash is its place in the order of creation."""

    def __init__(self, coro: Coroutine[Any, Any, T], *, order: int, loop: BodyLoop, **options: Any) -> None:
        self.order = order
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self.order


class BodyFuture(asyncio.Future[T]):
    def __init__(self, *, order: int, loop: BodyLoop) -> None:
        self.order = order
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.order


class BodyHandle(asyncio.Handle):
    """One as asyncio's, without what it does for its debug mode."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: BodyLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class BodyLoop(generators.GeneratorOwner, asyncio.AbstractEventLoop):
    """``scope`` seeds the hashes; ``now_ms`` is where the body's clock begins (epoch milliseconds)."""

    def __init__(self, scope: str, now_ms: int) -> None:
        super().__init__()
        self.closing = False
        self.never_blocks = False
        self.timers_made = 0
        self._now = now_ms / 1_000
        self._order = stable_hash(scope) << 20
        self.ready: deque[asyncio.Handle] = deque()
        """What can run at once."""
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """Timers set and not yet seen to be over."""
        self._by_number: dict[int, tuple[float, asyncio.TimerHandle]] = {}
        self._tasks: list[asyncio.Task[Any]] = []  # held here, or the garbage collector would decide when one ends
        self._tasks_swept = 64
        self._presorted: dict[int, asyncio.Task[Any]] = {}
        self._active = False
        self._thread = threading.get_ident()
        guard.install()

    # What the worker calls ---------------------------------------------------------------------------------------

    def activate(self) -> None:
        """Run everything that can run, then return. Call from a plain callback, never inside a task."""
        ready = self.ready
        outer = asyncio._get_running_loop()
        if sys.get_asyncgen_hooks().finalizer is not generators.finalizers.get(self._thread, self):
            generators.install(self._thread)
        asyncio._set_running_loop(self)
        guard.active.add(self._thread)
        self._active = True
        budget = ACTIVATION_CALLBACKS_MAX
        try:
            while ready:
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                try:
                    handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]  # typeshed lacks them
                except (SystemExit, KeyboardInterrupt):
                    pass  # the task holds it too: it becomes the body's failure, not the worker's end
                except BaseException as error:  # noqa: BLE001  # as any event loop: told, and the others run
                    self.call_exception_handler({"message": f"{handle!r} failed", "exception": error})
                budget -= 1
                if budget < 0:
                    self.never_blocks = True
                    return
        finally:
            self._active = False
            guard.active.discard(self._thread)
            asyncio._set_running_loop(outer)
            if self._presorted:
                self._presorted.clear()

    def advance(self, at_ms: int) -> None:
        """Move the clock to the moment a reply was recorded; never backwards."""
        now = at_ms / 1_000
        if now > self._now:
            self._now = now

    def timer_due_ms(self, number: int) -> int | None:
        """When timer ``number`` is due, or None once it has fired or was cancelled."""
        entry = self._by_number.get(number)
        return None if entry is None or entry[1].cancelled() else to_ms(entry[0])

    def next_timer(self) -> tuple[int, int] | None:
        """(due_ms, number) of the nearest timer."""
        timers = self.timers
        while timers and (timers[0][2].cancelled() or timers[0][1] not in self._by_number):
            self._by_number.pop(heapq.heappop(timers)[1], None)
        return (to_ms(timers[0][0]), timers[0][1]) if timers else None

    def fire(self, number: int, at_ms: int) -> None:
        """Timer ``number`` was recorded as fired at ``at_ms``. A timer cancelled meanwhile stays silent."""
        entry = self._by_number.pop(number, None)
        self.advance(at_ms)
        if entry is not None and not entry[1].cancelled():
            self._now = max(self._now, entry[0])
            self.ready.append(entry[1])

    def dispose(self) -> None:
        """Close every coroutine. ``finally`` blocks run; what they ask for is refused."""
        if self.closing:
            return
        self.closing = True
        outer, guarded = asyncio._get_running_loop(), self._thread in guard.active
        asyncio._set_running_loop(self)
        guard.active.add(self._thread)
        try:
            for task in self._tasks:
                if not task.done():
                    close_task(self, task)
        finally:
            if not guarded:
                guard.active.discard(self._thread)
            asyncio._set_running_loop(outer)
            self.ready.clear()
            self.timers.clear()
            self._by_number.clear()
            self._tasks.clear()
            self.forget_generators()

    # What asyncio calls ------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # typeshed spells it with a TypeVarTuple
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = BodyHandle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # as call_soon
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as call_soon
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= self._now:
            self.ready.append(handle)  # due already: no waiting, so nothing to record
            return handle
        number = self.timers_made
        self.timers_made += 1
        heapq.heappush(self.timers, (when, number, handle))
        self._by_number[number] = (when, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio tells a loop of each cancelled timer; ours are skipped when they surface."""

    def create_future(self) -> asyncio.Future[Any]:
        self._order += 1
        future: asyncio.Future[Any] = BodyFuture(order=self._order, loop=self)
        if self.closing:  # a ``finally`` that waits would hold up its own end
            future.set_exception(NotInProcess("A body that is being closed cannot wait for anything any more."))
        return future

    def create_task(self, coro: Any, **options: Any) -> Any:
        made = self._presorted.pop(id(coro), None) if self._presorted else None
        if made is None:
            made = self._made_in_order(coro)
        return made if made is not None else self._new_task(coro, **options)

    def _new_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        self._order += 1
        options = {name: value for name, value in options.items() if value is not None}
        if "name" not in options:  # asyncio numbers the tasks of the whole Python process
            options["name"] = f"Task-{self._order & 0xFFFFF}"
        task: asyncio.Task[Any] = BodyTask(coro, order=self._order, loop=self, **options)
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._tasks_swept:
            tasks[:] = [held for held in tasks if not held.done()]
            self._tasks_swept = max(64, 2 * len(tasks))
        return task

    def _made_in_order(self, coro: Any) -> asyncio.Task[Any] | None:
        """``as_completed`` makes its tasks while iterating a set of coroutines, whose order is that of their memory
        addresses. So at its first task all of them are made, in the order the caller gave."""
        given = guard.given_to_as_completed()
        if given is None:
            return None
        for item in given:
            if asyncio.iscoroutine(item) and id(item) not in self._presorted:
                self._presorted[id(item)] = self._new_task(item)
        return self._presorted.pop(id(coro), None)

    def is_running(self) -> bool:
        return self._active

    def is_closed(self) -> bool:
        return self.closing

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        del enabled

    def get_task_factory(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.closing:
            log.error("in a process body: %s", context.get("message"), exc_info=context.get("exception"))

    def finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An async generator was dropped half-way: let it run its clean-up on this loop."""
        if not self.closing:
            self.call_soon(self._new_task, generator.aclose())
        else:
            close_coroutine(generator.aclose(), start=True)


def close_task(loop: BodyLoop, task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch for abandoned tasks
    coro = cast("Coroutine[Any, Any, object] | None", task.get_coro())
    if coro is None:
        return
    if sys.version_info >= (3, 12):  # clean-up may use asyncio.timeout, which asks for the current task
        outer = asyncio.tasks._swap_current_task(loop, task)
        try:
            close_coroutine(coro)
        finally:
            asyncio.tasks._swap_current_task(loop, outer)
    else:
        asyncio.tasks._enter_task(loop, task)
        try:
            close_coroutine(coro)
        finally:
            asyncio.tasks._leave_task(loop, task)


def close_coroutine(coro: Coroutine[Any, Any, object], start: bool = False) -> None:
    """Have the clean-up of ``coro`` run. What it waits for never comes, so each wait is ended in its turn.

    ``coro.close()`` would not do: clean-up that waits would leave its inner coroutines to the garbage collector.
    """
    try:
        if start:
            coro.send(None)
        for _ in range(CLOSES_MAX):
            coro.throw(BodyClosed())
        coro.close()
    except BaseException as error:  # noqa: BLE001  # the end, or clean-up that fails while closing: of nobody's concern
        log.debug("%r was closed: %r", coro, error)


def to_ms(when: float) -> int:
    """Seconds as whole milliseconds, rounded up: a timer never fires early. The nudge undoes float noise."""
    return math.ceil(when * 1_000 - 1e-3)


REFUSED = (
    "run_in_executor", "set_default_executor", "call_soon_threadsafe", "getaddrinfo", "getnameinfo",
    "create_connection", "create_server", "create_unix_connection", "create_unix_server", "create_datagram_endpoint",
    "start_tls", "sendfile", "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe", "subprocess_shell",
    "subprocess_exec", "add_reader", "remove_reader", "add_writer", "remove_writer", "sock_recv", "sock_recv_into",
    "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendto", "sock_connect", "sock_accept",
    "sock_sendfile", "add_signal_handler", "remove_signal_handler", "run_forever", "run_until_complete", "stop",
    "set_task_factory",
)  # fmt: skip


def refusal(name: str) -> Callable[..., Any]:
    def refused(self: BodyLoop, *args: object, **options: object) -> Any:
        del self, args, options
        raise NotInStep(
            f"{name} was called in a process body. A body may only wait for lash: wrap the call in "
            "`await ctx.step(function, ...)`, where I/O and threads are fine and the result is recorded.",
            call=name,
        )

    refused.__name__ = name
    return refused


for _name in REFUSED:
    setattr(BodyLoop, _name, refusal(_name))
