"""What an MCP server answered, as the output of a tool call: nothing of it is lost silently.

Text and pictures are content, structured content is the value, and a result the server calls an error is a failed one
with everything the server said. What has no form here stands as a word that says what it was.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from lash.abc.tool import ToolContext
from lash.core import codec
from lash.core.message import Media, Text
from lash.core.outcome import Failure
from lash.core.tool import ToolOutput, failed
from lash.errors import InvalidValue
from lash.limits import FAILURE_MESSAGE_CHARS_MAX

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock

ERROR_CODE: Final = "mcp_tool_error"


async def output_of(ctx: ToolContext, server: str, result: CallToolResult) -> ToolOutput:
    """The output; attachments are stored on the way."""
    content = [await part_of(ctx, block) for block in result.content]
    structured: object = result.structured_content
    if not content and structured is not None:
        content.append(Text(codec.encode(structured, "structured content").decode()))
    said = "\n\n".join(part.text for part in content if isinstance(part, Text) and part.text)
    if result.is_error:
        message = said[:FAILURE_MESSAGE_CHARS_MAX] or f"The MCP server {server!r} says that the call failed, not why."
        failure = Failure("external", ERROR_CODE, message)
        return ToolOutput(tuple(content) if said else failed(failure).content + tuple(content), failure=failure)
    value = structured if structured is not None else said or None
    return ToolOutput(tuple(content) or (Text("done"),), value)


async def part_of(ctx: ToolContext, block: ContentBlock) -> Text | Media:
    match block.type:
        case "text":
            return Text(codec.safe_text(block.text))
        case "image" | "audio":
            return await media_of(ctx, block.data, block.mime_type, block.type)
        case "resource_link":
            about = f": {block.description}" if block.description else ""
            return Text(codec.safe_text(f"[resource {block.name} at {block.uri}{about}]"))
        case "resource":
            inner = block.resource
            if (text := getattr(inner, "text", None)) is not None:
                return Text(codec.safe_text(f"[resource {inner.uri}]\n{text}"))
            label = f"resource {inner.uri}"
            return await media_of(ctx, getattr(inner, "blob", ""), inner.mime_type or "application/octet-stream", label)


async def media_of(ctx: ToolContext, data: str, media_type: str, label: str) -> Text | Media:
    """An attachment, or a word in its place."""
    try:
        return await ctx.put(base64.b64decode(data, validate=True), media_type, codec.safe_text(label))
    except binascii.Error:
        why = "it is no valid base64"
    except InvalidValue as error:
        why = error.message
    return Text(codec.safe_text(f"[{label} of type {media_type} left out: {why}]"))
