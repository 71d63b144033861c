"""What fits the strict copy of a schema fits the schema too; the schema itself is never touched."""

from __future__ import annotations

import copy

import pytest

from lash.providers.asking import strict_schema

CITY = {"type": "object", "properties": {"name": {"type": "string", "default": "Bonn"}}}


def test_objects_are_closed_and_require_all_they_have_at_every_depth() -> None:
    schema: dict[str, object] = {
        "$defs": {"City": CITY},
        "type": "object",
        "properties": {
            "home": {"$ref": "#/$defs/City", "description": "where"},
            "trips": {"type": "array", "items": CITY},
            "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "default": None},
            "default": {"oneOf": [CITY, {"type": "string"}]},
        },
        "required": ["home"],
    }
    before = copy.deepcopy(schema)
    city = {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    assert strict_schema(schema) == {
        "$defs": {"City": city},
        "type": "object",
        "properties": {
            "home": {"$ref": "#/$defs/City"},
            "trips": {"type": "array", "items": city},
            "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
            "default": {"anyOf": [city, {"type": "string"}]},
        },
        "required": ["home", "trips", "age", "default"],
        "additionalProperties": False,
    }
    assert schema == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"allOf": [CITY, CITY]}}},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {}, "patternProperties": {"x": {}}},
    ],
)
def test_what_has_no_strict_copy_has_none(schema: dict[str, object]) -> None:
    before = copy.deepcopy(schema)
    assert strict_schema(schema) is None
    assert schema == before
