"""How many tokens something will be, roughly, before anybody has counted them: characters by a rule of thumb."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from lash.core.model import ModelRequest

CHARS_PER_TOKEN: Final = 4
"""A rough measure, on the safe side for most languages written with an alphabet."""
MEDIA_TOKENS: Final = 1_000
MESSAGE_TOKENS: Final = 4
"""Around each message."""


def tokens_of(messages: Sequence[Message]) -> int:
    return sum(weight(message) for message in messages)


def weight(message: Message) -> int:
    """Tokens of one message."""
    chars = media = 0
    for part in message.parts:
        match part:
            case Text(text) | Reasoning(text):
                chars += len(text)
            case ToolCall(arguments=arguments):
                chars += len(arguments)
            case ToolResult(content=content):
                chars += sum(len(item.text) for item in content if isinstance(item, Text))
                media += sum(isinstance(item, Media) for item in content)
            case Media():
                media += 1
    return chars // CHARS_PER_TOKEN + media * MEDIA_TOKENS + MESSAGE_TOKENS


def tokens_of_request(request: ModelRequest) -> int:
    """What a model is sent: instructions, messages, tools and the schema of its answer. At least 1."""
    chars = len(request.instructions)
    for tool in request.tools:
        chars += len(tool.name) + len(tool.description) + len(json.dumps(dict(tool.parameters)))
    if request.output is not None:
        chars += len(json.dumps(dict(request.output.schema)))
    return max(1, tokens_of(request.messages) + chars // CHARS_PER_TOKEN)
