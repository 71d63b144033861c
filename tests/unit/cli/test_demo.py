"""The demo judges itself from outside: a wrong report, a lost file or a doubled step fails it; nothing honest does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lash.cli.demo import analysis, app as demo_app, plan as demo_plan
from lash.cli.demo.analysis import Found, Totals, directly, look_at, merge, split_lines, total
from lash.cli.demo.reckoning import (
    Ledger,
    Life,
    Reckoning,
    checks_of,
    in_flight_at_most,
    read_ledger,
    reckoning_document,
    takeover_times,
)
from lash.cli.demo.story import Kill, Zombie
from lash.cli.demo.view import say_reckoning
from lash.core.effect import Entry, EntryKind
from lash.core.event import STARTED, Event
from lash.core.lease import Fence
from lash.core.outcome import Completed
from lash.core.process import ProcessRow, ProcessSpec, fold
from tests.unit.cli.kit import Cli

# The analysis ------------------------------------------------------------------------------------------------------


@given(text=st.text(st.sampled_from("aab é\n\r\t\x0c\u2028.Z9_"), max_size=3_000))
def test_a_text_in_parts_has_the_same_words_and_lines_as_the_whole(text: str) -> None:
    assert merge([look_at(part) for part in split_lines(text)]) == look_at(text)


def test_a_long_text_has_few_parts() -> None:
    parts = split_lines("line\n" * 10_000)
    assert len(parts) == analysis.PARTS_MAX
    assert "".join(parts) == "line\n" * 10_000


def test_the_direct_way_finds_the_same_as_the_durable_one(tmp_path: Path) -> None:
    texts = {"a.py": "import lash\nx = 1\n", "b/c.md": "", "d.txt": "zzzz aaaa\r\nbb", "e.txt": "1 2 3"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    found = [merge([look_at(part) for part in split_lines(text)]) for text in texts.values()]
    assert total(list(texts), found) == directly(tmp_path, list(texts))
    assert directly(tmp_path, list(texts)).longest == "import"


def test_one_changed_number_changes_the_digest() -> None:
    names = ["a", "b"]
    found = [Found(1, 1, "x"), Found(2, 1, "y")]
    swapped = [Found(2, 1, "x"), Found(1, 1, "y")]
    assert total(names, found).words == total(names, swapped).words
    assert total(names, found).digest != total(names, swapped).digest


# The plan ----------------------------------------------------------------------------------------------------------


def test_the_plan_takes_text_files_and_passes_over_what_it_cannot_store(tmp_path: Path) -> None:
    good = ["a.py", "b.md", "c.txt", "sub/d.py"]
    others = ["e.json", ".git/f.py", "__pycache__/g.py", "tests/h.py", "site-packages/i.py"]
    for name in (*good, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "large.txt").write_text("x" * (demo_plan.FILE_BYTES_MAX + 1))
    made = demo_plan.make_plan(str(tmp_path), 20)
    assert (made.names, made.found, made.passed_over) == (good, 4, 2)


def test_a_large_folder_is_sampled_over_its_whole_length(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.py").write_text("x")
    made = demo_plan.make_plan(str(tmp_path), 5)
    assert (len(made.names), made.found) == (125, 300)
    assert made.names[0] == "000.py"
    assert made.names[-1] >= "297.py"


@pytest.mark.parametrize("folder", ["missing", "file.py", "empty"])
def test_a_folder_without_files_is_bad_input(cli: Cli, folder: str) -> None:
    cli.write("file.py", "x")
    (cli.folder / "empty").mkdir()
    failed = cli("demo", folder, "--json", url=None)
    assert (failed.code, failed.error["code"]) == (2, "no_files")


def test_a_database_that_keeps_nothing_is_refused(cli: Cli) -> None:
    failed = cli("demo", str(cli.folder), "--json", url="memory://")
    assert (failed.code, failed.error["code"]) == (2, "no_url")


def test_the_injected_failure_hits_the_same_files_in_every_run() -> None:
    names = [f"file{number}.py" for number in range(2_000)]
    flaky = [name for name in names if demo_app.is_flaky(name)]
    assert 60 <= len(flaky) <= 140
    assert flaky[:3] == [name for name in names if demo_app.is_flaky(name)][:3]


def test_a_setting_survives_the_command_line() -> None:
    setting = demo_app.Setting("sqlite:///x.db", "demo-1", "/a b", "/l", "/c", 2_000)
    assert demo_app.Setting.of_json(setting.as_json()) == setting


# The reckoning -----------------------------------------------------------------------------------------------------

REPORT = Totals(1, 2, 3, "word", "d")
KILLED, STOPPED, WELL = 11, 12, 13


@dataclass
class Member:
    pid: int
    fate: str
    counters: dict[str, int] = field(default_factory=dict)
    label: str = "worker"


def event(sequence: int, kind: str, document: object, at_ms: int) -> Event:
    return Event(sequence, kind, json.dumps(document, separators=(",", ":")).encode(), None, at_ms)


def life(name: str, owner: str = "w-2", at_ms: int = 1_500) -> Life:
    spec = ProcessSpec(name, "python", "analyse_file", "", b"[[],{}]", "d")
    events = [
        event(1, STARTED, {"attempt": 1, "owner": "w-1", "token": 1}, 900),
        event(2, STARTED, {"attempt": 2, "owner": owner, "token": 3}, at_ms),
        event(3, "process.completed", {"value": 1}, 2_000),
    ]
    row = ProcessRow(1, fold(spec, 800, events), None, 4, None, None, 0)
    return Life(row, events, [Entry(EntryKind.STEP, 0, "read", payload=b"1", rank=1)])


def story(tmp_path: Path) -> Any:
    kill = Kill(Member(KILLED, "killed (SIGKILL)"), "w-1", 1_000, ["report.0"])  # type: ignore[arg-type]
    stopped = Member(STOPPED, "zombie (stopped past its lease)", {"leases_lost": 1})
    zombie = Zombie(stopped, "w-3", 1_000, {"report.0": Fence(1, 1)}, {"report.0": 2_000}, 3_600, 1, 1)  # type: ignore[arg-type]
    members = [kill.member, stopped, Member(WELL, "serving")]
    plan = SimpleNamespace(folder=tmp_path, names=[], stamps=[])
    return SimpleNamespace(kill=kill, zombie=zombie, crew=SimpleNamespace(members=members), plan=plan, began=0.0)


def reckoning(**changes: Any) -> Reckoning:
    found = Reckoning(REPORT, REPORT, 1, 1, 2, 0, 3, 1, 8, 5, 0, [500], 0, 1, 0, [])
    return replace(found, **changes)


def ledger(pids: list[int]) -> Ledger:
    keys = {("report.0/0", 1): pids, ("report/0", 1): [WELL]}
    return Ledger(sum(map(len, keys.values())), keys)


LIVES = [life("report"), life("report.0")]


def failing(told: Any, found: Reckoning, lives: list[Life], seen: Ledger) -> list[str]:
    return [check.words for check in checks_of(told, found, lives, seen) if not check.good]


@pytest.mark.parametrize("pids", [[WELL], [KILLED, WELL], [WELL, STOPPED], [KILLED, STOPPED, WELL]])
def test_an_honest_run_passes(tmp_path: Path, pids: list[int]) -> None:
    assert failing(story(tmp_path), reckoning(), LIVES, ledger(pids)) == []


def test_a_wrong_report_fails(tmp_path: Path) -> None:
    [words] = failing(story(tmp_path), reckoning(report=replace(REPORT, words=3)), LIVES, ledger([WELL]))
    assert "equals the one computed directly" in words
    assert failing(story(tmp_path), reckoning(report=None), LIVES, ledger([WELL]))


def test_a_lost_file_fails(tmp_path: Path) -> None:
    [words] = failing(story(tmp_path), reckoning(completed=0), LIVES, ledger([WELL]))
    assert "exactly one outcome" in words


def test_a_second_outcome_fails(tmp_path: Path) -> None:
    twice = replace(LIVES[1], events=[*LIVES[1].events, event(4, "process.completed", {"value": 1}, 2_001)])
    assert any(
        "exactly one outcome" in words
        for words in failing(story(tmp_path), reckoning(), [LIVES[0], twice], ledger([WELL]))
    )


def test_a_step_recorded_and_never_performed_fails(tmp_path: Path) -> None:
    empty = Ledger(1, {("report/0", 1): [WELL]})
    [words] = failing(story(tmp_path), reckoning(), LIVES, empty)
    assert "every recorded step was performed" in words


def test_a_step_recorded_twice_fails(tmp_path: Path) -> None:
    twice = replace(LIVES[1], entries=[*LIVES[1].entries, *LIVES[1].entries])
    [words] = failing(story(tmp_path), reckoning(), [LIVES[0], twice], ledger([WELL]))
    assert "none is recorded twice" in words


@pytest.mark.parametrize("pids", [[WELL, WELL], [WELL, KILLED, WELL]])
def test_a_step_repeated_by_a_worker_that_was_well_fails(tmp_path: Path, pids: list[int]) -> None:
    [words] = failing(story(tmp_path), reckoning(), LIVES, ledger(pids))
    assert "performed twice only where" in words


def test_more_repeated_steps_than_were_in_flight_fails(tmp_path: Path) -> None:
    [words] = failing(story(tmp_path), reckoning(performed_twice=9), LIVES, ledger([WELL]))
    assert "no more of them than were in flight" in words


def test_a_record_that_is_not_the_fold_of_its_events_fails(tmp_path: Path) -> None:
    wrong = replace(LIVES[1], row=LIVES[1].row._replace(record=replace(LIVES[1].row.record, attempts=7)))
    [words] = failing(story(tmp_path), reckoning(), [LIVES[0], wrong], ledger([WELL]))
    assert "fold of its events" in words


def test_a_process_nobody_took_over_fails(tmp_path: Path) -> None:
    [words] = failing(story(tmp_path), reckoning(takeover_ms=[]), LIVES, ledger([WELL]))
    assert "every process the killed worker held" in words


def test_a_write_of_the_zombie_that_got_in_fails(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.zombie.refused = 0
    [words] = failing(told, reckoning(), LIVES, ledger([WELL]))
    assert "every write under a token of the zombie" in words


def test_the_bound_on_repeated_steps_counts_every_lost_lease(tmp_path: Path) -> None:
    told = story(tmp_path)
    assert in_flight_at_most(told) == 2 * analysis.PARTS_MAX
    told.crew.members[2].counters["leases_lost"] = 3
    assert in_flight_at_most(told) == 5 * analysis.PARTS_MAX


def test_take_over_is_counted_from_the_kill_to_another_owner(tmp_path: Path) -> None:
    assert takeover_times(story(tmp_path), LIVES) == [500]
    assert takeover_times(story(tmp_path), [life("report.0", owner="w-1")]) == []
    assert takeover_times(story(tmp_path), [life("report.0", at_ms=990)]) == []


def test_the_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    assert read_ledger(path).lines == 0
    path.write_text("a b/0 1 7\na b/0 2 7\na b/0 1 8\n")
    found = read_ledger(path)
    assert (found.lines, found.repeated) == (3, {("a b/0", 1): [7, 8]})


def test_the_table_and_the_document_tell_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, found = story(tmp_path), reckoning()
    found.checks = checks_of(told, found, LIVES, ledger([WELL]))
    assert found.good
    say_reckoning(found, told)
    text = capsys.readouterr().out
    document = reckoning_document(found, told)
    assert document["ok"] is True
    for words in ("1 of 1 files", "after 500ms", "1 of 1 writes made with its old tokens", "ok    the report equals"):
        assert words in text
    found.checks = checks_of(told, reckoning(completed=0), LIVES, ledger([WELL]))
    assert reckoning_document(found, told)["ok"] is False


def test_outcomes_are_the_ones_the_helpers_made() -> None:
    assert isinstance(LIVES[1].row.record.outcome, Completed)
