"""A lease is fenced ownership for a while: the token decides, the clock only says when others may try.

``token`` strictly increases with every claim, and again when a lease is given back, so that a former holder can write
nothing either. A write carries (row, token) and is refused once another token is on the row. A lease that has run out
but was taken by nobody is still good: its holder's token is the newest one.
"""

from __future__ import annotations

from typing import NamedTuple


class Fence(NamedTuple):
    """What every write of a body carries."""

    row: int
    token: int


def next_in_line(given_back: Fence, claimed: Fence) -> bool:
    """Whether ``claimed`` is the first claim since ``given_back`` was given back: one token for each."""
    return given_back.row == claimed.row and claimed.token == given_back.token + 2


class Lease(NamedTuple):
    row: int
    process_id: str
    owner: str
    token: int
    until_ms: int

    @property
    def fence(self) -> Fence:
        return Fence(self.row, self.token)
