"""Each workload runs at its smallest size, and what it found is told whole: every metric, every goal, every miss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import profile, report
from benchmarks.__main__ import main
from benchmarks.child import MeasurementFailed, ask
from benchmarks.rounds import Finding, Measured
from benchmarks.workloads import FLOORS, WORKLOADS, Metric, Workload, at_least, at_most

NAMES = ("W1", "W2", "W3", "W4", "W5", "STORAGE", "MEMORY", "FLEET", "TURN", "TURN-PG", "STREAM", "SESSION")


def test_the_promised_workloads_are_there() -> None:
    assert tuple(WORKLOADS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_measures_every_metric_it_lists(name: str, tmp_path: Path) -> None:
    workload = WORKLOADS[name]
    values = ask(workload.module, tmp_path, workload.sizes["tiny"])
    assert {metric.key for metric in workload.metrics} == set(values)
    assert all(isinstance(value, (int, float)) for value in values.values())


def test_a_run_prints_a_table_and_writes_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    words = ["w3", "--size", "tiny", "--repeats", "2", "--json", str(out), "--dir", str(tmp_path / "disk")]
    assert main(words) == 0
    document = json.loads(out.read_text("utf-8"))
    assert set(document) == {"schema", "date", "commit", "size", "repeats", "machine", "workloads"}
    assert list(document["workloads"]) == ["floors", "W3"]
    metrics = document["workloads"]["W3"]["metrics"]
    assert list(metrics) == [metric.key for metric in WORKLOADS["W3"].metrics]
    rate = metrics["processes_per_s"]
    assert set(rate) == {"words", "median", "min", "max", "values", "goal", "met"}
    assert len(rate["values"]) == 2
    assert rate["min"] <= rate["median"] <= rate["max"]
    assert rate["goal"] == "≥ 6,000"
    table = capsys.readouterr().out
    assert f"{rate['median']:,.0f}" in table
    assert str(tmp_path) not in out.read_text("utf-8")
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_missed_goal_is_said_and_never_hidden() -> None:
    slow = Workload("X", "x", "x", {}, (Metric("ms", "ms", 1, at_most(2)), Metric("rate", "per s", 0, at_least(10))))
    measured = Measured(slow, [{"ms": 3.0, "rate": 50}, {"ms": 1.0, "rate": 4}, {"ms": 2.5, "rate": 5}])
    assert report.misses([measured]) == ["X: ms", "X: per s"]
    lines = report.table([measured]).splitlines()
    assert [line.split()[-1] for line in lines[-2:]] == ["miss", "miss"]
    assert report.finding_document(measured.findings()[0])["met"] is False


def test_the_median_decides() -> None:
    assert Finding(Metric("ms", "ms", 1, at_most(2)), (9.0, 2.0, 1.0)).met is True
    assert Finding(Metric("ms", "ms", 1, at_least(2)), (1.9, 1.0, 9.0)).met is False
    assert Finding(Metric("ms", "ms"), (1.0,)).met is None


def test_a_measurement_that_fails_is_an_error_not_a_figure(tmp_path: Path) -> None:
    with pytest.raises(MeasurementFailed, match="KeyError"):
        ask(FLOORS.module, tmp_path, {})


def test_an_unknown_workload_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["W9"])
    assert "there is no workload W9" in capsys.readouterr().err


def test_a_profile_names_functions_with_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = profile.by_calls(WORKLOADS["W3"], "tiny", tmp_path)
    profile.print_calls(stats, 5, None)
    profile.print_files(stats, 5)
    printed = capsys.readouterr().out
    assert "own time first" in printed
    assert "src/lash/" in printed
    assert str(Path.home()) not in printed
