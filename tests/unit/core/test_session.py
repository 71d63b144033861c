"""Node ids and turn keys say where they lead, and bad ones are refused by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from lash.core.session import (
    Item,
    Node,
    item_hash,
    item_of_turn_key,
    node_id,
    node_number,
    process_id_of,
    session_id_of,
    taken_payload,
    turn_key,
)
from lash.errors import InvalidName, NodeUnknown

SESSION_IDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30)


def test_a_node_id_is_the_session_and_the_place() -> None:
    assert node_id("chat-1", 12) == "chat-1#12"
    assert Node(12, "message", "", b"null", "chat-1", 3, 0).id == "chat-1#12"
    assert node_number("chat-1#12") == 12


@given(SESSION_IDS, st.integers(1, 10**18 - 1))
def test_a_node_id_gives_its_number_back_whatever_the_session_is_called(session_id: str, number: int) -> None:
    assert node_number(node_id(session_id, number)) == number


@pytest.mark.parametrize(
    "text",
    ["", "chat-1", "12", "chat-1#", "chat-1#0", "chat-1#012", "chat-1#-1", "chat-1#+1", "chat-1# 1", "chat-1#1.0",
     "chat-1#1_0", "chat-1#²", "chat-1#٣", "chat-1#x", "chat-1#12#", "a#" + "9" * 19, "a#" + "9" * 5_000, None, 12],
)  # fmt: skip
def test_what_is_no_node_id_is_refused(text: object) -> None:
    with pytest.raises(NodeUnknown, match="is no node id"):
        node_number(text)  # type: ignore[arg-type]  # as a user may


def test_a_session_has_a_process_of_its_own_name() -> None:
    assert process_id_of("chat-1") == "session:chat-1"
    assert session_id_of("session:chat-1") == "chat-1"
    assert session_id_of(process_id_of("session:x")) == "session:x"


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 249, "\ud800"])
def test_a_session_id_that_no_store_could_keep_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        process_id_of(text)


def test_a_session_id_may_be_as_long_as_fits_beside_the_prefix() -> None:
    assert len(process_id_of("x" * 248)) == 256


def test_a_turn_key_is_the_process_and_the_item() -> None:
    assert turn_key("session:chat-1", 7) == "turn:session:chat-1/7"
    assert item_of_turn_key("turn:session:chat-1/7") == ("session:chat-1", 7)


@given(SESSION_IDS, st.integers(1, 10**12))
def test_a_turn_key_gives_back_what_it_was_made_of(session_id: str, item: int) -> None:
    process_id = process_id_of(session_id)
    assert item_of_turn_key(turn_key(process_id, item)) == (process_id, item)


def test_turn_keys_of_different_turns_differ() -> None:
    keys = [turn_key(p, n) for p in ("session:a", "session:a/1", "session:a/", "session:turn:a") for n in (1, 11)]
    assert len(set(keys)) == 8


def test_an_item_is_the_same_when_its_content_is() -> None:
    one = item_hash("input", b'{"parts":[["text","hi"]],"origin":null}')
    assert item_hash("input", b'{"origin": null, "parts": [["text", "hi"]]}') == one
    assert item_hash("wake", b'{"parts":[["text","hi"]],"origin":null}') != one
    assert item_hash("input", b'{"parts":[["text","ho"]],"origin":null}') != one


def test_what_was_taken_is_recorded_with_number_and_kind_in_order() -> None:
    items = [
        Item(4, "input", "next_turn", b'{"parts":[["text","\xc3\xa9"]]}', "m-1", "taken", 4, 0),
        Item(6, "wake", "earliest_boundary", b"{}", None, "taken", 4, 0),
    ]
    assert json.loads(taken_payload(items)) == [[4, "input", {"parts": [["text", "é"]]}], [6, "wake", {}]]
    assert taken_payload([]) == b"[]"
