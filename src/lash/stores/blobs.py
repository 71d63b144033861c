"""Immutable bytes behind their own hash: the same content has the same reference, and is never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

from lash.abc.store import BlobsPruned

PREFIX: Final = "sha256:"


def reference_of(data: bytes) -> str:
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_of(reference: str) -> bytes | None:
    """None for an ill-formed reference, behind which there can be nothing."""
    try:
        digest = bytes.fromhex(reference.removeprefix(PREFIX))
    except ValueError:
        return None
    return digest if reference == reference_to(digest) else None


def reference_to(digest: bytes) -> str:
    return PREFIX + digest.hex()


def digests_of(references: Sequence[str]) -> dict[bytes, str]:
    """By hash, each once; without those that are ill-formed."""
    found = {digest_of(reference): reference for reference in references}
    return {digest: reference for digest, reference in found.items() if digest is not None}


class BlobTable(Protocol):
    """A store that keeps blobs among its tables."""

    async def put_blob(self, data: bytes) -> str: ...

    async def get_blob(self, ref: str) -> bytes | None: ...

    async def keep_blobs(self, refs: Sequence[str], row: int) -> list[str]: ...

    async def prune_blobs(self, before_ms: int, limit: int) -> BlobsPruned: ...


class StoredBlobs:
    """The blobs facet of a store that keeps them among its tables."""

    durable = True

    def __init__(self, store: BlobTable) -> None:
        self._store = store

    async def put(self, data: bytes) -> str:
        """Keeps ``data`` → its reference, ``sha256:<hex>``."""
        return await self._store.put_blob(data)

    async def get(self, ref: str) -> bytes | None:
        return await self._store.get_blob(ref)

    async def keep(self, refs: Sequence[str], row: int = 0) -> list[str]:
        """See :class:`lash.abc.store.BlobStore`."""
        return await self._store.keep_blobs(refs, row)

    async def prune(self, before_ms: int, limit: int) -> BlobsPruned:
        return await self._store.prune_blobs(before_ms, limit)
