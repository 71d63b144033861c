"""Immutable bytes behind their own hash: the same content has the same reference, and is never changed."""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

PREFIX: Final = "sha256:"


def reference_of(data: bytes) -> str:
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_of(reference: str) -> bytes | None:
    """None for an ill-formed reference, behind which there can be nothing."""
    try:
        return bytes.fromhex(reference.removeprefix(PREFIX))
    except ValueError:
        return None


class MemoryBlobs:
    """Blobs in a dict. Nothing outlives the Python process."""

    durable = False

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        """Keeps ``data`` → its reference, ``sha256:<hex>``."""
        reference = reference_of(data)
        self._data[reference] = bytes(data)
        return reference

    async def get(self, ref: str) -> bytes | None:
        return self._data.get(ref)


class BlobTable(Protocol):
    """A store that keeps blobs among its tables."""

    async def put_blob(self, data: bytes) -> str: ...

    async def get_blob(self, ref: str) -> bytes | None: ...


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
