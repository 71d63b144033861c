"""A search finds what is there, says when it may have missed something, and can always be stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lash.plugins import search, walking
from lash.plugins.search import Search
from tests.unit.plugins.calls import call, calling, refused, text_of


@pytest.fixture
def tree(root: Path) -> Path:
    for path, text in {
        "a.py": "import os\n\ndef go():\n    return os.getcwd()\n",
        "src/b.py": "OS = 1\nos.system\n",
        "src/c.txt": "nothing of it\nbut os here",
        "node_modules/d.py": "os\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "binary").write_bytes(b"os\0os\n")
    (root / "link.py").symlink_to("a.py")
    return root


def grep(root: Path, pattern: str, **arguments: object) -> list[str]:
    return text_of(call(Search(root), "grep", pattern=pattern, **arguments)).splitlines()


def test_lines_are_told_with_their_place(tree: Path) -> None:
    output = call(Search(tree), "grep", pattern=r"\bos\b")
    assert text_of(output).splitlines() == [
        "a.py:1:import os",
        "a.py:4:    return os.getcwd()",
        "src/b.py:2:os.system",
        "src/c.txt:2:but os here",
        "[4 lines match]",
    ]
    assert output.value == {
        "matches": [["a.py", 1], ["a.py", 4], ["src/b.py", 2], ["src/c.txt", 2]],
        "complete": True,
    }


def test_where_to_look_can_be_said(tree: Path) -> None:
    assert grep(tree, "os", path="src") == ["src/b.py:2:os.system", "src/c.txt:2:but os here", "[2 lines match]"]
    assert grep(tree, "os", path="src/b.py") == ["src/b.py:2:os.system", "[1 line matches]"]
    assert grep(tree, "os", glob="**/*.txt") == ["src/c.txt:2:but os here", "[1 line matches]"]
    assert grep(tree, "os", glob="*.txt", path="src") == ["src/c.txt:2:but os here", "[1 line matches]"]
    assert grep(tree, "os", path="node_modules") == ["node_modules/d.py:1:os", "[1 line matches]"]
    assert grep(tree, "os", path="link.py")[-1] == "[2 lines match]"
    assert grep(tree, "os", path="binary") == ["[no line matches]"]
    assert grep(tree, "^OS", ignore_case=True, glob="b.py")[-1] == "[2 lines match]"
    assert grep(tree, "^OS$") == ["[no line matches]"]


def test_lines_around_are_shown_once(root: Path) -> None:
    (root / "a").write_text("".join(f"{letter}\n" for letter in "abcdefghijkl"))
    assert grep(root, "[ce]", context=1) == ["a-2-b", "a:3:c", "a-4-d", "a:5:e", "a-6-f", "[2 lines match]"]
    assert grep(root, "[aei]", context=1) == [
        "a:1:a", "a-2-b", "--", "a-4-d", "a:5:e", "a-6-f", "--", "a-8-h", "a:9:i", "a-10-j", "[3 lines match]",
    ]  # fmt: skip
    assert grep(root, "[al]", context=2)[-3:] == ["a-11-k", "a:12:l", "[2 lines match]"]


def test_a_limit_says_that_there_may_be_more(root: Path) -> None:
    (root / "a").write_text("x\n" * 300)
    assert len(grep(root, "x")) == 21
    rows = grep(root, "x", limit=2)
    assert rows[:2] == ["a:1:x", "a:2:x"]
    assert rows[2].startswith("[stopped at 2 matches, there may be more")
    assert grep(root, "x", limit=1, context=1)[:2] == ["a:1:x", "a-2-x"]
    assert not call(Search(root), "grep", pattern="x").value["complete"]  # type: ignore[index]


def test_a_long_line_is_cut_around_what_was_found(root: Path) -> None:
    (root / "a").write_text("-" * 10_000 + "needle" + "-" * 10_000)
    (row, _) = grep(root, "needle")
    assert "needle" in row
    assert len(row) < 420


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"pattern": "("}, "regular expression"),
        ({"pattern": "a{1,99999999999}"}, "regular expression"),
        ({"pattern": "a", "glob": "/x"}, "glob"),
        ({"pattern": "a", "context": 11}, "0 to 10"),
        ({"pattern": "a", "context": -1}, "0 to 10"),
        ({"pattern": "a", "limit": 0}, "1 to 200"),
        ({"pattern": "a", "limit": 201}, "1 to 200"),
    ],
)
def test_a_wrong_question_is_refused(root: Path, arguments: dict[str, object], says: str) -> None:
    with refused("invalid_tool_args", says):
        call(Search(root), "grep", **arguments)


def test_a_missing_place_is_refused(root: Path) -> None:
    with refused("not_found", "'nowhere'"):
        call(Search(root), "grep", pattern="a", path="nowhere")


def test_a_pattern_that_takes_for_ever_is_stopped_and_the_worker_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "GREP_MS_MAX", 300)
    (root / "a").write_text("needle\n")
    (root / "b").write_text("a" * 40 + "b needle\n")

    async def beside() -> tuple[str, float]:
        slowest = 0.0
        searching = asyncio.create_task(calling(Search(root), "grep", pattern="(a+)+$|needle"))
        while not searching.done():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.monotonic() - began)
        return text_of(await searching), slowest

    text, slowest = asyncio.run(beside())
    assert text.startswith("a:1:needle\n[stopped after")
    assert slowest < 0.3  # the loop was never held up


def test_a_cancelled_search_leaves_no_program_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "b").write_text("a" * 40 + "b\n")
    begun: list[asyncio.subprocess.Process] = []
    listen = search.listen

    async def noting(program: asyncio.subprocess.Process, *rest: object) -> None:
        begun.append(program)
        await listen(program, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "listen", noting)

    async def cancelled() -> None:
        searching = asyncio.create_task(calling(Search(root), "grep", pattern="(a+)+$"))
        while not begun:
            await asyncio.sleep(0.005)
        searching.cancel()
        await asyncio.wait((searching,))
        assert searching.cancelled()

    asyncio.run(cancelled())
    assert begun[0].returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0].pid, 0)


def test_a_search_that_nobody_stops_ends_by_itself(root: Path) -> None:
    """Its worker was killed, say. It gets two seconds of the processor more than it should need."""
    (root / "b").write_text("a" * 40 + "b\n")
    folder = os.open(root, os.O_RDONLY)
    job = walking.Job(folder, ".", 9, None, "(a+)+$", False, 0, 20, 400, 0)
    try:
        done = subprocess.run(
            search.PROGRAM,
            input=json.dumps(job._asdict()).encode(),
            pass_fds=(folder,),
            capture_output=True,
            timeout=60,
        )
    finally:
        os.close(folder)
    assert done.returncode == -signal.SIGXCPU
