"""What is wrong with an MCP server's description is said at once, and nothing secret with it; names stay stable."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from lash.errors import InvalidAgent
from lash.plugins.mcp import Http, Mcp, Stdio, names_of, schema_of
from lash.plugins.mcp_servers import servers_of

GOOD = {"command": "server"}


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ({}, "no server"),
        ([GOOD], "mapping of names to servers"),
        ({"a__b": GOOD}, "mcp__SERVER__TOOL"),
        ({"": GOOD}, "named by 1 to"),
        ({"a_": GOOD}, "named by 1 to"),
        ({"a b": GOOD}, "named by 1 to"),
        ({"x" * 25: GOOD}, "named by 1 to"),
        ({1: GOOD}, "named by 1 to"),
        ({"a": GOOD, "A": GOOD}, "Two MCP servers are named 'a'"),
        ({"a": "server --stdio"}, "a Stdio, an Http or a mapping"),
        ({"a": {}}, "no 'url'"),
        ({"a": {"type": "stdio", "url": "http://h"}}, "no 'command'"),
        ({"a": {"type": "sse", "url": "http://h"}}, "streamable HTTP"),
        ({"a": {"type": "carrier pigeon"}}, "unknown type"),
        ({"a": {"type": ["stdio"], "command": "x"}}, "unknown type"),
        ({"a": {"command": "x", "argv": []}}, "unknown fields argv"),
        ({"a": {"command": " "}}, "command of MCP server 'a'"),
        ({"a": {"command": "x", "args": "--stdio"}}, "args of MCP server 'a'"),
        ({"a": {"command": "x", "args": ["\0"]}}, "args of MCP server 'a'"),
        ({"a": {"command": "x", "env": {"A": 1}}}, "env of MCP server 'a'"),
        ({"a": {"command": "x", "env": {"A=B": "1"}}}, "env of MCP server 'a'"),
        ({"a": {"command": "x", "cwd": 1}}, "cwd of MCP server 'a'"),
        ({"a": {"command": "x", "tools": "echo"}}, "tools of MCP server 'a'"),
        ({"a": {"command": "x", "effect": "twice"}}, "effect of MCP server 'a'"),
        ({"a": {"command": "x", "required": "no"}}, "required of MCP server 'a'"),
        ({"a": {"command": "x", "protocol": "2020"}}, "protocol of MCP server 'a'"),
        ({"a": {"url": "ftp://host"}}, "url of MCP server 'a'"),
        ({"a": {"url": "http://"}}, "url of MCP server 'a'"),
        ({"a": {"url": "http://host:port"}}, "url of MCP server 'a'"),
        ({"a": {"url": 5}}, "url of MCP server 'a'"),
        ({"a": {"url": "http://h", "headers": {"Authorization": None}}}, "headers of MCP server 'a'"),
        ({"a": {"url": "http://h", "headers": {"Bad Name": "x"}}}, "Header 'Bad Name'"),
        ({"a": {"url": "http://h", "headers": {"X": "secret\r\nY: z"}}}, "Header 'X'"),
    ],
)
def test_a_wrong_description_is_refused_with_what_is_wrong(servers: Any, words: str) -> None:
    with pytest.raises(InvalidAgent) as caught:
        Mcp(servers)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"startup_timeout": "soon"}, "startup_timeout"),
        ({"call_timeout": -1}, "call_timeout"),
        ({"call_timeout": 0}, "longer than nothing"),
    ],
)
def test_a_time_that_is_none_is_refused(times: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidAgent, match=words):
        Mcp({"a": GOOD}, **times)


def test_what_is_secret_is_not_printed() -> None:
    assert "hush" not in repr(Http(url="http://h", headers={"Authorization": "hush"}))
    assert "hush" not in repr(Stdio(command="x", env={"TOKEN": "hush"}))


def test_a_mapping_means_the_same_as_a_value() -> None:
    found = servers_of(
        {
            "One": {"command": "x", "args": ["-v"], "env": {"A": "1"}},
            "two": {"type": "streamable_http", "url": "https://h/mcp", "headers": {"A": "b"}},
            "three": {"type": "http", "url": "http://h", "required": False},
        }
    )
    assert found == {
        "one": Stdio(command="x", args=["-v"], env={"A": "1"}),
        "two": Http(url="https://h/mcp", headers={"A": "b"}),
        "three": Http(url="http://h", required=False),
    }


def test_nothing_is_started_before_the_worker_opens() -> None:
    assert Mcp({"a": {"command": "/no/such/program"}}).tools() == []


@given(st.lists(st.text(max_size=80), max_size=30, unique=True), st.randoms())
def test_every_tool_has_a_name_of_its_own_that_no_order_changes(tools: list[str], random: Any) -> None:
    names = names_of("server", tools)
    assert set(names) == set(tools)
    assert len(set(names.values())) == len(tools)
    for name in names.values():
        assert name.startswith("mcp__server__")
        assert len(name) <= 64
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    shuffled = list(tools)
    random.shuffle(shuffled)
    assert names_of("server", shuffled) == names


def test_a_name_is_lower_case_with_single_strokes() -> None:
    assert names_of("gh", ["Create.Issue", "list__all", "x" * 70]) == {
        "Create.Issue": "mcp__gh__create_issue",
        "list__all": "mcp__gh__list_all",
        "x" * 70: "mcp__gh__" + "x" * 46 + "_" + names_of("gh", ["x" * 70])["x" * 70][-8:],
    }


def test_a_schema_is_the_servers_own_with_what_every_provider_needs() -> None:
    assert schema_of({}) == {"type": "object", "properties": {}}
    assert schema_of({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}}) == {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {}},
    }
    assert schema_of({"required": "a"}) == {"type": "object", "properties": {}}
    assert schema_of({"required": ["a", 1]})["required"] == ["a"]
