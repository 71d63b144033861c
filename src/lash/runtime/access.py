"""A handle outside a body reaches its process through the store: verdicts become typed errors here, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from lash.abc.engine import Engine
from lash.abc.store import (
    Appended,
    Cancel,
    Close,
    Conflict,
    Done,
    Ended,
    KeyConflict,
    NotExternal,
    Op,
    Started,
    Store,
    Unknown,
    Verdict,
)  # fmt: skip
from lash.core.event import Event
from lash.core.ids import check_name
from lash.core.outcome import Outcome, Status
from lash.core.process import ProcessRecord, ProcessRow, ProcessSpec, Tombstone
from lash.core.schedule import Duration, duration_ms
from lash.errors import (
    EventConflict,
    InvalidArguments,
    LashError,
    NotAuthorised,
    ProcessConflict,
    ProcessEnded,
    StoreUnavailable,
)  # fmt: skip
from lash.limits import PAGE_ROWS_MAX, SAFETY_POLL_MS
from lash.runtime.watch import Hub, gone


class Opened(Protocol):
    """What access needs of an opened runtime."""

    @property
    def store(self) -> Store: ...

    @property
    def hub(self) -> Hub: ...

    @property
    def engine(self) -> Engine: ...

    async def write(self, op: Op) -> Verdict: ...


class StoreAccess:
    """See :class:`lash.runtime.handle.Access`. ``opened`` raises ``RuntimeNotOpen`` when it is not."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def row(self, process_id: str) -> ProcessRow:
        (row,) = await self._opened.store.get((process_id,))
        if row is None or isinstance(row, Tombstone):
            raise gone(process_id, row)
        return row

    async def outcome(self, process_id: str, timeout: Duration | None) -> Outcome:
        if timeout is None:
            return await self._opened.hub.outcome(process_id)
        try:
            async with asyncio.timeout(duration_ms(timeout, "timeout") / 1_000):
                return await self._opened.hub.outcome(process_id)
        except TimeoutError:
            raise TimeoutError(
                f"Process {process_id!r} has no outcome after {timeout}. It goes on; await its handle again."
            ) from None

    async def status(self, process_id: str) -> Status:
        return (await self.row(process_id)).record.status

    async def record(self, process_id: str) -> ProcessRecord:
        return (await self.row(process_id)).record

    async def cancel(self, process_id: str, reason: str) -> None:
        check_name(reason, "cancel reason")
        settle(await self._opened.write(Cancel(process_id, reason)), process_id)

    async def signal(self, process_id: str, name: str, payload: bytes, key: str | None) -> None:
        check_name(name, "signal name")
        if key is not None:
            check_name(key, "signal key")
        settle(await self._opened.engine.resolve(process_id, name, payload, key), process_id)

    async def close(self, process_id: str, outcome: Outcome) -> None:
        settle(await self._opened.write(Close(process_id, outcome)), process_id)
        self._opened.hub.ended(process_id, outcome)

    async def events(self, process_id: str, after: int, follow: bool) -> AsyncIterator[Event]:
        if after < 0:
            raise InvalidArguments(f"after must be 0 or a sequence, not {after}.")
        opened = self._opened
        while True:
            with opened.hub.changes() as change:
                row = await self.row(process_id)
                for event in await opened.store.events(process_id, after, PAGE_ROWS_MAX):
                    after = event.sequence
                    yield event
                if after < row.record.last_event:
                    continue
                if not follow or row.record.status.final:
                    return
                await asyncio.wait((change,), timeout=SAFETY_POLL_MS / 1_000)


def settle(verdict: Verdict, process_id: str) -> None:
    """Nothing for a verdict that says yes; the typed error for one that says no."""
    match verdict:
        case Appended() | Done():
            return
        case Ended(outcome):
            raise ProcessEnded(
                f"Process {process_id!r} has ended ({outcome.status}); nothing was written.",
                process_id=process_id,
                status=outcome.status.value,
            )
        case Unknown():
            raise unknown(verdict, process_id)
        case KeyConflict(event):
            raise EventConflict(
                f"The key {event.key!r} of process {process_id!r} belongs to event {event.sequence} with another "
                "payload. Use a new key; nothing was written.",
                process_id=process_id,
                sequence=event.sequence,
            )
        case NotExternal(kind):
            raise NotAuthorised(
                f"Process {process_id!r} is of kind {kind!r} and only its worker may close it. "
                "Use handle.cancel(); nothing was written.",
                process_id=process_id,
            )
        case _:
            raise StoreUnavailable(f"The store answered with {type(verdict).__name__}.")


def settle_start(verdict: Verdict, spec: ProcessSpec) -> None:
    """The same for a start. Raises ``ProcessConflict``."""
    if isinstance(verdict, Started):
        return
    if isinstance(verdict, Conflict):
        raise ProcessConflict(
            f"The id {spec.id!r} belongs to a {verdict.kind} process {verdict.name!r} started with other "
            "arguments. Use another id, or the same arguments; nothing was written.",
            process_id=spec.id,
            name=verdict.name,
        )
    settle(verdict, spec.id)


def unknown(verdict: Unknown, process_id: str) -> LashError:
    if not verdict.pruned:
        return gone(process_id, None)
    return gone(process_id, Tombstone(process_id, "", Status.COMPLETED, 0, 0))
