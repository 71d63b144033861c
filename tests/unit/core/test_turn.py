"""A turn is its state: replies in any order, stored and read back, doubled or late, it comes to the same sound end."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, strategies as st

from lash.core.message import Message, Text, ToolResult, unsound
from lash.core.model import Usage
from lash.core.outcome import Failure
from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput, failed
from lash.core.turn import (
    AtBoundary,
    CallModel,
    CallTool,
    Finished,
    Halted,
    ModelFailed,
    ModelReplied,
    Passed,
    Phase,
    Reply,
    StopCause,
    Stopped,
    Switched,
    ToolReplied,
    TurnLimits,
    TurnState,
    step,
)
from lash.core.turn_json import decode_state, encode_state
from lash.modes.standard import Standard
from tests.unit.core.turnkit import (
    ARROWS,
    OUTPUTS,
    QUESTION,
    WORLDS,
    World,
    after_work,
    asking,
    before_completion,
    broken,
    call,
    calls,
    done,
    note,
    output,
    play,
    said_by_model,
    text,
    working,
)

MODE = Standard()
HALTED = Halted("cancelled", "user", "The user has had enough.")


def stored(state: TurnState) -> TurnState:
    return decode_state(encode_state(state))


# Effects -----------------------------------------------------------------------------------------------------------


def test_a_turn_begins_by_asking_the_model_what_was_said() -> None:
    assert step(MODE, asking(), None) == (asking(), (CallModel("model 1", (QUESTION,)),))


def test_tools_are_called_all_at_once_each_under_its_own_path() -> None:
    state, effects = step(MODE, asking(), ModelReplied("model 1", calls("a", "b", "c")))
    assert effects == (
        CallTool("tool 1.0", call("a"), 0),
        CallTool("tool 1.1", call("b"), 1),
        CallTool("tool 1.2", call("c"), 2),
    )
    assert state.said == (QUESTION, Message("assistant", (call("a"), call("b"), call("c"))))


def test_a_result_that_is_not_the_last_makes_nothing_necessary() -> None:
    state, effects = step(MODE, working("a", "b", "c"), ToolReplied("tool 1.1", output("found")))
    assert effects == ()
    assert [effect.path for effect in step(MODE, state, None).effects] == ["tool 1.0", "tool 1.2"]


def test_after_the_results_a_boundary_then_the_model_with_all_that_was_said() -> None:
    state, effects = step(MODE, working("a"), ToolReplied("tool 1.0", output("sent")))
    assert effects == (AtBoundary("boundary 1", "after_work"),)
    state, effects = step(MODE, state, Passed("boundary 1", ()))
    assert effects == (
        CallModel(
            "model 2",
            (
                QUESTION,
                Message("assistant", (call("a"),)),
                Message("tool", (ToolResult("a", "find", (Text("sent"),)),)),
            ),
        ),
    )


def test_a_final_text_is_said_and_the_boundary_before_the_end_asks_for_more() -> None:
    state, effects = step(MODE, asking(), ModelReplied("model 1", text("on its way")))
    assert effects == (AtBoundary("boundary 1", "before_completion"),)
    state, effects = step(MODE, state, Passed("boundary 1", ()))
    assert (state.phase, state.outcome, effects) == (Phase.DONE, Finished("on its way"), ())
    assert state.said == (QUESTION, Message("assistant", (Text("on its way"),)))
    assert step(MODE, state, None).effects == ()


def test_paths_tell_the_rounds_apart() -> None:
    second = play(after_work(), Passed("boundary 1", ()), ModelReplied("model 2", calls("a")))
    assert [effect.path for effect in step(MODE, second, None).effects] == ["tool 2.0"]
    third = play(second, ToolReplied("tool 2.0", output("sent")))
    assert [effect.path for effect in step(MODE, third, None).effects] == ["boundary 2"]


@given(WORLDS)
def test_what_a_step_asks_for_is_what_is_missing_besides(world: World) -> None:
    """Effects told one by one, less those answered, are what a state that is read back asks for."""
    walk = list(world.run())
    pending = {effect.path: effect for effect in step(world.mode, walk[0][0], None).effects}
    for (before, reply), (after, _) in pairwise(walk):
        moved, effects = step(world.mode, before, reply)
        assert moved == after
        pending = {} if isinstance(reply, Halted) else {path: e for path, e in pending.items() if path != reply.path}
        assert not pending.keys() & {effect.path for effect in effects}
        pending |= {effect.path: effect for effect in effects}
        assert tuple(pending.values()) == step(world.mode, stored(after), None).effects


@given(WORLDS)
def test_no_path_is_used_twice(world: World) -> None:
    told = [effect.path for effect in step(world.mode, next(world.run())[0], None).effects]
    for before, reply in list(world.run())[:-1]:
        told += [effect.path for effect in step(world.mode, before, reply).effects]
    assert len(told) == len(set(told))


# Order, restore, repetition ----------------------------------------------------------------------------------------


@given(st.lists(OUTPUTS, min_size=3, max_size=3))
def test_results_in_any_order_end_in_the_same_state(outputs: list[ToolOutput]) -> None:
    replies = [ToolReplied(f"tool 1.{place}", found) for place, found in enumerate(outputs)]
    ends = [play(working("a", "b", "c"), *order) for order in permutations(replies)]
    assert ends == [ends[0]] * 6
    [answer] = [message for message in ends[0].said if message.role == "tool"]
    assert [part.call_id for part in answer.parts if isinstance(part, ToolResult)] == ["a", "b", "c"]


@given(WORLDS, st.lists(st.integers(0, 11), min_size=1, max_size=8))
def test_a_whole_turn_does_not_depend_on_the_order_of_replies(world: World, order: list[int]) -> None:
    one, other = (World(world.limits, world.typed, world.answers, world.outputs, world.boundaries, o, None)
                  for o in (world.order, order))  # fmt: skip
    assert one.end() == other.end()


@given(WORLDS)
def test_a_turn_that_is_stored_and_read_back_at_every_point_comes_to_the_same_end(world: World) -> None:
    assert list(world.run(stored)) == list(world.run())


FOREIGN = ("", "model 0", "model 99", "tool 1.99", "tool 9.0", "tool 1.-1", "boundary 0", "boundary 99", "model 1 ")


def foreign(path: str) -> list[Reply]:
    return [
        ModelReplied(path, text("?")),
        ModelFailed(path, "model", "late", "?"),
        ToolReplied(path, output("?")),
        Passed(path, (note("?"),)),
    ]


@given(WORLDS)
def test_late_doubled_and_foreign_replies_change_nothing(world: World) -> None:
    past: list[Reply] = [reply for path in FOREIGN for reply in foreign(path)]
    for state, reply in world.run():
        for old in past:
            if (state.phase.value, type(old).__name__) in ARROWS:
                assert step(world.mode, state, old) == (state, ())
        if not isinstance(reply, Halted):
            past += foreign(reply.path)


def test_the_first_of_two_results_counts() -> None:
    state = play(working("a", "b"), ToolReplied("tool 1.0", output("first")), ToolReplied("tool 1.0", output("second")))
    state = play(state, ToolReplied("tool 1.1", output("other")))
    assert [part.content[0] for part in state.said[-1].parts if isinstance(part, ToolResult)] == [
        Text("first"), Text("other"),
    ]  # fmt: skip


def test_a_result_of_an_earlier_round_is_not_taken_for_one_of_this() -> None:
    second = play(after_work(), Passed("boundary 1", ()), ModelReplied("model 2", calls("a")))
    assert step(MODE, second, ToolReplied("tool 1.0", output("old"))) == (second, ())


# Soundness ---------------------------------------------------------------------------------------------------------


@given(WORLDS)
def test_what_was_said_is_sound_whenever_nobody_works_and_at_the_end(world: World) -> None:
    for state, _ in world.run():
        if state.phase is not Phase.WORKING:
            assert unsound(state.said) is None
            assert broken(state.said) is None
            assert (state.calls, state.results) == ((), ())


@given(WORLDS)
def test_what_was_said_is_never_taken_back(world: World) -> None:
    walk = list(world.run())
    for (before, _), (after, _) in pairwise(walk):
        assert after.said[: len(before.said)] == before.said


@pytest.mark.parametrize(
    "state",
    [asking(), working("a", "b"), after_work(), before_completion()],
    ids=["asking", "working", "after_work", "before_completion"],
)
def test_a_turn_that_is_halted_ends_at_once_and_sound(state: TurnState) -> None:
    ended, effects = step(MODE, state, HALTED)
    assert (ended.phase, effects) == (Phase.DONE, ())
    assert ended.outcome == Stopped("cancelled", "The user has had enough.", "user")
    assert ended.said[: len(state.said)] == state.said
    assert broken(ended.said) is None


def test_a_call_that_a_halt_cut_off_says_so_and_finished_ones_keep_their_result() -> None:
    ended = play(working("a", "b"), ToolReplied("tool 1.1", output("found")), HALTED)
    unfinished = Text("[failed: cancelled] The turn ended before this call had a result.")
    assert ended.said[2:] == (
        Message("tool", (ToolResult("a", "find", (unfinished,), True), ToolResult("b", "find", (Text("found"),)))),
    )


def test_a_draft_stays_in_the_history_when_the_turn_is_halted_before_completion() -> None:
    ended = play(before_completion(), HALTED)
    assert ended.said == (QUESTION, Message("assistant", (Text("on its way"),)))
    assert isinstance(ended.outcome, Stopped)


def test_a_failed_tool_is_a_result_and_no_end() -> None:
    state = play(working("a"), ToolReplied("tool 1.0", failed(Failure("timeout", "slow", "no answer in 5 s"))))
    assert state.phase is Phase.BETWEEN
    assert state.said[-1] == Message(
        "tool", (ToolResult("a", "find", (Text("[failed: slow] no answer in 5 s"),), True),)
    )


def test_calls_under_one_id_get_their_own_results() -> None:
    state = working("a", "a", "a")
    state = play(state, *(ToolReplied(f"tool 1.{place}", output(f"{place}")) for place in range(3)))
    assert [part.id for part in state.said[1].calls] == ["a", "a-2", "a-3"]
    assert state.said[2].parts == (
        ToolResult("a", "find", (Text("0"),)),
        ToolResult("a-2", "find", (Text("1"),)),
        ToolResult("a-3", "find", (Text("2"),)),
    )


# Limits ------------------------------------------------------------------------------------------------------------


@given(WORLDS)
def test_no_program_passes_its_limits(world: World) -> None:
    for state, _ in world.run():
        assert state.model_calls <= world.limits.model_calls
        assert state.tool_calls <= world.limits.tool_calls
        assert len(state.results) <= state.tool_calls


def test_one_answer_more_than_the_limit_is_not_asked_for() -> None:
    state = play(working("a", limits=TurnLimits(model_calls=1)), ToolReplied("tool 1.0", output("sent")))
    ended = play(state, Passed("boundary 1", (note("hurry"),)))
    assert ended.outcome == Stopped("limit", "The turn has used all of its 1 model calls.", "model_calls")
    assert ended.said[-1] == note("hurry")
    assert ended.model_calls == 1


def test_a_limit_that_is_just_reached_stops_nothing() -> None:
    state = play(asking(TurnLimits(1, 1, 15)), ModelReplied("model 1", text("on its way")), Passed("boundary 1", ()))
    assert state.outcome == Finished("on its way")
    assert working("a", "b", limits=TurnLimits(tool_calls=2)).phase is Phase.WORKING


def test_of_an_answer_with_more_calls_than_are_left_none_is_made() -> None:
    limits = TurnLimits(tool_calls=2)
    state = play(working("a", limits=limits), ToolReplied("tool 1.0", output("sent")), Passed("boundary 1", ()))
    ended, effects = step(MODE, state, ModelReplied("model 2", calls("b", "c")))
    assert effects == ()
    assert ended.outcome == Stopped(
        "limit", "This turn may make 2 tool calls, and the model asked for 3.", "tool_calls"
    )
    unmade = Text("[failed: limit] The turn ended before this call had a result.")
    assert ended.said[-1] == Message(
        "tool", (ToolResult("b", "find", (unmade,), True), ToolResult("c", "find", (unmade,), True))
    )
    assert ended.tool_calls == 1


def test_tokens_of_all_kinds_count_once_and_stop_the_next_model_call() -> None:
    reply = said_by_model(call("a"), usage=Usage(10, 20, 30, 40, reasoning_tokens=15))
    for tokens, phase in ((101, Phase.ASKING), (100, Phase.DONE)):
        state = play(asking(TurnLimits(tokens=tokens)), ModelReplied("model 1", reply))
        state = play(state, ToolReplied("tool 1.0", output("sent")), Passed("boundary 1", ()))
        assert state.phase is phase
    assert state.outcome == Stopped("limit", "The turn has used all of its 100 tokens.", "tokens")


def test_usage_is_the_sum_and_the_newest_call_tells_what_it_read() -> None:
    state = play(asking(), ModelReplied("model 1", said_by_model(call("a"), usage=Usage(1, 2, 3, 4, 1))))
    state = play(state, ToolReplied("tool 1.0", output("sent")), Passed("boundary 1", ()))
    state = play(state, ModelReplied("model 2", said_by_model(Text("ok"), usage=Usage(10, 20, 30, 40, 5))))
    assert state.usage == Usage(11, 22, 33, 44, 6)
    assert state.last_input_tokens == 80
    assert (state.model_calls, state.tool_calls) == (2, 1)


# The model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["model", "context_overflow"])
def test_a_model_that_could_not_be_asked_ends_the_turn_with_the_reason(reason: StopCause) -> None:
    ended = play(asking(), ModelFailed("model 1", reason, "overloaded", "try later"))
    assert ended.outcome == Stopped(reason, "try later", "overloaded")
    assert ended.said == (QUESTION,)
    assert ended.model_calls == 1


# Controls ----------------------------------------------------------------------------------------------------------

FRAME = SwitchFrame("billing", "send the bill", (note("he lives in Rome", "lash"),))
CONTROLS = {
    "text": (Finish("sold"), Finished("sold")),
    "value": (Finish({"price": 7}), Finished("", {"price": 7})),
    "nothing": (Finish(None), Finished("", None, structured=True)),
    "fail": (Fail(Failure("execution", "sold_out", "none is left")), Stopped("tool", "none is left", "sold_out")),
    "frame": (FRAME, Switched(FRAME)),
}


@pytest.mark.parametrize(("control", "outcome"), CONTROLS.values(), ids=CONTROLS)
def test_a_control_ends_the_turn_once_all_results_are_there(control: object, outcome: object) -> None:
    state = play(working("a", "b"), ToolReplied("tool 1.0", output("ok", control=control)))
    assert state.phase is Phase.WORKING
    ended = play(state, ToolReplied("tool 1.1", output("found")))
    assert (ended.phase, ended.outcome) == (Phase.DONE, outcome)
    assert len(ended.said[-1].parts) == 2


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_several_controls_the_first_in_call_order_wins(order: tuple[int, ...]) -> None:
    outputs = [output("none"), output("first", control=Finish("first")), output("last", control=FRAME)]
    ended = play(working("a", "b", "c"), *(ToolReplied(f"tool 1.{place}", outputs[place]) for place in order))
    assert ended.outcome == Finished("first")


# Messages between --------------------------------------------------------------------------------------------------


def test_what_tools_say_comes_in_call_order_at_the_next_boundary_before_what_came_from_outside() -> None:
    state = play(
        working("a", "b"),
        ToolReplied("tool 1.1", output("two", say=(note("from b"),))),
        ToolReplied("tool 1.0", output("one", say=(note("from a"), note("again from a")))),
    )
    assert state.said[-1].role == "tool"
    state = play(state, Passed("boundary 1", (note("steered"),)))
    assert [message.text for message in state.said[3:]] == ["from a", "again from a", "from b", "steered"]
    assert state.waiting == ()
    [effect] = step(MODE, state, None).effects
    assert effect == CallModel("model 2", state.said)


@pytest.mark.parametrize("reply", [ToolReplied("tool 1.1", output("ok", control=Finish("sold"))), HALTED])
def test_what_a_tool_said_is_kept_when_the_turn_ends_before_a_boundary(reply: Reply) -> None:
    ended = play(working("a", "b"), ToolReplied("tool 1.0", output("one", say=(note("from a"),))), reply)
    assert ended.phase is Phase.DONE
    assert [message.role for message in ended.said] == ["user", "assistant", "tool", "user"]
    assert (ended.said[-1], ended.waiting) == (note("from a"), ())


def test_what_a_tool_said_is_kept_when_the_turn_is_halted_at_the_boundary() -> None:
    state = play(working("a"), ToolReplied("tool 1.0", output("one", say=(note("from a"),))), HALTED)
    assert state.said[-1] == note("from a")


@given(WORLDS)
def test_everything_tools_and_boundaries_said_is_in_the_history_once(world: World) -> None:
    expected: list[Message] = []
    *walk, (ended, _) = world.run()
    for _, reply in walk:
        if isinstance(reply, ToolReplied):
            expected += reply.output.say
        elif isinstance(reply, Passed):
            expected += reply.messages
    spoken = [message for message in ended.said[1:] if message.role in ("user", "system") and not of_mode(message)]
    assert sorted(map(repr, spoken)) == sorted(map(repr, expected))


def of_mode(message: Message) -> bool:
    return message.origin == "lash" and message.text.startswith("Your final answer does not fit the schema")


def test_a_steer_before_completion_makes_the_model_be_asked_again_and_keeps_the_draft() -> None:
    state = play(before_completion(), Passed("boundary 1", (note("in French, please"),)))
    assert (state.phase, state.outcome) == (Phase.ASKING, None)
    [effect] = step(MODE, state, None).effects
    assert effect == CallModel(
        "model 2", (QUESTION, Message("assistant", (Text("on its way"),)), note("in French, please"))
    )
    ended = play(state, ModelReplied("model 2", text("en route")), Passed("boundary 2", ()))
    assert ended.outcome == Finished("en route")
    assert [message.text for message in ended.said] == [
        "where is my order?", "on its way", "in French, please", "en route",
    ]  # fmt: skip


def test_a_steer_after_the_last_model_call_ends_as_limit_and_keeps_draft_and_steer() -> None:
    state = play(asking(TurnLimits(model_calls=1)), ModelReplied("model 1", text("on its way")))
    ended = play(state, Passed("boundary 1", (note("in French, please"),)))
    assert isinstance(ended.outcome, Stopped)
    assert ended.outcome.reason == "limit"
    assert [message.text for message in ended.said[1:]] == ["on its way", "in French, please"]


def test_a_turn_that_is_done_stays_as_it_is() -> None:
    assert done().outcome == Finished("on its way")
    assert step(MODE, done(), None) == (done(), ())
