"""Each command does what it says, prints one JSON document with --json, and ends with its documented exit code."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import Any, cast

import pytest
import typer

import lash
from lash.cli import exits
from lash.cli.main import app
from tests.unit.cli.kit import Cli

ROW = {
    "id", "name", "version", "kind", "status", "state", "host_profile", "created_ms", "updated_ms", "attempts",
    "first_started", "waiting", "cancel_requested", "blocked", "lease", "due_ms", "faults", "outcome", "tags",
    "priority", "parent", "last_event",
}  # fmt: skip
SHOWN = ROW | {
    "now_ms", "args", "recovery", "attempts_max", "timeout_ms", "detached", "originator", "caused_by", "runs",
    "timeline", "journal", "signals", "children",
}  # fmt: skip


# start -------------------------------------------------------------------------------------------------------------


def test_start_writes_a_row_and_needs_no_worker(cli: Cli) -> None:
    started = cli.start("twice", "[21]", "--id=t", "--json")
    assert started.code == exits.OK
    assert set(started.document) == ROW | {"created"}
    assert started.document["created"] is True
    assert started.document["state"] == "ready"
    assert cli("show", "t", "--json").document["args"] == [[21], {}]


def test_the_same_start_again_is_the_same_process(cli: Cli) -> None:
    cli.start("twice", "[21]", "--id=t")
    again = cli.start("twice", "[21]", "--id=t", "--json")
    assert (again.code, again.document["created"]) == (exits.OK, False)
    assert "was there already (running)" in cli.start("twice", "[21]", "--id=t").out
    other = cli.start("twice", "[22]", "--id=t", "--json")
    assert (other.code, other.error["code"]) == (exits.USAGE, "process_conflict")


def test_arguments_are_positions_or_keywords_also_from_stdin(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.start("twice", '{"number": 4}', "--id=keyword")
    monkeypatch.setattr(sys, "stdin", io.StringIO("[5]"))
    cli.start("twice", "-", "--id=stdin")
    assert cli("show", "keyword", "--json").document["args"] == [[4], {}]
    assert cli("show", "stdin", "--json").document["args"] == [[5], {}]


def test_a_parameter_named_like_an_option_of_start_is_still_a_parameter(cli: Cli) -> None:
    started = cli.start("approve", '{"id": "x"}', "--id=a", "--json")
    assert started.document["id"] == "a"
    assert cli("show", "a", "--json").document["args"] == [["x"], {}]


def test_tags_delay_and_priority_are_kept(cli: Cli) -> None:
    started = cli.start("twice", "[1]", "--tag=red", "--tag=blue", "--delay=1h", "--priority=7", "--json").document
    assert (started["tags"], started["priority"], started["state"]) == (["red", "blue"], 7, "scheduled")


BAD_STARTS = [
    (["twce", "[1]"], "not_registered", "Did you mean 'twice'?"),
    (["twice", "[1"], "invalid_arguments", "is no JSON"),
    (["twice", "hello"], "invalid_arguments", "quotes of its own"),
    (["twice", "5"], "invalid_arguments", "a list of positional arguments or an object"),
    (["twice", '["x"]'], "invalid_arguments", "Argument 'number' does not fit"),
    (["twice"], "invalid_arguments", "missing a required argument"),
    (["twice", "[1, 2]"], "invalid_arguments", "too many positional arguments"),
    (["failing", "[NaN]"], "invalid_arguments", "does not fit"),
    (["failing", '["\\ud800"]'], "invalid_value", "has no JSON form"),
    (["twice", "[1]", "--id= "], "invalid_name", "is blank"),
    (["twice", "[1]", f"--id={'x' * 257}"], "invalid_name", "the limit is 256"),
    (["twice", "[1]", "--delay=soon"], "invalid_arguments", "is not understood"),
    (["twice", "[1]", "--tag="], "invalid_name", "is blank"),
    (["twice", "[1]", "--priority=9999999"], "invalid_arguments", "priority"),
    (["twice", "[1]", "--priority=high"], "wrong_use", "priority"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD_STARTS)
def test_a_bad_start_writes_nothing(cli: Cli, arguments: list[str], code: str, words: str) -> None:
    cli("migrate")
    failed = cli("start", str(cli.target), *arguments, "--json")
    assert (failed.code, failed.error["code"]) == (exits.USAGE, code)
    assert words in failed.error["message"]
    assert cli("ls", "--json").document["processes"] == []


def test_start_goes_to_the_apps_own_database_unless_another_is_named(cli: Cli) -> None:
    cli("start", "jobs.py", "twice", "[1]", "--id=own", url=None)
    cli("start", "jobs.py", "twice", "[1]", "--id=other", url="sqlite:///other.db")
    assert [row["id"] for row in cli("ls", "--json", url="sqlite:///jobs.db").document["processes"]] == ["own"]
    assert [row["id"] for row in cli("ls", "--json", url="sqlite:///other.db").document["processes"]] == ["other"]


def test_a_start_that_nobody_could_see_is_refused(cli: Cli) -> None:
    failed = cli("start", "jobs.py", "twice", "[1]", "--json", url="memory://")
    assert failed.code == exits.USAGE
    assert failed.error["code"] in ("no_url", "durable_store_required")


# start --wait ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "code", "status"),
    [("twice", "[21]", exits.OK, "completed"), ("failing", '["broken"]', exits.FAILED, "failed")],
)
def test_wait_ends_with_the_outcome(cli: Cli, name: str, arguments: str, code: int, status: str) -> None:
    cli.start(name, arguments, "--id=p")
    cli.serve_until_state("p", status)
    waited = cli.start(name, arguments, "--id=p", "--wait", "--json")
    assert (waited.code, waited.document["outcome"]["status"]) == (code, status)


def test_wait_that_takes_too_long_leaves_the_process_alone(cli: Cli) -> None:
    waited = cli.start("twice", "[21]", "--id=p", "--wait", "--timeout=50ms", "--json")
    assert (waited.code, waited.document["timed_out"]) == (exits.FAILED, True)
    assert waited.document["status"] == "running"


def test_wait_says_how_to_start_a_worker_when_nobody_claims(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lash.cli.acting.UNCLAIMED_S", 0.01)
    waited = cli.start("twice", "[21]", "--wait", "--timeout=500ms")
    assert "no live worker serves it" in waited.err
    assert "lash worker TARGET" in waited.err
    assert "lash worker" not in waited.out


# Looking -----------------------------------------------------------------------------------------------------------


def test_ls_lists_newest_first_and_in_pages(cli: Cli) -> None:
    for number in range(5):
        cli.start("twice", f"[{number}]", f"--id=p{number}")
    first = cli("ls", "--limit=2", "--json").document
    assert set(first) == {"now_ms", "processes", "after"}
    assert [set(row) for row in first["processes"]] == [ROW, ROW]
    second = cli("ls", "--limit=2", f"--after={first['after']}", "--json").document
    third = cli("ls", "--limit=2", f"--after={second['after']}", "--json").document
    pages = [[row["id"] for row in page["processes"]] for page in (first, second, third)]
    assert pages == [["p4", "p3"], ["p2", "p1"], ["p0"]]
    assert third["after"] is None


def test_ls_filters(cli: Cli) -> None:
    cli.start("twice", "[1]", "--id=done", "--tag=red")
    cli.serve_until_state("done", "completed")
    cli.start("approve", "[]", "--id=waits", "--tag=blue")
    for option, ids in (
        ("--status=completed", ["done"]),
        ("--status=running", ["waits"]),
        ("--name=approve", ["waits"]),
        ("--tag=red", ["done"]),
        ("--tag=green", []),
    ):
        assert [row["id"] for row in cli("ls", option, "--json").document["processes"]] == ids


def test_ls_in_a_pipe_is_plain_columns_without_colour_or_cut_ids(cli: Cli) -> None:
    long_id = "x" * 200
    cli.start("twice", "[1]", f"--id={long_id}")
    lines = cli("ls").out.splitlines()
    assert lines[0].split() == ["id", "name", "state", "detail", "started", "attempts"]
    assert lines[1].startswith(long_id + "  twice  ready  ")
    assert "\x1b" not in "".join(lines)


def test_an_empty_list_says_so(cli: Cli) -> None:
    cli("migrate")
    assert cli("ls").out == "No processes.\n"
    assert cli("ls", "--name=twice").out == "No processes fit.\n"


def test_show_tells_the_record_the_steps_and_the_outcome(cli: Cli) -> None:
    cli.start("twice", "[21]", "--id=t")
    cli.serve_until_state("t", "completed")
    shown = cli("show", "t", "--json").document
    assert set(shown) == SHOWN
    assert shown["outcome"] == {"status": "completed", "value": 42}
    assert shown["runs"] == {"started": 1, "resumed": 0, "parked": 0, "continued": 0}
    [line] = shown["timeline"]
    assert (line["kind"], line["name"], line["ending"], line["attempts"]) == ("step", "double", "ok", 1)
    assert line["began_ms"] <= line["ended_ms"]
    text = cli("show", "t").out
    for words in ("arguments  21", "outcome    42", "attempts   1 of at most 100, rerun", "step  double"):
        assert words in text


def test_show_tells_signals_children_and_waits(cli: Cli) -> None:
    cli.start("parent", "[]", "--id=p")
    cli.serve_until_state("p.0", "waiting")
    cli("signal", "p.0", "aproval", '"typo"')
    shown = cli("show", "p", "--json").document
    assert [child["id"] for child in shown["children"]] == ["p.0"]
    assert [(line["kind"], line["ending"]) for line in shown["timeline"]] == [("command", "ok"), ("process", "open")]
    child = cli("show", "p.0", "--json").document
    assert [(event["type"], event["payload"]) for event in child["signals"]] == [("signal.aproval", "typo")]
    assert "not taken yet" in cli("show", "p.0").out
    assert "Children (1)" in cli("show", "p").out


def test_events_are_lines_and_follow_ends_with_the_process(cli: Cli) -> None:
    cli.start("twice", "[21]", "--id=t")
    cli.serve_until_state("t", "completed")
    events = cli("events", "t", "--follow", "--json").documents
    assert [set(event) for event in events] == [{"sequence", "type", "payload", "key", "at_ms"}] * 2
    assert [event["type"] for event in events] == ["process.started", "process.completed"]
    assert [event["sequence"] for event in cli("events", "t", "--after=1", "--json").documents] == [2]
    assert cli("events", "t", "--after=2").out == ""
    assert 'process.completed  {"value": 42}' in cli("events", "t").out


def test_explain_answers_in_words_and_in_json(cli: Cli) -> None:
    cli.start("twice", "[21]", "--id=t")
    explained = cli("explain", "t", "--json").document
    assert set(explained) == {"id", "state", "headline", "details", "advice", "awaited"}
    assert cli("explain", "t").out.startswith(f"t: {explained['headline'].split(' (')[0]}")


UNKNOWN = ["show nope", "events nope", "explain nope", "signal nope go", "cancel nope", "retry nope", "ls --after=nope"]


@pytest.mark.parametrize("words", UNKNOWN)
def test_an_unknown_id_is_bad_input(cli: Cli, words: str) -> None:
    cli("migrate")
    failed = cli(*words.split(), "--json")
    assert (failed.code, failed.error["code"]) == (exits.USAGE, "process_unknown")
    plain = cli(*words.split())
    assert (plain.code, plain.out) == (exits.USAGE, "")
    assert plain.err.startswith("lash: No process has the id 'nope'")


def test_a_database_is_named_by_the_same_option_everywhere() -> None:
    commands = cast(Any, typer.main.get_command(app)).commands
    named = {
        name: option.opts
        for name, command in commands.items()
        for option in command.params
        if option.name in ("url", "db", "database_url")
    }
    assert set(commands) - set(named) == {"check", "promote"}
    assert all(options == ["--url", "--db"] for options in named.values())


# Acting ------------------------------------------------------------------------------------------------------------


def test_a_signal_is_kept_once_per_key_and_taken(cli: Cli) -> None:
    cli.start("approve", "[]", "--id=a")
    for _ in range(2):
        assert cli("signal", "a", "approval", '"yes"', "--key=k").code == exits.OK
    other = cli("signal", "a", "approval", '"no"', "--key=k", "--json")
    assert (other.code, other.error["code"]) == (exits.USAGE, "event_conflict")
    cli.serve_until_state("a", "completed")
    assert cli("show", "a", "--json").document["outcome"]["value"] == "yes"
    late = cli("signal", "a", "approval", '"late"', "--json")
    assert (late.code, late.error["code"]) == (exits.USAGE, "process_ended")


def test_a_payload_that_is_no_json_is_refused(cli: Cli) -> None:
    cli.start("approve", "[]", "--id=a")
    failed = cli("signal", "a", "approval", "yes", "--json")
    assert (failed.code, failed.error["code"]) == (exits.USAGE, "invalid_arguments")
    assert cli("show", "a", "--json").document["last_event"] == 0


def test_cancel_ends_what_never_started_and_asks_what_did(cli: Cli) -> None:
    cli.start("approve", "[]", "--id=fresh")
    assert cli("cancel", "fresh", "--reason=no need", "--json").document["status"] == "cancelled"
    cli.start("approve", "[]", "--id=begun")
    cli.serve_until_state("begun", "waiting")
    asked = cli("cancel", "begun", "--reason=no need", "--json").document
    assert (asked["status"], asked["cancel_requested"]["reason"]) == ("running", "no need")
    cli.serve_until_state("begun", "cancelled")
    again = cli("cancel", "begun", "--reason=other", "--json")
    assert (again.code, again.error["code"]) == (exits.USAGE, "process_ended")


def test_retry_lets_a_delayed_process_start_now(cli: Cli) -> None:
    cli.start("twice", "[1]", "--id=t", "--delay=1h")
    assert cli("retry", "t", "--json").document["state"] == "ready"


def test_retry_says_when_it_changes_nothing(cli: Cli) -> None:
    async def register() -> None:
        async with lash.Runtime(cli.url, worker=False) as app:
            await app.external("shipping", id="ext")

    asyncio.run(register())
    assert "is external" in cli("retry", "ext").out


def test_prune_deletes_only_what_ended_and_only_when_told(cli: Cli) -> None:
    cli.start("twice", "[1]", "--id=done")
    cli.serve_until_state("done", "completed")
    cli.start("approve", "[]", "--id=waits")
    refused = cli("prune", "--older-than=0s", "--json")
    assert (refused.code, refused.error["code"]) == (exits.USAGE, "not_confirmed")
    assert cli("prune", "--older-than=1h", "--yes", "--json").document["pruned"] == 0
    assert cli("prune", "--older-than=0s", "--yes", "--json").document["pruned"] == 1
    gone = cli("show", "done", "--json")
    assert (gone.code, gone.error["code"]) == (exits.USAGE, "process_pruned")
    assert cli("show", "waits").code == exits.OK
    assert "was pruned earlier" in cli.start("twice", "[1]", "--id=done").out


# check -------------------------------------------------------------------------------------------------------------


def test_check_finds_what_would_not_replay(cli: Cli) -> None:
    assert cli("check", "jobs.py", "--json").document["ok"] is True
    cli.write(
        "clocked.py",
        """
        import time
        import lash
        app = lash.Runtime("sqlite:///jobs.db")

        @app.process
        async def late(ctx: lash.Context) -> float:
            return time.time()
        """,
    )
    checked = cli("check", "clocked.py", "--json")
    assert checked.code == exits.FAILED
    assert set(checked.document) == {"ok", "processes", "files", "problems", "findings"}
    [finding] = checked.document["findings"]
    assert (finding["line"], "time.time" in finding["message"]) == (8, True)
    assert f"clocked.py:8:{finding['column']}" in cli("check", "clocked.py").out


def test_check_tells_a_broken_target_and_names_twice_given(cli: Cli) -> None:
    cli.write("broken.py", "import lash\napp = lash.Runtime(\n")
    broken = cli("check", "broken.py", "--json")
    assert (broken.code, broken.document["problems"][0]["code"]) == (exits.FAILED, "target_broken")
    twice = "@app.process(name='same')\nasync def {name}(ctx): ...\n"
    head = "import lash\napp = lash.Runtime('sqlite:///x.db')\n"
    cli.write("same.py", head + twice.format(name="one") + twice.format(name="two"))
    same = cli("check", "same.py", "--json").document["problems"]
    assert "already_registered" in same[0]["message"]
    cli.write("empty.py", head)
    assert cli("check", "empty.py", "--json").document["problems"][0]["code"] == "nothing_registered"
    missing = cli("check", "missing.py", "--json")
    assert (missing.code, missing.error["code"]) == (exits.USAGE, "target_missing")


def test_check_names_processes_without_a_version_only_when_asked(cli: Cli) -> None:
    checked = cli("check", "jobs.py", "--versions", "--json")
    assert checked.code == exits.FAILED
    assert {problem["code"] for problem in checked.document["problems"]} == {"unversioned"}


# All of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["ls --nope", "nope", "show", "ls --limit=0", "worker x --processes=0", "demo --seconds=1"]
)
def test_wrong_use_is_exit_code_two_and_json_when_asked(cli: Cli, words: str) -> None:
    failed = cli(*words.split(), "--json")
    assert (failed.code, failed.error["code"]) == (exits.USAGE, "wrong_use")
    assert cli(*words.split()).code == exits.USAGE


def test_a_defect_keeps_its_traceback_and_is_no_answer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("lash.cli.upkeep.print_migrations", broken)
    failed = cli("migrate", "--sql", "--json")
    assert (failed.code, failed.error["code"]) == (exits.DEFECT, "defect")
    assert "ZeroDivisionError: planted" in failed.err
    assert 'raise ZeroDivisionError("planted")' in failed.err


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"lash {lash.__version__}\n"


def test_every_command_takes_json(cli: Cli) -> None:
    commands = [
        line.split()[0] for line in cli("--help").out.split("Commands:")[1].splitlines() if line.startswith("  ")
    ]
    first = "demo dev worker start ls show events explain signal"
    known = f"{first} cancel retry prune migrate promote doctor check".split()
    assert [name for name in commands if name in known] == known
    for name in known:
        assert "--json" in cli(name, "--help").out


def test_values_are_shown_without_steering_the_terminal(cli: Cli) -> None:
    cli.start("failing", json.dumps(["\x1b[31mred\x1b[0m\x07"]), "--id=f")
    cli.serve_until_state("f", "failed")
    for words in ("ls", "show f", "explain f", "events f"):
        text = cli(*words.split()).out
        assert "red" in text
        assert "\x1b" not in text
        assert "\x07" not in text
