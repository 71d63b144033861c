"""Tokens and money in words, the same in every command. A cost is shown only where the price is known.

Prices are those the agent was given, of its own provider, or of the table of models (docs/models.md): a guide, and no
bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from lash.cli import output as out
from lash.cli.documents import Document
from lash.core.model import Price, Usage
from lash.runtime.agent import Agent
from lash.runtime.contexts import SessionUsage

Prices: TypeAlias = Callable[[str], Price | None]
"""From a model with its prefix, as ``openai:gpt-5-mini``, to what it costs, if that is known."""


def listed_price(model: str) -> Price | None:
    """From the table."""
    from lash.providers.catalog import info_of

    vendor, _, name = model.partition(":")
    return info_of(vendor, name).price


def prices_of(agents: Iterable[Agent[Any]]) -> Prices:
    """An agent's own ``info`` says what its model costs; else its own provider; all others go by the table."""
    known = {agent.model: agent for agent in agents}

    def price(model: str) -> Price | None:
        agent = known.get(model)
        if agent is not None and agent.info is not None:
            return agent.info.price
        if agent is not None and agent.provider is not None:
            return agent.provider.info(model.partition(":")[2]).price
        return listed_price(model)

    return price


def cost_of(usage: SessionUsage, prices: Prices) -> float | None:
    """US dollars; None where the price of one of its models is not known, because a part is not the sum."""
    total = 0.0
    for model, (_, used) in usage.models.items():
        price = prices(model)
        if price is None:
            return None
        total += price.of(used)
    return total


def tokens_words(usage: Usage) -> str:
    """``1,234 tokens in (1,000 cached), 56 out (12 thought)``."""
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} thought)" if usage.reasoning_tokens else ""
    return f"{out.count_of(read, 'token')} in{cached}, {usage.output_tokens:,} out{thought}"


def cost_words(dollars: float | None) -> str:
    """``$1.20``, ``$0.0042``; empty where it is not known."""
    if dollars is None:
        return ""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.4f}"


def usage_lines(usage: SessionUsage, prices: Prices) -> list[str]:
    """A line for each model, and one for the session."""
    lines: list[str] = []
    for model, (calls, used) in usage.models.items():
        price = prices(model)
        cost = cost_words(None if price is None else price.of(used)) or "price not known"
        lines.append(f"{model}: {out.count_of(calls, 'call')}, {tokens_words(used)}, {cost}")
    turns = f"{out.count_of(usage.turns, 'turn')}, {out.count_of(usage.tool_calls, 'tool call')}"
    total = cost_words(cost_of(usage, prices)) if usage.models else ""
    read = f"; the newest call read {usage.last_input_tokens:,} tokens" if usage.last_input_tokens else ""
    lines.append(f"{turns}{', ' if total else ''}{total}{read}")
    return lines


def usage_document(usage: Usage) -> Document:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
    }


def session_usage_document(usage: SessionUsage, prices: Prices) -> Document:
    models = {name: {"calls": calls, **usage_document(used)} for name, (calls, used) in usage.models.items()}
    return {
        "models": models,
        "total": usage_document(usage.total),
        "tool_calls": usage.tool_calls,
        "last_input_tokens": usage.last_input_tokens,
        "cost_usd": cost_of(usage, prices),
    }
