"""A limited provider is asked no more than its :class:`RateLimit` allows: who comes too soon waits, first come first.

Waiting is a part of the call and of no record: a turn that runs again is told the recorded answer and waits for
nothing. When a vendor says how long it wants to be left alone, everybody waits, not only whoever was told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from lash.abc.provider import Provider
from lash.core.estimate import tokens_of_request
from lash.core.model import Chunk, ModelInfo, ModelReply, ModelRequest
from lash.core.ratelimit import RateLimit
from lash.errors import InvalidArguments, ProviderError
from lash.limits import RETRY_AFTER_MAX_MS

BUSY: Final = frozenset({"rate_limit", "overloaded"})
"""Kinds of errors whose wish for a pause is meant for everybody."""
EARLY_S: Final = 1e-6
"""So much earlier than it was set for may a timer go off."""


def limited(provider: Provider, limit: RateLimit) -> Provider:
    """``provider`` (also one of your own, or a ``ScriptedModel``), asked within ``limit`` by all who use what this
    returns. Each event loop counts for itself. Raises ``InvalidArguments``."""
    if not isinstance(limit, RateLimit):
        raise InvalidArguments(f"A provider is limited by a lash.RateLimit(...), not by {limit!r}.")
    return Limited(provider, limit)


class Limited:
    """One provider and what is asked of it, counted for each event loop."""

    def __init__(self, provider: Provider, limit: RateLimit) -> None:
        self._provider = provider
        self._limit = limit
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, Queue] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        return self._provider.name

    def info(self, model: str) -> ModelInfo:
        return self._provider.info(model)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        queue = self._queue()
        call = await queue.enter(tokens_of_request(request))
        try:
            async with aclosing(self._provider.stream(request)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, ModelReply):
                        queue.count(call, chunk.usage.total_tokens)
                    yield chunk
        except ProviderError as error:
            queue.heed(error)
            raise
        finally:
            queue.leave()

    def _queue(self) -> Queue:
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = Queue(self._limit)
        return queue

    async def close(self) -> None:
        await self._provider.close()


@dataclass(slots=True, eq=False)
class Charge:
    """What counts against a budget until ``until_s``."""

    until_s: float
    amount: int


class Budget:
    """At most ``bound`` in any ``per_s``. A charge of more than that has the whole of it, and goes alone."""

    def __init__(self, bound: int, per_s: float) -> None:
        self.bound = bound
        self.per_s = per_s
        self.charges: deque[Charge] = deque()
        self.used = 0

    def free_at(self, amount: int, now_s: float) -> float:
        """When ``amount`` may be charged, if nothing else is before."""
        while self.charges and self.charges[0].until_s <= now_s + EARLY_S:
            self.lower(self.charges.popleft(), 0)
        left, due_s = self.used, now_s
        for charge in self.charges:
            if left + amount <= self.bound:
                break
            left, due_s = left - charge.amount, charge.until_s
        return due_s

    def take(self, amount: int, now_s: float) -> Charge:
        charge = Charge(now_s + self.per_s, amount)
        self.charges.append(charge)
        self.used += amount
        return charge

    def lower(self, charge: Charge, amount: int) -> None:
        """It was less. What counts no more stays at 0."""
        amount = min(amount, charge.amount)
        self.used += amount - charge.amount
        charge.amount = amount

    def drop(self, charge: Charge) -> None:
        """It was nothing."""
        if charge.amount:
            self.lower(charge, 0)
            self.charges.remove(charge)


@dataclass(slots=True, eq=False)
class Call:
    """One call: first waiting, then ``begun``."""

    tokens: int
    """As estimated."""
    turn: asyncio.Future[None]
    begun: bool = False
    charges: list[tuple[Budget, Charge]] = field(default_factory=list[tuple[Budget, Charge]])
    """Tokens last."""


class Queue:
    """Those who wait for one provider on one event loop. It holds the loop only while somebody waits."""

    def __init__(self, limit: RateLimit) -> None:
        per_s = limit.per_ms / 1_000
        self._concurrent = limit.concurrent
        self._requests = None if limit.requests is None else Budget(limit.requests, per_s)
        self._tokens = None if limit.tokens is None else Budget(limit.tokens, per_s)
        self._running = 0
        self._quiet_until_s = 0.0
        self._waiting: deque[Call] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, tokens: int) -> Call:
        """Wait for one's turn. What was entered must be left."""
        call = Call(tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._admit()
        try:
            await call.turn
        except asyncio.CancelledError:
            if call.begun:  # its turn had come, but nobody was asked
                for budget, charge in call.charges:
                    budget.drop(charge)
                self.leave()
            else:
                with suppress(ValueError):  # passed over already
                    self._waiting.remove(call)
                self._admit()
            raise
        return call

    def count(self, call: Call, tokens: int) -> None:
        """What a call used, as its vendor counts. Zero is no count: the estimate stands."""
        budget = self._tokens
        if budget is None or not tokens:
            return
        if tokens > call.tokens:
            budget.take(tokens - call.tokens, asyncio.get_running_loop().time())
        else:
            budget.lower(call.charges[-1][1], tokens)  # that of the tokens

    def heed(self, error: ProviderError) -> None:
        """The vendor may want everybody to wait."""
        if error.kind in BUSY and error.retry_after_ms is not None:
            pause_s = min(error.retry_after_ms, RETRY_AFTER_MAX_MS) / 1_000
            self._quiet_until_s = max(self._quiet_until_s, asyncio.get_running_loop().time() + pause_s)

    def leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        """Whoever's turn has come begins; a timer is set for the next."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            call = self._waiting[0]
            if call.turn.done():  # cancelled, and not yet told
                self._waiting.popleft()
                continue
            if self._concurrent is not None and self._running >= self._concurrent:
                return  # whoever leaves admits the next
            budgets = [(self._requests, 1), (self._tokens, call.tokens)]
            wanted = [(budget, amount) for budget, amount in budgets if budget is not None]
            due_s = max([self._quiet_until_s, *(budget.free_at(amount, now_s) for budget, amount in wanted)])
            if due_s > now_s + EARLY_S:
                self._timer = loop.call_at(due_s, self._admit)
                return
            self._waiting.popleft()
            call.charges = [(budget, budget.take(amount, now_s)) for budget, amount in wanted]
            call.begun = True
            self._running += 1
            call.turn.set_result(None)
