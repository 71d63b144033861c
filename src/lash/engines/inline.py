"""The ``inline`` engine performs and remembers nothing: after a crash every effect of a body is performed again.

Waits and signals still go through the store, because another process may resolve them. A body under this engine is
never closed while it waits, as there is no history to bring it back with.
"""

from __future__ import annotations

from collections.abc import Sequence

from lash.abc.engine import Perform, Scope, entry_of
from lash.abc.store import Forget, Put, Stale
from lash.core.effect import Effect, EffectKind, Entry, EntryKind
from lash.engines.journal import JournalEngine


class InlineEngine(JournalEngine):
    """One per runtime; imposes nothing on the stores."""

    @property
    def replays(self) -> bool:
        return False

    @property
    def durable(self) -> bool:
        return False

    async def history(self, scope: Scope, after_rank: int) -> list[Entry]:
        """What an earlier attempt left is cut; only cancel requests and signals are still told.

        Also those signals it was given: the body that runs again asks for them again.
        """
        services, fence = self.services, scope.fence
        left = await services.store.history(fence.row, 0)
        closes = closes_of(left)
        for op in ([Put(fence, left[-1].rank, closes)] if closes else []) + [Forget(fence)]:
            if isinstance(await services.write(op), Stale):
                scope.lost()
                return []
        return await services.store.history(fence.row, after_rank)

    async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None:
        if effect.kind is EffectKind.WAIT:
            await super().run(scope, effect, perform)
            return
        entry = entry_of(effect, await perform())
        scope.deliver((entry._replace(at_ms=self.services.store.now_ms()),))


def closes_of(left: Sequence[Entry]) -> list[Entry]:
    """A close for each wait of a former attempt, so that its signal goes back to the mail: those still open first, or
    they would take what the others give back."""
    answered = {entry.ordinal for entry in left if entry.kind is EntryKind.REPLY}
    closed = {entry.ordinal for entry in left if entry.kind is EntryKind.CLOSE}
    waits = [entry for entry in left if entry.kind is EntryKind.WAIT and entry.ordinal not in closed]
    waits.sort(key=lambda wait: wait.ordinal in answered)
    return [Entry(EntryKind.CLOSE, wait.ordinal, wait.name) for wait in waits]
