"""Sessions are listed and shown from their database alone, and no command takes one for a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import lash
from lash.cli import exits
from lash.cli.apps import load_app
from tests.unit.cli.bots import BOT
from tests.unit.cli.kit import Cli

LISTED = {
    "id", "kind", "agent", "state", "turns", "nodes", "items", "base", "base_node", "parent", "created_ms",
    "updated_ms", "blocked", "usage",
}  # fmt: skip
SHOWN = LISTED | {"now_ms", "pending", "turn_records", "transcript"}


@pytest.fixture
def bots(cli: Cli) -> Cli:
    """On the database of the bots; ``bots.py`` is the target."""
    cli.target = cli.write("bots.py", BOT)
    cli.url = f"sqlite:///{cli.folder}/bots.db"
    return cli


def on(bots: Cli, story: Callable[[lash.Runtime], Awaitable[object]], worker: bool = True) -> None:
    """Tell a story on the opened app, in the code of its agents."""
    app = load_app(str(bots.target), None)
    assert isinstance(app, lash.Runtime)

    async def tell() -> None:
        await app.open(with_worker=worker)
        try:
            await story(app)
        finally:
            await app.close()

    asyncio.run(tell())


def say(bots: Cli, session: str, *texts: str) -> None:
    async def story(app: lash.Runtime) -> None:
        opened = await app.session(session, next(iter(app.agents)))
        for text in texts:
            await (await opened.send(text))

    on(bots, story)


def send_only(bots: Cli, session: str, text: str, key: str | None = None) -> None:
    async def story(app: lash.Runtime) -> None:
        await (await app.session(session, next(iter(app.agents)))).send(text, key=key)

    on(bots, story, worker=False)


def without_code(bots: Cli) -> None:
    """From here on nobody can import the agents."""
    bots.target.unlink()


# sessions ----------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_newest_first_in_pages_without_the_agents_code(bots: Cli) -> None:
    for name in ("one", "two", "three"):
        say(bots, name, "hello")
    without_code(bots)
    first = bots("sessions", "--limit=2", "--json").document
    assert set(first) == {"now_ms", "sessions", "after"}
    assert [set(row) for row in first["sessions"]] == [LISTED, LISTED]
    second = bots("sessions", "--limit=2", f"--after={first['after']}", "--json").document
    assert [[row["id"] for row in page["sessions"]] for page in (first, second)] == [["three", "two"], ["one"]]
    assert second["after"] is None
    lines = bots("sessions").out.splitlines()
    assert lines[0].split() == ["id", "agent", "state", "turns", "nodes", "tokens", "changed", "detail"]
    assert lines[3].split()[:6] == ["one", "support", "idle", "1", "2", "110"]


def test_a_target_names_the_database_too(bots: Cli) -> None:
    say(bots, "one", "hello")
    assert [row["id"] for row in bots("sessions", "bots.py", "--json", url=None).document["sessions"]] == ["one"]
    assert bots("sessions", "bots.py", "--agent=support", "--json", url=None).document["sessions"]
    assert bots("sessions", "bots.py", "--agent=nobody", url=None).out == "No sessions fit.\n"


def test_a_session_says_what_it_is_at(bots: Cli) -> None:
    say(bots, "closes", "hello")
    send_only(bots, "waits", "hello")

    async def story(app: lash.Runtime) -> None:
        await (await app.session("closes")).close()
        await (await app.session("closes")).fork(None, "forked")

    on(bots, story, worker=False)
    rows = {row["id"]: row for row in bots("sessions", "--json").document["sessions"]}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"waits": "ready", "closes": "closed", "forked": "idle"}
    assert (rows["forked"]["base"], rows["forked"]["base_node"]) == ("closes", 2)
    assert "fork of closes" in bots("sessions").out


def test_no_sessions_are_said_so(bots: Cli) -> None:
    bots("migrate")
    assert bots("sessions").out == "No sessions.\n"


BAD = [
    (["sessions"], None, exits.USAGE, "no_url"),
    (["sessions"], "sqlite:///typo.db", exits.INFRASTRUCTURE, "no_database"),
    (["sessions"], "memory://", exits.USAGE, "no_url"),
    (["sessions", "nothing.py"], None, exits.USAGE, "target_missing"),
    (["sessions", "bots.py:forgetful"], None, exits.USAGE, "no_url"),
    (["sessions", "--after=nobody"], "own", exits.USAGE, "session_unknown"),
    (["sessions", "--limit=0"], "own", exits.USAGE, "wrong_use"),
    (["show", "nobody", "--nodes"], "own", exits.USAGE, "session_unknown"),
    (["show", "nobody"], "own", exits.USAGE, "process_unknown"),
    (["show", "session:nobody"], "own", exits.USAGE, "session_unknown"),
    (["events", "session:nobody"], "own", exits.USAGE, "session_unknown"),
]


@pytest.mark.parametrize(("words", "url", "code", "name"), BAD)
def test_what_is_not_there_is_a_typed_error(bots: Cli, words: list[str], url: str | None, code: int, name: str) -> None:
    bots("migrate")
    failed = bots(*words, "--json", url=url)
    assert (failed.code, failed.error["code"]) == (code, name)
    assert not (bots.folder / "typo.db").exists()


def test_an_id_that_nobody_has_is_told_where_it_was_looked_for_and_how_to_find_others(bots: Cli) -> None:
    bots("migrate")
    told = bots("show", "nobody").err
    for words in ("No process has the id 'nobody', and no session", "bots.db", "`lash ls`", "`lash sessions`", "--url"):
        assert words in told
    assert bots("show", "session:nobody").err.startswith("lash: No session has the id 'nobody'")


# show --------------------------------------------------------------------------------------------------------------


def test_show_tells_the_transcript_and_the_usage_without_the_agents_code(bots: Cli) -> None:
    say(bots, "one", "order", "refuse")
    without_code(bots)
    lines = bots("show", "one").out.splitlines()
    start = lines.index("Transcript")
    assert lines[start + 1 :] == [
        "> order",
        "~ An order.",
        "Let me look.",
        '→ find_order(email="a@b.c")',
        "→ broken(number=7)",
        '← find_order: {"id":"o-17"}',
        "✗ broken: [failed: fire] the printer is on fire",
        "It was **shipped**.",
        "> refuse",
        "· [turn 2 stopped (model): the account is empty]",
    ]
    head = "\n".join(lines[:start])
    assert "scripted:m: 3 calls, 200 tokens in, 20 out, price not known" in head
    assert "2 turns, 2 tool calls" in head


def test_show_as_json_has_the_messages_in_parts_and_the_turns(bots: Cli) -> None:
    say(bots, "one", "order", "refuse")
    shown = bots("show", "one", "--json").document
    assert set(shown) == SHOWN
    assert (shown["kind"], shown["id"], shown["agent"], shown["turns"]) == ("session", "one", "support", 2)
    assert [(node["id"], node["role"]) for node in shown["transcript"]] == [
        ("one#1", "user"),
        ("one#2", "assistant"),
        ("one#3", "tool"),
        ("one#4", "assistant"),
        ("one#5", "user"),
    ]
    kinds = [part["type"] for part in shown["transcript"][1]["parts"]]
    assert kinds == ["reasoning", "text", "call", "call"]
    assert [part["failed"] for part in shown["transcript"][2]["parts"]] == [False, True]
    outcomes = [(turn["turn"], turn["outcome"], turn["tool_calls"]) for turn in shown["turn_records"]]
    assert outcomes == [(1, "finished", 2), (2, "stopped", 0)]
    assert shown["turn_records"][1]["reason"] == "model"
    assert shown["usage"]["total"]["total_tokens"] == 220


def test_show_lists_what_was_sent_and_is_not_done(bots: Cli) -> None:
    send_only(bots, "one", "hello there", key="m-1")
    shown = bots("show", "one", "--json").document
    [item] = shown["pending"]
    assert (item["number"], item["state"], item["key"], item["kind"]) == (1, "pending", "m-1", "input")
    [line] = [line for line in bots("show", "one").out.splitlines() if "m-1" in line]
    assert line.split()[:3] == ["1", "pending", "m-1"]
    assert line.endswith("hello there")


def test_nodes_are_listed_with_frames_and_of_a_fork_those_it_shares(bots: Cli) -> None:
    say(bots, "one", "anew")

    async def story(app: lash.Runtime) -> None:
        await (await app.session("one")).fork("one#3", "two")

    on(bots, story, worker=False)
    nodes = bots("show", "one", "--nodes", "--json").document["path"]
    assert [node["kind"] for node in nodes] == ["message", "message", "message", "frame", "message", "message"]
    assert [node["turn"] for node in nodes] == ["one/1"] * 4 + ["one/2"] * 2
    assert "transcript" not in bots("show", "one", "--nodes", "--json").document
    lines = bots("show", "one", "--nodes").out.splitlines()
    assert [line.split()[:2] for line in lines[lines.index("Nodes") + 2 :]][3] == ["one#4", "frame"]
    forked = bots("show", "two", "--nodes", "--json").document
    assert [node["id"] for node in forked["path"]] == ["one#1", "one#2", "one#3"]
    assert "fork of  one, at node 3" in bots("show", "two").out
    assert "· [a new context begins here: desk; what is above is kept and no longer sent]" in bots("show", "one").out


def test_only_the_newest_nodes_are_shown_where_there_are_many(bots: Cli) -> None:
    say(bots, "one", "first", "second", "third")
    shown = bots("show", "one", "--limit=2")
    assert "> third" in shown.out
    assert "second" not in shown.out
    assert "The newest 2 of 6 nodes" in shown.err
    assert [turn["turn"] for turn in bots("show", "one", "--limit=2", "--json").document["turn_records"]] == [3]


def test_what_was_said_cannot_steer_a_terminal(bots: Cli) -> None:
    say(bots, "one", "a\x1b[31mb\u202e\tc")
    out = bots("show", "one").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "> a\\x1b[31mb\\u202e" in out


def test_a_deleted_session_is_told_as_one(bots: Cli) -> None:
    say(bots, "one", "hello")

    async def story(app: lash.Runtime) -> None:
        await app.delete_session("one")

    on(bots, story, worker=False)
    for words in (["show", "one"], ["show", "one", "--nodes"], ["sessions", "--after=one"]):
        failed = bots(*words, "--json")
        assert (failed.code, failed.error["code"]) == (exits.USAGE, "session_deleted"), words


# Sessions and processes --------------------------------------------------------------------------------------------


def test_a_session_and_a_process_of_one_name_are_told_apart(bots: Cli) -> None:
    say(bots, "same", "hello")
    assert bots.start("asks", '["hi"]', "--id=same").code == exits.OK
    shown = bots("show", "same", "--json")
    assert shown.document["kind"] == "python"
    assert "lash show session:same" in shown.err
    assert bots("show", "session:same", "--json").document["kind"] == "session"
    assert bots("show", "same", "--nodes", "--json").document["kind"] == "session"
    assert bots("cancel", "same", "--json").document["id"] == "same"


def test_processes_are_listed_without_sessions(bots: Cli) -> None:
    say(bots, "one", "hello")
    bots.start("asks", '["hi"]', "--id=p")
    assert [row["id"] for row in bots("ls", "--json").document["processes"]] == ["p"]


@pytest.mark.parametrize("words", ["events {}", "signal {} x", "cancel {}", "retry {}"])
def test_commands_on_processes_say_what_to_use_for_a_session(bots: Cli, words: str) -> None:
    say(bots, "one", "hello")
    failed = bots(*words.format("one").split(), "--json")
    assert (failed.code, failed.error["code"]) == (exits.USAGE, "is_session")
    assert "lash show one" in failed.error["message"]
    assert bots("sessions", "--json").document["sessions"][0]["state"] == "idle"


def test_the_process_of_a_session_can_be_meant_by_its_own_id(bots: Cli) -> None:
    say(bots, "one", "hello")
    assert "process.committed" in bots("events", "session:one").out
    assert bots("retry", "session:one", "--json").document["id"] == "session:one"
    assert bots("signal", "session:one", "x", "--json").error["code"] == "is_session"
    assert bots("cancel", "session:one").code == exits.OK
    say(bots, "two", "hello")  # a worker is there
    assert bots("sessions", "--json").document["sessions"][1]["state"] == "closed"


def test_explain_says_why_a_session_does_not_move(bots: Cli) -> None:
    say(bots, "idle", "hello")
    send_only(bots, "waits", "hello")
    assert "nothing to do" in bots("explain", "idle").out
    told = bots("explain", "waits").out
    assert "no live worker serves it" in told
    assert "agent 'support'" in told


def test_the_doctor_looks_at_sessions(bots: Cli) -> None:
    say(bots, "idle", "hello")
    checks = {check["name"]: check for check in bots("doctor", "--json").document["checks"]}
    assert (checks["sessions"]["verdict"], checks["sessions"]["words"]) == ("ok", "1 open, 0 with something to do")
    send_only(bots, "waits", "hello")
    checks = {check["name"]: check for check in bots("doctor", "--json").document["checks"]}
    assert checks["sessions"]["verdict"] == "warn"
    assert "no live worker has their agent (support)" in checks["sessions"]["words"]
    assert bots("doctor", "--json").document["store"]["sessions"] == 2


def test_show_and_explain_of_a_process_tell_the_session_it_asks(bots: Cli) -> None:
    bots.start("asks", '["hello"]', "--id=p")
    bots.serve_until_state("p", "completed")
    [child] = bots("show", "p", "--json").document["children"]
    assert (child["kind"], child["name"]) == ("session", "support")
    assert bots("show", child["id"], "--json").document["parent"] == "p"


def test_a_process_that_waits_for_a_turn_says_which(bots: Cli) -> None:
    bots.start("asks", '["slow"]', "--id=p")
    bots.serve_until_state("p", "waiting")
    told = bots("explain", "p").out
    assert "It waits for turn 1 of session" in told


def test_a_worker_with_agents_and_no_process_has_something_to_do(bots: Cli) -> None:
    from lash.cli.serving import serving_line

    app = load_app("bots.py:both", None)
    assert "serves agent other, agent support on" in serving_line(app, as_json=False)


def test_how_a_turn_of_a_fork_ended_stands_behind_what_it_shares(bots: Cli) -> None:
    say(bots, "one", "first", "second")

    async def story(app: lash.Runtime) -> None:
        await (await app.session("one")).fork(None, "two")

    on(bots, story, worker=False)
    say(bots, "two", "refuse", "third")
    lines = bots("show", "two").out.splitlines()
    assert lines[lines.index("Transcript") + 1 :] == [
        "> first",
        "You said: first",
        "> second",
        "You said: second",
        "> refuse",
        "· [turn 1 stopped (model): the account is empty]",
        "> third",
        "You said: third",
    ]
