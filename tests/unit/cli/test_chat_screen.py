"""A turn is shown once, in order; what is taken back leaves no trace but the line that says so."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import lash
from lash.cli import transcript
from lash.cli.chat_screen import AsideScreen, RichScreen, Screen
from lash.cli.chat_thread import LoopThread, interrupts
from lash.cli.markdown import complete
from lash.cli.spending import cost_words, prices_of, tokens_words, usage_lines
from lash.core.outcome import Failure
from lash.core.turn import Finished, Stopped, Switched
from lash.testing import ScriptedModel
from tests.unit.cli.bots import seen

USAGE = lash.Usage(1_000, 56, cache_read_tokens=200, reasoning_tokens=12)
ANSWER = lash.ToolOutput((lash.Text('{"id": "o-17"}'),))
FAILED = lash.ToolOutput((), failure=Failure("execution", "fire", "the printer\nis on fire"))


def price(model: str) -> lash.Price | None:
    return lash.Price(1.0, 10.0, cache_read=0.1) if model == "x:m" else None


def plain(*events: lash.TurnEvent, model: str = "x:m") -> list[str]:
    """What a pipe is told, without the time a turn took."""
    stream = io.StringIO()
    screen = Screen(stream, price, model)
    screen.begin()
    for event in events:
        screen.show(event)
    return [line.rpartition("; ")[0] if line.endswith("s]") else line for line in stream.getvalue().splitlines()]


def rich(*events: lash.TurnEvent, height: int = 30) -> list[str]:
    """What stands on a terminal; every event is drawn at once."""
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=True, width=60, height=height, color_system=None, legacy_windows=False
    )
    screen = RichScreen(console, price, "x:m")
    screen.begin()
    for event in events:
        screen._drawn = 0.0  # as if time had passed
        screen.show(event)
        screen.tick()
    screen.close()
    lines = [line for line in seen(stream.getvalue()) if not line.endswith("s]")]
    return lines[: max((number for number, line in enumerate(lines, 1) if line), default=0)]


def committed(outcome: Finished | Stopped | Switched, usage: lash.Usage = USAGE) -> lash.Committed:
    return lash.Committed(3, outcome, usage)


TURN = [
    lash.ReasoningDelta("An order. ", 1),
    lash.ReasoningDelta("I look.", 1),
    lash.TextDelta("Let me ", 1),
    lash.TextDelta("look.", 1),
    lash.ModelFinished(1, USAGE),
    lash.ToolStarted("c1", "find_order", '{"email": "a@b.c"}'),
    lash.ToolStarted("c2", "print_it", "{not json"),
    lash.ToolFinished("c2", "print_it", FAILED),
    lash.ToolFinished("c1", "find_order", ANSWER),
    lash.PluginEvent("budget", "low", {"left": 3}),
    lash.TextDelta("It was shipped.", 2),
    lash.ModelFinished(2, USAGE),
    committed(Finished("It was shipped.")),
]
TURN_SHOWN = [
    "An order. I look.",
    "Let me look.",
    '→ find_order(email="a@b.c")',
    "→ print_it({not json)",
    "✗ print_it: fire: the printer is on fire",
    '← find_order: {"id": "o-17"}',
    '· budget low {"left": 3}',
    "It was shipped.",
]


def test_a_pipe_is_told_a_turn_in_lines_and_its_figures() -> None:
    lines = plain(*TURN)
    assert lines[:-1] == TURN_SHOWN
    assert lines[-1] == "[1,200 tokens in (200 cached), 56 out (12 thought), $0.0016; 2 model calls, 2 tool calls"


def test_a_terminal_shows_the_same() -> None:
    assert [line for line in rich(*TURN) if line] == TURN_SHOWN


def test_without_a_known_price_there_is_no_cost() -> None:
    assert plain(committed(Finished("x")), model="y:m")[-1].startswith(
        "[1,200 tokens in (200 cached), 56 out (12 thought); "
    )


WITHDRAWN = [
    lash.TextDelta("half of ", 1),
    lash.TextDelta("it", 1),
    lash.Reset(1, 10, 0, "the model's answer broke off"),
    lash.TextDelta("all of it", 1),
    committed(Finished("all of it")),
]


def test_a_reset_says_in_a_pipe_what_is_taken_back() -> None:
    said = "[taken back: the last 10 characters; the model's answer broke off]"
    assert plain(*WITHDRAWN)[:-1] == ["half of it", said, "all of it"]


def test_a_retry_says_what_happened_and_when_it_goes_on() -> None:
    unreached = "X could not be reached at http://h\n" + "y" * 400
    events = [
        lash.TextDelta("half", 1),
        lash.Reset(1, 4, 0, "the model's answer broke off"),
        lash.Retrying(2, 5, 30_000, "Slow down", "rate_limit", 1),
        lash.Retrying(3, 5, 500, unreached, "transport", 1),
        lash.TextDelta("whole", 1),
        committed(Finished("whole")),
    ]
    said = [
        "[Slow down (asking again in 30.0s, try 2 of 5)]",
        f"[{unreached.replace(chr(10), ' ')[:299]}… (asking again in 500ms, try 3 of 5)]",
        "whole",
    ]
    assert plain(*events)[2:-1] == said
    assert said[0] in rich(*events)


def test_a_reset_erases_on_a_terminal_what_is_still_being_written() -> None:
    said = "[what was written was taken back: 10 characters; the model's"
    lines = rich(*WITHDRAWN)
    assert lines[0] == said or lines[0].startswith(said)
    assert "half" not in " ".join(lines)
    assert [line for line in lines if line][-1] == "all of it"


def test_a_reset_says_where_what_is_taken_back_cannot_be_erased() -> None:
    lines = rich(
        lash.TextDelta("A whole paragraph.\n\nAnd the next", 1),
        lash.Reset(1, 32, 0, "broke off"),
        lash.TextDelta("Again.", 1),
    )
    assert [line for line in lines if line] == [
        "A whole paragraph.",
        "[the text above was taken back: 32 characters; broke off]",
        "Again.",
    ]


def test_every_character_stands_on_the_terminal_once_however_it_comes() -> None:
    text = "One *two*.\n\n1. first\n2. second\n\n   more\n\n```\ncode\n\nmore code\n```\n\nLast words."
    whole = rich(lash.TextDelta(text, 1), committed(Finished(text)))
    for size in (1, 2, 7):
        pieces = [lash.TextDelta(text[place : place + size], 1) for place in range(0, len(text), size)]
        assert rich(*pieces, committed(Finished(text))) == whole
    words = " ".join(whole).split()
    for word in ("One", "two.", "first", "second", "Last"):
        assert words.count(word) == 1
    assert "  3" not in whole


def test_what_is_longer_than_the_terminal_is_shown_whole_in_the_end() -> None:
    text = "```\n" + "\n".join(f"line {number}" for number in range(40)) + "\n```"
    events = [lash.TextDelta(piece + "\n", 1) for piece in text.split("\n")]
    shown = " ".join(rich(*events, committed(Finished(text)), height=12)).split()
    assert [word for word in shown if word.isdecimal()] == [str(number) for number in range(40)]


def test_an_answer_that_no_model_wrote_is_shown() -> None:
    events = [lash.ToolStarted("c", "done", "{}"), lash.ToolFinished("c", "done", ANSWER)]
    assert plain(*events, committed(Finished("", {"id": 1})))[-2] == '{"id": 1}'
    assert rich(*events, committed(Finished("from the tool")))[-1] == "from the tool"
    assert plain(lash.TextDelta("said", 1), committed(Finished("said"))).count("said") == 1


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Stopped("limit", "20 model calls were made.", "limit"), "[stopped (limit): 20 model calls were made.]"),
        (Stopped("cancelled", "It was cancelled.", "cancelled"), "[stopped (cancelled): It was cancelled.]"),
        (Switched(lash.SwitchFrame("desk", "go on")), "[went on in a new frame 'desk']"),
    ],
)
def test_a_turn_without_an_answer_says_how_it_ended(outcome: Stopped | Switched, line: str) -> None:
    assert plain(lash.TextDelta("half", 1), committed(outcome))[:2] == ["half", line]


def test_figures_are_of_all_frames_of_a_turn() -> None:
    lines = plain(
        lash.ModelFinished(1, USAGE),
        committed(Switched(lash.SwitchFrame("desk", "go on"))),
        lash.ModelFinished(1, USAGE),
        committed(Finished("x")),
    )
    assert "2,400 tokens in" in lines[-1]
    assert "2 model calls" in lines[-1]


def test_a_gap_is_told() -> None:
    assert plain(lash.TextDelta("half", 1), lash.Gap("unavailable"))[1:] == [
        "[what was shown of this turn was not kept]"
    ]


def test_beside_an_answer_stands_everything_but_the_text() -> None:
    stream = io.StringIO()
    screen = AsideScreen(stream, price, "x:m")
    screen.begin()
    for event in TURN:
        screen.show(event)
    assert stream.getvalue().splitlines()[:-1] == TURN_SHOWN[2:7]


# Text that is not to be trusted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("show", [plain, rich])
def test_nothing_said_steers_the_terminal_or_is_taken_for_markup(show: object) -> None:
    events = [
        lash.TextDelta("a\x1b[31mb \x07 [red]c[/red] <b>d</b>", 1),
        lash.ToolStarted("c", "x\x1b[2J", '{"a": "\\u001b[2J"}'),
        lash.ToolFinished("c", "x\x1b[2J", lash.ToolOutput((lash.Text("y\x1b[2J\nz"),))),
    ]
    lines = [line for line in show(*events) if line]  # type: ignore[operator]  # one of the two above
    assert lines == [
        "a\\x1b[31mb \\x07 [red]c[/red] <b>d</b>",
        '→ x\\x1b[2J(a="\\u001b[2J")',
        "← x\\x1b[2J: y\\x1b[2J z",
    ]


def test_blanks_and_emoji_of_models_are_kept_readable() -> None:
    assert (
        transcript.prose("10\u00a0000\u202f€\tx \U0001f469\u200d\U0001f4bb\r\n")
        == "10 000 €    x \U0001f469\u200d\U0001f4bb\n"
    )


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("one", ""),
        ("one\n", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", ""),
        ("one\n\ntwo words", "one\n\n"),
        ("one\n\ntwo\n\nthree\n", "one\n\ntwo\n\n"),
        ("- a\n\n- b\n", ""),
        ("- a\n\n  more\n", ""),
        ("- a\n\nwords", "- a\n\n"),
        ("words\n\n- a\n\n- b\n", "words\n\n"),
        ("```\na\n\nb\n", ""),
        ("```\na\n\nb\n```\n\nwords", "```\na\n\nb\n```\n\n"),
        ("~~~\n```\n\nb\n", ""),
        ("````\n```\n\nb\n", ""),
        ("    code\n\n    more\n", ""),
    ],
)
def test_only_what_cannot_change_any_more_is_complete(text: str, done: str) -> None:
    assert complete(text) == (done, text[len(done) :])


# Figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dollars", "words"), [(None, ""), (0.0, "$0.00"), (0.00042, "$0.0004"), (0.5, "$0.5000"), (12.345, "$12.35")]
)
def test_costs_in_words(dollars: float | None, words: str) -> None:
    assert cost_words(dollars) == words


def test_tokens_in_words() -> None:
    assert tokens_words(lash.Usage(1)) == "1 token in, 0 out"
    assert tokens_words(lash.Usage(1, 2, cache_write_tokens=5)) == "6 tokens in, 2 out"


def test_the_cost_of_a_session_is_not_known_when_a_part_is_not() -> None:
    usage = lash.SessionUsage({"x:m": (2, USAGE)}, 1, 3, 1_200)
    assert usage_lines(usage, price) == [
        "x:m: 2 calls, 1,200 tokens in (200 cached), 56 out (12 thought), $0.0016",
        "1 turn, 3 tool calls, $0.0016; the newest call read 1,200 tokens",
    ]
    both = lash.SessionUsage({"x:m": (2, USAGE), "y:m": (1, USAGE)}, 1, 0, 9)
    assert usage_lines(both, price)[1:] == [
        "y:m: 1 call, 1,200 tokens in (200 cached), 56 out (12 thought), price not known",
        "1 turn, 0 tool calls; the newest call read 9 tokens",
    ]


def test_prices_are_the_tables_or_the_agents_own_providers() -> None:
    prices = prices_of([lash.Agent("a", model=(ScriptedModel(), "m"))])
    assert prices("scripted:m") is None
    assert prices("nobody:knows") is None
    found = prices("openai:gpt-5-mini")
    assert found is not None
    assert found.output > found.input > 0


def test_the_price_an_agent_was_given_is_the_one_that_counts() -> None:
    given = lash.ModelInfo(price=lash.Price(0.5, 2.0))
    agents = [
        lash.Agent("a", model=(ScriptedModel(), "m"), info=given),
        lash.Agent("b", model="openai:gpt-5-mini", info=given),
        lash.Agent("c", model="openai:gpt-5", info=lash.ModelInfo()),
    ]
    prices = prices_of(agents)
    assert [prices(agent.model) for agent in agents] == [given.price, given.price, None]


# Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_ctrl_c_is_heard_once_and_interrupts_when_pressed_again() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    heard: list[str] = []

    def press_twice() -> None:
        with interrupts(lambda: heard.append("cancel")):
            signal.raise_signal(signal.SIGINT)
            heard.append("goes on")
            signal.raise_signal(signal.SIGINT)
            heard.append("never")

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert heard == ["cancel", "goes on"]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_loop_of_a_chat_gives_results_and_errors_and_cancels_what_is_left() -> None:
    import asyncio

    ends: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def give(value: int) -> int:
        if value < 0:
            raise lash.InvalidValue("less than nothing")
        return value

    with LoopThread() as loop:
        assert loop.call(give(7)) == 7
        with pytest.raises(lash.InvalidValue):
            loop.call(give(-1))
        loop.start(forever())
        loop.call(give(0))
    assert ends == ["cancelled"]
