"""A turn takes exactly the replies of its table, and goes nowhere else: each arrow happens, and none besides."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given

from lash.core.message import Message, Text, ToolCall
from lash.core.model import ModelReply
from lash.core.tool import Finish, ToolOutput
from lash.core.turn import (
    TRANSITIONS,
    Ask,
    BadPlan,
    End,
    Finished,
    Halted,
    ModelFailed,
    ModelReplied,
    NotExpected,
    Passed,
    Pause,
    Phase,
    Plan,
    Reply,
    ToolReplied,
    TurnLimits,
    TurnState,
    Work,
    step,
)
from lash.modes.standard import Standard
from tests.unit.core.turnkit import (
    ARROWS,
    WORLDS,
    World,
    after_work,
    asking,
    before_completion,
    call,
    calls,
    done,
    note,
    output,
    said_by_model,
    text,
    whole_number,
    working,
)

STATES = {
    "asking": asking(),
    "working": working("a", "b"),
    "between": before_completion(),
    "done": done(),
}
REPLIES: dict[str, Reply] = {
    "ModelReplied": ModelReplied("model 1", text("on its way")),
    "ModelFailed": ModelFailed("model 1", "model", "overloaded", "try later"),
    "ToolReplied": ToolReplied("tool 1.0", output("found")),
    "Passed": Passed("boundary 1", ()),
    "Halted": Halted("cancelled", "cancelled", "enough"),
}
PAIRS = [(phase, reply) for phase in STATES for reply in REPLIES]


def test_the_table_is_the_promised_one() -> None:
    assert {
        (phase.value, reply.__name__): {to.value for to in goals} for (phase, reply), goals in TRANSITIONS.items()
    } == ARROWS


def test_the_pairs_are_all_there_are() -> None:
    assert {phase.value for phase in Phase} == set(STATES)
    assert {kind.__name__ for kind in get_args(Reply)} == set(REPLIES)
    assert [state.phase.value for state in STATES.values()] == list(STATES)


@pytest.mark.parametrize(("phase", "reply"), [pair for pair in PAIRS if pair in ARROWS])
def test_a_pair_of_the_table_is_taken(phase: str, reply: str) -> None:
    state = STATES[phase]
    moved = step(Standard(), state, REPLIES[reply]).state
    assert moved != state
    assert moved.phase.value in ARROWS[phase, reply]


@pytest.mark.parametrize(("phase", "reply"), [pair for pair in PAIRS if pair not in ARROWS])
def test_any_other_pair_is_refused_and_changes_nothing(phase: str, reply: str) -> None:
    with pytest.raises(NotExpected, match=f"A turn that is {phase} takes no {reply}"):
        step(Standard(), STATES[phase], REPLIES[reply])


TYPED = Standard(whole_number)
PLAIN = Standard()
HALTED = Halted("cancelled", "cancelled", "enough")
EXAMPLES: list[tuple[Standard, TurnState, Reply, str]] = [
    (TYPED, asking(), ModelReplied("model 1", text("a number")), "asking"),
    (PLAIN, asking(), ModelReplied("model 1", calls("a")), "working"),
    (PLAIN, asking(), ModelReplied("model 1", text("on its way")), "between"),
    (PLAIN, asking(), ModelReplied("model 1", said_by_model(Text("on its"), stop="output_limit")), "done"),
    (PLAIN, asking(), ModelFailed("model 1", "model", "overloaded", "try later"), "done"),
    (PLAIN, asking(), HALTED, "done"),
    (PLAIN, working("a", "b"), ToolReplied("tool 1.1", output("found")), "working"),
    (PLAIN, working("a"), ToolReplied("tool 1.0", output("found")), "between"),
    (PLAIN, working("a"), ToolReplied("tool 1.0", output("found", control=Finish(1))), "done"),
    (PLAIN, working("a"), HALTED, "done"),
    (PLAIN, after_work(), Passed("boundary 1", ()), "asking"),
    (PLAIN, before_completion(), Passed("boundary 1", ()), "done"),
    (PLAIN, before_completion(), HALTED, "done"),
]


def test_every_arrow_of_the_table_has_an_example() -> None:
    shown = {(state.phase.value, type(reply).__name__, goal) for _, state, reply, goal in EXAMPLES}
    assert shown == {(*pair, goal) for pair, goals in ARROWS.items() for goal in goals}


@pytest.mark.parametrize(("mode", "state", "reply", "goal"), EXAMPLES)
def test_every_arrow_of_the_table_happens(mode: Standard, state: TurnState, reply: Reply, goal: str) -> None:
    assert step(mode, state, reply).state.phase.value == goal


@given(WORLDS)
def test_no_program_goes_where_the_table_does_not(world: World) -> None:
    walk = list(world.run())
    for (before, reply), (after, _) in pairwise(walk):
        assert after.phase.value in ARROWS[before.phase.value, type(reply).__name__]
    assert walk[-1][0].phase.value == "done"


# Modes that break the rules ----------------------------------------------------------------------------------------

ASSISTANT = Message("assistant", (call("a"),))
TWICE = Message("assistant", (call("a"), call("a")))


class Planned:
    """A mode that plans what it is told to."""

    name = "planned"

    def __init__(self, answered: Plan, worked: Plan | None = None) -> None:
        self._plans = answered, worked

    def answered(self, state: TurnState, reply: ModelReply) -> Plan:
        return self._plans[0]

    def worked(self, state: TurnState, calls: tuple[ToolCall, ...], outputs: tuple[ToolOutput, ...]) -> Plan:
        assert self._plans[1] is not None
        return self._plans[1]


BAD_ANSWERS = {
    "work without a call would wait for ever": Plan((), Work(())),
    "work nobody asked for": Plan((note("hm"),), Work((call("a"),))),
    "work for other calls than were said": Plan((ASSISTANT,), Work((call("b"),))),
    "two calls with one id": Plan((TWICE,), Work(TWICE.calls)),
    "calls left open at a boundary": Plan((ASSISTANT,), Pause("after_work")),
    "calls left open at the end": Plan((ASSISTANT,), End(Finished(""))),
    "calls left open for the model": Plan((ASSISTANT,), Ask()),
    "calls left open behind others": Plan((ASSISTANT, Message("assistant", (call("b"),))), Work((call("b"),))),
}


@pytest.mark.parametrize("plan", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_plan_that_would_break_the_history_or_hang_is_refused(plan: Plan) -> None:
    with pytest.raises(BadPlan, match="Mode 'planned' cannot be followed"):
        step(Planned(plan), asking(), ModelReplied("model 1", text("")))


@pytest.mark.parametrize("plan", [Plan((), Ask()), Plan((ASSISTANT,), Work(ASSISTANT.calls))], ids=["Ask", "Work"])
def test_after_work_a_mode_pauses_or_ends(plan: Plan) -> None:
    mode = Planned(Plan((ASSISTANT,), Work(ASSISTANT.calls)), plan)
    state = step(mode, asking(), ModelReplied("model 1", text(""))).state
    with pytest.raises(BadPlan, match="without a boundary"):
        step(mode, state, ToolReplied("tool 1.0", output("found")))


def test_a_mode_may_ask_again_at_once_within_the_limits() -> None:
    mode = Planned(Plan((note("go on"),), Ask()))
    state = step(mode, asking(TurnLimits(model_calls=2)), ModelReplied("model 1", text(""))).state
    assert state.phase is Phase.ASKING
    state = step(mode, state, ModelReplied("model 2", text(""))).state
    assert state.phase is Phase.DONE
    assert [message.text for message in state.said] == ["where is my order?", "go on", "go on"]


def test_only_before_completion_does_a_pause_end_the_turn() -> None:
    pause = Pause("after_work", Finished("too early"))
    mode = Planned(Plan((ASSISTANT,), Work(ASSISTANT.calls)), Plan((), pause))
    state = step(mode, asking(), ModelReplied("model 1", text(""))).state
    state = step(mode, state, ToolReplied("tool 1.0", output("found"))).state
    state = step(mode, state, Passed("boundary 1", ())).state
    assert (state.phase, state.outcome) == (Phase.ASKING, None)
