"""A tool's schema is what its signature and docstring say, and a call that does not fit it is answered in words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from lash.abc.tool import Tool, ToolContext, tool
from lash.abc.tool_schema import described
from lash.errors import InvalidAgent, ToolFailed
from lash.runtime.context import Context


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    city: str
    zip: str | None = None


@dataclass
class Parcel:
    grams: int
    to: Address


class Opaque:
    pass


@tool
async def ship(
    ctx: ToolContext,
    parcel: Parcel,
    limit: int,
    email: Annotated[str, Field(description="Who to tell.", min_length=3)],
    colour: Colour = Colour.RED,
    speed: Literal["slow", "fast"] = "slow",
    on: date | None = None,
    tags: list[str] = [],  # noqa: B006  # a model never changes it
) -> str:
    """Ship a parcel.

    It is gone then.

    Args:
        limit (int): The most to pay,
            note: in cents.
        colour: Of the paper.

    Returns:
        Nothing of interest.
    """
    return "shipped"


def refusal(arguments: str, of: Tool[..., Any] = ship) -> list[str]:
    with pytest.raises(ToolFailed) as caught:
        of.parse(arguments)
    assert (caught.value.code, caught.value.failure_class) == ("invalid_tool_args", "invalid_request")
    return str(caught.value).splitlines()


def test_the_model_is_told_name_description_and_schema() -> None:
    assert (ship.spec.name, ship.spec.description) == ("ship", "Ship a parcel.\n\nIt is gone then.")
    assert ship.spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["parcel", "limit", "email"],
        "properties": {
            "parcel": {"$ref": "#/$defs/Parcel"},
            "limit": {"type": "integer", "description": "The most to pay, note: in cents."},
            "email": {"type": "string", "description": "Who to tell.", "minLength": 3},
            "colour": {"$ref": "#/$defs/Colour", "default": "red", "description": "Of the paper."},
            "speed": {"type": "string", "enum": ["slow", "fast"], "default": "slow"},
            "on": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "$defs": {
            "Address": {
                "type": "object",
                "required": ["city"],
                "properties": {
                    "city": {"type": "string"},
                    "zip": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                },
            },
            "Colour": {"type": "string", "enum": ["red", "blue"]},
            "Parcel": {
                "type": "object",
                "additionalProperties": False,
                "required": ["grams", "to"],
                "properties": {"grams": {"type": "integer"}, "to": {"$ref": "#/$defs/Address"}},
            },
        },
    }


def test_arguments_come_as_the_types_of_the_signature() -> None:
    text = (
        '{"parcel": {"grams": 5, "to": {"city": "Rome"}}, "limit": "10", "email": "a@b", "colour": "blue",'
        ' "on": "2026-11-26"}'
    )
    assert ship.parse(text) == {
        "parcel": Parcel(5, Address(city="Rome")),
        "limit": 10,
        "email": "a@b",
        "colour": Colour.BLUE,
        "speed": "slow",
        "on": date(2026, 11, 26),
        "tags": [],
    }
    assert ship.parse_object({"parcel": {"grams": 5, "to": {"city": "Rome"}}, "limit": 1, "email": "a@b"})["limit"] == 1


def test_all_that_does_not_fit_is_said_at_once_with_its_place() -> None:
    lines = refusal(
        '{"parcel": {"grams": 1, "to": {"zip": 5}, "colour": 1}, "limit": "ten", "email": "a", "colour": "green",'
        ' "speed": "warp", "tags": ["a", 3], "fast": true}'
    )
    places = [line.split(":")[0] for line in lines]
    assert sorted(places) == sorted(
        ["arguments.parcel.to.city", "arguments.parcel.to.zip", "arguments.parcel.colour", "arguments.limit",
         "arguments.email", "arguments.colour", "arguments.speed", "arguments.tags[1]", "arguments.fast"]
    )  # fmt: skip
    (limit,) = [line for line in lines if line.startswith("arguments.limit")]
    assert "integer" in limit
    assert limit.endswith('got "ten"')
    assert "arguments.parcel.to.city: is missing" in lines
    assert (
        "arguments.fast: there is no such argument (arguments: parcel, limit, email, colour, speed, on, tags)" in lines
    )
    (nested,) = [line for line in lines if line.startswith("arguments.parcel.colour")]
    assert "limit" not in nested  # the arguments of the tool are not the fields of the parcel


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"limit": 3', "line 1 column 12"),
        ("nope", "line 1 column 1"),
        ('{"limit": NaN}', "NaN is no JSON number"),
        ('{"limit": -Infinity}', "-Infinity is no JSON number"),
        ("[1]", "must be a JSON object, not [1]"),
        ('"ship it"', 'must be a JSON object, not "ship it"'),
        ("null", "must be a JSON object, not null"),
        ("[" * 100_000, "no valid JSON"),
        ('{"limit": ' + "9" * 5_000 + "}", "no valid JSON"),
    ],
)
def test_text_that_is_no_object_is_refused_and_says_where(text: str, says: str) -> None:
    (line,) = refusal(text)
    assert says in line
    assert len(line) < 400


@pytest.mark.parametrize("text", ['{"word": "\\ud800"}', '{"word": ' + "[" * 900 + "]" * 900 + "}"])
def test_what_no_store_could_keep_is_refused(text: str) -> None:
    @tool
    def say(word: object) -> None:
        """Say it."""

    assert "invalid JSON" in refusal(text, say)[0]


def test_a_shown_value_is_cut() -> None:
    (line,) = [line for line in refusal('{"limit": "' + "x" * 10_000 + '"}') if "limit" in line]
    assert len(line) < 250


def test_no_arguments_are_an_empty_object() -> None:
    @tool
    def now() -> str:
        """The time."""
        return "noon"

    assert now.parse("") == now.parse("  ") == now.parse("{}") == {}
    assert now.spec.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert refusal('{"zone": "UTC"}', now) == ["arguments.zone: there is no such argument (arguments: none)"]


def test_any_parameter_name_may_be_used() -> None:
    def odd(
        schema: str, json: int, model_config: str, _low: int, parse_obj: int, lash_names: str, self_: int = 7
    ) -> str:
        """Odd."""
        return f"{schema} {json} {model_config} {_low} {parse_obj} {lash_names} {self_}"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = tool(odd)
    names = ["schema", "json", "model_config", "_low", "parse_obj", "lash_names"]
    assert made.spec.parameters["required"] == names
    arguments = made.parse('{"schema":"s","json":1,"model_config":"m","_low":2,"parse_obj":3,"lash_names":"n"}')
    assert made.invoke(None, arguments) == "s 1 m 2 3 n 7"
    assert refusal('{"argument_schema":"s"}', made)[-1].startswith("arguments.argument_schema: there is no such")


def test_a_default_the_model_cannot_be_shown_is_still_the_default() -> None:
    unset = Opaque()

    def find(text: str, limit: object = unset) -> object:
        """Find."""
        return limit

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = tool(find)
    assert made.spec.parameters["required"] == ["text"]
    assert made.invoke(None, made.parse('{"text": "a"}')) is unset


def test_a_model_without_a_schema_gets_its_required_names_checked() -> None:
    seen: list[object] = []
    foreign = Tool.of_schema(
        "far",
        "Far away.",
        {"type": "object", "required": ["a", "b"]},
        lambda ctx, arguments: seen.append((ctx, arguments)),
    )
    assert refusal('{"b": 1}', foreign) == ["arguments: missing a."]
    assert foreign.parse('{"a": "x", "b": 1, "c": null}') == {"a": "x", "b": 1, "c": None}
    foreign.invoke("ctx", {"a": 1})
    assert seen == [("ctx", {"a": 1})]
    assert foreign.spec.parameters == {"type": "object", "required": ["a", "b"]}


# Docstrings --------------------------------------------------------------------------------------------------------

DOCSTRINGS: dict[str, tuple[str, str, dict[str, str]]] = {
    "none": ("", "", {}),
    "text alone": ("Find it.\n\nNote: slow.", "Find it.\n\nNote: slow.", {}),
    "google": (
        "Find it.\n\nArgs:\n    a: one\n    b (dict[str, int], optional): two,\n        i.e.: three\n\n    c: four",
        "Find it.", {"a": "one", "b": "two, i.e.: three", "c": "four"},
    ),
    "text behind the section": ("Find it.\n\nArgs:\n  a: one\n\nIt is slow.", "Find it.\n\nIt is slow.", {"a": "one"}),
    "other sections": (
        "Find it.\n\nArgs:\n  a: one\nRaises:\n  b: never\n\n  c: nor this\nEnd.", "Find it.\n\nEnd.", {"a": "one"},
    ),
    "fields": (
        "Find it.\n\n:param a: one\n    and more\n:param int b: two\n:returns: x\n    y\n:rtype: int\nEnd.",
        "Find it.\n\nEnd.", {"a": "one and more", "b": "two"},
    ),
    "a word that only looks like a section": ("Args: none at all.", "Args: none at all.", {}),
}  # fmt: skip


@pytest.mark.parametrize(("doc", "text", "parameters"), DOCSTRINGS.values(), ids=DOCSTRINGS)
def test_what_a_docstring_says_of_parameters_goes_to_them(doc: str, text: str, parameters: dict[str, str]) -> None:
    found, described_parameters = described(doc)
    assert (" ".join(found.split()), described_parameters) == (" ".join(text.split()), parameters)


# Refused at decoration ---------------------------------------------------------------------------------------------


def undocumented(a: int) -> None: ...


def many(*words: str) -> None:
    """Doc."""


def open_ended(**words: str) -> None:
    """Doc."""


def by_place(a: int, /) -> None:
    """Doc."""


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """Doc."""


def opaque(a: Opaque) -> None:
    """Doc."""


def calls_back(a: int, b: Callable[[], int]) -> None:
    """Doc."""


def two_contexts(ctx: ToolContext, other: Context) -> None:
    """Doc."""


def late_context(a: int, ctx: ToolContext) -> None:
    """Doc."""


def keyword_context(*, ctx: ToolContext) -> None:
    """Doc."""


def many_contexts(*ctx: ToolContext) -> None:
    """Doc."""


def maybe_context(ctx: ToolContext | None, a: int) -> None:
    """Doc."""


def untyped_context(ctx, a: int) -> None:  # type: ignore[no-untyped-def]
    """Doc."""


def field_default(a: int = Field(description="x")) -> None:
    """Doc."""


def unknown_type(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Doc."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (undocumented, ["'undocumented'", "docstring"]),
        (many, ["'many'", "'words'", "take a list"]),
        (open_ended, ["'open_ended'", "'words'", "take a dict"]),
        (by_place, ["'by_place'", "'a'", "take the '/' out"]),
        (untyped, ["'untyped'", "'a'", "Annotate"]),
        (opaque, ["'opaque'", "'a'", "Opaque"]),
        (calls_back, ["'calls_back'", "'b'", "Callable"]),
        (two_contexts, ["'two_contexts'", "only one"]),
        (late_context, ["'late_context'", "first"]),
        (keyword_context, ["'keyword_context'", "first", "(ctx: lash.ToolContext, ...)"]),
        (many_contexts, ["'many_contexts'", "first"]),
        (maybe_context, ["'maybe_context'", "annotated with nothing else"]),
        (untyped_context, ["'untyped_context'", "'ctx'", "Annotate it as lash.ToolContext"]),
        (field_default, ["'field_default'", "'a'", "Annotated"]),
        (unknown_type, ["'unknown_type'", "Nowhere", "TYPE_CHECKING"]),
    ],
)
def test_a_function_that_can_be_no_tool_is_refused_with_the_culprit(function: Any, says: list[str]) -> None:
    with pytest.raises(InvalidAgent) as caught:
        tool(function)
    assert [word for word in says if word not in str(caught.value)] == []
