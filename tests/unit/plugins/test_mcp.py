"""Tools of real MCP servers: over stdio and HTTP, of this protocol and an older one, killed in the middle of a call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.core.message import Media, Text, ToolResult
from lash.errors import ToolFailed, WiringError
from lash.plugins.mcp import Http, Mcp, Stdio
from lash.stores.memory import MemoryStore
from lash.testing import Say, ScriptedModel
from lash.testing.tools import tool_context
from tests.unit.plugins.calls import calling, text_of
from tests.unit.runtime.sessions import agent_of, host, said, until

HERE = Path(__file__).parent
REAL = str(HERE / "mcp_server.py")
OLD = str(HERE / "mcp_old_server.py")


def real(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """In real time, which programs need."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


def old(how: str = "good", **more: Any) -> Stdio:
    return Stdio(command=sys.executable, args=[OLD, how], **more)


@asynccontextmanager
async def opened(plugin: Mcp) -> AsyncGenerator[Mcp]:
    await plugin.open(None)
    try:
        yield plugin
    finally:
        await plugin.close()


def names(plugin: Mcp) -> list[str]:
    return [tool.name for tool in plugin.tools()]


async def failure(plugin: Mcp, name: str, **arguments: object) -> ToolFailed:
    with pytest.raises(ToolFailed) as caught:
        await calling(plugin, name, **arguments)
    return caught.value


@asynccontextmanager
async def web() -> AsyncGenerator[Callable[[], Coroutine[None, None, int]]]:
    """Starts the real server on one port, as often as it is asked; returns the port when it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    running: list[asyncio.subprocess.Process] = []

    async def start() -> int:
        for process in running:
            await process.wait()
        running.append(
            await asyncio.create_subprocess_exec(
                sys.executable, REAL, str(port), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
        )
        await until(lambda: listens(port))
        return port

    try:
        yield start
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
            await process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def kill_when_told(path: Path) -> None:
    """Kill the process that writes its number there."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    os.kill(int(path.read_text()), signal.SIGKILL)


@real
async def test_a_turn_outlives_a_server_that_is_killed_in_the_middle_of_a_call(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    model = ScriptedModel(
        [
            Say(calls=[("mcp__real__add", {"a": 1, "b": 2}), ("mcp__real__everything", {}), ("mcp__real__refuse", {})]),
            Say(calls=[("mcp__real__hang", {"path": str(place)}), ("mcp__real__add", {"a": 1})]),
            Say(calls=[("mcp__real__add", {"a": 2, "b": 2})]),
            "done",
        ]
    )
    agent = agent_of(model, plugins=[Mcp({"real": Stdio(command=sys.executable, args=[REAL])})])
    async with host(MemoryStore(), agent) as app:
        session = await app.session("s", agent)
        turn = await session.send("go")
        await kill_when_told(place)
        assert isinstance(await turn, lash.Finished)
        results = [
            (part.failed, "".join(item.text for item in part.content if isinstance(item, Text)))
            for entry in await session.history()
            for part in entry.message.parts
            if isinstance(part, ToolResult)
        ]
    assert results[0] == (False, "3")
    assert results[1][0] is False
    assert results[2] == (True, "the disk is full")
    assert results[3][0] is True
    assert "[failed: mcp_connection_lost]" in results[3][1]
    assert place.read_text().count("\n") == 1  # it was called once
    assert results[4][0] is True  # an argument is missing
    assert results[5] == (False, "4")
    effects = {tool.name: tool.effect for tool in agent.plugins[0].tools()}
    assert effects == {}  # the worker is closed, and the servers with it


@real
async def test_a_result_with_pictures_and_structured_content_is_kept_whole() -> None:
    async with opened(Mcp({"real": {"command": sys.executable, "args": [REAL]}})) as plugin:
        ctx = tool_context()
        output = await calling(plugin, "mcp__real__everything", ctx)
        first, picture, broken, audio, link = output.content
        assert output.value == {"pixels": 1}
        assert first == Text("a picture")
        assert isinstance(picture, Media)
        assert (picture.media_type, await ctx.get(picture)) == ("image/png", b"\x89PNG one pixel")
        assert isinstance(broken, Text)
        assert "base64" in broken.text
        assert isinstance(audio, Text)
        assert "audio/wav" in audio.text
        assert link == Text("[resource readme at file:///readme.md]")
        refused = await calling(plugin, "mcp__real__refuse")
        assert refused.failure is not None
        assert (refused.failure.code, refused.failure.message) == ("mcp_tool_error", "the disk is full")
        effects = {tool.name.removeprefix("mcp__real__"): tool.effect for tool in plugin.tools()}
        assert effects == {"add": "pure", "everything": "idempotent", "refuse": "once", "hang": "once", "grow": "once"}
        assert (await calling(plugin, "mcp__real__grow")).value == {"result": "grown"}
        await until(lambda: "mcp__real__extra" in names(plugin))
        assert text_of(await calling(plugin, "mcp__real__extra")) == "extra"


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
@real
async def test_over_http_a_killed_server_is_found_again(tmp_path: Path, protocol: Any) -> None:
    place = tmp_path / "pid"
    async with web() as start:
        url = f"http://127.0.0.1:{await start()}/mcp"
        async with opened(Mcp({"web": Http(url=url, headers={"X-Who": "me"}, protocol=protocol)})) as plugin:
            assert text_of(await calling(plugin, "mcp__web__add", a=1, b=2)) == "3"
            await calling(plugin, "mcp__web__grow")
            await until(lambda: "mcp__web__extra" in names(plugin))
            killing = asyncio.create_task(kill_when_told(place))
            lost = await failure(plugin, "mcp__web__hang", path=str(place))
            await killing
            assert lost.code == "mcp_connection_lost"
            gone = await failure(plugin, "mcp__web__add", a=1, b=2)
            assert gone.code == "mcp_unavailable"
            await start()
            assert text_of(await calling(plugin, "mcp__web__add", a=2, b=2)) == "4"
            await until(lambda: "mcp__web__extra" not in names(plugin))


@real
async def test_a_server_that_forgot_the_session_between_calls_costs_no_call(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    async with web() as start:
        url = f"http://127.0.0.1:{await start()}/mcp"
        async with (
            opened(Mcp({"web": Http(url=url, protocol="legacy")})) as plugin,
            opened(Mcp({"other": Http(url=url)})) as other,
        ):
            killing = asyncio.create_task(kill_when_told(place))
            await failure(other, "mcp__other__hang", path=str(place))
            await killing
            await start()
            assert text_of(await calling(plugin, "mcp__web__add", a=2, b=2)) == "4"


@real
async def test_an_old_server_is_spoken_to_in_its_own_way() -> None:
    async with opened(Mcp({"Old": old()})) as plugin:
        assert names(plugin) == [
            "mcp__old__echo", "mcp__old__rename", "mcp__old__die", "mcp__old__silent", "mcp__old__nonsense",
            "mcp__old__pid", "mcp__old__freeze",
            "mcp__old__weird_n_me", "mcp__old__weird_n_me_2",
        ]  # fmt: skip
        assert text_of(await calling(plugin, "mcp__old__echo", text="hello")) == "hello"
        assert text_of(await calling(plugin, "mcp__old__weird_n_me")) == "Weird Näme!"
        assert text_of(await calling(plugin, "mcp__old__weird_n_me_2")) == "weird__n_me_"
        assert (await failure(plugin, "mcp__old__nonsense")).code == "mcp_error"
        assert (await failure(plugin, "mcp__old__echo")).code == "invalid_tool_args"
        await calling(plugin, "mcp__old__rename")
        await until(lambda: "mcp__old__repeat" in names(plugin))
        assert "mcp__old__echo" not in names(plugin)


@real
async def test_a_server_that_tells_of_no_changes_is_asked_when_a_turn_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(Mcp({"old": old("quiet")})) as plugin:
        await calling(plugin, "mcp__old__rename")
        assert "mcp__old__repeat" not in names(plugin)  # its list is not a minute old
        monkeypatch.setattr("lash.plugins.mcp_link.MCP_LIST_AGE_MS", -1)
        await until(lambda: "mcp__old__repeat" in names(plugin))


@real
async def test_all_calls_under_way_fail_when_a_server_dies_and_the_next_finds_a_new_one() -> None:
    async with opened(Mcp({"old": old()})) as plugin:
        waiting = [asyncio.create_task(failure(plugin, "mcp__old__silent")) for _ in range(3)]
        lost = [await failure(plugin, "mcp__old__die"), *await asyncio.gather(*waiting)]
        assert [error.code for error in lost] == ["mcp_connection_lost"] * 4
        assert [error.failure_class for error in lost] == ["unavailable"] * 4
        assert text_of(await calling(plugin, "mcp__old__echo", text="again")) == "again"


@real
async def test_a_server_that_dies_between_calls_is_noticed_and_costs_no_call(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(Mcp({"old": old()})) as plugin:
        first = text_of(await calling(plugin, "mcp__old__pid"))
        os.kill(int(first), signal.SIGKILL)
        await until(lambda: "MCP server old: the connection ended" in caplog.messages)
        second = text_of(await calling(plugin, "mcp__old__pid"))
        assert second != first


@real
async def test_a_server_that_hangs_is_replaced() -> None:
    async with opened(Mcp({"old": old()}, startup_timeout="2s", call_timeout="1s")) as plugin:
        first = text_of(await calling(plugin, "mcp__old__pid"))
        assert (await failure(plugin, "mcp__old__freeze")).code == "timeout"
        assert text_of(await calling(plugin, "mcp__old__pid")) != first


@real
async def test_a_slow_call_is_given_up_and_the_server_stays() -> None:
    async with opened(Mcp({"old": old()}, call_timeout="1s")) as plugin:
        late = await failure(plugin, "mcp__old__silent")
        assert (late.code, late.failure_class) == ("timeout", "timeout")
        assert text_of(await calling(plugin, "mcp__old__echo", text="still")) == "still"


@real
async def test_a_cancelled_call_leaves_the_connection_as_it_was() -> None:
    async with opened(Mcp({"old": old()})) as plugin:
        silent = asyncio.create_task(calling(plugin, "mcp__old__silent"))
        await calling(plugin, "mcp__old__echo", text="first")
        silent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await silent
        assert text_of(await calling(plugin, "mcp__old__echo", text="then")) == "then"


@real
async def test_a_required_server_that_is_not_there_stops_the_opening_and_says_why() -> None:
    for server, words in (
        (old("broken"), "no database"),
        (Stdio(command="/no/such/program"), "FileNotFoundError"),
        (Http(url="http://127.0.0.1:9/mcp"), "connection"),
    ):
        plugin = Mcp({"bad": server, "good": old()})
        with pytest.raises(WiringError) as caught:
            await plugin.open(None)
        assert "'bad'" in str(caught.value)
        assert "'good'" not in str(caught.value)
        assert words in str(caught.value)
        assert plugin.tools() == []


@real
async def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with pytest.raises(WiringError, match="did not answer within 300 ms"):
        await Mcp({"mute": old("mute")}, startup_timeout="300ms").open(None)


@real
async def test_a_server_that_is_not_required_comes_when_it_comes(tmp_path: Path) -> None:
    late = tmp_path / "late.py"
    server = Stdio(command=sys.executable, args=[str(late), "good"], required=False)
    async with opened(Mcp({"late": server, "old": old()})) as plugin:
        assert not any("late" in name for name in names(plugin))
        late.write_text(Path(OLD).read_text())
        await until(lambda: "mcp__late__echo" in names(plugin))
        assert text_of(await calling(plugin, "mcp__late__echo", text="here")) == "here"


@real
async def test_only_the_tools_that_were_chosen_are_offered_with_the_effect_that_was_given() -> None:
    server = old(tools=["echo", "die"], effect="idempotent")
    async with opened(Mcp({"old": server})) as plugin:
        assert [(tool.name, tool.effect) for tool in plugin.tools()] == [
            ("mcp__old__echo", "idempotent"),
            ("mcp__old__die", "idempotent"),
        ]
        spec = plugin.tools()[0].spec
        assert json.loads(json.dumps(spec.parameters))["required"] == ["text"]
        assert spec.description == "The tool echo of old."


@real
async def test_two_openings_share_the_servers_until_both_are_closed() -> None:
    plugin = Mcp({"old": old()})
    async with opened(plugin):
        async with opened(plugin):
            pass
        assert text_of(await calling(plugin, "mcp__old__echo", text="still")) == "still"
    assert plugin.tools() == []
    async with opened(plugin):
        assert text_of(await calling(plugin, "mcp__old__echo", text="anew")) == "anew"


@real
async def test_a_tool_that_has_gone_is_a_refused_call_and_the_turn_goes_on() -> None:
    model = ScriptedModel(
        [
            Say(calls=[("mcp__old__rename", {})]),
            Say(calls=[("mcp__old__echo", {"text": "x"})]),
            "ok",
        ]
    )
    agent = agent_of(model, plugins=[Mcp({"old": old()})])
    async with host(MemoryStore(), agent) as app:
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("go")), lash.Finished)
        lines = await said(session)
    assert lines[4] == (
        "tool",
        "[failed: mcp_error] The MCP server 'old' refused the call of 'echo': no tool echo (-32602)",
    )
