"""A limited provider is asked so much and no more, in the order of coming; who leaves takes no place along."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

import lash
from lash.abc.provider import Provider
from lash.abc.tool import tool
from lash.core.message import Text
from lash.core.model import Chunk, ModelInfo, ModelReply, ModelRequest, Usage
from lash.core.turn import Finished, Stopped
from lash.errors import InvalidArguments, ProviderError
from lash.providers import limited, provider_of
from lash.providers.limiting import Budget
from lash.testing import ScriptedModel, simulate
from lash.testing.model import Say
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import host


@dataclass
class Vendor:
    """Answers after ``takes_s``, or fails with the next of ``errors``; knows who asked when, and how many at once."""

    takes_s: float = 0.0
    usage: Usage = field(default_factory=lambda: Usage(5, 5))
    errors: Sequence[Exception | None] = ()
    name: str = "vendor"

    def __post_init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.now = self.most = 0
        self.left = list(self.errors)

    def info(self, model: str) -> ModelInfo:
        return ModelInfo(context_tokens=len(model))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk]:
        loop = asyncio.get_running_loop()
        self.begun.append((request.model, round(loop.time(), 3)))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.takes_s)
            if self.left and (error := self.left.pop(0)) is not None:
                raise error
            yield ModelReply((Text("yes"),), "stop", self.usage)
        finally:
            self.now -= 1

    async def close(self) -> None:
        self.name = "closed"


def request(name: str = "m", tokens: int = 10) -> ModelRequest:
    """One that is estimated at so many tokens."""
    return ModelRequest(name, "word" * tokens, ())


async def ask(provider: Provider, name: str = "m", tokens: int = 10) -> str:
    said = ""
    async for chunk in provider.stream(request(name, tokens)):
        assert isinstance(chunk, ModelReply)
        said += chunk.text
    return said


async def settled(*work: Coroutine[Any, Any, str]) -> list[str | BaseException]:
    return await asyncio.gather(*work, return_exceptions=True)


def busy(retry_after_ms: int | None = 30_000, kind: str = "rate_limit") -> ProviderError:
    return ProviderError("Slow down", kind=kind, retryable=True, retry_after_ms=retry_after_ms)


# The value ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "limits nothing"),
        ({"per": "1h"}, "limits nothing"),
        ({"concurrent": 0}, "concurrent must be a whole number from 1, not 0"),
        ({"requests": -1}, "requests must be"),
        ({"requests": 1.5}, "requests must be"),
        ({"tokens": True}, "tokens must be"),
        ({"tokens": "9"}, "tokens must be"),
        ({"tokens": 9, "per": 0}, "per must be longer than 0"),
        ({"tokens": 9, "per": -1}, "per of a RateLimit"),
        ({"tokens": 9, "per": "minute"}, "per of a RateLimit 'minute' is not understood"),
        ({"tokens": 9, "per": None}, "per of a RateLimit"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArguments, match=named):
        lash.RateLimit(**wrong)


def test_a_limit_is_a_value() -> None:
    assert lash.RateLimit(2, requests=3) == lash.RateLimit(2, 3, None, "1m")
    assert lash.RateLimit(tokens=5, per="2s").per_ms == 2_000
    with pytest.raises(AttributeError):
        lash.RateLimit(2).concurrent = 3  # type: ignore[misc]


def test_what_limits_must_be_a_limit() -> None:
    with pytest.raises(InvalidArguments, match=r"lash\.RateLimit"):
        limited(Vendor(), 5)  # type: ignore[arg-type]


def test_a_provider_made_by_its_prefix_takes_one() -> None:
    provider = provider_of("openai", api_key="k", rate_limit=lash.RateLimit(3))
    assert provider.name == "openai"
    assert provider.info("gpt-5").price is not None
    assert type(provider) is type(limited(Vendor(), lash.RateLimit(1)))


@virtual
async def test_what_is_limited_is_the_same_provider_otherwise() -> None:
    vendor = Vendor()
    provider = limited(vendor, lash.RateLimit(1))
    assert (provider.name, provider.info("four").context_tokens) == ("vendor", 4)
    model = ScriptedModel([Say("one two", reasoning="hm", calls=[("f", {})])])
    plain = [chunk async for chunk in ScriptedModel(model.lines).stream(request())]
    assert [chunk async for chunk in limited(model, lash.RateLimit(1)).stream(request())] == plain
    await provider.close()
    assert vendor.name == "closed"


# Bounds ------------------------------------------------------------------------------------------------------------


@virtual
async def test_no_more_than_so_many_are_at_work_and_they_begin_in_the_order_of_coming() -> None:
    vendor = Vendor(takes_s=1)
    provider = limited(vendor, lash.RateLimit(concurrent=2))
    assert await settled(*(ask(provider, name) for name in "abcde")) == ["yes"] * 5
    assert vendor.begun == [("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 2)]
    assert vendor.most == 2


@virtual
async def test_so_many_are_begun_in_any_period_and_no_more() -> None:
    vendor = Vendor()
    provider = limited(vendor, lash.RateLimit(requests=2, per="10s"))

    async def later(name: str, at_s: float) -> str:
        await asyncio.sleep(at_s)
        return await ask(provider, name)

    await settled(later("a", 0), later("b", 4), later("c", 5), later("d", 6), later("e", 30))
    assert vendor.begun == [("a", 0), ("b", 4), ("c", 10), ("d", 14), ("e", 30)]


@virtual
async def test_tokens_are_charged_before_the_call_as_they_are_estimated() -> None:
    vendor = Vendor(usage=Usage(50, 0))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await settled(*(ask(provider, name, 50) for name in "abcde"))
    assert vendor.begun == [("a", 0), ("b", 0), ("c", 60), ("d", 60), ("e", 120)]


@virtual
async def test_who_needs_much_is_not_passed_by_those_who_need_little() -> None:
    vendor = Vendor(usage=Usage(60, 0))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await settled(ask(provider, "a", 60), ask(provider, "b", 60), ask(provider, "c", 10))
    assert vendor.begun == [("a", 0), ("b", 60), ("c", 60)]


@virtual
async def test_a_call_that_used_less_gives_the_rest_back_at_once() -> None:
    vendor = Vendor(takes_s=2, usage=Usage(3, 3, 3, 1))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await settled(ask(provider, "a", 100), ask(provider, "b", 90), ask(provider, "c", 80))
    assert vendor.begun == [("a", 0), ("b", 2), ("c", 4)]


@virtual
async def test_a_call_that_used_more_is_charged_the_rest_when_it_is_known() -> None:
    vendor = Vendor(takes_s=5, usage=Usage(10, 85))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await ask(provider, "a", 10)  # 10 until 60, and 85 more until 65
    await settled(ask(provider, "b", 5), ask(provider, "c", 10))
    assert vendor.begun == [("a", 0), ("b", 5), ("c", 65)]


@virtual
@pytest.mark.parametrize(("used", "then_s"), [(40, 100), (60, 160)])
async def test_a_call_longer_than_the_period_is_counted_right(used: int, then_s: int) -> None:
    vendor = Vendor(takes_s=100, usage=Usage(used, 0))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await ask(provider, "a", 50)  # counted until 60
    await settled(ask(provider, "b", 100), ask(provider, "c", 100))
    assert vendor.begun == [("a", 0), ("b", then_s), ("c", then_s + 60)]


@virtual
async def test_a_count_that_comes_too_late_to_matter_changes_nothing() -> None:
    vendor = Vendor(takes_s=100, usage=Usage(40, 0))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    first = asyncio.create_task(ask(provider, "a", 50))
    await asyncio.sleep(80)
    await settled(ask(provider, "b", 50))  # looks at the budget, in which a is no more
    await first
    await settled(ask(provider, "c", 50), ask(provider, "d", 50))
    assert vendor.begun == [("a", 0), ("b", 80), ("c", 180), ("d", 180)]


def test_what_counts_no_more_is_not_kept() -> None:
    budget = Budget(10, 60.0)
    for minute in range(1_000):
        assert budget.free_at(6, minute * 60.0) == minute * 60.0
        budget.take(6, minute * 60.0)
    assert (len(budget.charges), budget.used) == (1, 6)


@virtual
async def test_a_vendor_that_counts_nothing_and_a_call_that_fails_leave_the_estimate() -> None:
    vendor = Vendor(usage=Usage(), errors=[None, ProviderError("no", kind="http", retryable=True)])
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await settled(*(ask(provider, name, 50) for name in "abc"))
    assert vendor.begun == [("a", 0), ("b", 0), ("c", 60)]


@virtual
async def test_a_call_larger_than_the_budget_goes_alone_once_the_budget_is_full() -> None:
    vendor = Vendor(usage=Usage(500, 0))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await ask(provider, "a", 500)
    await settled(ask(provider, "b", 600), ask(provider, "c", 1), ask(provider, "d", 100))
    assert vendor.begun == [("a", 0), ("b", 60), ("c", 120), ("d", 180)]


@virtual
async def test_all_bounds_hold_together() -> None:
    vendor = Vendor(takes_s=1, usage=Usage(10, 0))
    provider = limited(vendor, lash.RateLimit(concurrent=2, requests=5, tokens=30, per="10s"))
    await settled(*(ask(provider, name) for name in "abcdefg"))
    assert vendor.begun == [("a", 0), ("b", 0), ("c", 1), ("d", 10), ("e", 10), ("f", 11), ("g", 20)]


# When the vendor wants a pause --------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("kind", ["rate_limit", "overloaded"])
async def test_a_wish_for_a_pause_holds_everybody_back(kind: str) -> None:
    vendor = Vendor(takes_s=1, errors=[busy(kind=kind)])
    provider = limited(vendor, lash.RateLimit(concurrent=2))
    first, *_ = await settled(*(ask(provider, name) for name in "abcd"))
    assert isinstance(first, ProviderError)
    assert vendor.begun == [("a", 0), ("b", 0), ("c", 31), ("d", 31)]


@virtual
@pytest.mark.parametrize(("error", "then_s"), [(busy(None), 1), (busy(kind="http"), 1), (busy(10**9), 121)])
async def test_only_a_wish_of_the_busy_is_heeded_and_within_a_bound(error: ProviderError, then_s: int) -> None:
    vendor = Vendor(takes_s=1, errors=[error])
    provider = limited(vendor, lash.RateLimit(concurrent=1))
    await settled(ask(provider, "a"), ask(provider, "b"))
    assert vendor.begun == [("a", 0), ("b", then_s)]


@virtual
async def test_a_pause_that_comes_while_others_wait_for_the_budget_is_longer_than_their_wait() -> None:
    vendor = Vendor(takes_s=2, errors=[busy(30_000)])
    provider = limited(vendor, lash.RateLimit(requests=1, per="10s"))
    await settled(ask(provider, "a"), ask(provider, "b"))
    assert vendor.begun == [("a", 0), ("b", 32)]


# Leaving -----------------------------------------------------------------------------------------------------------


@virtual
async def test_who_leaves_while_waiting_takes_no_place_along() -> None:
    vendor = Vendor(takes_s=1)
    provider = limited(vendor, lash.RateLimit(concurrent=1, requests=3, per="1h"))
    tasks = [asyncio.create_task(ask(provider, name)) for name in "abcde"]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert vendor.begun == [("a", 0), ("d", 1), ("e", 2)]
    assert [task.cancelled() for task in tasks] == [False, True, True, False, False]


@virtual
async def test_the_head_of_the_queue_that_leaves_lets_the_next_go() -> None:
    vendor = Vendor(usage=Usage(10, 0))
    provider = limited(vendor, lash.RateLimit(tokens=100))
    await ask(provider, "a", 50)
    large, small = (asyncio.create_task(ask(provider, name, many)) for name, many in (("b", 100), ("c", 50)))
    await asyncio.sleep(3)
    large.cancel()
    await asyncio.wait([large, small])
    assert vendor.begun == [("a", 0), ("c", 3)]


@virtual
@pytest.mark.parametrize(
    ("limit", "tokens"),
    [
        (lash.RateLimit(concurrent=1, requests=2, tokens=20, per="1h"), 10),
        (lash.RateLimit(concurrent=1, tokens=20, per="1s"), 500),  # the whole budget
    ],
)
async def test_who_leaves_in_the_moment_its_turn_comes_gives_everything_back(limit: Any, tokens: int) -> None:
    vendor = Vendor(takes_s=1)
    provider = limited(vendor, limit)

    async def ask_and_cancel() -> None:
        await ask(provider, "a")
        second.cancel()  # its turn has just come, and it does not know it yet

    first = asyncio.create_task(ask_and_cancel())
    second = asyncio.create_task(ask(provider, "b"))
    third = asyncio.create_task(ask(provider, "c", tokens))
    await asyncio.wait([first, second, third])
    assert second.cancelled()
    assert vendor.begun == [("a", 0), ("c", 1)]


@virtual
async def test_who_leaves_just_before_its_turn_comes_is_passed_over() -> None:
    vendor = Vendor(takes_s=1)
    provider = limited(vendor, lash.RateLimit(concurrent=1))

    async def ask_and_cancel() -> None:
        async for _ in provider.stream(request("a")):
            second.cancel()  # it is not told before this call has left

    first = asyncio.create_task(ask_and_cancel())
    second = asyncio.create_task(ask(provider, "b"))
    third = asyncio.create_task(ask(provider, "c"))
    await asyncio.wait([first, second, third])
    assert [task.exception() for task in (first, third)] == [None, None]
    assert vendor.begun == [("a", 0), ("c", 1)]


@virtual
async def test_who_is_cancelled_at_work_gives_the_place_back_and_leaves_what_was_spent() -> None:
    vendor = Vendor(takes_s=100)
    provider = limited(vendor, lash.RateLimit(concurrent=1, requests=2, per="60s"))
    tasks = [asyncio.create_task(ask(provider, name)) for name in "abc"]
    await asyncio.sleep(10)
    tasks[0].cancel()
    await asyncio.sleep(10)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert vendor.begun == [("a", 0), ("b", 10), ("c", 60)]
    assert vendor.now == 0


@virtual
async def test_who_stops_listening_gives_the_place_back() -> None:
    model = ScriptedModel([Say("one two three", pause_s=1), "four"])
    provider = limited(model, lash.RateLimit(concurrent=1))
    stream = provider.stream(request())
    await anext(stream)
    waiting = asyncio.create_task(anext(provider.stream(request())))
    await asyncio.sleep(5)
    assert not waiting.done()
    await stream.aclose()
    assert getattr(await waiting, "text", "") == "four"


@virtual
async def test_an_error_gives_the_place_back() -> None:
    vendor = Vendor(errors=[ProviderError("no", kind="auth"), RuntimeError("a bug")])
    provider = limited(vendor, lash.RateLimit(concurrent=1))
    told = await settled(*(ask(provider, name) for name in "abc"))
    assert [type(item) for item in told] == [ProviderError, RuntimeError, str]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_bounds_hold_and_nothing_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    per_s, requests, concurrent = 10, chance.randint(1, 4), chance.randint(1, 3)

    async def main() -> None:
        vendor = Vendor(takes_s=chance.choice([0, 0.5, 3]), errors=[chance.choice([None, busy(4_000)]) for _ in "abc"])
        provider = limited(vendor, lash.RateLimit(concurrent, requests, per=per_s))
        came: list[str] = []
        tasks: list[asyncio.Task[str]] = []

        async def come(name: str) -> str:
            came.append(name)
            return await ask(provider, name)

        for number in range(40):
            await asyncio.sleep(chance.choice([0, 0, 0.1, 2, 7]))
            tasks.append(asyncio.create_task(come(str(number))))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
        await asyncio.wait(tasks)
        begun = [name for name, _ in vendor.begun]
        moments = [moment for _, moment in vendor.begun]
        assert begun == [name for name in came if name in begun], "first come, first served"
        assert vendor.most <= concurrent
        assert all(b - a > per_s - 0.01 for a, b in zip(moments, moments[requests:], strict=False))
        assert all(a <= b for a, b in pairwise(moments))
        await asyncio.sleep(200)
        before = asyncio.get_running_loop().time()
        await settled(*(ask(provider, "last") for _ in range(min(requests, concurrent))))
        assert asyncio.get_running_loop().time() - before <= vendor.takes_s + 0.001, "every place is free again"

    simulate.run(main())


# Event loops -------------------------------------------------------------------------------------------------------


def test_each_event_loop_counts_for_itself_and_is_not_kept() -> None:
    vendor = Vendor(takes_s=5)
    provider = limited(vendor, lash.RateLimit(concurrent=1, requests=1, per="1h"))
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        tasks = [asyncio.create_task(ask(provider)) for _ in "ab"]
        await asyncio.sleep(1)
        assert [task.done() for task in tasks] == [False, False]  # one at work, one waiting: left behind

    simulate.run(main())
    simulate.run(main())
    assert [moment for _, moment in vendor.begun] == [0, 0]
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


# In a runtime ------------------------------------------------------------------------------------------------------


@tool
async def wait_a_second() -> str:
    """Wait."""
    await asyncio.sleep(1)
    return "waited"


@virtual
async def test_a_turn_that_runs_again_waits_for_nothing_it_was_told_before() -> None:
    store = memory()
    model = ScriptedModel([Say(calls=[("wait_a_second", {})]), "done"])
    provider = limited(model, lash.RateLimit(requests=2, per="1h"))
    agent = lash.Agent("a", model=(provider, "m"), tools=[wait_a_second])
    app = host(store, agent)
    await app.open()
    turn = await (await app.session("s", agent)).send("go")
    await asyncio.sleep(0.5)
    await app.abort()
    async with host(store, agent) as again:
        before = asyncio.get_running_loop().time()
        outcome = await (await again.session("s", agent)).turn(turn.id)
        assert isinstance(outcome, Finished)
        assert asyncio.get_running_loop().time() - before < 60
    assert len(model.requests) == 2


@virtual
async def test_a_turn_that_waits_can_be_cancelled_and_the_next_goes_on() -> None:
    vendor = Vendor(takes_s=100)
    provider = limited(vendor, lash.RateLimit(concurrent=1))
    agent = lash.Agent("a", model=(provider, "m"))
    async with host(memory(), agent) as app:
        turns = [await (await app.session(name, agent)).send("go") for name in "abc"]
        await asyncio.sleep(10)
        await turns[1].cancel("no need")
        outcomes = [await turn.outcome() for turn in turns]
        assert [type(outcome) for outcome in outcomes] == [Finished, Stopped, Finished]
    assert [round(moment) for _, moment in vendor.begun] == [0, 100]


@virtual
async def test_what_one_turn_is_told_to_wait_all_wait() -> None:
    vendor = Vendor(errors=[busy(45_000)])
    provider = limited(vendor, lash.RateLimit(concurrent=1))
    agent = lash.Agent("a", model=(provider, "m"))
    async with host(memory(), agent) as app:
        first = await (await app.session("one", agent)).send("go")
        await asyncio.sleep(1)
        second = await (await app.session("two", agent)).send("go")
        assert [type(await turn) for turn in (first, second)] == [Finished, Finished]
    assert [45 <= moment < 47 for _, moment in vendor.begun] == [False, True, True]
