"""Writing to the store's journal, and handing over what each commit brought, in commit order.

Shared by the engines that live on the store. Nobody waits for a commit: the hand-over hangs on it, and so a task that
is cancelled meanwhile loses nothing of what the commit brought.
"""

from __future__ import annotations

from functools import partial

from lash.abc.engine import Perform, Scope, Services, entry_of
from lash.abc.sessions import Take
from lash.abc.store import Put, Recorded, Signal, Stale, Verdict
from lash.core.effect import Effect, Entry, EntryKind


class JournalEngine:
    """``bind`` gives it the store."""

    def __init__(self) -> None:
        self._services: Services | None = None
        self._gathering: dict[Scope, list[Entry]] = {}

    @property
    def services(self) -> Services:
        if self._services is None:
            raise RuntimeError("the engine was used before bind()")
        return self._services

    def bind(self, services: Services) -> None:
        self._services = services

    async def history(self, scope: Scope, after_rank: int) -> list[Entry]:
        return await self.services.store.history(scope.fence.row, after_rank)

    async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None:
        self.record(scope, entry_of(effect, await perform()))

    async def take(self, scope: Scope, effect: Effect, turn: int, boundary: bool) -> None:
        entry = Entry(EntryKind.COMMAND, effect.ordinal, effect.name, effect.witness)
        op = partial(self._take, scope, entry, turn, boundary)
        self.services.submit(op, partial(hand_over, scope))

    @staticmethod
    def _take(scope: Scope, entry: Entry, turn: int, boundary: bool) -> Take:
        return Take(scope.fence, scope.seen, entry, turn, boundary)

    def withdraw(self, scope: Scope, effect: Effect) -> None:
        self.record(scope, Entry(EntryKind.CLOSE, effect.ordinal, effect.name, effect.witness))

    async def resolve(self, process_id: str, name: str, payload: bytes, key: str | None) -> Verdict:
        return await self.services.write(Signal(process_id, name, payload, key))

    async def submit(self, process_id: str) -> None:
        del process_id  # the row itself is the queue
        self.services.poke()

    def record(self, scope: Scope, entry: Entry) -> None:
        """Have one entry written with the next commit, in one operation with whatever else the scope has by then."""
        gathered = self._gathering.get(scope)
        if gathered is not None:
            gathered.append(entry)
            return
        self._gathering[scope] = [entry]
        services = self._services or self.services
        services.submit(partial(self._put, scope), partial(self._settle, scope))

    def _put(self, scope: Scope) -> Put:
        entries = self._gathering.pop(scope, [])  # none: the scope met trouble meanwhile
        return Put(scope.fence, scope.seen, entries, scope.inbox)

    def _settle(self, scope: Scope, verdict: Verdict | BaseException) -> None:
        if isinstance(verdict, BaseException):
            self._gathering.pop(scope, None)  # the transaction may not even have begun
        hand_over(scope, verdict)


def hand_over(scope: Scope, verdict: Verdict | BaseException) -> None:
    if isinstance(verdict, Recorded):
        scope.deliver(verdict.entries, verdict.quiet)
    elif isinstance(verdict, Stale):
        scope.lost()
    elif isinstance(verdict, BaseException):
        scope.fault(verdict)
    else:
        scope.fault(TypeError(f"a Put was answered with {type(verdict).__name__}"))
