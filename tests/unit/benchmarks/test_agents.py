"""What is told of agents was done: every turn counted, every word told once, every byte of the file in the sum."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

import lash
from benchmarks import recorded, sessions, streaming, turns
from benchmarks.__main__ import main
from benchmarks.figures import markdown
from benchmarks.peers import report
from benchmarks.peers.command import arguments
from benchmarks.peers.contenders import CONTENDERS
from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import Answers, Asked, Converse, Prose
from benchmarks.peers.rounds import Row
from benchmarks.peers.table import figures, ratio_table, ratios
from benchmarks.workloads import WORKLOADS
from lash.core.model import NO_USAGE
from lash.core.observe import Committed, TextDelta, TurnEvent
from lash.core.turn import Finished
from lash.testing import ScriptedModel

ASKED = Asked("T1", "sqlite:///x.db", "x", 1, 1, 1, 1, 1, 1, 1, alone=4, conversations=3, turns=2, disk_turns=5)


# Goals ---------------------------------------------------------------------------------------------------------------


def test_the_goals_of_agents_stand_where_they_are_judged() -> None:
    goals = {
        (name, metric.key): str(metric.goal)
        for name in ("TURN", "TURN-PG", "STREAM", "SESSION")
        for metric in WORKLOADS[name].metrics
        if metric.goal is not None
    }
    assert goals == {
        ("TURN", "finish_p50_ms"): "≤ 5",
        ("TURN", "tool_turns_per_s"): "≥ 400",
        ("TURN-PG", "finish_p50_ms"): "≤ 8",
        ("STREAM", "here_p50_ms"): "≤ 2",
        ("STREAM", "elsewhere_p50_ms"): "≤ 2",
        ("STREAM", "postgres_p50_ms"): "≤ 2",
        ("SESSION", "reopen_ms"): "≤ 50",
        ("SESSION", "disk_mb"): "≤ 2",
    }
    full = {name: WORKLOADS[name].sizes["full"] for name in ("TURN", "TURN-PG", "SESSION")}
    assert full["TURN"] == full["TURN-PG"]
    assert full["TURN"] == {"turns": 100, "long_turns": 40, "messages": 300, "sessions": 100, "turns_each": 10}
    assert full["SESSION"] == {"nodes": 10_000, "turns": 400}


# What was done -------------------------------------------------------------------------------------------------------


def test_turns_are_counted_in_the_file(tmp_path: Path) -> None:
    async def talk() -> None:
        agent = lash.Agent("a", model=(ScriptedModel(always="Yes."), "m"))
        async with lash.Runtime(f"sqlite:///{tmp_path / 'a.db'}", agents=[agent]) as app:
            session = await app.session("s", agent)
            for _ in range(3):
                await (await session.send("Well?"))

    asyncio.run(talk())
    recorded.expect_turns(tmp_path / "a.db", 3)
    with pytest.raises(AssertionError, match="expected 4 committed turns, the file has 3"):
        recorded.expect_turns(tmp_path / "a.db", 4)


def test_a_turn_of_each_kind_has_the_calls_it_is_told_with() -> None:
    made = {kind.name: kind for kind in turns.kinds()}
    found: dict[str, tuple[int, int, int]] = {}

    async def one_of_each() -> None:
        async with lash.Runtime("memory://", engine="inline", agents=[kind.agent for kind in made.values()]) as app:
            for name, kind in made.items():
                session = await app.session(name, kind.agent)
                await kind.turn(session)
                said = [entry.message for entry in await session.history()]
                found[name] = (len(kind.model.requests), sum(len(message.calls) for message in said), len(said))

    asyncio.run(one_of_each())
    assert found == {"plain": (1, 0, 2), "finish": (1, 1, 3), "tool": (2, 1, 4)}
    assert [(kind.calls, kind.messages) for kind in made.values()] == [(1, 2), (1, 3), (2, 4)]


def test_a_model_call_that_was_not_made_is_no_figure() -> None:
    kind = turns.kinds()[0]
    kind.turns = 1
    with pytest.raises(AssertionError, match="0 model calls were made in turns of the kind 'plain', not 1"):
        kind.check()


def test_the_long_session_has_so_many_messages_half_way() -> None:
    seen: list[int] = []

    async def talk() -> None:
        kind = turns.kinds()[2]
        async with lash.Runtime("memory://", engine="inline", agents=[kind.agent]) as app:
            taken = await turns.in_a_long_session(app, kind, turns=4, messages=40)
            assert len(taken.wall_ms) == len(taken.cpu_ms) == 4
        seen.extend(len(request.messages) for request in kind.model.requests)

    asyncio.run(talk())
    assert len(seen) == 2 * 12
    assert seen[-8:] == [33, 35, 37, 39, 41, 43, 45, 47]


async def told(*texts: str, ends: bool = True) -> AsyncIterator[TurnEvent]:
    for text in texts:
        yield TextDelta(text, 1)
    if ends:
        yield Committed(1, Finished("", None), NO_USAGE)


def test_words_that_come_together_are_each_as_late_as_their_event() -> None:
    now = time.monotonic()
    found = asyncio.run(streaming.delays_ms(told(f"{now - 3:.7f} {now - 2:.7f} ", f"{now - 1:.7f} ")))
    assert [int(delay / 1_000) for delay in found] == [3, 2, 1]


def test_a_word_that_was_never_told_is_no_figure() -> None:
    assert streaming.whole([1.0, 2.0], 2) == [1.0, 2.0]
    with pytest.raises(AssertionError, match="1 words were told of 2"):
        streaming.whole([1.0], 2)
    with pytest.raises(AssertionError, match="before it was said"):
        streaming.whole([1.0, -5.0], 2)
    with pytest.raises(AssertionError, match="ended without its turn"):
        asyncio.run(streaming.delays_ms(told("1.0 ", ends=False)))


def test_every_file_of_a_conversation_counts_but_its_log(tmp_path: Path) -> None:
    (tmp_path / "talk.db-workers").mkdir()
    for name, size in (("", 1_000), ("-wal", 50_000), ("-shm", 32_768), ("-extra", 20), ("-workers/w1.lock", 3)):
        (tmp_path / f"talk.db{name}").write_bytes(bytes(size))
    (tmp_path / "long-20.db").write_bytes(bytes(7))
    assert sessions.files_bytes(tmp_path) == 1_023


# The scripted conversation -------------------------------------------------------------------------------------------


class Spoken:
    """Counts what is said in each conversation; answers as it is given."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.said: dict[str, list[str]] = {}

    async def open_one(self, name: str) -> Converse:
        said = self.said.setdefault(name, [])

        async def converse(text: str) -> str:
            said.append(text)
            await asyncio.sleep(0)
            return self.answer

        return converse


def test_every_peer_has_as_many_turns_as_were_asked_for() -> None:
    alone, many = Spoken("The sum is 5."), Spoken("The sum is 5.")
    assert set(asyncio.run(measuring.turns_alone(ASKED, alone.open_one))) == {"turn_p50_ms", "turn_p99_ms"}
    assert {name: len(said) for name, said in alone.said.items()} == {"warm": 5, "alone": 4}
    assert set(asyncio.run(measuring.turns_at_once(ASKED, many.open_one))) == {"turns_per_s"}
    assert {name: len(said) for name, said in many.said.items()} == {"warm": 5, "many-0": 2, "many-1": 2, "many-2": 2}


def test_a_wrong_answer_is_no_figure() -> None:
    with pytest.raises(AssertionError):
        asyncio.run(measuring.turns_alone(ASKED, Spoken("The sum is 6.").open_one))


def test_the_text_on_the_disk_is_a_million_characters_and_the_same_in_every_run() -> None:
    assert 2 * 400 * measuring.DISK_CHARS == 1_000_000
    prose, again = Prose(), Prose()
    assert len(prose.of(1_250)) == 1_250
    assert prose.of(1_250) != again.of(1_250)
    assert prose.of(10) == again.of(1_260)[-10:]

    spoken = Spoken("x" * 1_250)

    async def fill() -> None:
        await measuring.fill_disk(ASKED, await spoken.open_one("disk"))

    asyncio.run(fill())
    assert [len(text) for text in spoken.said["disk"]] == [1_250] * 5


def test_a_conversation_is_opened_anew_for_each_time_it_is_told() -> None:
    spoken = Spoken("x" * 1_250)
    opened: list[str] = []

    @asynccontextmanager
    async def open_it() -> AsyncIterator[Converse]:
        opened.append("open")
        yield await spoken.open_one("again")
        opened.append("closed")

    assert asyncio.run(measuring.again_ms(open_it)) > 0
    assert opened == ["open", "closed"] * 5
    assert len(spoken.said["again"]) == 5


def test_a_model_that_is_not_given_the_whole_conversation_refuses() -> None:
    answers = Answers()
    assert [len(answers.to(number)) for number in (1, 3, 5)] == [1_250] * 3
    with pytest.raises(AssertionError, match="turn 4 gives the model 5 messages"):
        answers.to(5)


def test_what_is_in_the_log_counts_as_the_file_does(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (value BLOB)")
        connection.execute("INSERT INTO t VALUES (zeroblob(500000))")
        assert path.stat().st_size < 500_000
        assert measuring.file_bytes(str(path)) > 500_000
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM t").fetchone()
        with closing(sqlite3.connect(path)) as other:
            other.execute("INSERT INTO t VALUES (1)")
            other.commit()
        with pytest.raises(AssertionError, match="somebody still uses the database"):
            measuring.file_bytes(str(path), wait_s=0.01)


# Beside peers --------------------------------------------------------------------------------------------------------


def test_whoever_has_none_of_the_workloads_is_not_made_ready() -> None:
    assert [item.name for item in arguments(["--peers", "T1", "disk"]).contenders] == [
        "agents-lash-sqlite",
        "agents-lash-postgres",
        "agents-langgraph-sqlite",
        "agents-langgraph-postgres",
        "agents-langgraph-delta-sqlite",
        "agents-langgraph-delta-postgres",
        "agents-langgraph-async-sqlite",
        "agents-langgraph-async-postgres",
        "agents-openai-sqlite",
    ]
    assert not any(item.name.startswith("agents") for item in arguments(["--peers", "W1", "W2"]).contenders)
    assert arguments(["--peers"]).contenders == list(CONTENDERS.values())


def test_agents_have_a_table_of_their_own() -> None:
    rows = [
        Row(CONTENDERS["lash-sqlite"], values={"ms_per_step": [0.5]}),
        Row(CONTENDERS["agents-lash-sqlite"], values={"turns_per_s": [600.0], "disk_mb": [1.5]}),
        Row(CONTENDERS["agents-langgraph-sqlite"], values={"turns_per_s": [60.0], "disk_mb": [600.0]}),
        Row(CONTENDERS["agents-openai-sqlite"], values={"turns_per_s": [80.0], "disk_mb": [1.5]}),
    ]
    processes, agents, _ = figures(rows).split("\n\n")
    assert "lash, SQLite" in processes
    assert "agent" not in processes
    lines = {line[:28].strip(): line[28:].split() for line in agents.splitlines()}
    assert lines[""] == ["ms", "ms", "turns/s", "MB", "ms"]
    assert lines["lash agent, SQLite"] == ["600", "1.50"]
    assert lines["LangGraph agent, SQLite"] == ["60", "600.00"]
    assert lines["OpenAI agent, SQLite"] == ["80", "a", "1.50"]
    found = {item.key: (item.best, item.times) for item in ratios(rows)}
    assert found == {"turns_per_s": ("OpenAI agent, SQLite", 7.5), "disk_mb": ("OpenAI agent, SQLite", 1.0)}
    assert "7.5 × a" in ratio_table(ratios(rows))


def test_the_tables_of_the_docs_are_made_of_the_results_file() -> None:
    rows = [
        Row(CONTENDERS["lash-sqlite"], values={"ms_per_step": [0.5, 0.25, 0.75]}),
        Row(CONTENDERS["agents-lash-sqlite"], values={"turns_per_s": [1600.0], "disk_mb": [1.5]}),
        Row(CONTENDERS["agents-langgraph-async-sqlite"], values={"turns_per_s": [60.0]}),
        Row(CONTENDERS["agents-openai-sqlite"], values={"turns_per_s": [80.0]}, faults={"DISK": "no room"}),
        Row(CONTENDERS["restate"], missing="npm is not installed"),
    ]
    document = json.loads(json.dumps(report.document(rows, 3, {}, "", 0.0)))
    assert markdown(document).splitlines() == [
        "| | W1 ms/step |",
        "|---|---:|",
        "| lash, SQLite | 0.50 |",
        "",
        "| | T100 turns/s | DISK MB |",
        "|---|---:|---:|",
        "| lash agent, SQLite | 1,600 | 1.50 |",
        "| LangGraph async, SQLite | (60) | – |",
        "| OpenAI agent, SQLite | 80 | failed |",
    ]


def test_a_run_of_lash_agents_alone_writes_all_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    words = ["--peers", "agents-lash-sqlite", "--size", "tiny", "--repeats", "1", "--no-chart"]
    assert main([*words, "--json", str(out), "--dir", str(tmp_path / "disk")]) == 0
    metrics = json.loads(out.read_text("utf-8"))["contenders"]["agents-lash-sqlite"]["metrics"]
    assert list(metrics) == ["turn_p50_ms", "turn_p99_ms", "turns_per_s", "disk_mb", "again_ms"]
    assert all(found["median"] > 0 for found in metrics.values())
    assert "100 conversations of 10 such turns" in capsys.readouterr().out
    assert list((tmp_path / "disk").iterdir()) == []
