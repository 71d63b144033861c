"""A store that dies at a chosen write, so that a test can kill a worker at every one of them.

What a crash leaves behind is exactly what the inner store had committed: ``before`` dies with the write undone,
``after`` with the write done and its answer lost. After that the store refuses everything, as a dead process would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from lash.abc.sessions import Piece
from lash.abc.store import BlobStore, Op, ProcessFilter, Store, Verdict, WorkerRecord
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessRow, Tombstone
from lash.core.session import Item, Node, SessionRow, TurnRecord
from lash.errors import StoreUnavailable


class Crash(StoreUnavailable):
    """The chosen moment has come; the store answers nothing any more."""

    code = "crash"


class FaultyStore:
    """``inner`` until write number ``crash_at`` (from 1), then nothing; 0 never crashes and only counts.

    ``on_crash`` is called once, from within the write that dies. Hand the inner store to the next Runtime to see what
    the crash has left::

        inner = MemoryStore()
        count = FaultyStore(inner)                       # a first run: how many writes are there?
        ...
        for crash_at in range(1, count.writes + 1):
            store = FaultyStore(MemoryStore(), crash_at, "after")
            ...                                          # run until store.crashed, then again on store.inner
    """

    def __init__(
        self,
        inner: Store,
        crash_at: int = 0,
        when: Literal["before", "after"] = "before",
        on_crash: Callable[[], None] | None = None,
    ) -> None:
        self.inner = inner
        self.crash_at = crash_at
        self.when = when
        self.on_crash = on_crash
        self.writes = 0
        """Write transactions asked for so far, the deadly one included."""
        self.crashed = False

    def crash(self) -> Crash:
        """Die now; the error to raise."""
        if not self.crashed:
            self.crashed = True
            if self.on_crash is not None:
                self.on_crash()
        return self._error()

    def _error(self) -> Crash:
        return Crash(f"The store crashed at write {self.writes} ({self.when} it).", write=self.writes, when=self.when)

    def _alive(self) -> Store:
        if self.crashed:
            raise self._error()
        return self.inner

    async def write(self, ops: Sequence[Op]) -> list[Verdict]:
        inner = self._before()
        return self._after(await inner.write(ops))

    def write_now(self, ops: Sequence[Op]) -> list[Verdict] | None:
        inner = self._before()
        verdicts = inner.write_now(ops)
        if verdicts is None:
            self.writes -= 1  # nothing was written: it comes again through ``write``
            return None
        return self._after(verdicts)

    def _before(self) -> Store:
        inner = self._alive()
        self.writes += 1
        if self.writes == self.crash_at and self.when == "before":
            raise self.crash()
        return inner

    def _after(self, verdicts: list[Verdict]) -> list[Verdict]:
        if self.writes == self.crash_at:
            raise self.crash()
        if self.crashed:
            raise self._error()  # another write has crashed while this one was under way
        return verdicts

    async def open(self) -> None:
        await self._alive().open()

    async def close(self) -> None:
        """Closes the inner store even after the crash: the next one wants its files."""
        await self.inner.close()

    @property
    def facets(self) -> dict[str, bool]:
        return self.inner.facets

    @property
    def journal_durable(self) -> bool:
        return self.inner.journal_durable

    @property
    def blobs(self) -> BlobStore:
        return self.inner.blobs

    def now_ms(self) -> int:
        return self.inner.now_ms()

    async def not_running(self, ids: Sequence[str]) -> list[str]:
        return await self._alive().not_running(ids)

    async def get(self, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
        return await self._alive().get(ids)

    async def page(self, wanted: ProcessFilter) -> list[ProcessRow]:
        return await self._alive().page(wanted)

    async def events(self, process_id: str, after: int, limit: int) -> list[Event]:
        return await self._alive().events(process_id, after, limit)

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        return await self._alive().history(row, after_rank)

    async def sessions(self, ids: Sequence[str]) -> list[SessionRow | Tombstone | None]:
        return await self._alive().sessions(ids)

    async def nodes(self, row: int, after: int, upto: int, limit: int) -> list[Node]:
        return await self._alive().nodes(row, after, upto, limit)

    async def states(self, row: int, upto: int) -> Mapping[str, Node]:
        return await self._alive().states(row, upto)

    async def items(self, row: int, numbers: Sequence[int]) -> list[Item]:
        return await self._alive().items(row, numbers)

    async def turns(self, row: int, after: int, limit: int) -> list[TurnRecord]:
        return await self._alive().turns(row, after, limit)

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        return await self._alive().pieces(row, token, after, limit)

    async def next_due_ms(self, lanes: Sequence[Lane]) -> int | None:
        return await self._alive().next_due_ms(lanes)

    async def news(self, owner: str) -> list[Fence]:
        return await self._alive().news(owner)

    async def workers(self) -> list[WorkerRecord]:
        return await self._alive().workers()

    async def counts(self) -> dict[str, int]:
        return await self._alive().counts()

    async def diagnose(self) -> dict[str, object]:
        return await self._alive().diagnose()

    def listen(self, changed: Callable[[], None]) -> None:
        def passed_on() -> None:
            if not self.crashed:
                changed()

        self.inner.listen(passed_on)

    async def prove_life(self, owner: str) -> None:
        await self._alive().prove_life(owner)

    async def dead_owners(self) -> list[str]:
        return await self._alive().dead_owners()
