"""A step performs one call of user code on the worker's loop, where any I/O is fine; its end is always a reply.

Sync functions run in a thread. A failed attempt that may be tried again becomes ``Again`` with the due time of the
next; everything else becomes a value or a failure document. Only the cancellation of the step itself leaves no reply:
what a cancelled step would have returned is never recorded (DESIGN section 5).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from functools import lru_cache
from typing import NamedTuple, cast

from lash.abc.engine import Again, Reply
from lash.core import codec
from lash.core.outcome import Failure, failure_of
from lash.core.retry import Retry
from lash.errors import InvalidArguments, InvalidValue, NotInProcess, StepFailed
from lash.limits import ID_CHARS_MAX
from lash.runtime.shapes import Shape, result_shape


class StepContext:
    """What code inside a step may know: see :func:`current`."""

    __slots__ = ("_call", "attempt")

    def __init__(self, call: StepCall, attempt: int) -> None:
        self._call = call
        self.attempt = attempt
        """1 for the first try."""

    @property
    def idempotency_key(self) -> str:
        """Stable across attempts and crashes: hand it to the outside so that a repeated call is recognised."""
        return self._call.key

    @property
    def process_id(self) -> str:
        return self._call.process_id

    @property
    def cancelled(self) -> bool:
        """True once nobody wants the result; a long step in a thread should look now and then."""
        return self._call.unwanted or self.attempt <= self._call.attempts_over


CURRENT: ContextVar[StepContext | None] = ContextVar("lash_step", default=None)


def current() -> StepContext:
    """The step this code runs in, also from a thread it was handed to. Raises ``NotInProcess`` outside a step."""
    step = CURRENT.get()
    if step is None:
        raise NotInProcess("lash.current() was called outside a step. It tells about the step that is running.")
    return step


class StepCall:
    """One step as the body asked for it, with what is needed to try again."""

    __slots__ = (
        "args",
        "attempts_failed",
        "attempts_over",
        "facts",
        "function",
        "key",
        "kwargs",
        "process_id",
        "retry",
        "timeout_ms",
        "unwanted",
    )

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        retry: Retry,
        timeout_ms: int | None,
        process_id: str,
    ) -> None:
        self.function = function
        self.facts = facts_of(function)
        self.args = args
        self.kwargs = kwargs
        self.retry = retry
        self.timeout_ms = timeout_ms
        self.process_id = process_id
        self.key = ""
        self.attempts_failed = 0
        """As the journal has it."""
        self.attempts_over = 0
        """A thread that outlives its attempt should stop."""
        self.unwanted = False
        """The body has withdrawn the step, or is being closed."""

    async def perform(self, now_ms: Callable[[], int], threads: Callable[[], Executor]) -> Reply | Again:
        """Run one attempt."""
        began_ms = now_ms()
        attempt = self.attempts_failed + 1
        facts = self.facts
        CURRENT.set(StepContext(self, attempt))  # the task's own context: it ends with the task
        try:
            if self.timeout_ms is not None:
                async with asyncio.timeout(self.timeout_ms / 1_000):
                    value = await self._invoke(threads)
            elif facts.is_async:
                value = await cast("asyncio.Future[object]", self.function(*self.args, **self.kwargs))
            else:
                value = await self._invoke(threads)
            if self.unwanted:
                raise asyncio.CancelledError  # it swallowed its own cancellation: still nothing is recorded
            payload = facts.shape.encode(value, facts.what)
        except asyncio.CancelledError as error:
            if self.unwanted:
                raise
            return Reply(failure_payload(failure_of(error)), True, attempt, began_ms)
        except BaseException as error:  # SystemExit in a step must not end the worker
            if self.unwanted:
                raise asyncio.CancelledError from error  # its clean-up failed: as above
            return self._failed(error, attempt, began_ms, now_ms)
        finally:
            self.attempts_over = attempt
        return Reply(payload, False, attempt, began_ms)

    async def _invoke(self, threads: Callable[[], Executor]) -> object:
        if self.facts.is_async:
            return await cast("asyncio.Future[object]", self.function(*self.args, **self.kwargs))
        context = copy_context()
        loop = asyncio.get_running_loop()
        value, error = await loop.run_in_executor(threads(), context.run, self._in_thread)
        if error is not None:
            raise error
        return await value if inspect.isawaitable(value) else value

    def _in_thread(self) -> tuple[object, BaseException | None]:
        """What the function gave or raised, as a value: a future cannot carry every exception."""
        try:
            return self.function(*self.args, **self.kwargs), None
        except BaseException as error:  # noqa: BLE001  # raised again on the loop
            return None, error

    def _failed(self, error: BaseException, attempt: int, began_ms: int, now_ms: Callable[[], int]) -> Reply | Again:
        failure = failure_of(error)
        payload = failure_payload(failure)
        pause_ms = None if isinstance(error, InvalidValue) else self.retry.pause_ms(attempt, error)
        if pause_ms is None:
            return Reply(payload, True, attempt, began_ms)
        return Again(payload, attempt, now_ms() + pause_ms, began_ms)


class StepFacts(NamedTuple):
    """What is known of a step function before it is called."""

    name: str
    """The name a step goes by when none is given."""
    what: str
    is_async: bool
    shape: Shape


def facts_of(function: Callable[..., object]) -> StepFacts:
    """Looked up once per function. Raises ``InvalidArguments`` for what cannot be called."""
    try:
        return known_facts(function)
    except TypeError:  # a callable object that cannot be hashed
        return known_facts.__wrapped__(function)


@lru_cache(maxsize=4_096)
def known_facts(function: Callable[..., object]) -> StepFacts:
    if not callable(function):
        raise InvalidArguments(f"ctx.step needs a function to call, not {function!r}.")
    inner = getattr(function, "func", function)
    name = codec.safe_text(str(getattr(inner, "__qualname__", type(inner).__qualname__)))[:ID_CHARS_MAX]
    call = getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__ is async too
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    return StepFacts(name, f"result of step {name!r}", is_async, result_shape(function))


def failure_payload(failure: Failure) -> bytes:
    return codec.encode(failure.as_json(), "failure")


def step_failed(payload: bytes, process_id: str) -> StepFailed:
    """The recorded failure of a step, to be raised in the body."""
    failure = Failure.of_json(codec.decode(payload))
    return StepFailed(
        failure.message,
        failure_class=failure.failure_class,
        failure_code=failure.code,
        raw=failure.raw,
        process_id=process_id,
    )


def retry_of(value: Retry | int) -> Retry:
    return Retry(attempts=value) if isinstance(value, int) else value
