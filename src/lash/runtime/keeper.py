"""What a run needs of the worker that keeps it, and what it tells it: each change at most once.

A run never looks for its worker: whoever starts it hands itself in, and is asked and told on the worker's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lash.runtime.bodyrun import BodyRun


class Keeper(Protocol):
    """What a run needs of the worker that keeps it. Called from the worker's loop, each at most once per change."""

    @property
    def now_ms(self) -> Callable[[], int]: ...

    def threads(self) -> Executor: ...

    @property
    def begin(self) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None]:
        """See :meth:`lash.runtime.performing.Performers.begin`."""
        ...

    @property
    def context(self) -> Context:
        """The context variables bodies and steps begin with, whoever happened to wake them."""
        ...

    def on_busy(self, run: BodyRun) -> bool:
        """The run wants to go on; False: no slot is free, ``run.proceed()`` is called when one is."""
        ...

    def on_blocked(self, run: BodyRun) -> None:
        """The body can do no more for now; ``run.idle`` says whether only waits and timers are left."""
        ...

    def on_live(self, run: BodyRun) -> None:
        """The history is used up without a divergence."""
        ...

    def on_end(self, run: BodyRun) -> None:
        """The body has returned or raised: see ``run.main``."""
        ...

    def on_trouble(self, run: BodyRun, error: BaseException) -> None:
        """``Diverged``, ``LeaseLost`` or a failing store: the run is over without an outcome."""
        ...
