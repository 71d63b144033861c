"""Usage adds up, replies come back as they were, and what a model cannot do is said before it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from lash.core import codec
from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult, user
from lash.core.model import NO_USAGE, ModelInfo, ModelReply, ModelRequest, ModelSettings, Price, Usage, supported
from lash.errors import InvalidArguments
from tests.unit.core.turnkit import REPLIES, USAGE


def test_usage_adds_bucket_by_bucket() -> None:
    assert Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50) == Usage(11, 22, 33, 44, 55)
    assert Usage(0, 0, 0, 0, 0) == NO_USAGE


def test_reasoning_is_part_of_the_output_and_counts_once() -> None:
    assert Usage(1, 20, 300, 4_000, reasoning_tokens=15).total_tokens == 4_321


@given(USAGE, USAGE, USAGE)
def test_usage_may_be_added_in_any_order(one: Usage, two: Usage, three: Usage) -> None:
    assert (one + two) + three == three + (two + one)
    assert (one + two).total_tokens == one.total_tokens + two.total_tokens
    assert one + NO_USAGE == one


def test_usage_is_stored_in_this_order() -> None:
    usage = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, reasoning_tokens=5)
    assert usage.as_json() == [1, 2, 3, 4, 5]


def test_a_price_is_per_million_tokens_and_reasoning_is_paid_as_output() -> None:
    usage = Usage(1_000_000, 100_000, 2_000_000, 500_000, 90_000)
    assert Price(2.0, 10.0, 0.5, 4.0).of(usage) == pytest.approx(2.0 + 1.0 + 1.0 + 2.0)


def test_a_cache_without_a_price_of_its_own_costs_what_input_costs() -> None:
    assert Price(2.0, 10.0).of(Usage(0, 0, 1_000_000, 500_000)) == pytest.approx(3.0)
    assert Price(2.0, 10.0, 0.0, 0.0).of(Usage(0, 0, 1_000_000, 500_000)) == 0.0


@given(REPLIES)
def test_a_reply_comes_back_equal(reply: ModelReply) -> None:
    assert ModelReply.of_json(codec.decode(codec.encode(reply.as_json()))) == reply


def test_a_reply_is_stored_as_these_bytes() -> None:
    reply = ModelReply((Reasoning("hm", {"id": "r"}), ToolCall("a", "find", "{}")), "tool_use", Usage(1, 2), "m-1", "x")
    assert codec.encode(reply.as_json()) == (
        b'[[["reasoning","hm",{"id":"r"}],["call","a","find","{}"]],"tool_use",[1,2,0,0,0],"m-1","x"]'
    )


def test_text_reasoning_and_calls_of_a_reply() -> None:
    call = ToolCall("a", "find", "{}")
    reply = ModelReply((Reasoning("h"), Text("one"), Reasoning("m"), Text(""), call, Text("two")), "tool_use")
    assert (reply.text, reply.reasoning, reply.calls) == ("one\n\ntwo", "hm", (call,))


# What a model can do -----------------------------------------------------------------------------------------------

IMAGE, SOUND = Media("blake2:1", "image/png", 3), Media("blake2:2", "audio/wav", 3)
HEARD = (
    Message("assistant", (ToolCall("a", "listen", "{}"),)),
    Message("tool", (ToolResult("a", "listen", (Text("listen:"), SOUND)),)),
)


def asked(info: ModelInfo, *messages: Message, **settings: object) -> str | None:
    request = ModelRequest("m-1", "", messages, settings=ModelSettings(**settings), info=info)  # type: ignore[arg-type]  # plain words
    problem = supported(request)
    if problem is None:
        return None
    assert problem.kind == "unsupported"
    assert not problem.retryable
    return str(problem)


FINE: dict[str, tuple[ModelInfo, tuple[Message, ...], dict[str, object]]] = {
    "nothing special": (ModelInfo(), (user("hi"),), {}),
    "an effort it knows": (ModelInfo(efforts=("low", "high")), (), {"effort": "high"}),
    "as much as it can write": (ModelInfo(output_tokens_max=100), (), {"output_tokens_max": 100}),
    "a temperature": (ModelInfo(), (), {"temperature": 0.0}),
    "an image": (ModelInfo(), (user("look", IMAGE),), {}),
    "a sound in a result": (ModelInfo(media_types=("audio/wav",)), HEARD, {}),
}
NOT: dict[str, tuple[ModelInfo, tuple[Message, ...], dict[str, object], str]] = {
    "another effort": (ModelInfo(efforts=("low", "high")), (), {"effort": "medium"}, "not among its efforts (low,"),
    "any effort": (ModelInfo(), (), {"effort": "low"}, "its thinking cannot be set"),
    "a longer answer": (ModelInfo(output_tokens_max=100), (), {"output_tokens_max": 101}, "is 101; it can write 100"),
    "a temperature of zero": (ModelInfo(temperature=False), (), {"temperature": 0.0}, "it takes no temperature"),
    "a sound": (ModelInfo(), (user("listen", SOUND),), {}, "it cannot read audio/wav (it reads image/png, image/jpeg"),
    "a sound in a result": (ModelInfo(media_types=()), HEARD, {}, "it cannot read audio/wav (it reads text only)"),
}  # fmt: skip


@pytest.mark.parametrize(("info", "messages", "settings"), FINE.values(), ids=FINE)
def test_what_a_model_can_do_is_asked(
    info: ModelInfo, messages: tuple[Message, ...], settings: dict[str, object]
) -> None:
    assert asked(info, *messages, **settings) is None


@pytest.mark.parametrize(("info", "messages", "settings", "fault"), NOT.values(), ids=NOT)
def test_what_a_model_cannot_do_is_said_with_its_name_and_not_tried_again(
    info: ModelInfo, messages: tuple[Message, ...], settings: dict[str, object], fault: str
) -> None:
    told = asked(info, *messages, **settings)
    assert told is not None
    assert fault in told
    assert "'m-1'" in told


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"top_p": True}, "top_p must be a number, not True"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"output_tokens_max": "many"}, "output_tokens_max must be a whole number, not 'many'"),
        ({"output_tokens_max": 0}, "output_tokens_max must be 1 or more, not 0"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls must be True or False, not 1"),
        ({"effort": "huge"}, "effort must be one of none, minimal, low, medium, high, not 'huge'"),
        ({"cache": "no"}, "cache is True or False .* not 'no'"),
        ({"extra": [1]}, "extra a mapping, not True and .1."),
    ],
)
def test_settings_are_checked_when_they_are_made(wrong: Any, says: str) -> None:
    with pytest.raises(InvalidArguments, match=says):
        ModelSettings(**wrong)


def test_settings_that_can_be_are_taken() -> None:
    made = ModelSettings(1, 0.5, 7, 100, "low", False, False, {"a": object()})
    assert (made.temperature, made.effort, made.parallel_tool_calls, made.cache) == (1, "low", False, False)
