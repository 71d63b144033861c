"""A long result is read in part and kept whole."""

from __future__ import annotations

import pytest

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
        assert shown[6] == "[… 991 lines left out …]"
        assert shown[7:] == ["line 997", "line 998", "line 999"]


def test_bytes_are_cut_between_characters() -> None:
    cut = OutputBudget(bytes_max=100).cut("ä" * 1_000)
    assert "[… 1900 bytes left out …]" in cut
    assert set(cut.replace("[… 1900 bytes left out …]", "")) == {"ä", "\n"}
    assert OutputBudget(bytes_max=100).cut("short") == "short"


def test_a_budget_that_leaves_nothing_is_refused() -> None:
    for wrong in ({"bytes_max": 5}, {"lines_max": 1}):
        with pytest.raises(InvalidAgent):
            OutputBudget(**wrong)
