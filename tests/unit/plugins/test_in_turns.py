"""The tools on files work in turns as they do alone: offered to the model, recorded, stopped with the turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path

from lash.core.message import Media, ToolResult
from lash.core.turn import Finished, Stopped
from lash.plugins.files import Files
from lash.plugins.patch import Patch
from lash.plugins.search import Search
from lash.plugins.shell import Shell
from lash.stores.memory import MemoryStore
from lash.testing.model import Say, ScriptedModel
from tests.unit.runtime.sessions import agent_of, host, said, until

PATCH = "*** Begin Patch\n*** Update File: a.txt\n-one\n+two\n*** End Patch"


def real(test: Callable[[Path], Coroutine[None, None, None]]) -> Callable[[Path], None]:
    """In real time, which programs need."""

    @wraps(test)
    def run(root: Path) -> None:
        asyncio.run(test(root))

    return run


def plugins(root: Path) -> list[Files | Search | Patch | Shell]:
    return [Files(root), Search(root), Patch(root), Shell(root)]


@real
async def test_a_model_works_on_files(root: Path) -> None:
    model = ScriptedModel(
        [
            Say(calls=[("write_file", {"path": "a.txt", "content": "one\n"}), ("apply_patch", {"patch": PATCH}),
                       ("exec_command", {"command": "cat a.txt"})]),
            Say(calls=[("read_file", {"path": "a.txt"}), ("grep", {"pattern": "t.o"}), ("glob", {"pattern": "*"}),
                       ("list_dir", {})]),
            Say(calls=[("read_file", {"path": "../outside/secret.txt"}), ("exec_command", {"command": "exit 2"})]),
            "done",
        ]
    )  # fmt: skip
    agent = agent_of(model, plugins=plugins(root))
    async with host(MemoryStore(), agent) as app:
        session = await app.session("s", agent)
        outcome = await (await session.send("go"))
        results = [text for role, text in await said(session) if role == "tool"]
    assert isinstance(outcome, Finished)
    names = ["read_file", "list_dir", "glob", "write_file", "grep", "apply_patch", "exec_command"]
    assert [tool.name for tool in model.requests[0].tools] == names
    written, patched, shown = results[0].split(" | ")
    assert (written, patched) == ("created a.txt: 1 lines, 4 bytes", "updated a.txt")
    assert shown.startswith("two\n[exit code 0")
    assert (
        results[1]
        == "1\ttwo\n[end of the file, 1 lines] | a.txt:1:two\n[1 line matches] | a.txt\n[1 file] | ./\n  a.txt"
    )
    assert results[2].startswith("[failed: outside_root] '../outside/secret.txt' leads out")
    assert results[2].endswith("[failed: exit_code] exit code 2")


@real
async def test_a_picture_reaches_the_model(root: Path) -> None:
    (root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    model = ScriptedModel([Say(calls=[("read_file", {"path": "a.png"})]), "seen"])
    agent = agent_of(model, plugins=[Files(root)])
    async with host(MemoryStore(), agent) as app:
        session = await app.session("s", agent)
        await (await session.send("look"))
    (result,) = model.requests[1].messages[-1].parts
    assert isinstance(result, ToolResult)
    assert isinstance(result.content[1], Media)
    assert result.content[1].media_type == "image/png"


@real
async def test_cancelling_the_turn_stops_its_command(root: Path) -> None:
    command = "echo $$ > pid.new; mv pid.new pid; sleep 600"
    agent = agent_of([Say(calls=[("exec_command", {"command": command})])], plugins=plugins(root))
    async with host(MemoryStore(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        await until((root / "pid").exists)
        await turn.cancel()
        outcome = await turn
        pid = int((root / "pid").read_text())
        await until(lambda: not alive(pid))
    assert isinstance(outcome, Stopped)
    assert outcome.reason == "cancelled"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
