"""The memory store's blobs, and since when pruning is to look at each: the specification of what a blob lives by.

Pruning looks at a blob once after it was put or kept, and once more when a session that spoke of it no longer does. So
its work is bounded by what happened, not by how many blobs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from lash.abc.store import BlobsPruned
from lash.stores.blobs import reference_of
from lash.stores.memory_chats import Chats


class MemoryBlobs:
    """Nothing outlives the Python process. ``lock`` makes each call one transaction with the writes of the store."""

    durable = False

    def __init__(self, chats: Chats, lock: AbstractContextManager[object], clock: Callable[[], int]) -> None:
        self._chats = chats
        self._lock = lock
        self._clock = clock

    async def put(self, data: bytes) -> str:
        """Keeps ``data`` → its reference, ``sha256:<hex>``."""
        reference = reference_of(data)
        with self._lock:
            self._chats.blobs[reference] = bytes(data)
            self._loosen(reference)
        return reference

    async def get(self, ref: str) -> bytes | None:
        return self._chats.blobs.get(ref)

    async def keep(self, refs: Sequence[str], row: int = 0) -> list[str]:
        """See :class:`lash.abc.store.BlobStore`."""
        with self._lock:
            for ref in refs:
                if ref in self._chats.blobs:
                    self._loosen(ref)
            missing = [ref for ref in dict.fromkeys(refs) if ref not in self._chats.blobs]
            if not missing and (chat := self._chats.chats.get(row)) is not None:
                self._chats.speak(row, refs, chat.head + 1)
            return missing

    async def prune(self, before_ms: int, limit: int) -> BlobsPruned:
        chats = self._chats
        with self._lock:
            old = sorted((at_ms, ref) for ref, at_ms in chats.loose.items() if at_ms < before_ms)[:limit]
            spoken = {ref for refs in chats.refs.values() for ref in refs}
            gone = [ref for _, ref in old if ref not in spoken]
            for _, ref in old:
                del chats.loose[ref]
            for ref in gone:
                del chats.blobs[ref]
            return BlobsPruned(len(old), gone)

    def _loosen(self, ref: str) -> None:
        self._chats.loose[ref] = max(self._chats.loose.get(ref, 0), self._clock())
