"""The doctor fails what keeps work from being done, warns of what is odd, and says nothing worse than that."""

from __future__ import annotations

from typing import Any

import pytest

from lash.abc.store import WorkerRecord
from lash.cli.doctor import store_checks, work_checks
from lash.core.process import Blocked, CancelRequest, FirstStarted, Lane, ProcessRecord, ProcessRow, ProcessSpec

NOW = 1_800_000_000_000
SPEC = ProcessSpec("p", "python", "refund", "", b"[[],{}]", "d")
SERVING = WorkerRecord("w-1", (Lane("default", "python", "refund", ""),), b"{}", NOW + 5_000)
ELSEWHERE = WorkerRecord("w-2", (Lane("default", "python", "other", ""),), b"{}", NOW + 5_000)
BEGUN = FirstStarted(1, "w-0", 1, NOW - 50_000)


def row(due_ms: int | None = NOW, owner: str | None = None, until_ms: int | None = None, **record: Any) -> ProcessRow:
    return ProcessRow(1, ProcessRecord(SPEC, NOW - 60_000, NOW, **record), owner, 1, until_ms, due_ms, 0)


def verdicts(rows: list[ProcessRow], workers: list[WorkerRecord]) -> dict[str, str]:
    return {check.name: check.verdict for check in work_checks(rows, workers, NOW)}


WELL = {"workers": "ok", "served": "ok", "blocked": "ok", "overdue": "ok"}
LATE = NOW - 60_000


@pytest.mark.parametrize(
    ("rows", "workers", "changes"),
    [
        ([row()], [SERVING], {}),
        ([row()], [ELSEWHERE], {"served": "fail"}),
        ([row(LATE)], [SERVING], {"overdue": "warn"}),
        ([row(None, "w-9", LATE, first_started=BEGUN)], [SERVING], {"overdue": "warn"}),
        ([row(None, "w-1", NOW + 9, first_started=BEGUN)], [SERVING], {}),
        ([row(blocked=Blocked("diverged", "x", ""))], [SERVING], {"blocked": "fail"}),
        ([row(cancel_requested=CancelRequest("x", NOW - 3_600_000))], [SERVING], {"cancels": "warn"}),
        ([row(cancel_requested=CancelRequest("x", NOW - 1_000))], [SERVING], {}),
    ],
)
def test_each_trouble_has_its_verdict(
    rows: list[ProcessRow], workers: list[WorkerRecord], changes: dict[str, str]
) -> None:
    assert verdicts(rows, workers) == WELL | changes


def test_no_worker_is_a_warning_only_while_there_is_work() -> None:
    assert verdicts([row()], [])["workers"] == "warn"
    assert verdicts([], [])["workers"] == "ok"


@pytest.mark.parametrize(
    ("about", "name", "verdict"),
    [
        ({"integrity": "row 7 missing from index"}, "integrity", "fail"),
        ({"integrity": "ok"}, "integrity", "ok"),
        ({"journal_mode": "delete"}, "journal mode", "fail"),
        ({"synchronous": "normal"}, "sync", "warn"),
        ({"fsync_us": 50_000.0}, "disk", "warn"),
        ({"wal_bytes": 2**30}, "log", "warn"),
    ],
)
def test_what_a_store_says_about_itself_is_judged(about: dict[str, object], name: str, verdict: str) -> None:
    found = {check.name: check.verdict for check in store_checks({"store": "sqlite", **about})}
    assert found == {"opened": "ok", name: verdict}


def test_a_store_that_says_little_is_not_judged_for_it() -> None:
    assert [check.verdict for check in store_checks({"store": "other"})] == ["ok"]
