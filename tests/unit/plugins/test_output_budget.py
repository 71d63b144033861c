"""A long result is read in part and kept whole."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

import lash
from lash.core.observe import ToolFinished
from lash.errors import InvalidAgent
from lash.plugins.output_budget import OutputBudget
from lash.testing import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


@lash.tool
async def long(lines: int) -> str:
    """Say much."""
    return "\n".join(f"line {number}" for number in range(lines))


@virtual
async def test_the_model_reads_head_and_tail_and_the_value_is_whole() -> None:
    model = ScriptedModel([Say(calls=[("long", {"lines": 1_000})], pause_s=0), "ok"])
    agent = agent_of(model, tools=[long], plugins=[OutputBudget(lines_max=9)])
    async with host(memory(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        async for event in turn.stream():
            if isinstance(event, ToolFinished) and event.output.value is not None:
                assert str(event.output.value).count("\n") == 999
        shown = (await said(session))[2][1].splitlines()
        assert shown[:6] == [f"line {number}" for number in range(6)]
        assert shown[6] == "[… 991 lines, 8821 bytes left out; the recorded result is whole …]"
        assert shown[7:] == ["line 997", "line 998", "line 999"]


def test_bytes_are_cut_between_characters() -> None:
    note = "[… 1900 bytes left out; the recorded result is whole …]"
    (cut,) = OutputBudget(bytes_max=100).cut_all(["ä" * 1_000])
    assert note in cut
    assert set(cut.replace(note, "")) == {"ä", "\n"}
    assert cut.count("ä") == 50
    assert OutputBudget(bytes_max=100).cut_all(["short"]) == ["short"]
    (lone,) = OutputBudget(bytes_max=100).cut_all(["\ud800" * 1_000])
    lone.encode()


def test_short_parts_are_whole_and_long_ones_share_what_is_left() -> None:
    short, first, second = OutputBudget(bytes_max=300).cut_all(["note", "q" * 1_000, "z" * 1_000])
    assert short == "note"
    assert (first.count("q"), second.count("z")) == (148, 148)


@given(
    st.lists(st.text(alphabet="aä€\U0001f600\n\r", max_size=300), max_size=5), st.integers(100, 400), st.integers(3, 30)
)
def test_what_is_kept_is_within_the_budget_and_begins_and_ends_as_the_text(
    texts: list[str], bytes_max: int, lines_max: int
) -> None:
    kept = 0
    for text, shown in zip(texts, OutputBudget(bytes_max=bytes_max, lines_max=lines_max).cut_all(texts), strict=True):
        if shown == text:
            kept += len(text.encode())
            continue
        head, _, rest = shown.partition("[… ")
        number, _, tail = rest.partition(" bytes left out; the recorded result is whole …]\n")
        assert text.startswith(head.removesuffix("\n"))
        assert text.endswith(tail)
        assert int(number.split()[-1]) in (
            len(text.encode()) - len((head + tail).encode()),
            len(text.encode()) - len((head.removesuffix("\n") + tail).encode()),
        )
        kept += len(tail.encode()) + len(head.removesuffix("\n").encode())
    assert kept <= bytes_max


def test_a_budget_that_leaves_nothing_is_refused() -> None:
    for wrong in ({"bytes_max": 5}, {"lines_max": 1}):
        with pytest.raises(InvalidAgent):
            OutputBudget(**wrong)
