"""The small values: ids, durations, retries, failures, outcomes, leases, and the fold that makes a record."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

import lash
from lash.core import event as ev, ids, schedule
from lash.core.effect import DELIVERED, ENTRY_KIND, Effect, EffectKind, EntryKind
from lash.core.event import Event
from lash.core.lease import Fence, Lease, next_in_line
from lash.core.outcome import (
    FAILURE_CLASSES,
    Abandoned,
    Cancelled,
    Completed,
    Failed,
    Failure,
    Outcome,
    Status,
    failure_of,
    outcome_of,
    outcome_payload,
    raw_or_none,
)
from lash.core.process import ProcessSpec, definition_of, fold, new_record
from lash.errors import InvalidArguments, InvalidName

# Ids ---------------------------------------------------------------------------------------------------------------


def test_minted_ids_sort_by_time() -> None:
    rng = random.Random(5)
    minted = [ids.mint("p", now_ms, rng.randbytes(8)) for now_ms in (0, 1, 999, 1_700_000_000_000, 1_700_000_000_001)]
    assert minted == sorted(minted)
    assert len(set(minted)) == 5


def test_ids_of_children_are_readable_while_short_and_hashed_when_long() -> None:
    assert ids.child_id("p", 3) == "p.3"
    long = ids.child_id("x" * 255, 12)
    assert long.startswith("child-")
    assert long == ids.child_id("x" * 255, 12) != ids.child_id("x" * 255, 13)
    assert ids.check_name(long, "id") == long


def test_each_generation_has_a_scope_of_its_own() -> None:
    assert ids.scope_of("p", 0) == "p"
    scopes = {ids.scope_of("p", number) for number in range(50)}
    assert len(scopes) == 50
    keys = {ids.effect_key(scope, ordinal) for scope in scopes for ordinal in range(20)}
    assert len(keys) == 1_000


def test_derived_chances_are_the_same_in_every_run_and_spread() -> None:
    assert ids.derived_random("p", 1) == 0.08399337908097049
    assert str(ids.derived_uuid("p", 1)) == str(ids.derived_uuid("p", 1))
    values = [ids.derived_random("p", counter) for counter in range(2_000)]
    assert all(0 <= value < 1 for value in values)
    assert 0.47 < sum(values) / len(values) < 0.53
    assert len({ids.derived_uuid("p", counter) for counter in range(2_000)}) == 2_000
    assert ids.derived_uuid("p", 1).version == 4
    assert ids.derived_random("p", 1) != ids.derived_random("q", 1)


@pytest.mark.parametrize("text", ["a", "x" * 256, "with space", "ümläut", "日本", "a/b:c.d", "🎉"])
def test_usable_names(text: str) -> None:
    assert ids.check_name(text, "id") == text


@pytest.mark.parametrize("text", ["", " ", "\n", "a\nb", "x" * 257, "\ud800", "tab\t", "\x00", None, 5, b"a"])
def test_unusable_names(text: Any) -> None:
    with pytest.raises(InvalidName) as caught:
        ids.check_name(text, "tag")
    assert "tag" in str(caught.value)


@pytest.mark.parametrize("name", ["process.", "process.started", "signal.", "signal.x"])
def test_reserved_event_names(name: str) -> None:
    with pytest.raises(InvalidName, match="reserved"):
        ids.check_event_type(name)


@pytest.mark.parametrize("name", ["processed", "signals", "process", "my.process.started"])
def test_names_that_only_look_reserved(name: str) -> None:
    assert ids.check_event_type(name) == name


# Durations and pauses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0), (1, 1_000), (1.5, 1_500), (0.0001, 1), ("250ms", 250), ("10s", 10_000), ("5m", 300_000),
        ("24h", 86_400_000), ("3d", 259_200_000), ("2w", 1_209_600_000), ("1h30m", 5_400_000), ("1h 30m", 5_400_000),
        ("1.5s", 1_500), ("0s", 0), (timedelta(minutes=1), 60_000), (timedelta(microseconds=1), 1),
    ],
)  # fmt: skip
def test_durations(value: Any, ms: int) -> None:
    assert schedule.duration_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    [-1, "", "5", "5 fortnights", "s", "1s2", "-5s", "1e3s", None, True, [], float("nan"), float("inf"), "200y", 10**12,
     timedelta(days=-1), timedelta.max],
)  # fmt: skip
def test_what_is_no_duration(value: Any) -> None:
    with pytest.raises(InvalidArguments):
        schedule.duration_ms(value, "pause")


@given(st.integers(0, 10**12))
def test_shown_durations_are_short(ms: int) -> None:
    assert 2 <= len(schedule.show_ms(ms)) <= 12


def test_pauses_double_up_to_the_maximum_and_the_first_take_overs_are_free() -> None:
    assert [schedule.backoff_ms(failures) for failures in range(5)] == [0, 500, 1_000, 2_000, 4_000]
    assert schedule.backoff_ms(1_000_000) == 300_000
    assert [schedule.takeover_pause_ms(attempts) for attempts in range(1, 6)] == [0, 0, 500, 1_000, 2_000]


def test_a_retry_is_checked_when_it_is_made() -> None:
    for wrong in ({"attempts": 0}, {"attempts": 10**6}, {"attempts": 1.5}, {"factor": 0.5}, {"factor": float("nan")},
                  {"initial": "soon"}, {"maximum": -1}, {"on": (int,)}, {"on": (KeyboardInterrupt,)}, {"on": "x"},
                  {"on": int}, {"attempts": True}, {"attempts": "3"}, {"factor": "x"}, {"factor": 1e999}):  # fmt: skip
        with pytest.raises(InvalidArguments):
            lash.Retry(**wrong)  # type: ignore[arg-type]


def test_a_retry_takes_its_exceptions_as_except_does() -> None:
    for on in (OSError, [OSError], (OSError,)):
        retry = lash.Retry(on=on)  # type: ignore[arg-type]
        assert retry == lash.Retry(on=(OSError,))
        assert (retry.pause_ms(1, OSError()), retry.pause_ms(1, ValueError())) == (500, None)


def test_a_retry_says_when_and_whether() -> None:
    retry = lash.Retry(attempts=4, initial="1s", factor=3, maximum="5s", on=(OSError,))
    assert [retry.pause_ms(failed, OSError()) for failed in (1, 2, 3, 4, 5)] == [1_000, 3_000, 5_000, None, None]
    assert retry.pause_ms(1, ConnectionError()) == 1_000
    assert retry.pause_ms(1, ValueError()) is None
    assert lash.Retry(attempts=9).pause_ms(1, lash.Terminal("no")) is None
    assert lash.Retry(attempts=9).pause_ms(1, KeyboardInterrupt()) is None


# Failures and outcomes ---------------------------------------------------------------------------------------------


class Silent(Exception):
    def __str__(self) -> str:
        return ""


def test_a_failure_is_always_recordable() -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise SystemError("no")

        __repr__ = __str__

    class Huge:
        def __repr__(self) -> str:
            return "y" * 10**6

    errors: list[BaseException] = [
        Silent(), Hostile(), ValueError("x" * 10**6), ValueError("\ud800"), lash.Terminal("t", code="\ud800" * 1_000),
        lash.Terminal("t", raw=Hostile()), lash.Terminal("t", raw=Huge()), lash.Terminal("t", raw="z" * 4_100_000),
        lash.Terminal("t", code=5),
        lash.ProcessFailed("f", failure_class="\ud800", failure_code="\udfff", raw=float("nan")),
    ]  # fmt: skip
    for error in errors:
        outcome = Failed(failure_of(error))
        payload = outcome_payload(outcome)
        assert len(payload) < 3 * 1024 * 1024
        assert outcome_of(Status.FAILED, payload) == outcome
        assert outcome.failure.message


def test_raw_details_are_kept_as_plain_json_or_as_text() -> None:
    assert raw_or_none(None) is None
    assert raw_or_none({"a": (1, 2)}) == {"a": [1, 2]}
    assert "object object" in str(raw_or_none(object()))


OUTCOMES: list[Outcome] = [
    Completed(b"null"),
    Completed(b'{"a": [1, 2]}'),
    Completed(b'"}"'),
    Failed(Failure("timeout", "code", "message", {"raw": 1})),
    Failed(Failure("execution", "", "")),
    Cancelled("reason"),
    Abandoned({"writer": "sweep", "owner": "w", "attempt": 1}),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_an_outcome_is_read_back_equal(outcome: Outcome) -> None:
    assert outcome_of(outcome.status, outcome_payload(outcome)) == outcome
    assert outcome.status.final


def test_there_is_one_running_status_and_eight_classes() -> None:
    assert [status.value for status in Status if not status.final] == ["running"]
    assert len(FAILURE_CLASSES) == len(set(FAILURE_CLASSES)) == 8


# Effects and leases ------------------------------------------------------------------------------------------------


def test_every_effect_has_its_entry_and_only_replies_are_delivered() -> None:
    assert {kind: ENTRY_KIND[kind].value for kind in EffectKind} == {kind: kind.value for kind in EffectKind}
    assert {kind.value for kind in DELIVERED} == {"step", "command", "sleep", "reply", "cancel"}
    notes = {kind.value for kind in EntryKind} - {kind.value for kind in DELIVERED}
    assert notes == {"wait", "close", "attempt", "mail"}
    assert Effect(EffectKind.STEP, 3, "work", "").describe() == "step 3 'work'"


def test_only_the_very_next_claim_is_next_in_line() -> None:
    assert next_in_line(Fence(1, 5), Fence(1, 7))
    for claimed in (Fence(1, 6), Fence(1, 8), Fence(1, 9), Fence(2, 7), Fence(1, 5)):
        assert not next_in_line(Fence(1, 5), claimed)
    assert Lease(1, "p", "w", 5, 0).fence == Fence(1, 5)


# The fold ----------------------------------------------------------------------------------------------------------


def spec(**changes: Any) -> ProcessSpec:
    plain = {"id": "p", "kind": "python", "name": "n", "version": "", "args": b"[[],{}]", "definition": "d"}
    return ProcessSpec(**plain | changes)


def told(*facts: tuple[str, bytes]) -> list[Event]:
    return [Event(number, kind, payload, None, number * 10) for number, (kind, payload) in enumerate(facts, 1)]


STARTED = (ev.STARTED, b'{"attempt":1,"owner":"w","token":1}')


def test_a_record_is_what_its_events_tell() -> None:
    events = told(
        STARTED,
        (ev.WAITING, b'{"on":"signal","key":"signal:n","until_ms":5}'),
        ("signal.n", b"1"),
        (ev.RESUMED, b"{}"),
        (ev.BLOCKED, b'{"reason":"diverged","detail":"x","code_hash":"h"}'),
        (ev.CANCEL_REQUESTED, b'{"reason":"first"}'),
        (ev.CANCEL_REQUESTED, b'{"reason":"second"}'),
        (ev.STARTED, b'{"attempt":2,"owner":"w2","token":4}'),
        (ev.CONTINUED, b'{"args":[[1],{}]}'),
        (ev.TERMINAL[Status.COMPLETED], b'{"value":5}'),
    )
    records = [fold(spec(), 0, events[:count]) for count in range(len(events) + 1)]
    assert records[0] == new_record(spec(), 0)
    assert records[1].first_started is not None
    assert (records[1].attempts, records[1].first_started.owner, records[1].began_ms) == (1, "w", 10)
    assert records[2].waiting is not None
    assert records[4].waiting is None
    assert records[5].blocked is not None
    assert records[7].cancel_requested is not None
    assert (records[7].cancel_requested.reason, records[7].cancel_requested.at_ms) == ("first", 60)
    assert (records[8].attempts, records[8].blocked, records[8].began_ms) == (2, None, 10)
    assert records[8].first_started == records[1].first_started
    assert (records[9].spec.args, records[9].began_ms, records[9].generation) == (b"[[1],{}]", 90, 1)
    assert (records[10].status, records[10].outcome, records[10].last_event) == (Status.COMPLETED, Completed(b"5"), 10)
    assert [record.updated_ms for record in records] == [0, *range(10, 101, 10)]


def test_events_of_the_body_change_nothing_but_the_count() -> None:
    before = fold(spec(), 0, told(STARTED))
    after = fold(spec(), 0, told(STARTED, ("tick", b"1")))
    assert (after.last_event, after.updated_ms) == (2, 20)
    assert (after.status, after.attempts, after.spec) == (before.status, before.attempts, before.spec)


def test_a_definition_is_what_is_executed_and_nothing_beside() -> None:
    base = definition_of("python", "n", b'[[1],{"a":1,"b":2}]')
    assert definition_of("python", "n", b'[ [1], {"b": 2, "a": 1} ]') == base
    args = b'[[1],{"a":1,"b":2}]'
    others = [("external", "n", args), ("python", "m", args), ("python", "n", b"[[1],{}]")]
    assert all(definition_of(*other) != base for other in others)


def test_keyed_events_agree_on_meaning_not_spelling() -> None:
    assert ev.content_hash("t", b'{"a":1,"b":2}') == ev.content_hash("t", b'{ "b": 2, "a": 1 }')
    assert ev.content_hash("t", b"1") != ev.content_hash("u", b"1")
    assert ev.content_hash("t", b"1") != ev.content_hash("t", b"1.0")
    assert ev.cancel_key("x") == ev.cancel_key("x") != ev.cancel_key("y")
    assert ev.signal_key("k") != "k"
