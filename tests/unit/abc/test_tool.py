"""A decorated function is a tool: still callable, with its context, its effect, and a meaning for what it returns."""

from __future__ import annotations

import asyncio
import doctest
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import lash
from lash.abc.tool import Tool, ToolContext, tool
from lash.core.message import Media, Text, user
from lash.core.outcome import Failure
from lash.core.retry import Retry
from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput
from lash.errors import AttachmentMissing, InvalidAgent, InvalidValue, NotInProcess, ToolFailed
from lash.runtime.context import Context
from lash.testing.tools import tool_context


@dataclass
class Order:
    number: int


class Receipt(BaseModel):
    cents: int


@tool
async def find_order(ctx: ToolContext, email: str) -> Order:
    """Find the newest order."""
    return Order(len(email))


@tool
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


@tool
async def confirmed(ctx: Context, question: str) -> bool:
    """Ask somebody."""
    return await ctx.step(len, question) > 3


def nothing() -> None:
    """Nothing."""


def test_a_tool_is_still_the_function() -> None:
    assert asyncio.run(find_order(tool_context(), "a@b.c")) == Order(5)
    assert double(4) == 8


def test_it_is_invoked_with_its_context_where_it_takes_one() -> None:
    context = tool_context()
    assert asyncio.run(find_order.invoke(context, find_order.parse('{"email": "a@b.c"}'))) == Order(5)
    assert double.invoke(context, double.parse('{"number": 4}')) == 8
    assert [find_order.is_async, double.is_async, confirmed.is_async] == [True, False, True]


def test_the_first_annotation_says_where_it_runs() -> None:
    assert [find_order.in_body, double.in_body, confirmed.in_body] == [False, False, True]
    assert list(confirmed.spec.parameters["properties"]) == ["question"]  # type: ignore[call-overload]


def test_without_options_a_tool_may_be_called_again_and_beside_others() -> None:
    assert (double.effect, double.serial, double.retry, double.timeout_ms) == ("idempotent", False, None, None)


def test_options_are_kept() -> None:
    made = tool(name="n-1", description="Other words.", effect="pure", serial=True, retry=3, timeout="2s")(nothing)
    assert (made.name, made.description, made.effect, made.serial) == ("n-1", "Other words.", "pure", True)
    assert (made.retry, made.timeout_ms) == (Retry(attempts=3), 2_000)
    assert made.spec.name == "n-1"


class Shelf:
    def __init__(self) -> None:
        self.items = ["cup"]

    def has(self, item: str) -> bool:
        """Is it there?"""
        return item in self.items


def test_a_method_is_a_tool_of_its_object() -> None:
    made = tool(Shelf().has)
    assert (made.name, made.invoke(None, made.parse('{"item": "cup"}'))) == ("has", True)


class Till:
    """Its tools are methods, in each of the ways there are."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    @tool
    def holds(self, cents: int) -> bool:
        """Is there that much?"""
        return self.cents >= cents

    @tool(name="pay_in", effect="once", serial=True)
    async def pay(self, ctx: ToolContext, cents: int) -> str:
        """Pay in."""
        self.cents += cents
        return f"{self.cents} after {ctx.call_id}"

    @staticmethod
    @tool
    def rounded(cents: int) -> int:
        """To whole coins."""
        return cents // 5 * 5


def test_a_decorated_method_is_a_tool_of_each_object() -> None:
    one, other = Till(5), Till(50)
    assert [till.holds.invoke(None, {"cents": 10}) for till in (one, other)] == [False, True]
    assert asyncio.run(one.pay.invoke(tool_context(), one.pay.parse('{"cents": 7}'))) == "12 after call-1"
    assert (one.pay.name, one.pay.effect, one.pay.serial, one.pay.is_async) == ("pay_in", "once", True, True)
    assert list(one.pay.spec.parameters["properties"]) == ["cents"]  # type: ignore[call-overload]
    assert (one.holds(6), Till.holds(one, 60), one.rounded(7), Till.rounded(7)) == (True, False, 5, 5)
    assert lash.Agent("a", model="x:y", tools=[one.holds, one.pay, one.rounded]).tools[1].name == "pay_in"


def test_a_method_without_an_object_is_no_tool_of_an_agent() -> None:
    for made in (Till.holds, tool(name="h")(Shelf.has)):
        with pytest.raises(InvalidAgent, match="Take it from an object of the class"):
            lash.Agent("a", model="x:y", tools=[made])


def test_a_class_method_is_refused() -> None:
    def count(cls, cents: int) -> int:  # type: ignore[no-untyped-def]
        """Count."""
        return cents

    for method in (count, classmethod(count)):
        with pytest.raises(InvalidAgent, match=r"class ?method"):
            tool(method)  # type: ignore[arg-type]


def test_a_tool_kept_in_a_class_stays_what_it_is() -> None:
    class Box:
        doubled = double

    assert Box().doubled is double


@pytest.mark.parametrize("is_async", [False, True])
def test_a_generator_is_no_tool(is_async: bool) -> None:
    def lines(path: str) -> Iterator[str]:
        """Lines."""
        yield path

    async def async_lines(path: str) -> AsyncIterator[str]:
        """Lines."""
        yield path

    with pytest.raises(InvalidAgent, match=r"lines' is a generator, .* into a list"):
        tool(async_lines if is_async else lines)


def test_options_may_stand_beside_the_function() -> None:
    assert (tool(Shelf().has, name="there", serial=True).name, tool(Shelf().has, serial=True).serial) == ("there", True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "two words"}, "'two words'"),
        ({"name": "n" * 65}, "64"),
        ({"name": "é"}, "'é'"),
        ({"name": 3}, "3"),
        ({"description": 3}, "3"),
        ({"effect": "twice"}, "'twice'"),
        ({"effect": "once", "retry": 2}, "cannot be retried"),
        ({"retry": 0}, "1 to 1000"),
        ({"timeout": "soon"}, "'nothing': .*'soon'"),
        ({"timeout": 0}, "timeout of tool 'nothing' is more than 0"),
        ({"timeout": -1}, "'nothing': The timeout -1 is not between"),
        ({"timeout": [1]}, "'nothing': The timeout must be seconds"),
        ({"retry": "often"}, "retry of tool 'nothing' is a number of attempts or a lash.Retry, not 'often'"),
        ({"retry": True}, "retry of tool 'nothing' .* not True"),
        ({"serial": "yes"}, "serial of tool 'nothing' is True or False, not 'yes'"),
        ({"parallel": False}, "no option 'parallel', but these: name, .*unless their tools are serial=True"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidAgent, match=says):
        tool(**options)(nothing)


def test_what_is_no_function_is_refused() -> None:
    for item in (3, double):
        with pytest.raises(InvalidAgent):
            tool(item)  # type: ignore[arg-type]


def test_a_tool_of_the_body_has_steps_for_what_may_happen_once() -> None:
    async def pay(ctx: Context, cents: int) -> None:
        """Pay."""

    with pytest.raises(InvalidAgent, match="steps"):
        tool(effect="once")(pay)


def test_an_error_that_no_future_can_carry_is_still_an_error() -> None:
    @tool
    def first(items: list[int]) -> int:
        """The first of them."""
        return next(iter(items))

    with pytest.raises(RuntimeError, match="'first'"):
        first.invoke(None, {"items": []})


# Results -----------------------------------------------------------------------------------------------------------

PICTURE = Media("sha256:1", "image/png", 3)
SOLD_OUT = Failure("execution", "sold_out", "none is left")
RESULTS: dict[str, tuple[object, ToolOutput]] = {
    "text": ("hello", ToolOutput((Text("hello"),), "hello")),
    "nothing": (None, ToolOutput((Text("done"),))),
    "an output": (ToolOutput((Text("a"),), 1), ToolOutput((Text("a"),), 1)),
    "a dataclass": (Order(7), ToolOutput((Text('{"number":7}'),), {"number": 7})),
    "a model": (Receipt(cents=1), ToolOutput((Text('{"cents":1}'),), {"cents": 1})),
    "plain data": ({"a": [1, None]}, ToolOutput((Text('{"a":[1,null]}'),), {"a": [1, None]})),
    "false": (False, ToolOutput((Text("false"),), False)),
    "an empty list": ([], ToolOutput((Text("[]"),), [])),
    "texts": (["a", "b"], ToolOutput((Text('["a","b"]'),), ["a", "b"])),
    "a picture": (PICTURE, ToolOutput((PICTURE,))),
    "parts": ([Text("see"), PICTURE], ToolOutput((Text("see"), PICTURE))),
    "a pair of words and picture": (("see", PICTURE), ToolOutput((Text("see"), PICTURE))),
    "finish": (Finish(Order(7)), ToolOutput((Text("finished"),), {"number": 7}, control=Finish({"number": 7}))),
    "fail": (Fail(SOLD_OUT), ToolOutput((Text("[failed: sold_out] none is left"),), None, SOLD_OUT, Fail(SOLD_OUT))),
    "frame": (
        SwitchFrame("billing", "pay it", (user("I owe 3"),)),
        ToolOutput((Text("going on in 'billing'"),), control=SwitchFrame("billing", "pay it", (user("I owe 3"),))),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("value", "output"), RESULTS.values(), ids=RESULTS)
def test_a_result_is_content_for_the_model_and_a_value_for_programs(value: object, output: ToolOutput) -> None:
    assert double.output_of(value) == output


@pytest.mark.parametrize(
    "value",
    [
        object(), float("nan"), {"a": object()}, [PICTURE, object()], Finish(object()),
        SwitchFrame(" ", "x"), SwitchFrame("x", ""),
    ],
)  # fmt: skip
def test_a_result_that_means_nothing_is_the_developers_fault(value: object) -> None:
    with pytest.raises(InvalidValue):
        double.output_of(value)


# The context -------------------------------------------------------------------------------------------------------


def test_the_context_says_what_the_call_is() -> None:
    deps, app = object(), object()
    ctx = tool_context(session_id="chat-1", turn=4, call_id="c9", idempotency_key="k", attempt=2, deps=deps, app=app)
    assert (ctx.session_id, ctx.turn, ctx.call_id, ctx.idempotency_key, ctx.attempt) == ("chat-1", 4, "c9", "k", 2)
    assert ctx.deps is deps
    assert ctx.app is app
    assert not ctx.cancelled
    ctx.cancel()
    assert ctx.cancelled


async def kept(data: bytes, media_type: str) -> tuple[Media, bytes]:
    ctx = tool_context()
    media = await ctx.put(data, media_type, "a label")
    return media, await ctx.get(media)


def test_attachments_are_kept_by_reference() -> None:
    media, data = asyncio.run(kept(b"abc", "image/png"))
    assert (media.media_type, media.size_bytes, media.label, data) == ("image/png", 3, "a label", b"abc")
    assert media.ref == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("data", "media_type", "says"),
    [
        (b"", "image/png", "1 to 33554432 bytes, not 0"),
        (b"x" * (32 * 1024 * 1024 + 1), "image/png", "not 33554433"),
        ("text", "text/plain", "not str"),
        (b"abc", "image/tiff", "image/webp, .* not 'image/tiff'"),
        (b"abc", "", "not ''"),
    ],
    ids=["empty", "too large", "no bytes", "tiff", "untyped"],
)
def test_other_attachments_are_refused(data: Any, media_type: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        asyncio.run(kept(data, media_type))


def test_an_attachment_that_is_gone_is_an_error_of_its_own() -> None:
    with pytest.raises(AttachmentMissing, match="sha256:0"):
        asyncio.run(tool_context().get(Media("sha256:0", "image/png", 1)))


def test_a_tool_says_what_went_wrong() -> None:
    failure = ToolFailed("The shop is closed.", code="closed", failure_class="unavailable", raw={"opens": 9})
    assert (str(failure), failure.code, failure.failure_class, failure.raw) == (
        "The shop is closed.", "closed", "unavailable", {"opens": 9},
    )  # fmt: skip
    assert (ToolFailed("no").code, ToolFailed("no").failure_class) == ("tool_failed", "execution")


def test_tools_of_foreign_schemas_have_options_too() -> None:
    made = Tool.of_schema("far", "Far.", {"type": "object"}, lambda ctx, a: a, effect="once", serial=True, timeout="1m")
    assert (made.effect, made.serial, made.timeout_ms, made.in_body) == ("once", True, 60_000, False)
    with pytest.raises(InvalidAgent):
        Tool.of_schema("far away", "Far.", {"type": "object"}, lambda ctx, a: a)
    with pytest.raises(InvalidAgent, match="'far': The timeout 'soon'"):
        Tool.of_schema("far", "Far.", {"type": "object"}, lambda ctx, a: a, timeout="soon")


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(sys.modules["lash.testing.tools"]).failed == 0


@lash.process
async def twice_as_much(ctx: lash.Context, number: int) -> int:
    return 2 * number


@tool
async def starts_two(ctx: ToolContext, number: int) -> list[str]:
    """Start two."""
    return [
        (await ctx.start(twice_as_much, number)).id,
        (await ctx.start(twice_as_much, number, id="named", detached=True)).id,
    ]


def test_a_tool_that_starts_processes_is_tested_with_a_runtime() -> None:
    with pytest.raises(NotInProcess, match="tool_context"):
        asyncio.run(starts_two(tool_context(), 1))

    async def main() -> None:
        app = lash.Runtime("memory://", engine="inline")
        app.include(twice_as_much)
        async with app:
            ids = await starts_two(tool_context(app=app, idempotency_key="k"), 4)
            assert ids == ["k.1", "named"]
            assert [await app.handle(each) for each in ids] == [8, 8]

    asyncio.run(main())
