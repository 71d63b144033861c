"""A command ends, or is stopped with all it started; its output is told in part and kept as a whole."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from lash.core.outcome import Failure
from lash.core.tool import ToolOutput
from lash.errors import InvalidAgent
from lash.plugins import shell
from lash.plugins.shell import Shell, whole_begin, whole_end
from lash.testing.tools import tool_context
from tests.unit.plugins.calls import call, calling, refused, text_of


def run(root: Path, command: str, **arguments: object) -> ToolOutput:
    return call(Shell(root), "exec_command", command=command, **arguments)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return True


def gone(pid: int) -> bool:
    """Whether it ends: whoever is killed must be given the processor once more, and on a busy machine that takes its
    time. What was not killed sleeps for minutes."""
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        os.sched_yield()
    return not lives(pid)


def test_what_a_command_writes_is_told(root: Path) -> None:
    output = run(root, "echo out; echo err >&2; pwd")
    text = text_of(output)
    assert text.splitlines()[:3] == ["out", "err", str(root.resolve())]
    assert text.splitlines()[3].startswith("[exit code 0 after ")
    assert output.failure is None
    assert output.value == {"exit_code": 0, "output_bytes": 9 + len(str(root.resolve())), "output_file": None}
    assert text_of(run(root, "true")).startswith("[exit code 0")


def test_it_begins_in_the_folder_that_was_named(root: Path) -> None:
    (root / "sub").mkdir()
    assert text_of(run(root, "pwd", path="sub")).splitlines()[0] == str(root.resolve() / "sub")
    with refused("not_found", "'nowhere'"):
        run(root, "pwd", path="nowhere")
    (root / "file").touch()
    with refused("not_a_folder", "'file'"):
        run(root, "pwd", path="file")


def test_a_failed_command_is_a_failed_result_with_its_output(root: Path) -> None:
    output = run(root, "echo before; exit 3")
    assert output.failure == Failure("execution", "exit_code", "exit code 3", {"exit_code": 3})
    assert text_of(output) == "[failed: exit_code] exit code 3\nbefore"
    assert run(root, "false | cat").failure is not None  # a pipe fails with any part of it
    assert text_of(run(root, "kill -9 $$")) == "[failed: exit_code] exit code -9"


@pytest.mark.parametrize(
    "command",
    [
        "yes | head -1",
        "cd . && yes | cat | head -1",
        "IFS=,; set -u; yes | head -1",
        "for each in 1; do yes | head -1; done",
    ],
)
def test_a_command_that_was_cut_off_by_the_next_of_its_pipe_has_not_failed(root: Path, command: str) -> None:
    output = run(root, command)
    assert output.failure is None
    assert text_of(output).startswith("y\n[exit code 0 after ")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("yes | head -1 && touch skipped", 141),
        ("yes | head -1; yes | head -1 && touch skipped", 141),
        ("set -e; yes | head -1; touch skipped", 141),
        ("yes | head -1 || exit", 141),
        ("yes | head -1 || exit 7", 7),
        ("echo | (kill -PIPE $BASHPID)", 141),
        ("yes | (head -1; exit 3)", 3),
        ("(exit 4) | yes | head -1", 4),
        ("yes | head -1 | false", 1),
        ("(exit 5) | true", 5),
        ("trap 'exit 6' EXIT; yes | head -1", 6),
    ],
)
def test_what_failed_or_kept_something_from_being_run_has_failed(root: Path, command: str, code: int) -> None:
    output = run(root, command)
    assert output.failure is not None
    assert output.failure.raw == {"exit_code": code}
    assert ("set +o pipefail" in text_of(output)) == (code == 141)
    assert not (root / "skipped").exists()


def test_there_is_nothing_to_read_and_no_terminal(root: Path) -> None:
    assert text_of(run(root, "cat; test -t 0 || test -t 1 || echo none", timeout_s=5)).startswith("none\n")


def test_it_has_a_session_of_its_own_so_it_cannot_open_the_workers_terminal(root: Path) -> None:
    sid = text_of(run(root, f"{sys.executable} -S -c 'import os; print(os.getsid(0))'")).splitlines()[0]
    assert int(sid) != os.getsid(0)


def test_keys_and_passwords_of_the_worker_are_not_passed_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert "sk-secret" not in text_of(run(root, "env"))
    assert "HOME=/home/somebody" in text_of(run(root, "env"))
    given = Shell(root, env={"GREETING": "hello"})
    assert text_of(call(given, "exec_command", command="echo $GREETING; echo $TERM")).startswith("hello\ndumb\n")


@pytest.mark.parametrize("command", ["", "  \n", "a\0b"])
def test_what_is_no_command_is_refused(root: Path, command: str) -> None:
    with refused("invalid_tool_args"):
        run(root, command)


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_is_refused(root: Path, seconds: float) -> None:
    with refused("invalid_tool_args", "timeout_s"):
        run(root, "true", timeout_s=seconds)


def test_what_cannot_be_started_says_so(root: Path) -> None:
    with refused("not_started"):
        run(root, "true " + "x" * 4_000_000)


def test_a_wrong_time_limit_is_refused_when_the_agent_is_made(root: Path) -> None:
    with pytest.raises(InvalidAgent, match="'soon'"):
        Shell(root, timeout="soon")


# Stopping ----------------------------------------------------------------------------------------------------------

FAMILY = "sleep 600 & echo $! > child; echo $$ > parent; echo begun; wait"


def pids(root: Path) -> list[int]:
    return [int((root / name).read_text()) for name in ("parent", "child")]


def test_a_command_that_takes_too_long_is_stopped_with_its_children(root: Path) -> None:
    began = time.monotonic()
    output = run(root, FAMILY, timeout_s=0.5)
    assert time.monotonic() - began < 5
    assert output.failure == Failure("timeout", "timeout", "stopped after 0.5 s, its time limit")
    assert text_of(output) == "[failed: timeout] stopped after 0.5 s, its time limit\nbegun"
    assert [gone(pid) for pid in pids(root)] == [True, True]


def test_a_model_cannot_ask_for_more_time_than_there_is(root: Path) -> None:
    output = call(Shell(root, timeout="200ms"), "exec_command", command="sleep 600", timeout_s=500)
    assert output.failure is not None
    assert output.failure.message == "stopped after 0.2 s, its time limit"


def test_a_signal_that_is_ignored_does_not_help(root: Path) -> None:
    output = run(
        root, "trap '' TERM INT HUP; echo $$ > parent; cp parent child; while :; do sleep 1; done", timeout_s=0.5
    )
    assert output.failure is not None
    assert gone(pids(root)[0])


def test_what_is_left_in_the_background_ends_with_the_command(root: Path) -> None:
    began = time.monotonic()
    output = run(root, FAMILY.removesuffix("; wait"))
    assert time.monotonic() - began < 5
    assert text_of(output).startswith("begun\n[exit code 0")
    assert gone(pids(root)[1])


def test_what_was_set_free_does_not_hold_the_result_up(root: Path) -> None:
    """It is in a group of its own, so it is not found, and it holds the output open."""
    began = time.monotonic()
    os.mkfifo(root / "pipe")
    free = f"{sys.executable} -S -c 'import os, time; os.setsid(); print(1, flush=True); time.sleep(6)'"
    output = run(root, f"{free} > pipe & read line < pipe; echo done", path=".")
    assert time.monotonic() - began < 4
    assert text_of(output).startswith("done\n[exit code 0")


def test_a_command_that_closed_its_output_is_waited_for(root: Path) -> None:
    run(root, "exec >&- 2>&-; sleep 0.3; touch late")
    assert (root / "late").exists()


def test_a_cancelled_command_is_stopped_with_its_children(root: Path) -> None:
    async def cancelled() -> None:
        running = asyncio.create_task(calling(Shell(root), "exec_command", command=FAMILY))
        while not (root / "parent").exists() or not (root / "parent").read_text():
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()

    asyncio.run(cancelled())
    assert [gone(pid) for pid in pids(root)] == [True, True]


# Long output -------------------------------------------------------------------------------------------------------


def kept_file(root: Path, text: str) -> Path:
    (path,) = [word.rstrip("]") for word in text.split() if word.startswith(".lash/output/")]
    return root / path


def test_a_long_output_is_told_from_both_ends_and_kept_whole(root: Path) -> None:
    output = run(root, "seq 1 100000")
    text = text_of(output)
    whole = "".join(f"{number}\n" for number in range(1, 100_001))
    assert len(text) < 33_500
    assert text.startswith("1\n2\n3\n")
    assert "\n99999\n100000\n[exit code 0" in text
    assert f"[{len(whole) - 32_768} of {len(whole)} bytes are left out here; all of it is in .lash/output/" in text
    assert kept_file(root, text).read_text() == whole
    assert output.value["output_file"] == str(kept_file(root, text).relative_to(root))  # type: ignore[index]
    assert (root / ".lash" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("size", [32_767, 32_768])
def test_an_output_that_just_fits_is_told_whole(root: Path, size: int) -> None:
    output = run(root, f"head -c {size} /dev/zero | tr '\\0' x")
    assert text_of(output).startswith("x" * size + "\n[exit code 0")
    assert not (root / ".lash").exists()


def test_a_failed_command_keeps_its_output_too(root: Path) -> None:
    text = text_of(run(root, "seq 1 100000; exit 1"))
    assert text.startswith("[failed: exit_code] exit code 1\n1\n2\n")
    assert kept_file(root, text).stat().st_size == 588_895


def test_an_output_that_cannot_be_kept_is_told_and_does_not_leave_the_root(root: Path, outside: Path) -> None:
    (root / ".lash").symlink_to(outside)
    output = run(root, "seq 1 100000")
    assert output.failure is None
    assert "it could not be kept: " in text_of(output)
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]


def test_a_command_that_writes_without_end_is_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "SHELL_KEPT_BYTES_MAX", 1_000_000)
    output = run(root, "echo $$ > parent; cp parent child; yes")
    assert output.failure == Failure("resource_limit", "too_much_output", "stopped at 1000000 bytes of output")
    assert gone(pids(root)[0])
    assert 1_000_000 < kept_file(root, text_of(output)).stat().st_size < 1_200_000


def test_only_so_many_outputs_are_kept(root: Path) -> None:
    folder = root / ".lash" / "output"
    folder.mkdir(parents=True)
    for number in range(40):
        (folder / f"{number}.txt").touch()
        os.utime(folder / f"{number}.txt", (number, number))
    text = text_of(run(root, "seq 1 100000"))
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{number}.txt" for number in range(9, 40)} | {kept_file(root, text).name}


def test_characters_are_not_cut_in_two(root: Path) -> None:
    text = text_of(run(root, "for i in $(seq 1 20000); do printf 'x語🦊'; done"))
    assert "\ufffd" not in text
    for letter in ("é", "語", "🦊"):
        data = letter.encode()
        for length in range(1, len(data)):
            assert whole_end(b"a" + data[:length]) == b"a"
            assert whole_begin(data[length:] + b"a") == b"a"
        assert whole_end(b"a" + data) == b"a" + data
        assert whole_begin(data + b"a") == data + b"a"


def test_bytes_that_are_no_text_are_shown_as_such(root: Path) -> None:
    assert text_of(run(root, r"printf 'a\xff\x00b'")).startswith("a\ufffd\\x00b\n")


def test_it_may_happen_once_and_not_beside_another(root: Path) -> None:
    assert [(tool.name, tool.effect, tool.serial) for tool in Shell(root).tools()] == [("exec_command", "once", True)]


def test_two_at_once_do_not_meet(root: Path) -> None:
    async def both() -> list[ToolOutput]:
        ctx = tool_context()
        return await asyncio.gather(
            *[calling(Shell(root), "exec_command", ctx, command=f"seq {n} 90000") for n in (1, 2)]
        )

    files = [kept_file(root, text_of(output)) for output in asyncio.run(both())]
    assert [file.read_text().splitlines()[0] for file in files] == ["1", "2"]
