"""The engine performs an effect once and remembers the reply. Nothing else knows which engine there is.

Obligations:

* ``run`` performs (steps, commands, timers) or opens (waits) the effect and records it; every entry the record brings
  goes to ``scope.deliver`` in rank order, exactly one of them being the effect's own. ``run`` may return before that.
  An entry is never handed over before it is durable when ``durable`` is true.
* A cancelled ``run`` has recorded nothing; after it has returned, the effect's entry will come.
* What the engine cannot record because the lease is gone goes to ``scope.lost``; a failing store goes to
  ``scope.fault``. Neither is ever the effect's reply: infrastructure trouble is no domain result (spec W-35).
* ``history`` returns what was recorded earlier, so that a body that runs again is told the same in the same order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from lash.abc.store import Op, Store, Verdict
from lash.core.effect import ENTRY_KIND, Effect, EffectKind, Entry, EntryKind
from lash.core.lease import Fence


class Reply(NamedTuple):
    """What performing an effect gave: a value, or a failure document where ``failed``."""

    payload: bytes
    failed: bool = False
    attempt: int = 1
    began_ms: int = 0


class Again(NamedTuple):
    """An attempt failed and another is due later."""

    payload: bytes
    attempt: int
    due_ms: int
    began_ms: int = 0


LateOp = Callable[[], Op]
"""Makes an operation when its transaction begins, and so can still gather until then."""
Perform = Callable[[], Awaitable["Reply | Again"]]


class Scope(Protocol):
    """One body, seen from its engine."""

    @property
    def process_id(self) -> str: ...

    @property
    def fence(self) -> Fence: ...

    @property
    def seen(self) -> int:
        """Rank of the newest entry the body holds."""
        ...

    @property
    def inbox(self) -> bool:
        """Whether the body wants to hear with each record if its session's inbox is quiet."""
        ...

    def deliver(self, entries: Sequence[Entry], quiet: bool = False) -> None:
        """``quiet``: as the record said it, see ``lash.abc.store.Recorded``."""
        ...

    def lost(self) -> None: ...

    def fault(self, error: BaseException) -> None: ...


class Services(NamedTuple):
    """What the runtime hands an engine once, before any work."""

    store: Store
    submit: Callable[[Op | LateOp, Callable[[Verdict | BaseException], None]], None]
    """Group commit: the callback gets the verdict, in commit order, or the error that stopped the transaction."""
    write: Callable[[Op], Awaitable[Verdict]]
    poke: Callable[[], None]
    """Look for claimable work soon."""


class Engine(Protocol):
    @property
    def durable(self) -> bool:
        """Whether replies outlive this Python process. Then every facet must be durable too."""
        ...

    @property
    def replays(self) -> bool:
        """Whether a body may be closed and run again from ``history``; if not, it stays in memory until it ends."""
        ...

    def bind(self, services: Services) -> None: ...

    async def history(self, scope: Scope, after_rank: int) -> list[Entry]: ...

    async def run(self, scope: Scope, effect: Effect, perform: Perform) -> None: ...

    async def take(self, scope: Scope, effect: Effect, turn: int, boundary: bool) -> None:
        """Take items of a session and record them as ``effect``, in one transaction: see ``lash.abc.sessions.Take``."""
        ...

    def withdraw(self, scope: Scope, effect: Effect) -> None:
        """The body gave up a wait it had opened."""
        ...

    async def resolve(self, process_id: str, name: str, payload: bytes, key: str | None) -> Verdict:
        """Send a signal; the first wait on it gets it, exactly once."""
        ...

    async def submit(self, process_id: str) -> None:
        """A process was started or made ready: run it soon."""
        ...


def entry_of(effect: Effect, reply: Reply | Again) -> Entry:
    """The journal entry that says what performing ``effect`` gave. Waits and timers have no reply of their own."""
    kind = ENTRY_KIND[effect.kind]
    if effect.kind is EffectKind.WAIT or effect.kind is EffectKind.SLEEP:
        return Entry(kind, effect.ordinal, effect.name, effect.witness, due_ms=effect.due_ms)
    if isinstance(reply, Again):
        return Entry(
            EntryKind.ATTEMPT, effect.ordinal, effect.name, effect.witness,
            reply.payload, True, reply.attempt, reply.began_ms, reply.due_ms,
        )  # fmt: skip
    return Entry(
        kind, effect.ordinal, effect.name, effect.witness, reply.payload, reply.failed, reply.attempt, reply.began_ms
    )
