"""A provider speaks one vendor's API: a request becomes a stream of chunks that ends with one whole reply.

Obligations, each a wire scenario:

* The last item of ``stream``, and only the last, is a ``ModelReply``; it is yielded after the protocol's own end
  marker and never for a stream that was cut off. Its parts are whole: what was streamed, and nothing else.
* Every failure is a ``ProviderError`` that says whether another try makes sense, and when the vendor wants it. A
  provider never tries again by itself: retries are journaled, and only the runtime can do that.
* A vendor's metadata that must come back (signatures, encrypted reasoning, item ids) is put into ``meta`` of its part
  and sent back word for word. ``meta`` of another vendor is left out, by its first key, the vendor's name.
* It keeps no conversation: requests may be interleaved, and ``aclose()`` of a stream closes its connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from lash.core.model import Chunk, ModelInfo, ModelRequest


class Provider(Protocol):
    @property
    def name(self) -> str:
        """The prefix of its models, such as ``openai``."""
        ...

    def info(self, model: str) -> ModelInfo:
        """What is known of a model of this vendor."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]: ...

    async def close(self) -> None: ...
