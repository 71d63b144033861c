"""An estimate has everything that is sent, and is never nothing."""

from __future__ import annotations

from lash.core.estimate import tokens_of, tokens_of_request
from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from lash.core.model import ModelRequest, OutputSpec, ToolSpec

PICTURE = Media("r", "image/png", 9)


def test_every_part_of_a_message_weighs_something() -> None:
    said = Message("assistant", (Text("x" * 20), Reasoning("y" * 8), ToolCall("1", "f", "z" * 12)))
    told = Message("tool", (ToolResult("1", "f", (Text("w" * 40), PICTURE)),))
    shown = Message("user", (PICTURE,))
    assert [tokens_of([message]) for message in (said, told, shown)] == [10 + 4, 10 + 1_000 + 4, 1_000 + 4]
    assert tokens_of([said, told, shown]) == 2_032


def test_a_request_is_estimated_with_all_that_is_sent_beside_its_messages() -> None:
    tool = ToolSpec("find", "d" * 26, {"type": "object"})  # 4, 26 and 18 characters
    asked = Message("user", (Text("x" * 40),))
    assert tokens_of_request(ModelRequest("m", "i" * 16, (asked,), (tool,))) == 14 + (16 + 48) // 4
    assert tokens_of_request(ModelRequest("m", "", (), output=OutputSpec("o", {"a": "b" * 32}))) == 10
    assert tokens_of_request(ModelRequest("m", "", ())) == 1
