"""Lanes have numbers in the tables. They are never deleted, so what was learnt of them stays true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from lash.core.process import Lane

Lanes: TypeAlias = "dict[int, Lane]"
LANES_SQL: Final = "SELECT lane, host_profile, kind, name, version FROM lash_lane"


class LaneBook:
    """Number → lane, and back."""

    def __init__(self) -> None:
        self.by_number: Lanes = {}
        self.numbers: dict[Lane, int] = {}

    def learn(self, rows: Iterable[Sequence[Any]]) -> None:
        """All rows of ``LANES_SQL``."""
        self.by_number = {number: Lane(*names) for number, *names in rows}
        self.numbers = {lane: number for number, lane in self.by_number.items()}

    def lacks(self, wanted: Iterable[Lane]) -> bool:
        """Some of them have no number as far as is known here."""
        return any(lane not in self.numbers for lane in wanted)

    def among(self, wanted: Iterable[Lane]) -> list[int]:
        """Numbers of those that have one, each once."""
        return [self.numbers[lane] for lane in dict.fromkeys(wanted) if lane in self.numbers]
