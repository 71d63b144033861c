"""The catalog is data: the longest name wins, a price is for the very model it was noted for, the rest is modest."""

from __future__ import annotations

import json
from datetime import date
from importlib.resources import files

import pytest

from lash.core.model import ModelInfo, ModelRequest, ModelSettings, Price, Usage, supported
from lash.providers.catalog import info_of, row_for, rows_of

VENDORS = ("openai", "anthropic", "google")


@pytest.mark.parametrize(
    ("vendor", "model", "row"),
    [
        ("openai", "gpt-5", "gpt-5"),
        ("openai", "gpt-5-2025-08-07", "gpt-5"),
        ("openai", "gpt-5-mini", "gpt-5-mini"),
        ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("openai", "gpt-4o-mini", "gpt-4o-mini"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-opus-5-5", "claude-opus-5-5"),
        ("google", "gemini-2.5-flash-lite-001", "gemini-2.5-flash-lite"),
        ("google", "gemini-2.5-flash", "gemini-2.5-flash"),
    ],
)
def test_the_longest_name_wins(vendor: str, model: str, row: str) -> None:
    found = row_for(vendor, model)
    assert found is not None
    assert found.prefix == row
    assert found.info.price is not None


@pytest.mark.parametrize("model", ["gpt-4omega", "gpt-5.99", "", "gpt", "x-gpt-5", "some/model"])
def test_a_name_that_only_looks_alike_is_unknown(model: str) -> None:
    assert row_for("openai", model) is None
    info = info_of("openai", model)
    assert info == ModelInfo()
    assert info.price is None
    assert info.efforts == ()


@pytest.mark.parametrize("model", ["gpt-5-pro", "gpt-4o-audio-preview", "o3-deep-research"])
def test_a_variant_can_what_its_family_can_at_a_price_nobody_noted(model: str) -> None:
    found = row_for("openai", model)
    assert found is not None
    assert found.info.price is None
    assert found.info.context_tokens > 100_000


def test_the_chat_prefix_knows_the_same_models_of_openai() -> None:
    assert info_of("openai-chat", "gpt-5-mini") == info_of("openai", "gpt-5-mini")
    assert info_of("openai-chat", "qwen3:8b") == ModelInfo()


def test_a_known_row_reads_as_it_was_written() -> None:
    info = info_of("anthropic", "claude-haiku-4-5")
    assert info.context_tokens == 200_000
    assert info.output_tokens_max == 64_000
    assert info.efforts == ("none", "low", "medium", "high")
    assert info.effort_budgets == {"low": 1_024, "medium": 4_096, "high": 12_288}
    assert info.price == Price(1.0, 5.0, 0.1, 1.25)
    assert info.price.of(Usage(1_000_000, 1_000_000, 1_000_000, 1_000_000)) == pytest.approx(7.35)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_row_makes_sense(vendor: str) -> None:
    assert len(rows_of(vendor)) >= 9
    for prefix, info, noted in rows_of(vendor):
        assert 0 < info.output_tokens_max <= info.context_tokens, prefix
        assert (info.price is None) == (noted == ""), prefix
        if info.price is not None:
            assert date(2025, 1, 1) < date.fromisoformat(noted) < date(2100, 1, 1), prefix
            assert 0 < (info.price.cache_read or 0.01) <= info.price.input < info.price.output, prefix
        if info.effort_budgets is not None:
            assert set(info.efforts) - {"none"} <= set(info.effort_budgets), prefix
            assert max(info.effort_budgets.values()) < info.output_tokens_max, prefix


def test_the_table_has_no_key_that_nobody_reads() -> None:
    table = json.loads(files("lash.providers").joinpath("models.json").read_text("utf-8"))
    known = {"context", "output", "efforts", "budgets", "media", "structured", "temperature", "price", "noted"}
    assert set(table["defaults"]) == known
    assert set(table["vendors"]) == set(VENDORS)
    assert all(set(row) <= known for rows in table["vendors"].values() for row in rows.values())


def test_what_the_catalog_does_not_promise_is_refused() -> None:
    request = ModelRequest("o3", "", (), settings=ModelSettings(temperature=0.5), info=info_of("openai", "o3"))
    refusal = supported(request)
    assert refusal is not None
    assert refusal.kind == "unsupported"
