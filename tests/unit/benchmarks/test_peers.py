"""The comparison with peers hides nothing: who is missing has a reason, what is not comparable is never the best."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.child import MeasurementFailed, environment
from benchmarks.peers import report
from benchmarks.peers.contenders import CONTENDERS, Contender, chosen
from benchmarks.peers.environments import ENVIRONMENTS, OURS, Environment, PeerMissing, last_line, perform, prepare
from benchmarks.peers.measure import Values, answer_of, measure
from benchmarks.peers.metrics import METRICS, PROCESS_METRICS, WORKLOADS
from benchmarks.peers.rounds import Row, run_rounds
from benchmarks.peers.table import figures, letter_of, ratio_table, ratios

W1, W2 = METRICS[0], METRICS[1]


def row(name: str, **values: list[float]) -> Row:
    return Row(CONTENDERS[name], values=dict(values))


def quiet(text: str) -> None:
    del text


# Who takes part ------------------------------------------------------------------------------------------------------


def test_the_promised_peers_take_part() -> None:
    assert {item.title.split(",")[0] for item in CONTENDERS.values()} == {
        "lash",
        "DBOS",
        "Absurd",
        "LangGraph",
        "LangGraph tasks",
        "Restate",
        "lash agent",
        "LangGraph agent",
        "LangGraph delta",
        "LangGraph async",
        "OpenAI agent",
    }
    assert {item.store for item in CONTENDERS.values() if item.ours} == {"SQLite", "Postgres"}
    assert [item.name for item in chosen(["dbos", "restate"])] == ["dbos-sqlite", "dbos-postgres", "restate"]
    assert len(chosen([])) == len(CONTENDERS)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--peers", "dbo"])
    assert "there is no contender 'dbo'" in capsys.readouterr().err


def test_every_peer_is_pinned_and_says_how_it_was_set_up() -> None:
    for contender in CONTENDERS.values():
        assert contender.setup
        assert contender.ours or all("==" in pin for pin in contender.environment.pip)
        assert contender.ours or contender.environment.pip
        assert set(contender.apart) <= set(contender.notes) <= set(WORKLOADS)
        if not contender.ours and contender.parked < 100_000 and "W5" in contender.workloads:
            assert "fewer are parked" in contender.notes["W5"]


# Environments --------------------------------------------------------------------------------------------------------


def test_a_peer_that_needs_npm_is_missing_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerMissing, match="npm is not installed"):
        prepare(ENVIRONMENTS["restate"], tmp_path)


def test_a_tool_that_fails_is_quoted_without_paths_of_this_machine() -> None:
    with pytest.raises(PeerMissing, match=r"^pip could not install it: no matching distribution$"):
        perform("pip", [sys.executable, "-c", "import sys; print('x'); sys.exit('\\n no matching distribution \\n')"])
    assert last_line(f"one\n{Path.home()}/x is gone\n\n") == "…/x is gone"
    assert last_line("") == "it said nothing"


def test_an_environment_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    environment = Environment("x", ("x==1",), variables=(("X_BINARY", "bin/x-*/x"),))
    home = tmp_path / "x"
    (home / "bin" / "x-1").mkdir(parents=True)
    (home / "installed").write_text("x==1", "utf-8")
    with pytest.raises(PeerMissing, match="no x for this system"):
        prepare(environment, tmp_path)
    binary = home / "bin" / "x-1" / "x"
    binary.touch()
    installed = prepare(environment, tmp_path)
    assert (installed.python, installed.variables) == (str(home / "bin" / "python"), {"X_BINARY": str(binary)})


def test_lash_runs_in_the_environment_of_the_benchmark(tmp_path: Path) -> None:
    assert prepare(OURS, tmp_path).python == sys.executable
    assert list(tmp_path.iterdir()) == []


# Measuring -----------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_marked_line() -> None:
    code = "print('noise'); print('measured: {\"a\": 1, \"b\": [2, 3]}')"
    assert answer_of([sys.executable, "-c", code], {}) == {"a": [1], "b": [2, 3]}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no server')", "ended with 1: no server"),
        ("print('hello')", "ended with 0: it said nothing"),
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
    ],
)
def test_no_answer_is_a_reason_and_no_figure(code: str, reason: str) -> None:
    with pytest.raises(MeasurementFailed, match=f"^{reason}$"):
        answer_of([sys.executable, "-c", code], {}, seconds_max=0.5 if "sleep" in code else 30)


GRANDCHILD = """
import sys, time
held = open(sys.argv[1], "wb", 0)
held.write(b"x")
print(flush=True)
time.sleep(600)
"""
CHILD = """
import subprocess, sys
begun = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], stdout=subprocess.PIPE)
begun.stdout.readline()
print("measured: {}")
"""


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    """The grandchild holds the other end open: reading comes to an end only when the grandchild has."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert answer_of([sys.executable, "-c", CHILD, GRANDCHILD, str(fifo)], {}) == {}
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b"x"
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_a_program_that_breaks_leaves_a_reason_and_no_files(tmp_path: Path) -> None:
    broken = replace(CONTENDERS["lash-sqlite"], program="no_such_program")
    with pytest.raises(MeasurementFailed, match=r"^ended with 1: .*No module named .*no_such_program$"):
        measure(broken, "W1", prepare(OURS), "", tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_contenders_take_turns_within_a_workload_and_one_that_failed_is_not_asked_again() -> None:
    rows = [Row(CONTENDERS[name]) for name in ("lash-sqlite", "dbos-sqlite", "langgraph-sqlite", "restate")]
    rows[-1].missing = "npm is not installed"
    asked: list[tuple[str, str]] = []

    def ask(contender: Contender, workload: str) -> Values:
        asked.append((workload, contender.name))
        if (contender.name, workload) == ("dbos-sqlite", "W1"):
            raise MeasurementFailed("ended with 1: no room")
        return {"ms_per_step": [float(len(asked))]} if workload == "W1" else {"start_p50_ms": [1.0, 2.0]}

    run_rounds(rows, ("W1", "W5"), 2, ask, quiet)
    first = [("W1", "lash-sqlite"), ("W1", "dbos-sqlite"), ("W1", "langgraph-sqlite")]
    parked = [("W5", "lash-sqlite"), ("W5", "dbos-sqlite")]
    assert asked == [*first, *parked, ("W1", "lash-sqlite"), ("W1", "langgraph-sqlite")]
    assert rows[0].values["ms_per_step"] == [1.0, 6.0]
    assert rows[0].values["start_p50_ms"] == [1.0, 2.0]
    assert rows[1].faults == {"W1": "ended with 1: no room"}


# Tables --------------------------------------------------------------------------------------------------------------


def test_the_median_is_told_with_notes_for_what_is_not_comparable() -> None:
    failed = row("dbos-sqlite", ms_per_step=[2.0])
    failed.faults["W2"] = "took longer than 900 s"
    missing = Row(CONTENDERS["restate"], missing="npm is not installed")
    table = figures(
        [
            row("lash-sqlite", ms_per_step=[9.0, 0.25, 0.5], steps_per_s=[20_000.4], parked=[100_000]),
            failed,
            row("langgraph-sqlite-tasks", ms_per_step=[1.0]),
            missing,
        ]
    )
    lines = {line[:20].strip(): line.split() for line in table.splitlines()}
    assert lines["lash, SQLite"][2:] == ["0.50", "20,000", "100,000"]
    assert lines["DBOS, SQLite"][2:] == ["2.00", "failed", "a"]
    assert lines["LangGraph tasks, SQL"][3:5] == ["(1.00)", "b"]
    assert lines["LangGraph tasks, SQL"][5:] == ["–", "–", "–", "–"]
    assert "Restate                       not measured: npm is not installed" in table
    assert "a  DBOS, SQLite: took longer than 900 s" in table
    assert "b  LangGraph tasks: goes on before the result of a step is on disk" in table


def test_a_ratio_is_against_the_best_comparable_peer_of_the_same_store() -> None:
    found = ratios(
        [
            row("lash-sqlite", ms_per_step=[0.5], steps_per_s=[20_000.0]),
            row("dbos-sqlite", ms_per_step=[4.0], steps_per_s=[100.0]),
            row("langgraph-sqlite", ms_per_step=[2.0], steps_per_s=[50.0]),
            row("langgraph-sqlite-tasks", ms_per_step=[0.1], steps_per_s=[90_000.0]),
            row("absurd-postgres", ms_per_step=[0.1]),
            row("restate", ms_per_step=[0.25]),
        ]
    )
    assert [(item.against, item.key, item.best, item.times) for item in found] == [
        ("SQLite", "ms_per_step", "LangGraph, SQLite", 4.0),
        ("SQLite", "steps_per_s", "DBOS, SQLite", 200.0),
        ("own", "ms_per_step", "Restate", 0.5),
    ]
    printed = ratio_table(found)
    assert "4 × a" in printed
    assert "0.5 × c" in printed
    assert "c  Restate" in printed


def test_a_ratio_of_w5_says_when_the_peer_had_fewer_parked() -> None:
    rows = [
        row("lash-sqlite", start_p50_ms=[2.0], parked=[100_000]),
        row("dbos-sqlite", start_p50_ms=[8.0], parked=[20_000]),
    ]
    printed = ratio_table(ratios(rows))
    assert "4 × a b" in printed
    assert "b  ours beside 100,000 parked, theirs 20,000" in printed


def test_without_a_figure_there_is_no_ratio() -> None:
    failed = row("dbos-sqlite", ms_per_step=[2.0])
    failed.faults["W1"] = "ended with 1"
    assert ratios([row("lash-sqlite", ms_per_step=[1.0]), failed]) == []
    assert ratios([row("lash-sqlite"), row("dbos-sqlite", ms_per_step=[2.0])]) == []


def test_the_direction_decides_what_is_better() -> None:
    assert W1.ratio(0.5, 2.0) == 4.0
    assert W2.ratio(2_000, 500) == 4.0


def test_letters_do_not_end() -> None:
    assert [letter_of(number) for number in (0, 25, 26, 51, 52)] == ["a", "z", "aa", "az", "ba"]


def test_the_results_file_holds_every_value_and_every_reason() -> None:
    missing = Row(CONTENDERS["restate"], missing="npm is not installed")
    measured = row("lash-sqlite", ms_per_step=[3.0, 1.0, 2.0], parked=[7.0])
    document = json.loads(json.dumps(report.document([measured, missing], 3, {"steps": 1}, "17.1", 0.5)))
    ours, restate = document["contenders"]["lash-sqlite"], document["contenders"]["restate"]
    assert ours["metrics"] == {"ms_per_step": {"median": 2.0, "min": 1.0, "max": 3.0, "values": [3.0, 1.0, 2.0]}}
    assert (ours["parked"], ours["missing"]) == (7.0, None)
    assert (restate["missing"], restate["metrics"]) == ("npm is not installed", {})
    assert "@restatedev/restate-server@" in restate["versions"]
    assert document["machine"]["postgres"] == "17.1"


# The whole ------------------------------------------------------------------------------------------------------------


def test_a_run_of_lash_alone_prints_its_figures_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ["--peers", "lash-sqlite", "--size", "tiny", "--repeats", "2", "--no-chart"]
    assert main([*words, "--json", str(out), "--dir", str(tmp_path / "disk")]) == 0
    document = json.loads(out.read_text("utf-8"))
    metrics = document["contenders"]["lash-sqlite"]["metrics"]
    assert list(metrics) == [metric.key for metric in PROCESS_METRICS]
    assert all(len(found["values"]) == 2 for found in metrics.values())
    assert document["contenders"]["lash-sqlite"]["parked"] == 50
    printed = capsys.readouterr().out
    assert f"{metrics['ms_per_step']['median']:,.2f}" in printed
    assert "1,000 sequential steps" in printed
    assert str(tmp_path) not in out.read_text("utf-8")
    assert list((tmp_path / "disk").iterdir()) == []


def test_sqlite_needs_no_driver_of_postgres(tmp_path: Path) -> None:
    code = "import sys, benchmarks.peers.command; print('asyncpg' in sys.modules, 'lash' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]
