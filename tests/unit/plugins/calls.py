"""What tests of tools on files share: a call as a model makes it, and what a refusal must say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lash.abc.plugin import Plugin
from lash.core.message import Text
from lash.core.tool import ToolOutput
from lash.errors import ToolFailed
from lash.testing.tools import TestToolContext, tool_context


def call(plugin: Plugin, name: str, ctx: TestToolContext | None = None, /, **arguments: object) -> ToolOutput:
    """The output of one call, with arguments read as they come from a model."""
    return asyncio.run(calling(plugin, name, ctx, **arguments))


async def calling(plugin: Plugin, name: str, ctx: TestToolContext | None = None, /, **arguments: object) -> ToolOutput:
    (tool,) = [each for each in plugin.tools() if each.name == name]
    given: dict[str, Any] = tool.parse_object(dict(arguments))
    if tool.is_async:
        return tool.output_of(await tool.invoke(ctx or tool_context(), given))
    return tool.output_of(await asyncio.to_thread(tool.invoke, ctx or tool_context(), given))


def text_of(output: ToolOutput) -> str:
    return "\n".join(part.text for part in output.content if isinstance(part, Text))


@contextmanager
def refused(code: str, *says: str) -> Iterator[None]:
    with pytest.raises(ToolFailed) as caught:
        yield
    assert caught.value.code == code, str(caught.value)
    assert [word for word in says if word not in str(caught.value)] == [], str(caught.value)
