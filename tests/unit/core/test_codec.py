"""What is written can be read back equal; what cannot be is refused before it is written."""

from __future__ import annotations

import enum
import json
import math
import subprocess
import sys
import tracemalloc
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel

from lash.core import codec
from lash.errors import InvalidValue

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_back_equal(value: Any) -> None:
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert json.loads(data) == value


@given(JSON)
def test_what_comes_back_is_written_the_same_again(value: Any) -> None:
    data = codec.encode(value)
    assert codec.encode(codec.decode(data)) == data


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Word(str, enum.Enum):
    YES = "yes"


@dataclass
class Point:
    x: int
    tags: set[str] = field(default_factory=set)


class Model(BaseModel):
    when: datetime
    point: Point


Pair = namedtuple("Pair", "a b")
RICH: list[tuple[Any, Any]] = [
    ((1, (2, 3)), [1, [2, 3]]),
    ({2: "a", None: "b", True: "c"}, {"2": "a", "null": "b", "true": "c"}),
    ({(1, 2): 3}, {"1,2": 3}),
    (Point(1, {"a"}), {"x": 1, "tags": ["a"]}),
    (
        Model(when=datetime(2024, 1, 2, tzinfo=UTC), point=Point(2)),
        {"when": "2024-01-02T00:00:00Z", "point": {"x": 2, "tags": []}},
    ),
    (Colour.RED, "red"),
    (Size.BIG, 3),
    (Word.YES, "yes"),
    (Pair(1, 2), [1, 2]),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (Decimal("1.50"), "1.50"),
    (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (timedelta(hours=1), "PT1H"),
    (b"bytes", "bytes"),
    ({"nested": [Point(3)]}, {"nested": [{"x": 3, "tags": []}]}),
    (10**40, 10**40),
    (-0.0, -0.0),
]


@pytest.mark.parametrize(("value", "plain"), RICH, ids=lambda item: str(item)[:20])
def test_what_is_more_than_json_becomes_plain(value: Any, plain: Any) -> None:
    assert codec.decode(codec.encode(value)) == plain


def circle() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def deep(levels: int, kind: str = "list") -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"k": value}
    return value


BAD: dict[str, Any] = {
    "nan": math.nan,
    "infinity": {"k": [math.inf]},
    "nan of a model": Point(math.nan),  # type: ignore[arg-type]
    "surrogate": "half \ud800 a pair",
    "surrogate key": {"\udfff": 1},
    "object": object(),
    "function": print,
    "not utf-8": b"\xff",
    "circle": circle(),
    "too deep": deep(151),
    "far too deep": deep(100_000),
    "too deep in objects": deep(151, "dict"),
    "too many digits": 10**5_000,
    "too large": "x" * (4 * 1024 * 1024),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        codec.encode(BAD[name], "thing")
    assert caught.value.code == "invalid_value"
    assert caught.value.fields["what"] == "thing"
    assert "thing" in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_the_deepest_allowed_nesting_is_read_back(kind: str) -> None:
    value = deep(150, kind)
    assert codec.decode(codec.encode(value)) == value


def test_many_shallow_containers_are_not_deep() -> None:
    value = [[number] for number in range(1_000)]
    assert codec.decode(codec.encode(value)) == value


def test_the_largest_allowed_value_is_stored() -> None:
    value = "x" * (4 * 1024 * 1024 - 2)
    assert len(codec.encode(value)) == 4 * 1024 * 1024


# Fingerprints ------------------------------------------------------------------------------------------------------


@given(st.dictionaries(TEXT, JSON, min_size=2, max_size=6))
def test_the_order_of_a_mapping_does_not_show(mapping: dict[str, Any]) -> None:
    turned = dict(reversed(mapping.items()))
    assert codec.fingerprint("f", mapping) == codec.fingerprint("f", turned)
    assert codec.fingerprint("f", {"in": [mapping]}) == codec.fingerprint("f", {"in": [turned]})


@given(JSON, JSON)
def test_different_values_have_different_fingerprints(one: Any, other: Any) -> None:
    same = codec.encode(codec.plain(one)) == codec.encode(codec.plain(other))
    assert (codec.fingerprint("f", one) == codec.fingerprint("f", other)) is same


DISTINCT: list[Any] = [
    1, 1.5, True, "1", None, "None", [1], {"1": 1}, [], {}, "", [None], [[]], "\ud800", "ud800", b"\xff", object, print,
]  # fmt: skip


def test_look_alikes_are_told_apart() -> None:
    prints = [codec.fingerprint("f", item) for item in DISTINCT]
    for first, one in enumerate(DISTINCT):
        for second, other in enumerate(DISTINCT[:first]):
            assert prints[first] != prints[second], (one, other)


def test_the_family_and_the_number_of_parts_belong_to_the_fingerprint() -> None:
    assert codec.fingerprint("a/1", 1) != codec.fingerprint("b/1", 1)
    assert codec.fingerprint("a/1", 1, 2) != codec.fingerprint("a/1", [1, 2])
    assert codec.fingerprint("a/1", 1) != codec.fingerprint("a/1", 1, None)


def test_a_call_is_told_by_its_arguments_and_nothing_else() -> None:
    call = codec.call_fingerprint
    assert call("s", (1, "a"), {}) == call("s", (1, "a"), {})
    assert call("s", (1, "a"), {}) != call("s", ("a", 1), {})
    assert call("s", (1,), {}) != call("s", (1.0,), {})
    assert call("s", (1,), {}) != call("s", (True,), {})
    assert call("s", (), {"a": 1, "b": 2}) == call("s", (), {"b": 2, "a": 1})
    assert call("s", (1,), {}) != call("s", (), {"a": 1})
    assert call("s", ([1],), {}) != call("s", ([2],), {})


SCRIPT = """
from tests.unit.core.test_codec import Model, Point
from lash.core.codec import fingerprint
from datetime import datetime, UTC
words = {f"word {n}" for n in range(30)}
print(fingerprint("f", words, frozenset(words), {"k": words}, [Point(1, words)],
                  Model(when=datetime(2024, 1, 2, tzinfo=UTC), point=Point(2, words))))
"""


def test_sets_in_arguments_hash_alike_in_every_python_process() -> None:
    """Also inside dataclasses and models, whose JSON follows the order of the set."""
    found = set()
    for seed in ("1", "2", "3"):
        environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert len(found.pop()) == 32


def test_what_has_no_json_form_stands_as_its_type() -> None:
    class Client:
        pass

    assert codec.fingerprint("f", Client()) == codec.fingerprint("f", Client())
    assert codec.fingerprint("f", Client()) != codec.fingerprint("f", object())
    assert codec.fingerprint("f", MappingProxyType({"a": 1})) == codec.fingerprint("f", {"a": 1})


def test_fingerprints_do_not_change_between_releases() -> None:
    """Stored journals hold them: a change here would make every running process diverge."""
    assert codec.fingerprint("lash.step/1", [1, "a"], {"k": None}) == FIXED[0]
    assert codec.call_fingerprint("lash.step/1", (1, "a"), {}) == FIXED[1]
    assert codec.fingerprint("lash.definition/1", "python", "digest", [["README.md"], {}]) == FIXED[2]


FIXED = [
    "23c747029c28ac8323ef58a60e92bdf8",
    "0b5cba2020449232eb58fff681e0f61e",
    "e5330ab565ffe61717b385637fb706cb",
]


def test_a_circle_is_found_at_once_and_not_at_the_limit_of_recursion() -> None:
    """What stands before it would be encoded a thousand times, on the event loop of a worker."""
    value: list[Any] = ["x" * 100_000]
    value.append(value)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue, match="Circular reference"):
            codec.encode(value)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
