"""What is printed can be read, copied and piped: no markup or control code of a user's data takes effect."""

from __future__ import annotations

import pytest

import lash
from lash.cli import output as out
from lash.cli.exits import error_document, exit_code_of
from lash.errors import (
    DurableStoreRequired,
    LashError,
    LeaseLost,
    NotADatabase,
    NotRegistered,
    ProcessCancelled,
    ProcessFailed,
    StoreTooNew,
    StoreUnavailable,
)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert out.clean("a\x1b[31mb\x07\tc\nd") == "a\\x1b[31mb\\x07\\tc\nd"
    assert out.clean("[red]äöü 日本[/red]") == "[red]äöü 日本[/red]"
    assert out.clean("\ud800") == "\\ud800"


def test_a_typed_value_is_shown_as_json() -> None:
    assert out.plain((lash.Price(1.0, 2.0),)) == [
        {"input": 1.0, "output": 2.0, "cache_read": None, "cache_write": None}
    ]
    assert out.plain({"a": [1, None]}) == {"a": [1, None]}


def test_a_plain_table_is_columns_of_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    out.table(("id", "value"), [("a" * 300, "two\nlines"), ("b", ("x", "red"))])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{'id':<300}  value", f"{'a' * 300}  two lines", f"{'b':<300}  x"]


def test_a_table_on_a_terminal_keeps_ids_whole_and_markup_unread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    name = "p-" + "0123456789" * 4
    out.table(("id", "detail"), [(name, "[bold]not markup[/bold] " * 5)])
    text = capsys.readouterr().out
    assert name in text
    assert "[bold]" in text


def test_only_what_need_not_be_copied_is_cut_to_fit_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    out.table(("id", "detail", "when"), [("p-" + "7" * 20, "d" * 100, "3.0s ago")])
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == ["p-" + "7" * 20, "d" * 15 + "…", "3.0s", "ago"]
    assert len(line) <= 50


def test_facts_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    out.facts([("name", "x"), ("none", None), ("empty", ""), ("longer", "two\nlines")])
    assert capsys.readouterr().out.splitlines() == ["name    x", "longer  two", "        lines"]


@pytest.mark.parametrize(
    ("at_ms", "words"),
    [(1_000_000, "now"), (997_000, "3.0s ago"), (1_000_000 + 7_200_000, "in 2h00m"), (999_950, "50ms ago")],
)
def test_relative_times(at_ms: int, words: str) -> None:
    assert out.relative(at_ms, 1_000_000) == words


def test_a_moment_no_calendar_knows_is_still_printed() -> None:
    assert out.local_iso(10**18) == f"{10**18} ms"


def test_a_long_value_says_that_it_was_cut() -> None:
    assert out.show_value("x" * 5_000).endswith("(5,002 characters; --json has all)")
    assert out.short_value(["x" * 100], 20) == '["' + "x" * 17 + "…"
    assert out.count_of(1, "file") == "1 file"
    assert out.count_of(2_000, "process", "processes") == "2,000 processes"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProcessFailed("x"), 1),
        (ProcessCancelled("x"), 1),
        (NotRegistered("x"), 2),
        (DurableStoreRequired("process_registry"), 2),
        (StoreUnavailable("x"), 3),
        (LeaseLost("x"), 3),
        (StoreTooNew("x"), 3),
        (NotADatabase("x"), 3),
    ],
)
def test_every_family_of_errors_has_its_exit_code(error: LashError, code: int) -> None:
    assert exit_code_of(error) == code


def test_an_errors_own_fields_never_replace_its_code_and_message() -> None:
    error = NotRegistered("words", name="x", code="other", thing=object())
    assert error_document(error) == {"error": {"name": "x", "code": "not_registered", "message": "words"}}
