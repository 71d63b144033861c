"""What a tool call came to is plain data that comes back as it was, and can break no history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from lash.core import codec
from lash.core.message import Media, Message, Text, ToolCall, ToolResult, user
from lash.core.outcome import Failure
from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput, failed, output_in
from lash.errors import InvalidValue
from tests.unit.core.turnkit import OUTPUTS

SOLD_OUT = Failure("execution", "sold_out", "none is left", {"left": 0})
WRITTEN: dict[str, tuple[ToolOutput, str]] = {
    "nothing": (ToolOutput(()), '{"content":[]}'),
    "content": (
        ToolOutput((Text("ok"), Media("blake2:1", "image/png", 3, "cat"))),
        '{"content":[["text","ok"],["media","blake2:1","image/png",3,"cat"]]}',
    ),
    "a value": (ToolOutput((), {"a": [1]}), '{"content":[],"value":{"a":[1]}}'),
    "a falsy value": (ToolOutput((), 0), '{"content":[],"value":0}'),
    "a failure": (
        ToolOutput((), failure=SOLD_OUT),
        '{"content":[],"failure":{"class":"execution","code":"sold_out","message":"none is left","raw":{"left":0}}}',
    ),
    "finish": (ToolOutput((), control=Finish([1])), '{"content":[],"control":["finish",[1]]}'),
    "finish with nothing": (ToolOutput((), control=Finish(None)), '{"content":[],"control":["finish",null]}'),
    "fail": (
        ToolOutput((), control=Fail(Failure("external", "x", "y"))),
        '{"content":[],"control":["fail",{"class":"external","code":"x","message":"y"}]}',
    ),
    "frame": (
        ToolOutput((), control=SwitchFrame("billing", "send", (user("Rome"),))),
        '{"content":[],"control":["frame","billing","send",[["user",[["text","Rome"]]]]]}',
    ),
    "say": (
        ToolOutput((), say=(user("psst", origin="tool"), Message("system", (Text("be brief"),)))),
        '{"content":[],"say":[["user",[["text","psst"]],"tool"],["system",[["text","be brief"]]]]}',
    ),
}


@pytest.mark.parametrize(("output", "written"), WRITTEN.values(), ids=WRITTEN)
def test_an_output_is_stored_as_these_bytes(output: ToolOutput, written: str) -> None:
    assert codec.encode(output.as_json()) == written.encode()
    assert ToolOutput.of_json(codec.decode(written.encode())) == output


@given(OUTPUTS)
def test_an_output_comes_back_equal(output: ToolOutput) -> None:
    assert ToolOutput.of_json(codec.decode(codec.encode(output.as_json()))) == output


def test_a_failed_call_is_text_the_model_can_read() -> None:
    output = failed(SOLD_OUT)
    assert output == ToolOutput((Text("[failed: sold_out] none is left"),), failure=SOLD_OUT)
    assert output.result(ToolCall("a", "sell", "{}")) == ToolResult(
        "a", "sell", (Text("[failed: sold_out] none is left"),), True
    )


def test_a_result_has_the_content_and_not_the_value() -> None:
    output = ToolOutput((Text("7 euros"),), {"price": 7})
    assert output.result(ToolCall("a", "price", "{}")) == ToolResult("a", "price", (Text("7 euros"),), False)


@pytest.mark.parametrize(
    "message",
    [
        Message("assistant", (Text("I did it"),)),
        Message("tool", (ToolResult("a", "find", ()),)),
        Message("user", (ToolResult("a", "find", ()),)),
        Message("user", (Text("see"), ToolCall("a", "find", "{}"))),
    ],
)
def test_a_tool_cannot_say_what_would_break_the_history(message: Message) -> None:
    with pytest.raises(InvalidValue, match=f"role '{message.role}'"):
        ToolOutput((), say=(user("fine"), message))


def test_a_frame_cannot_begin_with_a_history_that_is_unsound() -> None:
    call = Message("assistant", (ToolCall("a", "find", "{}"),))
    with pytest.raises(InvalidValue, match=r"frame 'billing' can begin no context: the calls \['a'\] have no results"):
        SwitchFrame("billing", "send", (user("hi"), call))
    answered = Message("tool", (ToolResult("a", "find", ()),))
    assert len(SwitchFrame("billing", "send", (user("hi"), call, answered)).seeds) == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ToolOutput("done"), "content of a ToolOutput .* not 'done'"),
        (lambda: ToolOutput(("done",)), "content of a ToolOutput .* not .'done',."),
        (lambda: ToolOutput((), failure="gone"), "failure of a ToolOutput cannot be 'gone'"),
        (lambda: ToolOutput((), control="finish"), "control of a ToolOutput cannot be 'finish'"),
        (lambda: ToolOutput((), say="hi"), "A tool adds a tuple of messages, not 'hi'"),
        (lambda: ToolOutput((), say=("hi",)), "A tool adds messages, .* not 'hi'"),
        (lambda: Fail("gone"), "Fail takes a lash.Failure.* not 'gone'"),
        (lambda: SwitchFrame("billing", None), r"name and a task in words, not .'billing', None"),
    ],
)
def test_what_a_result_cannot_be_made_of_is_said_where_it_is_made(make: Any, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        make()


def test_a_list_of_parts_or_messages_will_do() -> None:
    made: Any = ToolOutput
    assert made([Text("a")], say=[user("b")]) == ToolOutput((Text("a"),), say=(user("b"),))


FAILURES = [
    Failure("execution", "fire", "the printer is on fire"),
    Failure("timeout", "timeout", "it took\ntwo lines [and a bracket]"),
    Failure("execution", "empty", ""),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_of_a_failure_the_history_tells_code_and_message(failure: Failure) -> None:
    call = ToolCall("c1", "print", "{}")
    found = output_in(failed(failure).result(call))
    assert found.failure is not None
    assert (found.failure.code, found.failure.message) == (failure.code, failure.message)
    assert found.content == failed(failure).content


def test_a_failed_result_in_words_of_its_own_is_told_with_them() -> None:
    call = ToolCall("c1", "print", "{}")
    own = ToolOutput((Text("no paper"), Text("and no ink")), failure=Failure("execution", "paper", "out"))
    assert output_in(own.result(call)).failure == Failure("execution", "failed", "no paper and no ink")
    assert output_in(ToolOutput((Text("[failed: not] this"),)).result(call)).failure is None
