"""A model starts what it may, sees what its session has started, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

import lash
from lash.errors import InvalidAgent
from lash.plugins.process_tools import ProcessTools
from lash.testing import Say, ScriptedModel
from tests.unit.runtime.kit import memory, virtual
from tests.unit.runtime.sessions import agent_of, host, said


@lash.process
async def greet(ctx: lash.Context, who: str) -> str:
    greeting: str = await ctx.signal("greeting", str)
    return f"{greeting}, {who}"


@lash.process
async def secret(ctx: lash.Context) -> None: ...


@lash.process
async def nap(ctx: lash.Context) -> str:
    await ctx.sleep("20m")
    return "rested"


@lash.process
async def fail(ctx: lash.Context) -> None:
    raise ValueError("no bed")


async def asks(*calls: tuple[str, Any], before: str = "", **options: Any) -> list[str]:
    """What each call, made in a model call of its own, was answered. ``ID`` stands for the process started first."""
    answers: list[str] = []

    def line(request: Any) -> Say | str:
        if request.messages[-1].role == "tool":
            answers.append(request.messages[-1].parts[0].content[0].text)
        if len(answers) == len(calls):
            return "done"
        name, arguments = calls[len(answers)]
        text = json.dumps(arguments).replace("ID", answers[0] if answers else "")
        return Say(calls=[(name, text)])

    agent = agent_of(ScriptedModel(always=line), plugins=[ProcessTools(["greet", "nap", "fail"])])
    async with host(memory(), agent, **options) as app:
        app.include(greet, secret, nap, fail)
        if before:
            await app.start(greet, "x", id=before)
        session = await app.session("s", agent)
        assert isinstance(await (await session.send("go")), lash.Finished)
        assert (await said(session))[-1] == ("assistant", "done")
    return answers


@virtual
async def test_a_process_is_started_signalled_and_waited_for() -> None:
    started, listed, running, sent, ended = await asks(
        ("start_process", {"name": "greet", "arguments": {"who": "Ann"}}),
        ("list_processes", {}),
        ("wait_process", {"process_id": "ID", "seconds": 1}),
        ("signal_process", {"process_id": "ID", "name": "greeting", "payload": "Hello"}),
        ("wait_process", {"process_id": "ID"}),
    )
    assert json.loads(listed) == [{"id": started, "name": "greet", "status": "running"}]
    assert json.loads(running) == {"status": "running"}
    assert sent == "sent"
    assert json.loads(ended) == {"status": "completed", "value": "Hello, Ann"}


@virtual
async def test_a_wait_parks_the_turn_so_a_worker_with_one_slot_runs_what_is_waited_for() -> None:
    _, running, ended = await asks(
        ("start_process", {"name": "nap"}),
        ("wait_process", {"process_id": "ID", "seconds": 60}),
        ("wait_process", {"process_id": "ID", "seconds": 100_000}),
        concurrency=1,
    )
    assert json.loads(running) == {"status": "running"}
    assert json.loads(ended) == {"status": "completed", "value": "rested"}


@virtual
async def test_a_failure_is_told() -> None:
    _, ended = await asks(("start_process", {"name": "fail"}), ("wait_process", {"process_id": "ID", "seconds": 60}))
    assert json.loads(ended)["status"] == "failed"
    assert "no bed" in json.loads(ended)["message"]


@virtual
async def test_what_is_cancelled_says_so() -> None:
    _, asked, ended = await asks(
        ("start_process", {"name": "greet", "arguments": {"who": "Ann"}}),
        ("cancel_process", {"process_id": "ID"}),
        ("wait_process", {"process_id": "ID"}),
    )
    assert asked == "asked to end"
    assert json.loads(ended)["status"] == "cancelled"


@virtual
async def test_what_was_started_ends_with_the_session() -> None:
    agent = agent_of([Say(calls=[("start_process", '{"name": "greet", "arguments": {"who": "Ann"}}')]), "done"],
                     plugins=[ProcessTools(["greet"])])  # fmt: skip
    async with host(memory(), agent) as app:
        app.include(greet)
        await (await (await app.session("s", agent)).send("go"))
        (row,) = await app.processes()
        await app.delete_session("s")
        with pytest.raises(lash.ProcessCancelled, match="the session was deleted"):
            await app.handle(row.record.id)


@virtual
async def test_what_is_not_its_own_is_not_there() -> None:
    answers = await asks(
        ("start_process", {"name": "secret"}),
        ("start_process", {"name": "greet", "arguments": {"whom": "Ann"}}),
        ("cancel_process", {"process_id": "other"}),
        ("wait_process", {"process_id": "nobody"}),
        ("list_processes", {}),
        before="other",
    )
    assert answers[0].startswith("[failed: unknown]")
    assert answers[1].startswith("[failed: invalid_arguments]")
    assert answers[2].startswith("[failed: unknown]")
    assert answers[3].startswith("[failed: unknown]")
    assert answers[4] == "[]"


@virtual
async def test_a_model_gives_arguments_and_no_options() -> None:
    for option in (
        {"priority": 100},
        {"delay": "1h"},
        {"id": "mine"},
        {"tags": ["session:other"]},
        {"fn": "secret"},
        {"detached": True},
        {"self": 1},
    ):
        (answer,) = await asks(("start_process", {"name": "greet", "arguments": {"who": "Ann", **option}}))
        assert answer == f"[failed: invalid_arguments] The process cannot be given {next(iter(option))} from here."


def test_names_must_be_given() -> None:
    for wrong in ([], "greet", [""]):
        with pytest.raises(InvalidAgent):
            ProcessTools(wrong)
