"""A handle is a typed, awaitable reference to a process; it holds no state, so any number may point at one process.

The same class serves outside, where it reads the store, and inside a body, where each call is a recorded effect: the
difference is the ``Access`` it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from lash.core import codec
from lash.core.event import Event
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Failure, Outcome, Status, raw_or_none
from lash.core.process import ProcessRecord, ProcessSpec
from lash.core.schedule import Duration
from lash.errors import ProcessAbandoned, ProcessCancelled, ProcessFailed
from lash.runtime.shapes import Shape, decoded

T = TypeVar("T")


class Access(Protocol):
    """How a handle reaches its process."""

    async def outcome(self, process_id: str, timeout: Duration | None) -> Outcome: ...

    async def status(self, process_id: str) -> Status: ...

    async def record(self, process_id: str) -> ProcessRecord: ...

    async def cancel(self, process_id: str, reason: str) -> None: ...

    async def signal(self, process_id: str, name: str, payload: bytes, key: str | None) -> None: ...

    async def close(self, process_id: str, outcome: Outcome) -> None: ...

    def events(self, process_id: str, after: int, follow: bool) -> AsyncIterator[Event]: ...


Called: TypeAlias = "tuple[object, tuple[object, ...], dict[str, object]]"
"""A registered process, or its name, with what it is given."""
StartOwned: TypeAlias = "Callable[[ProcessSpec, str, Called, dict[str, Any]], Awaitable[Handle[Any]]]"
"""Starts a process for another one: (the owner, its own id, the call, options)."""


class Handle(Generic[T]):
    """``await handle`` gives the result. Made by ``start``, ``start_many``, ``handle`` and ``external``."""

    __slots__ = ("_access", "_id", "_shape")

    def __init__(self, access: Access, process_id: str, shape: Shape) -> None:
        self._access = access
        self._id = process_id
        self._shape = shape

    @property
    def id(self) -> str:
        """The process id; ``app.handle(id)`` makes a handle of it again, anywhere."""
        return self._id

    def __repr__(self) -> str:
        return f"Handle({self._id!r})"

    def __await__(self) -> Generator[object, None, T]:
        return self.result().__await__()

    async def result(self, timeout: Duration | None = None) -> T:
        """Wait for the outcome and return its value.

        Raises ``ProcessFailed``, ``ProcessCancelled``, ``ProcessAbandoned``, ``ProcessPruned``, ``ProcessUnknown``;
        ``TimeoutError`` after ``timeout``, which leaves the process alone.
        """
        outcome = await self._access.outcome(self._id, timeout)
        return cast(T, value_of_outcome(outcome, self._shape, self._id))

    async def status(self) -> Status:
        """Where it stands now."""
        return await self._access.status(self._id)

    async def record(self) -> ProcessRecord:
        """The whole record as it is now."""
        return await self._access.record(self._id)

    async def cancel(self, reason: str = "cancelled") -> None:
        """Ask it to stop, durably. Raises ``ProcessEnded`` after the outcome. See docs/guarantees."""
        await self._access.cancel(self._id, reason)

    async def signal(self, name: str, payload: object = None, key: str | None = None) -> None:
        """Send a signal, once per ``key``. The body gets it from ``ctx.signal(name)``, now or later.

        Raises ``ProcessEnded``, ``ProcessUnknown``, ``EventConflict`` (the key was used for another payload).
        """
        await self._access.signal(self._id, name, codec.encode(payload, f"payload of signal {name!r}"), key)

    def events(self, after: int = 0, follow: bool = False) -> AsyncIterator[Event]:
        """Events with a sequence greater than ``after``; ``follow`` goes on until the process has ended."""
        return self._access.events(self._id, after, follow)

    async def complete(self, value: T) -> None:
        """Complete an external process. Raises ``NotAuthorised`` for any other kind."""
        await self._access.close(self._id, Completed(self._shape.encode(value, "value")))

    async def fail(
        self, message: str, *, code: str = "external_failure", failure_class: str = "external", raw: object = None
    ) -> None:
        """Fail an external process. Raises ``NotAuthorised`` for any other kind."""
        failure = Failure(failure_class, code, message, raw_or_none(raw))
        codec.encode(failure.as_json(), "failure")  # refused here, not in the middle of somebody's transaction
        await self._access.close(self._id, Failed(failure))


def value_of_outcome(outcome: Outcome, shape: Shape, process_id: str) -> object:
    """The typed value of a completed process; every other outcome is raised."""
    match outcome:
        case Completed(value):
            return decoded(shape, value, f"result of process {process_id!r}")
        case Failed(failure):
            raise ProcessFailed(
                f"Process {process_id!r} failed: {failure.message}",
                failure_class=failure.failure_class,
                failure_code=failure.code,
                raw=failure.raw,
                process_id=process_id,
            )
        case Cancelled(message):
            raise ProcessCancelled(
                f"Process {process_id!r} was cancelled: {message}",
                failure_class="execution",
                failure_code="cancelled",
                process_id=process_id,
            )
        case Abandoned(evidence):
            raise ProcessAbandoned(
                f"Process {process_id!r} was abandoned: its worker was lost and its contract is to run once.",
                failure_class="unavailable",
                failure_code="abandoned",
                raw=evidence,
                process_id=process_id,
            )
