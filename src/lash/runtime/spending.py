"""What the tools of a turn spent on models and agents of their own is counted with the turn, once, under its model.

It is read from recorded replies only, so a turn that runs again comes to the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from lash.core.model import NO_USAGE, Usage

Spent: TypeAlias = Mapping[str, tuple[int, Usage]]
"""By model: the calls that were answered, and their tokens."""


@dataclass(slots=True)
class Spending:
    """Of one run of a turn."""

    models: dict[str, tuple[int, Usage]] = field(default_factory=dict[str, "tuple[int, Usage]"])
    _untold: Usage = NO_USAGE

    def add(self, spent: Spent) -> None:
        for model, (calls, usage) in spent.items():
            had, before = self.models.get(model, (0, NO_USAGE))
            self.models[model] = (had + calls, before + usage)
            self._untold += usage

    def untold(self) -> Usage:
        """All that was added since this was asked last."""
        usage, self._untold = self._untold, NO_USAGE
        return usage


def spent_json(spent: Spent) -> dict[str, list[int]]:
    return {model: [calls, *usage.as_json()] for model, (calls, usage) in spent.items()}


def spent_of(plain: Mapping[str, list[int]]) -> Spent:
    return {model: (calls, Usage(*counts)) for model, (calls, *counts) in plain.items()}
