"""Why is it not moving: for each situation a row can be in, the right reason, what stands behind it, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from lash.abc.store import WorkerRecord
from lash.cli.explain import DEPTH_MAX, Facts, explain, explain_process
from lash.cli.journal import Journal
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.outcome import Abandoned, Cancelled, Completed, Failed, Failure, Outcome
from lash.core.process import (
    Blocked,
    CancelRequest,
    FirstStarted,
    Lane,
    ProcessRecord,
    ProcessRow,
    ProcessSpec,
    Tombstone,
    Waiting,
)
from tests.unit.cli.kit import Cli

NOW = 1_800_000_000_000
SPEC = ProcessSpec("p", "python", "refund", "", b"[[],{}]", "d")
LANE = Lane("default", "python", "refund", "")
ABOUT = codec.encode({"host": "box", "pid": 77})
WORKER = WorkerRecord("w-1", (LANE,), ABOUT, NOW + 5_000)


def row(
    spec: ProcessSpec = SPEC,
    *,
    owner: str | None = None,
    until_ms: int | None = None,
    due_ms: int | None = None,
    faults: int = 0,
    **record: Any,
) -> ProcessRow:
    return ProcessRow(1, ProcessRecord(spec, NOW - 60_000, NOW - 5_000, **record), owner, 3, until_ms, due_ms, faults)


BEGUN: dict[str, Any] = {"attempts": 1, "first_started": FirstStarted(1, "w-0", 1, NOW - 50_000)}


def entry(kind: EntryKind, ordinal: int = 0, name: str = "", **more: Any) -> Entry:
    return Entry(kind, ordinal, name, at_ms=NOW - 3_000, rank=1 + ordinal, **more)


def wait_for(key: str, ordinal: int = 0) -> Entry:
    return entry(EntryKind.WAIT, ordinal, key)


def said(
    found: ProcessRow,
    entries: Sequence[Entry] = (),
    workers: Sequence[WorkerRecord] = (),
    awaited: dict[str, ProcessRow | Tombstone | None] | None = None,
) -> tuple[str, str, str]:
    """State, headline, and all the rest as one text."""
    explanation = explain(Facts(found, Journal(entries), workers, NOW, awaited or {}))
    return explanation.state, explanation.headline, "\n".join([*explanation.details, *explanation.advice])


OUTCOMES: list[tuple[Outcome, str, str]] = [
    (Completed(b"[1]"), "It completed at", "Its value: [1]"),
    (Failed(Failure("execution", "ValueError", "broken")), "It failed at", "ValueError (execution): broken"),
    (Cancelled("no need"), "no need", ""),
    (Abandoned({"owner": "w-0"}), "its contract is to run once", "w-0"),
]


@pytest.mark.parametrize(("outcome", "headline", "rest"), OUTCOMES)
def test_what_has_ended(outcome: Outcome, headline: str, rest: str) -> None:
    state, words, more = said(row(status=outcome.status, outcome=outcome))
    assert state == outcome.status.value
    assert headline in words
    assert rest in more


def test_external_work_is_closed_by_whoever_does_it() -> None:
    external = replace(SPEC, kind="external", recovery="external")
    state, words, more = said(row(external, cancel_requested=CancelRequest("stop", NOW - 1_000)))
    assert (state, "no worker here will ever touch it" in words) == ("external", True)
    assert "app.handle('p').complete(value)" in more
    assert "for whoever does the work" in more


def test_a_leased_row_names_its_worker_and_the_last_thing_recorded() -> None:
    held = row(owner="w-1", until_ms=NOW + 9_000, **BEGUN)
    state, words, more = said(held, [entry(EntryKind.STEP, 0, "load")], [WORKER])
    assert state == "running"
    assert "worker w-1 (pid 77 on box)" in words
    assert "in 9.0s" in words
    assert "Last recorded: step load, 3.0s ago." in more
    assert "a step in flight, or the body at work" in more
    assert "not among the live ones" not in more


def test_a_leased_row_whose_worker_has_gone_says_so() -> None:
    _, _, more = said(row(owner="w-9", until_ms=NOW + 900, **BEGUN), [], [WORKER])
    assert "not among the live ones" in more


def test_a_lease_that_ran_out_waits_for_somebody_to_take_it_over() -> None:
    state, words, more = said(row(owner="w-9", until_ms=NOW - 2_000, **BEGUN), [], [])
    assert state == "lost"
    assert "the lease of w-9 ended 2.0s ago" in words
    assert "lash worker TARGET" in more


def test_ready_without_a_worker() -> None:
    state, words, more = said(row(due_ms=NOW - 4_000))
    assert state == "ready"
    assert "ready to start (due 4.0s ago), and no live worker serves it" in words
    assert "'refund' without a version in host profile 'default'" in more
    assert "No worker is alive" in more


@pytest.mark.parametrize(
    "lane",
    [
        Lane("default", "python", "refund", "2"),
        Lane("staging", "python", "refund", ""),
        Lane("", "python", "other", ""),
    ],
)
def test_ready_with_workers_that_serve_something_else(lane: Lane) -> None:
    _, words, more = said(row(due_ms=NOW - 4_000), [], [WorkerRecord("w-2", (lane,), ABOUT, NOW + 5_000)])
    assert "no live worker serves it" in words
    assert "worker w-2 (pid 77 on box) serves" in more
    assert (lane.version or lane.host_profile or lane.name) in more


def test_ready_with_a_busy_worker() -> None:
    _, words, more = said(row(due_ms=NOW - 4_000, **BEGUN), [], [WORKER])
    assert "ready to go on" in words
    assert "when it has a free slot" in words
    assert "1 live worker(s) serve it: worker w-1" in more


def test_a_delay() -> None:
    state, words, more = said(row(due_ms=NOW + 3_600_000))
    assert state == "scheduled"
    assert "its delay ends" in words
    assert "in 1h00m" in words
    assert "lash retry p" in more


def test_back_off_after_a_lost_worker_names_the_attempt() -> None:
    later: dict[str, Any] = {**BEGUN, "attempts": 4}
    state, words, more = said(row(due_ms=NOW + 2_000, **later))
    assert state == "back-off"
    assert "after attempt 4 of 100" in words
    assert "lash retry p" in more


def test_a_step_between_two_attempts() -> None:
    failed = entry(
        EntryKind.ATTEMPT, 0, "pay", payload=b'{"class":"execution","code":"E","message":"away"}', failed=True,
        attempt=2, due_ms=NOW + 8_000,
    )  # fmt: skip
    parked = row(due_ms=NOW + 8_000, waiting=Waiting("retry", None, NOW + 8_000), **BEGUN)
    state, words, more = said(parked, [failed])
    assert state == "back-off"
    assert "in 8.0s" in words
    assert "attempt 3 of step pay" in more
    assert "attempt 2 failed with E: away" in more


def test_a_step_that_was_given_up_is_not_waited_for() -> None:
    given_up = entry(EntryKind.ATTEMPT, 0, "charge", payload=b'{"code":"E"}', failed=True, due_ms=NOW - 9_000)
    parked = row(waiting=Waiting("signal", "signal:go", None), **BEGUN)
    _, words, more = said(parked, [given_up, wait_for("signal:go", 1)])
    assert "It waits for the signal 'go'" in words
    assert "charge" not in words + more


def test_a_signal_that_has_not_come() -> None:
    parked = row(waiting=Waiting("signal", "signal:approval", NOW + 60_000), due_ms=NOW + 60_000, **BEGUN)
    state, words, more = said(parked, [wait_for("signal:approval")])
    assert state == "waiting"
    assert "the signal 'approval' (asked for 3.0s ago)" in words
    assert "Its timer ends" in more
    assert "lash signal p approval" in more


def test_a_misspelt_signal_is_pointed_out() -> None:
    mail = entry(EntryKind.MAIL, 2, "signal:aproval")
    parked = row(waiting=Waiting("signal", "signal:approval", None), **BEGUN)
    _, _, more = said(parked, [wait_for("signal:approval"), mail])
    assert "'aproval'. Is one of them misspelt?" in more


@pytest.mark.parametrize(
    ("awaited", "words"),
    [
        (row(replace(SPEC, id="child"), due_ms=NOW), "is ready"),
        (Tombstone("child", "d", Completed(b"1").status, 1, 2), "ended (completed) and was pruned"),
        (None, "does not exist"),
    ],
)
def test_a_process_it_waits_for_is_told_with_its_state(awaited: ProcessRow | Tombstone | None, words: str) -> None:
    parked = row(waiting=Waiting("process", "process:child", None), **BEGUN)
    _, headline, _ = said(parked, [wait_for("process:child")], awaited={"child": awaited})
    assert f"the process child, which {words}" in headline


def test_several_waits_are_listed_and_counted() -> None:
    waits = [wait_for(f"process:c{number}", number) for number in range(20)]
    parked = row(waiting=Waiting("process", None, None), **BEGUN)
    _, words, more = said(parked, waits, awaited={f"c{number}": None for number in range(20)})
    assert words == "It waits for 20 things."
    assert "… and 14 more." in more


def test_a_sleeping_body_is_well() -> None:
    parked = row(waiting=Waiting("sleep", None, NOW + 7_200_000), due_ms=NOW + 7_200_000, **BEGUN)
    state, words, _ = said(parked)
    assert (state, "in 2h00m" in words, "Nothing is wrong." in words) == ("sleeping", True, True)


def test_a_body_that_waits_for_nothing_is_deadlocked() -> None:
    state, words, more = said(row(waiting=Waiting("nothing", None, None), **BEGUN))
    assert state == "waiting"
    assert "deadlocked" in words
    assert "asyncio.Event" in more
    assert "lash cancel p" in more


def test_a_cancel_request_is_told_whatever_the_state() -> None:
    for found in (row(due_ms=NOW), row(owner="w-1", until_ms=NOW + 1, **BEGUN), row(due_ms=NOW + 9, **BEGUN)):
        asked = found._replace(record=replace(found.record, cancel_requested=CancelRequest("no need", NOW - 2_000)))
        assert "A cancel was requested" in said(asked)[2]
        assert "no need" in said(asked)[2]


def test_trouble_that_is_no_divergence_names_its_reason() -> None:
    trouble = Blocked("store_unavailable", "The disk is full.", "")
    state, words, more = said(row(due_ms=NOW + 500, faults=3, blocked=trouble, **BEGUN))
    assert state == "blocked"
    assert "store_unavailable" in words
    assert "no outcome" in words
    assert "The disk is full." in more
    assert "3 fault(s) in a row" in more


# On a real database ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "states", "words"),
    [
        ("approve", ("waiting",), "It waits for the signal 'approval'"),
        ("sleeper", ("sleeping",), "It sleeps until"),
        ("stuck", ("waiting",), "deadlocked"),
        ("retrying", ("back-off",), "A step failed and is tried again"),
        ("failing", ("failed",), "It failed at"),
    ],
)
def test_what_a_worker_left_behind_is_explained(cli: Cli, name: str, states: tuple[str, ...], words: str) -> None:
    cli.start(name, '["x"]' if name == "failing" else "[]", "--id=p")
    cli.serve_until_state("p", *states)
    explained = cli("explain", "p", "--json").document
    assert explained["state"] in states
    assert words in explained["headline"]


def test_what_a_parent_waits_for_is_explained_below_it(cli: Cli) -> None:
    cli.start("parent", "[]", "--id=p")
    cli.serve_until_state("p.0", "waiting")
    cli.serve_until_state("p", "waiting")
    explained = cli("explain", "p", "--json").document
    assert "the process p.0, which is waiting" in explained["headline"]
    [below] = explained["awaited"]
    assert "the signal 'approval'" in below["headline"]
    assert "    → lash signal p.0 approval" in cli("explain", "p").out


def test_processes_that_wait_for_each_other_are_explained_in_the_end() -> None:
    """Two rows that await one another would be told for ever without a bound."""

    class Circle:
        async def history(self, number: int, after_rank: int) -> list[Entry]:
            return [wait_for(f"process:{'b' if number == 1 else 'a'}")]

        async def get(self, ids: Sequence[str]) -> list[ProcessRow]:
            return [circle("a", 1) if name == "a" else circle("b", 2) for name in ids]

        async def workers(self) -> list[WorkerRecord]:
            return []

        def now_ms(self) -> int:
            return NOW

    def circle(name: str, number: int) -> ProcessRow:
        return row(replace(SPEC, id=name), waiting=Waiting("process", None, None), **BEGUN)._replace(row=number)

    store: Any = Circle()
    found = asyncio.run(explain_process(store, circle("a", 1)))
    levels = 0
    while found.awaited:
        found, levels = found.awaited[0], levels + 1
    assert levels == DEPTH_MAX
