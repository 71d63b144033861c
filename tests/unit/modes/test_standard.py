"""The standard mode works until the model answers without a call; that answer is the turn's, if it is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from lash.core.message import Message, Reasoning, Text, ToolCall
from lash.core.model import ModelReply, StopReason
from lash.core.tool import Finish
from lash.core.turn import (
    Ask,
    CallModel,
    End,
    Finished,
    Halted,
    ModelReplied,
    Outcome,
    Passed,
    Pause,
    Phase,
    Plan,
    StopCause,
    Stopped,
    ToolReplied,
    TurnLimits,
    TurnState,
    Work,
    step,
)
from lash.modes.standard import Standard
from tests.unit.core.turnkit import (
    QUESTION,
    REPLIES,
    after_work,
    asking,
    broken,
    call,
    note,
    output,
    play,
    said_by_model,
    text,
    whole_number,
    working,
)

MODE = Standard()
TYPED = Standard(whole_number)


def test_its_name_is_standard() -> None:
    assert MODE.name == "standard"


def test_a_text_is_said_and_finishes_the_turn_unless_something_comes() -> None:
    assert MODE.answered(asking(), text("on its way")) == Plan(
        (Message("assistant", (Text("on its way"),)),), Pause("before_completion", Finished("on its way"))
    )


def test_calls_are_performed_and_what_was_written_beside_them_is_said() -> None:
    reply = said_by_model(Text("let me see"), call("a"), call("b"))
    assert MODE.answered(asking(), reply) == Plan(
        (Message("assistant", (Text("let me see"), call("a"), call("b"))),), Work((call("a"), call("b")))
    )


def test_parts_stay_in_the_order_and_words_of_the_model() -> None:
    parts = (
        Reasoning("first", {"signature": "1"}),
        ToolCall("a", "find", "{bad", {"item": 1}),
        Reasoning("then", {"signature": "2"}),
        Text("", {"signature": "3"}),
        ToolCall("a", "find", "{}", {"item": 2}),
        Text("so"),
    )
    plan = MODE.answered(asking(), said_by_model(*parts))
    renamed = ToolCall("a-2", "find", "{}", {"item": 2})
    assert plan.say == (Message("assistant", (*parts[:4], renamed, parts[5])),)
    assert plan.then == Work((ToolCall("a", "find", "{bad", {"item": 1}), renamed))


@pytest.mark.parametrize(
    ("given_ids", "made"),
    [
        ("a b", "a b"),
        ("a a a", "a a-2 a-3"),
        ("a a a-2", "a a-2 a-2-2"),
        ("a-2 a a", "a-2 a a-3"),
        ("a b a b", "a b a-2 b-2"),
    ],
)
def test_call_ids_are_made_unique_within_a_message(given_ids: str, made: str) -> None:
    plan = MODE.answered(asking(), said_by_model(*map(call, given_ids.split())))
    assert isinstance(plan.then, Work)
    assert [each.id for each in plan.then.calls] == made.split()


@given(st.lists(st.sampled_from(["", "a", "a-2", "a-2-2", "a-3", "-2"]), min_size=1, max_size=7))
def test_no_ids_however_chosen_stay_equal(ids: list[str]) -> None:
    plan = MODE.answered(asking(), said_by_model(*map(call, ids)))
    assert isinstance(plan.then, Work)
    made = [each.id for each in plan.then.calls]
    assert len(set(made)) == len(made) == len(ids)
    assert [one for one, other in zip(made, ids, strict=True) if one == other][:1] == ids[:1]


# Answers that are none ---------------------------------------------------------------------------------------------

CUT: list[tuple[StopReason, StopCause, str]] = [
    ("output_limit", "output_limit", "The model's answer was cut off at its output limit."),
    ("context_overflow", "context_overflow", "The conversation is longer than what the model can read."),
    ("content_filter", "content_filter", "The provider's content filter withheld the answer."),
]


@pytest.mark.parametrize(("stop", "reason", "message"), CUT)
def test_an_answer_cut_off_runs_no_call_and_is_not_said(stop: StopReason, reason: StopCause, message: str) -> None:
    reply = ModelReply((Text("let me"), call("a")), stop)
    ended, effects = step(MODE, asking(), ModelReplied("model 1", reply))
    assert (ended.phase, effects) == (Phase.DONE, ())
    assert ended.outcome == Stopped(reason, message, stop, "let me")
    assert (ended.said, ended.tool_calls) == ((QUESTION,), 0)


@pytest.mark.parametrize(("stop", "reason", "_message"), CUT)
def test_an_answer_cut_off_is_no_try_at_the_output_type(stop: StopReason, reason: StopCause, _message: str) -> None:
    ended = play(asking(), ModelReplied("model 1", ModelReply((Text("7"),), stop)), mode=TYPED)
    assert isinstance(ended.outcome, Stopped)
    assert (ended.outcome.reason, ended.refused) == (reason, 0)


EMPTY = {
    "no part": said_by_model(),
    "an empty text": text(""),
    "two empty texts": said_by_model(Text(""), Text("")),
    "thoughts alone": said_by_model(Reasoning("hm", {"signature": "x"})),
    "no calls after all": said_by_model(stop="tool_use"),
}


@pytest.mark.parametrize("reply", EMPTY.values(), ids=EMPTY)
def test_an_empty_answer_to_a_question_is_an_error(reply: ModelReply) -> None:
    for mode in (MODE, TYPED):
        ended = play(asking(), ModelReplied("model 1", reply), mode=mode)
        assert ended.outcome == Stopped("model", "The model answered with nothing.", "empty_response")
        assert ended.said == (QUESTION,)


@pytest.mark.parametrize("reply", EMPTY.values(), ids=EMPTY)
def test_an_empty_answer_right_after_results_is_an_end_that_says_nothing(reply: ModelReply) -> None:
    state = play(after_work(), Passed("boundary 1", ()))
    paused = play(state, ModelReplied("model 2", reply))
    assert (paused.phase, paused.boundary, paused.said) == (Phase.BETWEEN, "before_completion", state.said)
    assert play(paused, Passed("boundary 2", ())).outcome == Finished("")
    assert play(paused, Passed("boundary 2", (note("and?"),))).phase is Phase.ASKING


@pytest.mark.parametrize("reply", EMPTY.values(), ids=EMPTY)
def test_an_empty_answer_to_what_was_said_after_results_is_an_error(reply: ModelReply) -> None:
    state = play(after_work(), Passed("boundary 1", (note("and?"),)), ModelReplied("model 2", reply))
    assert state.outcome == Stopped("model", "The model answered with nothing.", "empty_response")


def test_a_text_with_thoughts_or_an_empty_part_beside_it_is_an_answer() -> None:
    for parts in ((Reasoning("hm"), Text("yes")), (Text(""), Text("yes"))):
        plan = MODE.answered(asking(), said_by_model(*parts))
        assert plan == Plan((Message("assistant", parts),), Pause("before_completion", Finished("yes")))


# Output types ------------------------------------------------------------------------------------------------------

FAULT = "invalid literal for int() with base 10: 'seven'"
NOTE = Message(
    "user",
    (Text(f"Your final answer does not fit the schema: {FAULT}\nAnswer again, with the JSON alone."),),
    "lash",
)


def test_an_answer_that_fits_the_output_type_is_its_value() -> None:
    state = play(asking(), ModelReplied("model 1", text("7")), Passed("boundary 1", ()), mode=TYPED)
    assert state.outcome == Finished("7", 7)


def test_an_answer_that_does_not_fit_is_kept_and_handed_back_with_the_reason() -> None:
    state, effects = step(TYPED, asking(), ModelReplied("model 1", text("seven")))
    assert (state.phase, state.refused) == (Phase.ASKING, 1)
    assert effects == (CallModel("model 2", (QUESTION, Message("assistant", (Text("seven"),)), NOTE)),)
    ended = play(state, ModelReplied("model 2", text("7")), Passed("boundary 1", ()), mode=TYPED)
    assert ended.outcome == Finished("7", 7)


def test_the_third_answer_that_does_not_fit_ends_the_turn_with_its_text() -> None:
    state = asking()
    for number in (1, 2):
        state = play(state, ModelReplied(f"model {number}", text("seven")), mode=TYPED)
        assert state.phase is Phase.ASKING
    ended = play(state, ModelReplied("model 3", text("seven")), mode=TYPED)
    assert ended.outcome == Stopped(
        "invalid_output",
        f"The model's final answer did not fit the output type 3 times: {FAULT}",
        "invalid_output",
        "seven",
    )
    assert [message.role for message in ended.said] == ["user", "assistant", "user", "assistant", "user", "assistant"]


def test_tools_and_steers_between_do_not_give_more_tries() -> None:
    state = play(
        asking(),
        ModelReplied("model 1", text("seven")),
        ModelReplied("model 2", said_by_model(call("a"))),
        ToolReplied("tool 2.0", output("ok")),
        Passed("boundary 1", (note("hurry"),)),
        ModelReplied("model 3", text("7")),
        Passed("boundary 2", (note("are you sure?"),)),
        ModelReplied("model 4", text("seven")),
        mode=TYPED,
    )
    assert (state.phase, state.refused) == (Phase.ASKING, 2)
    ended = play(state, ModelReplied("model 5", text("seven")), mode=TYPED)
    assert isinstance(ended.outcome, Stopped)
    assert ended.outcome.reason == "invalid_output"


def test_saying_nothing_after_results_does_not_fit_an_output_type() -> None:
    state = play(after_work(), Passed("boundary 1", ()), ModelReplied("model 2", text("")), mode=TYPED)
    assert (state.phase, state.refused) == (Phase.ASKING, 1)
    assert [message.role for message in state.said] == ["user", "assistant", "tool", "user"]
    assert "does not fit the schema" in state.said[-1].text
    ended = play(state, ModelReplied("model 3", text("7")), Passed("boundary 2", ()), mode=TYPED)
    assert ended.outcome == Finished("7", 7)


def test_a_retry_of_the_answer_stays_within_the_limits() -> None:
    ended = play(asking(TurnLimits(model_calls=1)), ModelReplied("model 1", text("seven")), mode=TYPED)
    assert isinstance(ended.outcome, Stopped)
    assert (ended.outcome.reason, ended.outcome.code) == ("limit", "model_calls")
    assert ended.said[-1] == NOTE


def test_a_turn_halted_while_it_asks_again_is_halted() -> None:
    state = play(asking(), ModelReplied("model 1", text("seven")), mode=TYPED)
    assert play(state, Halted("plugin", "no", "no more")).outcome == Stopped("plugin", "no more", "no")


def test_a_value_that_a_tool_finishes_with_stands_for_itself() -> None:
    ended = play(working("a"), ToolReplied("tool 1.0", output("ok", control=Finish({"n": 1}))), mode=TYPED)
    assert ended.outcome == Finished("", {"n": 1})


def test_calls_beside_a_text_are_made_before_the_text_is_judged() -> None:
    plan = TYPED.answered(asking(), said_by_model(Text("seven"), call("a")))
    assert plan.then == Work((call("a"),))


def test_an_error_of_the_output_type_that_is_no_misfit_is_raised() -> None:
    def torn(answer: str) -> object:
        raise KeyError(answer)

    with pytest.raises(KeyError):
        Standard(torn).answered(asking(), text("7"))


# Any reply ---------------------------------------------------------------------------------------------------------


@given(REPLIES, st.sampled_from([asking(), play(after_work(), Passed("boundary 1", ()))]), st.integers(0, 2))
def test_the_plan_for_any_reply_is_one_the_machine_can_follow(
    reply: ModelReply, state: TurnState, refused: int
) -> None:
    for mode in (MODE, TYPED):
        begun = replace(state, refused=refused)
        plan = mode.answered(begun, reply)
        moved = step(mode, begun, ModelReplied(f"model {state.model_calls + 1}", reply)).state
        match plan.then:
            case Work(calls):
                assert reply.stop in ("stop", "tool_use")
                assert len(calls) == len(reply.calls) > 0
                assert (moved.phase, moved.calls) == (Phase.WORKING, calls)
            case Pause(boundary, outcome):
                assert (boundary, reply.calls) == ("before_completion", ())
                assert (moved.phase, moved.outcome) == (Phase.BETWEEN, outcome)
                assert_finished(outcome, reply)
            case Ask():
                assert mode is TYPED
                assert (moved.phase, moved.refused) == (Phase.ASKING, refused + 1)
            case End(outcome):
                assert isinstance(outcome, Stopped)
                assert (moved.phase, moved.outcome) == (Phase.DONE, outcome)
        if moved.phase is not Phase.WORKING:
            assert broken(moved.said) is None


def assert_finished(outcome: Outcome | None, reply: ModelReply) -> None:
    assert isinstance(outcome, Finished)
    assert outcome.text == reply.text
