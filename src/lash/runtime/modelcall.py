"""One model call is one recorded step: its whole answer is durable before anything is done with it.

What is streamed meanwhile is only shown. A stream that breaks off is no answer: what was shown of it is taken back when
the call is made again. Retries are the journal's (the provider makes none), and the provider's own wish for a pause is
heeded, within a bound.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from lash.abc.engine import Again, Reply
from lash.abc.provider import Provider
from lash.abc.store import BlobStore
from lash.core import codec
from lash.core.message import Message
from lash.core.model import ModelReply, ModelRequest, supported
from lash.core.observe import Retrying
from lash.core.outcome import failure_of
from lash.core.retry import Retry
from lash.errors import ProviderError
from lash.limits import RETRY_AFTER_MAX_MS
from lash.runtime.attachments import with_media, without_media
from lash.runtime.live import BROKE_OFF, LiveTurn, version_of
from lash.runtime.steps import StepCall, current

log = logging.getLogger("lash.sessions")


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
    """What the performances of a call need."""

    provider: Provider
    request: ModelRequest
    blobs: BlobStore
    live: LiveTurn | None
    number: int
    token: int
    own: Sequence[Message] = ()
    """Messages of the request that must be shown whole: what the turn was given to work on."""
    serial: frozenset[str] = frozenset()
    """Names of the tools whose calls wait for those beside them."""


class ModelCall(StepCall):
    """A model call of a turn, with a ``ModelJob`` as its one argument: whoever watches is told of each retry."""

    __slots__ = ()

    def _failed(self, error: BaseException, attempt: int, began_ms: int, now_ms: Callable[[], int]) -> Reply | Again:
        outcome = super()._failed(error, attempt, began_ms, now_ms)
        job = cast(ModelJob, self.args[0])
        if isinstance(outcome, Again) and job.live is not None:
            failure, delay_ms = failure_of(error), max(0, outcome.due_ms - now_ms())
            retrying = Retrying(attempt + 1, self.retry.attempts, delay_ms, failure.message, failure.code, job.number)
            job.live.broke_off(version_of(job.token, attempt + 1), retrying)
        return outcome


def replied(payload: bytes) -> tuple[str, ModelReply, Sequence[int]]:
    """What the step recorded: the answer's version, the answer, and which of its tool calls wait for the others."""
    version, plain, *serial = cast("tuple[str, object, list[int]]", codec.decode(payload))
    return version, ModelReply.of_json(plain), serial[0] if serial else ()


async def perform_model(job: ModelJob) -> object:
    """The step, as JSON: see :func:`replied`. Raises ``ProviderError``, ``AttachmentMissing``."""
    step = current()
    version = version_of(job.token, step.attempt)
    if job.live is not None:
        job.live.begun(job.number, version, "" if step.attempt == 1 else BROKE_OFF)
    request = replace(job.request, call_key=step.idempotency_key)
    request = await with_media(job.blobs, request, job.own)
    if (problem := supported(request)) is not None:
        raise problem
    try:
        reply = await answered(job, request, version)
    except ProviderError as error:
        other = None if error.partial else without_media(request, job.own, error)
        if other is None:
            raise
        log.warning("%s was refused and is asked once more without older attachments: %s", request.model, error)
        reply = await answered(job, other, version)
    serial = [place for place, call in enumerate(reply.calls) if call.name in job.serial]
    return [version, reply.as_json(), serial] if serial else [version, reply.as_json()]


async def answered(job: ModelJob, request: ModelRequest, version: str) -> ModelReply:
    """One request to the provider; what it streams is shown. Raises ``ProviderError``."""
    reply: ModelReply | None = None
    async with aclosing(job.provider.stream(request)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, ModelReply):
                reply = chunk
            elif job.live is not None:
                job.live.chunk(job.number, version, chunk)
    if reply is None:
        raise ProviderError("The model's answer ended without its end marker.", kind="stream", retryable=True)
    return reply
