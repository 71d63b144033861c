"""Immutable bytes behind their own hash: the same content has the same reference, and is never changed."""

from __future__ import annotations

import hashlib


def reference_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


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
