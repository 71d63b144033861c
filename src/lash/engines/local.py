"""The ``local`` engine journals in the store: one row per reply, durable before the body hears it.

It is as durable as the journal it writes to, so over a memory store it replays but promises nothing.
"""

from __future__ import annotations

from lash.abc.store import Store
from lash.engines.journal import JournalEngine


class LocalEngine(JournalEngine):
    """One per runtime."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    @property
    def replays(self) -> bool:
        return True

    @property
    def durable(self) -> bool:
        return self._store.journal_durable
