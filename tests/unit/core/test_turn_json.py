"""A turn's state and its bytes are each other's exact inverse, whatever state a turn came to."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given

from lash.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from lash.core.model import Usage
from lash.core.outcome import Failure
from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput
from lash.core.turn import Finished, Outcome, Phase, Stopped, Switched, ToolReplied, TurnLimits, TurnState
from lash.core.turn_json import decode_state, encode_state
from lash.errors import InvalidValue
from tests.unit.core.turnkit import WORLDS, World, asking, before_completion, note, output, play, working

FULL = TurnState(
    phase=Phase.WORKING,
    said=(
        Message("user", (Text("hello"), Media("blake2:1", "image/png", 3, "cat"))),
        Message(
            "assistant", (Reasoning("hm", {"signature": "x"}), ToolCall("a", "find", "{}"), ToolCall("b", "f", ""))
        ),
    ),
    limits=TurnLimits(7, 8, 9),
    model_calls=1,
    tool_calls=2,
    usage=Usage(10, 20, 30, 40, 5),
    calls=(ToolCall("a", "find", "{}"), ToolCall("b", "f", "")),
    results=(None, ToolOutput((Text("ok"),), {"n": [1, None]}, control=Finish(False), say=(note("psst", "tool"),))),
    boundary="before_completion",
    boundaries=3,
    waiting=(note("later"),),
    refused=1,
    last_input_tokens=80,
    outcome=Finished("draft", 1.5),
)
"""No field has the value it would have without being set."""

BYTES = (
    b'{"form":1,"phase":"working",'
    b'"said":[["user",[["text","hello"],["media","blake2:1","image/png",3,"cat"]]],'
    b'["assistant",[["reasoning","hm",{"signature":"x"}],["call","a","find","{}"],["call","b","f",""]]]],'
    b'"limits":[7,8,9],"model_calls":1,"tool_calls":2,"usage":[10,20,30,40,5],'
    b'"calls":[["call","a","find","{}"],["call","b","f",""]],'
    b'"results":[null,{"content":[["text","ok"]],"value":{"n":[1,null]},"control":["finish",false],'
    b'"say":[["user",[["text","psst"]],"tool"]]}],'
    b'"boundary":"before_completion","boundaries":3,"waiting":[["user",[["text","later"]],"steer"]],'
    b'"refused":1,"last_input_tokens":80,"outcome":["finished","draft",1.5]}'
)


def test_the_bytes_are_these_for_as_long_as_states_are_kept() -> None:
    assert encode_state(FULL) == BYTES
    assert decode_state(BYTES) == FULL


def test_no_field_is_left_out() -> None:
    plain = TurnState(Phase.ASKING, ())
    assert [field.name for field in fields(TurnState) if getattr(FULL, field.name) == getattr(plain, field.name)] == []


@given(WORLDS)
def test_every_state_a_turn_comes_to_is_read_back_equal(world: World) -> None:
    for state, _ in world.run():
        data = encode_state(state)
        assert decode_state(data) == state
        assert encode_state(decode_state(data)) == data
        json.loads(data)


OUTCOMES: dict[str, tuple[Outcome, str]] = {
    "text": (Finished("on its way"), '["finished","on its way"]'),
    "nothing is a value": (Finished("", structured=True), '["finished","",null]'),
    "value": (Finished("", {"a": [1]}), '["finished","",{"a":[1]}]'),
    "false is a value": (Finished("no", False), '["finished","no",false]'),
    "stopped": (Stopped("limit", "enough", "tokens", "so f"), '["stopped","limit","enough","tokens","so f"]'),
    "switched": (
        Switched(SwitchFrame("billing", "send", (note("Rome", "lash"),))),
        '["switched","billing","send",[["user",[["text","Rome"]],"lash"]]]',
    ),
}


@pytest.mark.parametrize(("outcome", "written"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes_are_read_back_equal(outcome: Outcome, written: str) -> None:
    state = TurnState(Phase.DONE, (), outcome=outcome)
    assert encode_state(state).endswith(b'"outcome":' + written.encode() + b"}")
    assert decode_state(encode_state(state)) == state


def test_what_came_of_tools_is_read_back_equal() -> None:
    outputs = [
        ToolOutput((), failure=Failure("timeout", "slow", "5 s", {"try": 2})),
        output("fail", control=Fail(Failure("execution", "sold_out", "none"))),
        output("frame", control=SwitchFrame("billing", "send")),
        output("falsy", value=0),
        output("nothing", control=Finish(None)),
        ToolOutput((Media("blake2:1", "image/png", 3),)),
    ]
    state = working("a", "b", "c", "d", "e", "f", "g")
    state = play(state, *(ToolReplied(f"tool 1.{place}", found) for place, found in enumerate(outputs)))
    assert decode_state(encode_state(state)).results == (*outputs, None)


def test_what_is_equal_but_not_the_same_stays_apart() -> None:
    said = (Message("user", (Text("a", {}), Text("b", None)), ""), Message("user", (), None))
    back = decode_state(encode_state(TurnState(Phase.ASKING, said))).said
    assert back[0].parts == (Text("a", {}), Text("b"))
    assert (back[0].origin, back[1].origin) == ("", None)


def test_a_state_may_be_larger_and_deeper_than_one_stored_value() -> None:
    deep: object = 1
    for _ in range(150):  # as deep as one value may be
        deep = [deep]
    large = "x" * (3 * 1024 * 1024)
    state = working("a", "b", "c")
    for place in range(2):
        state = play(state, ToolReplied(f"tool 1.{place}", output(large, value=deep)))
    data = encode_state(state)
    assert len(data) > 6 * 1024 * 1024
    assert decode_state(data) == state


def test_what_is_no_plain_json_is_refused() -> None:
    state = play(working("a", "b"), ToolReplied("tool 1.0", output("?", value=object())))
    with pytest.raises(InvalidValue, match="turn state"):
        encode_state(state)


@pytest.mark.parametrize("data", [b"{}", b"null", b"[1]", b'{"form":2}', b'{"form":"1"}', b"", b"{"])
def test_other_bytes_are_no_state(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_state(data)


@pytest.mark.parametrize(
    ("there", "instead"), [("finished", "won"), ("working", "resting"), ('"call"', '"shout"'), ("media", "smell")]
)
def test_a_word_this_code_does_not_know_is_refused(there: str, instead: str) -> None:
    with pytest.raises(ValueError, match=instead.strip('"')):
        decode_state(BYTES.decode().replace(there, instead).encode())


def test_a_state_of_few_words_has_few_bytes() -> None:
    assert len(encode_state(asking())) < 400
    assert len(encode_state(before_completion())) < 500


def test_a_message_of_a_tool_result_keeps_its_failure_mark() -> None:
    said = (Message("tool", (ToolResult("a", "find", (), True), ToolResult("b", "find", (Text(""),), False))),)
    assert decode_state(encode_state(TurnState(Phase.ASKING, said))).said == said
