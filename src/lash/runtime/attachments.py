"""What a model is shown of attachments: no older message ever keeps a session from going on.

The turn's own input is shown whole, or the call fails and says why. In every other message a short text takes the place
of an attachment that this model cannot read, or whose bytes are gone, or that came with a request its provider refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from lash.abc.store import BlobStore
from lash.core.attachment import WhyNot, named, shown
from lash.core.message import Media, Message, media_of
from lash.core.model import ModelRequest
from lash.errors import AttachmentMissing, ProviderError

REFUSED: Final = "the provider refused a request that had it"
REFUSALS: Final = frozenset({"validation", "unsupported", "context_overflow"})
"""Kinds of errors that an attachment may be the cause of."""


async def with_media(blobs: BlobStore, request: ModelRequest, own: Sequence[Message]) -> ModelRequest:
    """The request with the bytes of its attachments. ``own``: those of its messages that must be shown whole.

    Raises ``AttachmentMissing`` for one of them. What this model cannot read of them is left for it to refuse.
    """
    if not (media := media_of(request.messages)):
        return request
    types = request.info.media_types
    known = await read(blobs, [item for item in media if item.media_type in types])

    def why_not(item: Media) -> str | None:
        if item.media_type not in types:
            return "this model cannot read it"
        return None if item.ref in known else "it is not in the store any more"

    mine = ids_of(own)
    for item in media_of(message for message in request.messages if id(message) in mine):
        if item.media_type in types and item.ref not in known:
            raise AttachmentMissing(
                f"The attachment {named(item)} is not in the store any more. Send it again with session.attach(...).",
                ref=item.ref,
            )
    return replace(request, messages=others_shown(request.messages, own, why_not), media=known)


def without_media(request: ModelRequest, own: Sequence[Message], error: ProviderError) -> ModelRequest | None:
    """What to ask instead of a request that was refused; None where no attachment of another message can be why."""
    if error.kind not in REFUSALS:
        return None
    messages = others_shown(request.messages, own, lambda item: REFUSED)
    return None if messages == tuple(request.messages) else replace(request, messages=messages)


def others_shown(messages: Sequence[Message], own: Sequence[Message], why_not: WhyNot) -> tuple[Message, ...]:
    mine = ids_of(own)
    return tuple(message if id(message) in mine else shown(message, why_not) for message in messages)


def ids_of(messages: Sequence[Message]) -> set[int]:
    """Messages are told apart as objects: what another turn said may be equal."""
    return {id(message) for message in messages}


async def read(blobs: BlobStore, media: Sequence[Media]) -> Mapping[str, bytes]:
    """By reference: the bytes of those that are there."""
    refs = list(dict.fromkeys(item.ref for item in media))
    found = await asyncio.gather(*[blobs.get(ref) for ref in refs])
    return {ref: data for ref, data in zip(refs, found, strict=True) if data is not None}
