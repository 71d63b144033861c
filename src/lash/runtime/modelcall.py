"""One model call is one recorded step: its whole answer is durable before anything is done with it.

What is streamed meanwhile is only shown. A stream that breaks off is no answer: what was shown of it is taken back when
the call is made again. Retries are the journal's (the provider makes none), and the provider's own wish for a pause is
heeded, within a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from lash.abc.provider import Provider
from lash.abc.store import BlobStore
from lash.core.message import Message, media_of
from lash.core.model import ModelReply, ModelRequest, supported
from lash.core.retry import Retry
from lash.errors import AttachmentMissing, ProviderError
from lash.limits import RETRY_AFTER_MAX_MS
from lash.runtime.live import LiveTurn
from lash.runtime.steps import current


@dataclass(frozen=True, slots=True)
class ModelRetry(Retry):
    """Only what the provider calls worth another try, and not before it wants to be asked again."""

    def pause_ms(self, failed: int, error: BaseException) -> int | None:
        if isinstance(error, ProviderError) and not error.retryable:
            return None
        if not isinstance(error, (ProviderError, TimeoutError)):
            return None
        pause = Retry.pause_ms(self, failed, error)
        wished = error.retry_after_ms if isinstance(error, ProviderError) else None
        return pause if pause is None or wished is None else max(pause, min(wished, RETRY_AFTER_MAX_MS))


def model_retry(retry: Retry) -> ModelRetry:
    return ModelRetry(retry.attempts, retry.initial, retry.factor, retry.maximum, (Exception,))


@dataclass(slots=True, eq=False)
class ModelJob:
    """What one performance of a call needs. ``version`` tells it from every other one: lease and attempt."""

    provider: Provider
    request: ModelRequest
    blobs: BlobStore
    live: LiveTurn | None
    number: int
    token: int


async def perform_model(job: ModelJob) -> object:
    """The step: ``[version, reply]`` as JSON. Raises ``ProviderError``."""
    step = current()
    version = f"{job.token}-{step.attempt}"
    if job.live is not None:
        job.live.begun(job.number, version, "" if step.attempt == 1 else "the model's answer broke off")
    request = replace(job.request, call_key=step.idempotency_key)
    media = media_of(request.messages)
    if media:
        request = replace(request, media=await resolved(job.blobs, request.messages))
    if (problem := supported(request)) is not None:
        raise problem
    reply: ModelReply | None = None
    async with aclosing(job.provider.stream(request)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, ModelReply):
                reply = chunk
            elif job.live is not None:
                job.live.chunk(job.number, version, chunk)
    if reply is None:
        raise ProviderError("The model's answer ended without its end marker.", kind="stream", retryable=True)
    return [version, reply.as_json()]


async def resolved(blobs: BlobStore, messages: Sequence[Message]) -> Mapping[str, bytes]:
    """The bytes of every attachment the messages speak of. Raises ``AttachmentMissing``."""
    media = media_of(messages)
    found = await asyncio.gather(*[blobs.get(item.ref) for item in media])
    known: dict[str, bytes] = {}
    for item, data in zip(media, found, strict=True):
        if data is None:
            raise AttachmentMissing(
                f"The attachment {item.ref} ({item.label or item.media_type}) is not in the store any more. "
                "Send it again with session.attach(...).",
                ref=item.ref,
            )
        known[item.ref] = data
    return known
