"""A conversation in a terminal: durable, resumable, cancelled by Ctrl-C; and one question, its answer on stdout."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lash
from lash.cli import exits
from lash.cli.apps import load_app
from tests.unit.cli.bots import BOT, ROOT, Terminal
from tests.unit.cli.kit import DEADLINE_S, Cli, Result


class Typed(io.StringIO):
    """What a person types, up to Ctrl-D."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def bots(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    cli.target = cli.write("bots.py", BOT)
    cli.url = f"sqlite:///{cli.folder}/bots.db"
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return cli


def ask(bots: Cli, text: str, *more: str, target: str = "bots.py") -> Result:
    return bots("chat", target, "--print", text, *more, url=None)


def talk(bots: Cli, monkeypatch: pytest.MonkeyPatch, *lines: str, more: tuple[str, ...] = ("--session=s",)) -> Result:
    """Type these lines and leave."""
    monkeypatch.setattr(sys, "stdin", Typed("".join(line + "\n" for line in lines)))
    return bots("chat", "bots.py", *more, url=None)


# One question ------------------------------------------------------------------------------------------------------


def test_the_answer_is_all_of_stdout_and_the_rest_is_on_stderr(bots: Cli) -> None:
    asked = ask(bots, "order", "--session=s")
    assert (asked.code, asked.out) == (exits.OK, "It was **shipped**.\n")
    lines = asked.err.splitlines()
    lines.remove("a tool that prints")  # at whatever moment it did
    assert lines[:-2] == [
        '→ find_order(email="a@b.c")',
        "→ broken(number=7)",
        '← find_order: {"id":"o-17"}',
        "✗ broken: fire: the printer is on fire",
    ]
    assert lines[-2].startswith("[200 tokens in, 20 out, $0.0004; 2 model calls, 2 tool calls; ")
    assert lines[-1] == "Session s in sqlite:///bots.db"


def test_text_that_is_taken_back_is_not_in_the_answer(bots: Cli) -> None:
    asked = ask(bots, "cut")
    assert asked.out == "all of it\n"
    assert "[taken back: the last " in asked.err


def test_an_answer_as_json(bots: Cli) -> None:
    told = ask(bots, "order", "--session=s", "--json").document
    usage = told.pop("usage")
    assert usage["total_tokens"] == 220
    assert told == {
        "session": "s",
        "turn": "s/1",
        "outcome": "finished",
        "text": "It was **shipped**.",
        "output": None,
        "model_calls": 2,
        "tool_calls": 2,
        "cost_usd": pytest.approx(0.0004),
    }


def test_a_turn_without_an_answer_prints_none_and_fails(bots: Cli) -> None:
    asked = ask(bots, "refuse")
    assert (asked.code, asked.out) == (exits.FAILED, "")
    assert "[stopped (model): the account is empty]" in asked.err
    told = ask(bots, "refuse", "--json")
    assert (told.code, told.document["outcome"], told.document["reason"]) == (exits.FAILED, "stopped", "model")
    assert told.document["message"] == "the account is empty"


def test_an_answer_that_was_cut_off_is_printed_as_far_as_it_goes_and_fails(bots: Cli) -> None:
    asked = ask(bots, "long", "--session=s")
    assert (asked.code, asked.out) == (exits.FAILED, "It was shipped, and\n")
    assert "[stopped (output_limit): The model's answer was cut off at its output limit.]" in asked.err
    told = ask(bots, "long", "--json")
    assert (told.code, told.document["reason"], told.document["text"]) == (
        exits.FAILED, "output_limit", "It was shipped, and",
    )  # fmt: skip
    (turn,) = bots("show", "s", "--json").document["turn_records"]
    assert (turn["outcome"], turn["text"]) == ("stopped", "It was shipped, and")


def test_an_answer_that_comes_in_a_new_frame_is_the_answer(bots: Cli) -> None:
    asked = ask(bots, "anew", "--session=s")
    assert (asked.code, asked.out) == (exits.OK, "You said: go on\n")
    assert "[went on in a new frame 'desk']" in asked.err
    assert ask(bots, "anew", "--json").document["model_calls"] == 2


@pytest.mark.parametrize("arguments", [[], ["--print", "-"]])
def test_a_question_may_come_on_stdin(bots: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("piped\n"))
    assert bots("chat", "bots.py", *arguments, url=None).out == "You said: piped\n\n"


def test_the_same_session_goes_on(bots: Cli) -> None:
    ask(bots, "one", "--session=s")
    ask(bots, "two", "--session=s")
    texts = [node["text"] for node in bots("show", "s", "--json").document["transcript"]]
    assert texts == ["one", "You said: one", "two", "You said: two"]


def test_a_session_may_be_named_as_its_process_is(bots: Cli) -> None:
    ask(bots, "one", "--session=s")
    assert ask(bots, "two", "--session=session:s", "--json").document["turn"] == "s/2"


def test_every_question_without_a_session_begins_one(bots: Cli) -> None:
    first, second = (ask(bots, "hello", "--json").document["session"] for _ in range(2))
    assert first != second
    assert len(bots("sessions", "--json").document["sessions"]) == 2


def test_the_agent_is_the_only_one_the_named_one_or_that_of_the_session(bots: Cli) -> None:
    named = ask(bots, "hello", "--agent=other", "--session=s", target="bots.py:both")
    assert named.out == "I am the other.\n"
    assert ask(bots, "hello", "--session=s", target="bots.py:both").out == "I am the other.\n"


def test_what_is_not_kept_is_said_so(bots: Cli) -> None:
    asked = ask(bots, "hello", target="bots.py:forgetful")
    assert (asked.code, asked.out) == (exits.OK, "You said: hello\n")
    assert "Nothing is kept." in asked.err


def test_another_database_can_be_named(bots: Cli) -> None:
    assert bots("chat", "bots.py", "-p", "hello", "--db=sqlite:///else.db", url=None).code == exits.OK
    assert len(bots("sessions", "--json", url="sqlite:///else.db").document["sessions"]) == 1
    assert not (bots.folder / "bots.db").exists()


BAD = [
    ([], "invalid_arguments", "With whom?"),
    (["bots.py", "--model=openai:x"], "invalid_arguments", "not both"),
    (["--model=foo:x"], "model_unavailable", "Known prefixes: openai"),
    (["--model=openai:x"], "model_unavailable", "Set OPENAI_API_KEY"),
    (["--model=openai: "], "invalid_agent", "'<provider>:<model>'"),
    (["--model=nonsense"], "invalid_agent", "'<provider>:<model>'"),
    (["--model=foo:x", "--agent=a"], "invalid_arguments", "--agent chooses"),
    (["--model=foo:x", "--no-worker"], "invalid_arguments", "--no-worker"),
    (["bots.py", "--instructions=x"], "invalid_arguments", "--instructions goes with --model"),
    (["bots.py:both"], "no_agent", "other, support. Say which: --agent NAME"),
    (["bots.py:nobody"], "no_agent", "agents=[lash.Agent(...)]"),
    (["bots.py", "--agent=nobody"], "agent_unknown", "Known: support"),
    (["bots.py", "--session= "], "invalid_name", "is blank"),
    (["bots.py", f"--session={'x' * 257}"], "invalid_name", "the limit is 256"),
    (["nothing.py"], "target_missing", "There is no file"),
    (["bots.py", "--db=mysql://host/x"], "bad_url", "mysql"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD)
def test_wrong_use_is_one_line_and_makes_no_database(bots: Cli, arguments: list[str], code: str, words: str) -> None:
    told = bots("chat", *arguments, "-p", "hello", url=None)
    assert (told.code, told.out) == (exits.USAGE, "")
    [line] = told.err.splitlines()
    assert line.startswith("lash: ")
    assert words in line
    assert bots("chat", *arguments, "-p", "hello", "--json", url=None).error["code"] == code
    if "session" not in " ".join(arguments):
        assert list(bots.folder.rglob("*.db")) == []


def test_a_blank_question_and_json_without_one_are_refused(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(bots, "  ", "--json").error["code"] == "invalid_value"
    told = talk(bots, monkeypatch, "hello", more=("--json",))
    assert (told.code, told.error["code"]) == (exits.USAGE, "invalid_arguments")


def test_sessions_that_cannot_be_gone_on_with_are_told(bots: Cli) -> None:
    ask(bots, "hello", "--session=gone")
    ask(bots, "hello", "--session=closed")

    async def story() -> None:
        app = load_app("bots.py", None)
        await app.open(with_worker=False)
        await app.delete_session("gone")
        await (await app.session("closed")).close()
        await app.close()

    asyncio.run(story())
    gone = ask(bots, "hello", "--session=gone", "--json")
    assert (gone.code, gone.error["code"]) == (exits.USAGE, "session_deleted")
    closed = ask(bots, "hello", "--session=closed", "--json")
    assert (closed.code, closed.error["code"]) == (exits.USAGE, "process_ended")
    other = ask(bots, "hello", "--session=closed", "--agent=other", target="bots.py:both")
    assert (other.code, other.err.count("\n")) == (exits.USAGE, 1)
    assert "belongs to agent 'support'" in other.err


# A conversation ----------------------------------------------------------------------------------------------------


def test_a_conversation_is_shown_as_it_happens(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told = talk(bots, monkeypatch, "hello", "", "order")
    assert told.code == exits.OK
    for words in (
        "You said: hello\n[",
        "An order.\nLet me look.\n→ find_order",
        "✗ broken: fire: ",
        "It was **shipped**.",
    ):
        assert words in told.out.replace("a tool that prints\n", "")  # at any moment, also in the middle of a line
    assert "Session s (new) with support (scripted:m), in sqlite:///bots.db" in told.err
    assert told.err.endswith("Go on with: lash chat bots.py --session s\n")


def test_leaving_without_a_word_leaves_no_session(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told = talk(bots, monkeypatch, "/help", "/usage", "/quit", "never said")
    assert told.code == exits.OK
    assert "Nothing was said yet. [bad_command]" in told.out
    assert "Go on with" not in told.err
    assert bots("sessions", "--json").document["sessions"] == []


def test_a_session_is_gone_on_with_where_it_ended(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        ask(bots, f"question {number}", "--session=s")
    told = talk(bots, monkeypatch, "and now")
    shown = told.out[: told.out.index("You said: and now")]
    assert "> question 4\nYou said: question 4\n" in shown
    assert "question 0" not in shown
    assert "[the newest 8 nodes; lash show s has all]" in shown
    assert len(bots("show", "s", "--json").document["transcript"]) == 12


def test_what_was_sent_before_and_is_not_done_is_done_first(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        app = load_app("bots.py", None)
        await app.open(with_worker=False)
        session = await app.session("s", next(iter(app.agents)))
        await session.send("sent before")
        await session.send("sent behind it")
        await app.close()

    asyncio.run(story())
    out = talk(bots, monkeypatch, "and now").out
    places = [out.index(f"You said: {text}") for text in ("sent before", "sent behind it", "and now")]
    assert places == sorted(places)
    assert [out.count(f"You said: {text}") for text in ("sent before", "sent behind it", "and now")] == [1, 1, 1]


def test_fork_and_rewind_go_on_elsewhere_and_leave_the_session_as_it_is(
    bots: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = talk(bots, monkeypatch, "one", "two", "/fork", "three", "/rewind 2", "four", "/fork s#1", "five")
    assert "Go on with: lash chat bots.py --session s-" in told.err
    listed = bots("sessions", "--json").document["sessions"]
    texts = {row["id"]: [node["text"] for node in shown(bots, row["id"])] for row in listed}
    assert texts["s"] == ["one", "You said: one", "two", "You said: two"]
    bases = {row["id"]: row["base"] for row in listed}
    found = sorted((texts[name] for name in bases if bases[name] is not None), key=len, reverse=True)
    assert found == [
        ["one", "You said: one", "two", "You said: two", "three", "You said: three"],
        ["one", "You said: one", "four", "You said: four"],
        ["one", "five", "You said: five"],
    ]


def shown(bots: Cli, session: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = bots("show", session, "--json").document["transcript"]
    return found


def test_commands_tell_usage_tools_and_nodes(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told = talk(bots, monkeypatch, "order", "/usage", "/tools", "/nodes 2", "/help")
    for words in (
        "scripted:m: 2 calls, 200 tokens in, 20 out, $0.0004\n1 turn, 2 tool calls, $0.0004; ",
        "find_order (idempotent)  Find the newest order of a customer.\nbroken (pure)  Always fails.",
        's#3  tool       find_order: {"id":"o-17"}',
        "s#4  assistant  It was **shipped**.",
        "/rewind NODE      go back to NODE, in a new session; this one stays",
    ):
        assert words in told.out
    assert "s#2" not in told.out


def test_compact_sums_up_and_goes_on_from_there(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(bots, monkeypatch, "hello", "/compact the order", "and now")
    kinds = [node["kind"] for node in bots("show", "s", "--nodes", "--json").document["path"]]
    assert "frame" in kinds
    texts = " ".join(str(node["text"]) for node in shown(bots, "s"))
    assert "we spoke" in texts
    assert "You said: and now" in texts


WRONG = [
    ("/bogus", "There is no command /bogus."),
    ("/rewind", "To which node?"),
    ("/rewind nonsense", "is no node. /nodes lists them"),
    ("/rewind 0", "is no node. /nodes lists them"),
    ("/rewind 99", "there is no such node"),
    ("/rewind other#1", "no such node among them: 'other#1'"),
    ("/fork other#1", "no such node among them: 'other#1'"),
    ("/usage now", "/usage takes nothing behind it"),
    ("caf\udce9", "is no text at character 4"),
    ("/fork 1 2", "more than one word: /fork [NODE]"),
    ("/nodes many", "How many?"),
    ("/nodes 0", "How many?"),
    ("/nodes 1001", "How many?"),
]


def test_a_wrong_command_is_told_in_one_line_and_the_conversation_goes_on(
    bots: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = talk(bots, monkeypatch, "hello", *(line for line, _ in WRONG), "still here")
    lines = [line for line in told.out.splitlines() if "lash: " in line]
    assert len(lines) == len(WRONG)
    for line, (_, words) in zip(lines, WRONG, strict=True):
        assert words in line
    assert "You said: still here" in told.out
    assert len(shown(bots, "s")) == 4


def test_slashes_and_lines_that_go_on_can_be_said(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(bots, monkeypatch, "//etc/hosts", "one\\", "two")
    assert [node["text"] for node in shown(bots, "s") if node["role"] == "user"] == ["/etc/hosts", "one\ntwo"]


def test_an_input_that_is_refused_is_told_and_the_conversation_goes_on(
    bots: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = talk(bots, monkeypatch, "x" * 3_000_000, "hello")
    assert "the limit is" in told.out
    assert "[invalid_value]" in told.out
    assert "You said: hello" in told.out


def test_a_question_that_is_too_long_is_told_its_limit_and_makes_no_session(bots: Cli) -> None:
    told = ask(bots, "x" * 20_000_000)
    assert (told.code, told.out, told.err.count("\n")) == (exits.USAGE, "", 1)
    assert "The input has 20000000 bytes; the limit is 1048576." in told.err
    assert bots("sessions", "--json").document["sessions"] == []


def test_a_closed_session_can_be_read_and_forked(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(bots, "hello", "--session=s")

    async def story() -> None:
        app = load_app("bots.py", None)
        await app.open(with_worker=False)
        await (await app.session("s")).close()
        await app.close()

    asyncio.run(story())
    told = talk(bots, monkeypatch, "more", "/fork", "and more")
    for words in ("You said: hello", "[this session is closed; /fork goes on from it]", "[process_ended]", "and more"):
        assert words in told.out


def test_a_session_that_is_deleted_meanwhile_ends_the_conversation(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(bots, "hello", "--session=s")

    class Deleting(Typed):
        def readline(self, *size: int) -> str:  # type: ignore[override]
            asyncio.run(delete())
            return "more\n"

    async def delete() -> None:
        async with lash.Runtime("sqlite:///bots.db", worker=False) as app:
            await app.delete_session("s")

    monkeypatch.setattr(sys, "stdin", Deleting())
    told = bots("chat", "bots.py", "--session=s", url=None)
    assert told.code == exits.USAGE
    assert told.err.endswith(" [session_deleted]\n")


# With a model alone ------------------------------------------------------------------------------------------------


def test_a_model_alone_keeps_its_sessions_in_the_home_folder(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is not there, which shows how trouble with a model looks; the session is kept all the same."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr("lash.runtime.agent.MODEL_RETRY", lash.Retry(attempts=1))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    told = bots("chat", "--model=openai-chat:m", "--session=s", "--print=hello", "--json", url=None)
    assert (told.code, told.document["reason"]) == (exits.FAILED, "model")
    place = bots.folder / "home" / ".lash" / "chat.db"
    assert place.parent.stat().st_mode & 0o077 == 0
    [row] = bots("sessions", "--json", url=f"sqlite:///{place}").document["sessions"]
    assert (row["id"], row["agent"], row["turns"]) == ("s", "chat", 1)
    for words, found in (("sessions", "chat"), ("show s", "> hello"), ("explain s", "session:s")):
        told = bots(*words.split(), url=None)
        assert (told.code, found in told.out) == (exits.OK, True)
        assert told.err == f"In {place}, where lash chat --model keeps its sessions; --url names another database.\n"
    assert bots("show", "s", "--json", url=None).document["id"] == "s"
    assert bots("ls", "--json", url=None).error["code"] == "no_url"
    assert bots("sessions", "--json").error["code"] == "no_database"  # another one was named


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_home_that_cannot_be_written_to_is_told(bots: Cli, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    bots.write("file", "")
    monkeypatch.setenv("HOME", str(bots.folder / home))
    told = bots("chat", "--model=openai:m", "--print=hello", url=None)
    assert (told.code, told.out, told.err.count("\n")) == (exits.INFRASTRUCTURE, "", 1)
    assert "--url sqlite:///chat.db" in told.err
    assert told.err.endswith(" [no_home]\n")
    assert bots("sessions", "--json", url=None).error["code"] == "no_url"


def test_a_user_without_a_home_is_told(bots: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(cls: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert bots("chat", "--model=openai:m", "--print=hello", "--json", url=None).error["code"] == "no_home"
    assert bots("sessions", "--json", url=None).error["code"] == "no_url"


# In a terminal -----------------------------------------------------------------------------------------------------


def test_ctrl_c_in_a_turn_cancels_it_and_at_the_prompt_leaves(bots: Cli) -> None:
    terminal = Terminal(bots.folder, "chat", "bots.py", "--session=s")
    terminal.expect("> ")
    terminal.line("slow")
    terminal.expect("tick tick")
    terminal.type("\x03")
    terminal.expect("[cancelling; Ctrl-C again leaves]")
    terminal.expect("[stopped (cancelled): The turn was cancelled: Ctrl-C.]")
    terminal.expect("> ")
    terminal.line("hello")
    terminal.expect("You said: hello")
    terminal.expect("> ")
    terminal.line("half of\\")
    terminal.expect("… ")
    terminal.type("\x03")
    terminal.expect("> ")
    terminal.type("\x03")
    terminal.expect("Go on with: lash chat bots.py --session s")
    assert terminal.end() == exits.OK
    turns = bots("show", "s", "--json").document["turn_records"]
    assert [turn["outcome"] for turn in turns] == ["stopped", "finished"]


def test_two_chats_on_one_session_tell_each_other_what_was_said(bots: Cli) -> None:
    one = Terminal(bots.folder, "chat", "bots.py", "--session=s")
    one.expect("> ")
    one.line("hello")
    one.expect("You said: hello")
    other = Terminal(bots.folder, "chat", "bots.py", "--session=s")
    other.expect("> hello\nYou said: hello\n> ")
    other.line("from elsewhere")
    assert "meanwhile" not in other.expect("You said: from elsewhere")
    one.expect("> ")
    one.line("back")
    one.expect("[meanwhile another program said in this session:]\n> from elsewhere\nYou said: from elsewhere\n")
    one.expect("[and this turn:]\nYou said: back")
    one.line("slow")
    one.expect("tick tick")
    other.line("late")
    other.expect("[another program has a turn in this session; this one is next]")
    one.type("\x03")
    other.expect("You said: back\n> slow\n· [turn 4 stopped (cancelled)")
    other.expect("You said: late")
    for terminal in (one, other):
        terminal.line("/quit")
        assert terminal.end() == exits.OK
    assert "meanwhile" not in one.text.partition("You said: back")[2]


def test_a_turn_whose_chat_was_killed_is_gone_on_with(bots: Cli) -> None:
    killed = Terminal(bots.folder, "chat", "bots.py", "--session=s")
    killed.expect("> ")
    killed.line("slow")
    killed.expect("tick tick")
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.end() == -signal.SIGKILL
    terminal = Terminal(bots.folder, "chat", "bots.py", "--session=s")
    assert "worker" not in terminal.expect("[turn 1 was sent before and was not done]")
    terminal.expect("tick tick")
    terminal.type("\x03")
    terminal.expect("[stopped (cancelled)")
    terminal.expect("> ")
    terminal.type("\x04")
    assert terminal.end() == exits.OK
    assert len(bots("show", "s", "--json").document["turn_records"]) == 1


def test_ctrl_c_in_one_question_cancels_it(bots: Cli) -> None:
    slow = Terminal(bots.folder, "chat", "bots.py", "--session=t", "--print", "slow")
    until_running(bots, "t")
    slow.type("\x03")
    slow.expect("[stopped (cancelled)")
    assert slow.end() == exits.INTERRUPTED


def until_running(bots: Cli, session: str) -> None:
    async def look() -> None:
        app = lash.Runtime(bots.url, worker=False)
        async with asyncio.timeout(DEADLINE_S), app:
            while not any(row.id == session for row in await app.sessions()):
                await asyncio.sleep(0.01)
            async for _ in (await app.session(session)).observe():
                break

    asyncio.run(look())


def test_without_a_worker_a_turn_is_left_to_others_and_it_is_said_when_there_is_none(bots: Cli) -> None:
    terminal = Terminal(bots.folder, "chat", "bots.py", "--session=s", "--no-worker")
    terminal.expect("> ")
    terminal.line("hello")
    terminal.expect("no live worker serves it")
    terminal.expect("lash worker TARGET")
    worker = subprocess.Popen(
        [sys.executable, "-m", "lash.cli.main", "worker", "bots.py"],
        cwd=bots.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "LASH_URL": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        terminal.expect("You said: hello")
        terminal.expect("> ")
        terminal.type("\x04")
        assert terminal.end() == exits.OK
    finally:
        worker.terminate()
        worker.wait(DEADLINE_S)


def test_a_terminal_shows_markdown(bots: Cli) -> None:
    terminal = Terminal(bots.folder, "chat", "bots.py", "--session=s", kind="xterm-256color")
    terminal.expect("> ")
    terminal.line("order")
    terminal.expect("\x1b[31m✗ broken: fire")
    terminal.expect("It was \x1b[1mshipped\x1b[0m.")
    terminal.expect("> ")
    terminal.type("\x04")
    assert terminal.end() == exits.OK
    assert "**shipped**" not in terminal.text


def test_a_chat_in_a_pipe_has_no_codes(bots: Cli, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lash.cli.main", "chat", "bots.py"],
        input="order",
        cwd=bots.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (done.returncode, done.stdout) == (exits.OK, "It was **shipped**.\n")
    assert "\x1b" not in done.stderr


def test_the_page_tells_every_command_and_option() -> None:
    from lash.cli.chat_commands import COMMANDS

    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    told = {name for name in COMMANDS if f"`{name}" in page}
    assert told == {"/fork", "/rewind", "/nodes", "/usage", "/tools", "/compact", "/help", "/quit"} == set(COMMANDS)
    for option in ("--session", "--agent", "--model", "--url", "--db", "--no-worker", "--print", "-p", "--json"):
        assert option in page
