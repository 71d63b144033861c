"""Messages come back from their JSON as they were, and a history is sound exactly when each call has its result."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from lash.core.message import (
    Media,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    decode_message,
    encode_message,
    media_of,
    part_of,
    unsound,
    user,
)
from lash.errors import InvalidValue
from tests.unit.core.turnkit import CALLS, MEDIA, META, TEXTS, WORDS, broken

WRITTEN: list[tuple[Part, str]] = [
    (Text("hi"), '["text","hi"]'),
    (Text("", {"id": 1}), '["text","",{"id":1}]'),
    (Reasoning("hm"), '["reasoning","hm"]'),
    (Reasoning("", {"encrypted": "x"}), '["reasoning","",{"encrypted":"x"}]'),
    (Media("blake2:1", "image/png", 3), '["media","blake2:1","image/png",3,""]'),
    (ToolCall("a", "find", "{bad"), '["call","a","find","{bad"]'),
    (ToolCall("a", "find", "{}", {}), '["call","a","find","{}",{}]'),
    (
        ToolResult("a", "find", (Text("ok"), Media("blake2:1", "image/png", 3, "cat")), True),
        '["result","a","find",[["text","ok"],["media","blake2:1","image/png",3,"cat"]],true]',
    ),
]


@pytest.mark.parametrize(("part", "written"), WRITTEN)
def test_parts_are_stored_as_these_bytes(part: Part, written: str) -> None:
    message = Message("assistant", (part,))
    assert encode_message(message) == f'["assistant",[{written}]]'.encode()
    assert decode_message(encode_message(message)) == message


RESULTS = st.builds(ToolResult, WORDS, WORDS, st.lists(TEXTS | MEDIA, max_size=2).map(tuple), st.booleans())
PARTS = TEXTS | MEDIA | CALLS | RESULTS | st.builds(Reasoning, WORDS, META)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.builds(Message, ROLES, st.lists(PARTS, max_size=4).map(tuple), st.none() | WORDS)


@given(MESSAGES)
def test_a_message_comes_back_equal(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_an_origin_is_written_only_where_there_is_one() -> None:
    assert encode_message(user("hi", origin="steer")) == b'["user",[["text","hi"]],"steer"]'
    assert encode_message(user("hi")) == b'["user",[["text","hi"]]]'


def test_what_is_no_json_or_too_large_is_refused() -> None:
    with pytest.raises(InvalidValue, match="message"):
        encode_message(Message("user", (Text("hi", {"x": object()}),)))
    with pytest.raises(InvalidValue, match="limit is 4194304"):
        encode_message(user("x" * (4 * 1024 * 1024)))


def test_an_unknown_kind_of_part_is_refused() -> None:
    with pytest.raises(ValueError, match="'smell'"):
        part_of(["smell", "of roses"])


def test_text_is_the_text_parts_two_newlines_apart() -> None:
    parts = (Text("one"), Reasoning("hm"), Text(""), ToolCall("a", "find", "{}"), Text("two"))
    assert Message("assistant", parts).text == "one\n\ntwo"
    assert Message("assistant", parts).calls == (ToolCall("a", "find", "{}"),)


def test_user_has_text_attachments_or_both() -> None:
    cat = Media("blake2:1", "image/png", 3)
    assert user("look", cat).parts == (Text("look"), cat)
    assert user("", cat).parts == (cat,)
    assert user("").parts == (Text(""),)
    assert user("go", origin="steer") == Message("user", (Text("go"),), "steer")


# Soundness ---------------------------------------------------------------------------------------------------------

A, B = ToolCall("a", "find", "{}"), ToolCall("b", "find", "{}")
RA, RB = ToolResult("a", "find", ()), ToolResult("b", "find", ())
ASK = user("hi")


def said(role: Role, *parts: Part) -> Message:
    return Message(role, parts)


SOUND: dict[str, list[Message]] = {
    "nothing": [],
    "text": [ASK, said("assistant", Text("hello")), ASK],
    "an open question": [ASK],
    "a call and its result": [ASK, said("assistant", Text("see"), A), said("tool", RA), said("assistant", Text("so"))],
    "two calls of one message": [said("assistant", A, B), said("tool", RA, RB)],
    "the same id again later": [said("assistant", A), said("tool", RA), said("assistant", A), said("tool", RA)],
    "a system message between": [said("assistant", A), said("tool", RA), said("system", Text("be brief"))],
}
UNSOUND: dict[str, tuple[list[Message], str]] = {
    "no result": ([ASK, said("assistant", A)], "the calls ['a'] have no results"),
    "no result before the next": ([said("assistant", A), ASK], "message 1 has results for []"),
    "one of two": ([said("assistant", A, B), said("tool", RA)], "message 1 has results for ['a']"),
    "another order": ([said("assistant", A, B), said("tool", RB, RA)], "where those of ['a', 'b'] belong"),
    "split": ([said("assistant", A, B), said("tool", RA), said("tool", RB)], "message 1"),
    "not right after": ([said("assistant", A), ASK, said("tool", RA)], "message 1"),
    "a result of nothing": ([ASK, said("tool", RA)], "message 1 has results for ['a'], where those of [] belong"),
    "a result twice": ([said("assistant", A), said("tool", RA, RA)], "message 1"),
    "a result of another": ([said("assistant", A), said("tool", RB)], "message 1"),
    "a user with results": ([said("assistant", A), said("user", RA)], "its role is user"),
    "a user who calls": ([said("user", A), said("tool", RA)], "message 0 has tool calls, but its role is user"),
    "an id twice": ([said("assistant", A, A), said("tool", RA, RA)], "message 0 has two calls with one id"),
    "a tool without a result": ([ASK, said("tool", Text("hello"))], "message 1 has the role tool"),
    "a tool with nothing": ([ASK, said("tool")], "message 1 has the role tool"),
    "a tool that also talks": ([said("assistant", A), said("tool", RA, Text("hm"))], "message 1 has the role tool"),
}


@pytest.mark.parametrize("messages", SOUND.values(), ids=SOUND)
def test_a_sound_history_has_no_fault(messages: list[Message]) -> None:
    assert unsound(messages) is None


@pytest.mark.parametrize(("messages", "fault"), UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_history_is_told_by_its_fault(messages: list[Message], fault: str) -> None:
    assert fault in (unsound(messages) or "")


SHORT = st.lists(st.sampled_from([A, B, RA, RB, Text("t")]), max_size=2).map(tuple)


@given(st.lists(st.builds(Message, st.sampled_from(["assistant", "tool", "user"]), SHORT), max_size=3).map(tuple))
def test_soundness_agrees_with_another_way_to_judge_it(messages: tuple[Message, ...]) -> None:
    mixed = any(
        message.role == "tool"
        and (not message.parts or not all(isinstance(part, ToolResult) for part in message.parts))
        for message in messages
    )
    unasked = any(
        isinstance(part, ToolResult)
        and part.call_id not in ([c.id for c in messages[place - 1].calls] if place else [])
        for place, message in enumerate(messages)
        for part in message.parts
    )
    assert (unsound(messages) is None) == (broken(messages) is None and not mixed and not unasked)


def test_attachments_are_found_once_each_in_results_too() -> None:
    cat, dog = Media("blake2:1", "image/png", 3, "cat"), Media("blake2:2", "image/png", 4)
    history = [
        user("look", cat),
        said("assistant", A),
        Message("tool", (ToolResult("a", "find", (dog, cat)),)),
    ]
    assert media_of(history) == [cat, dog]
