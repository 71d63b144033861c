"""An attachment is of a type and a size that lash knows; where a model cannot be shown one, a short text says so.

What stands in a history is never changed: the text takes its place only in what is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from lash.core.message import Media, Message, Part, Text, ToolResult
from lash.errors import InvalidValue
from lash.limits import ATTACHMENT_BYTES_MAX

MEDIA_TYPES: Final = (
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/heic", "image/heif", "application/pdf",
    "text/plain",
)  # fmt: skip
WhyNot: TypeAlias = Callable[[Media], "str | None"]
"""Why this attachment cannot be shown; None where it can."""


def check_attachment(data: object, media_type: object) -> None:
    """Raises ``InvalidValue``."""
    if not isinstance(data, bytes) or not 0 < len(data) <= ATTACHMENT_BYTES_MAX:
        size = len(data) if isinstance(data, bytes) else type(data).__name__
        raise InvalidValue(f"An attachment is 1 to {ATTACHMENT_BYTES_MAX} bytes, not {size}. Nothing was written.")
    check_media_type(media_type)


def check_media_type(media_type: object) -> None:
    """Raises ``InvalidValue``."""
    if media_type not in MEDIA_TYPES:
        raise InvalidValue(f"Attachments may be {', '.join(MEDIA_TYPES)}; not {media_type!r}. Nothing was written.")


def named(media: Media) -> str:
    """For error messages."""
    return f"{media.ref} ({media.label or media.media_type})"


def shown(message: Message, why_not: WhyNot) -> Message:
    """The message with a text in the place of each attachment that cannot be shown; the same one where all can."""
    parts = tuple(shown_part(part, why_not) for part in message.parts)
    return message if parts == message.parts else replace(message, parts=parts)


def shown_part(part: Part, why_not: WhyNot) -> Part:
    match part:
        case Media():
            return instead(part, why_not)
        case ToolResult():
            content = tuple(instead(item, why_not) if isinstance(item, Media) else item for item in part.content)
            return part if content == part.content else replace(part, content=content)
        case _:
            return part


def instead(media: Media, why_not: WhyNot) -> Text | Media:
    if (why := why_not(media)) is None:
        return media
    name = f" {media.label!r}" if media.label else ""
    return Text(f"[attachment{name}, {media.media_type}, {media.size_bytes} bytes, is not shown: {why}]")
