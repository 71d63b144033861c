"""The ``inline`` engine performs and remembers nothing: after a crash every effect of a body is performed again.

Waits and signals still go through the store, because another process may resolve them. A body under this engine is
never closed while it waits, as there is no history to bring it back with.
"""

from __future__ import annotations

from lash.abc.engine import Perform, Scope, entry_of
from lash.abc.store import Forget, Stale
from lash.core.effect import Effect, EffectKind, Entry
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
        """What an earlier attempt left is cut; only cancel requests and untaken signals are still told."""
        verdict = await self.services.write(Forget(scope.fence))
        if isinstance(verdict, Stale):
            scope.lost()
            return []
        return await self.services.store.history(scope.fence.row, after_rank)

    async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None:
        if effect.kind is EffectKind.WAIT:
            await super().run(scope, effect, perform)
            return
        entry = entry_of(effect, await perform())
        scope.deliver((entry._replace(at_ms=await self.services.store.now_ms()),))
