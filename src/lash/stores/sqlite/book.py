"""What one writing connection remembers between transactions, so that the rows it works on cost no read.

Of rows and numbers everything here is true only as long as nobody else commits: ``refresh`` drops it when another
connection has.
"""

from __future__ import annotations

from typing import Final

from lash.stores.sql.lanes import LaneBook
from lash.stores.sql.rows import LEASED, READY, Hot

ROWS_MAX: Final = 20_000
"""Rows remembered: far more than one worker leases, and some tens of megabytes."""
ARGS_BYTES_MAX: Final = 2_048
"""Of the arguments that are remembered with a row; longer ones are read again for the claim."""


class Book(LaneBook):
    """Rows that are leased or about to be, the numbers given out last, and the lanes."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Hot] = {}
        self.ids: dict[str, Hot] = {}
        self.last_rank = 0
        self.last_row = 0
        """0 when they must be looked up."""
        self.version = -1

    def add(self, hot: Hot) -> None:
        self.rows[hot.row] = hot
        self.ids[hot.id] = hot

    def drop(self, hot: Hot) -> None:
        """It must be read again before it is used again."""
        self.rows.pop(hot.row, None)
        self.ids.pop(hot.id, None)

    def settle(self, hot: Hot) -> None:
        """``hot`` was written: keep it only while somebody will want it soon. A parked row costs nothing."""
        if hot.status or (hot.state != LEASED and hot.state != READY):
            self.drop(hot)
        elif hot.spec is not None and len(hot.spec.args) > ARGS_BYTES_MAX:
            hot.spec = None

    def refresh(self, version: int) -> None:
        """At the start of a transaction: ``version`` is another once another connection has committed."""
        if version != self.version or len(self.rows) > ROWS_MAX:
            self.version = version
            self.rows.clear()
            self.ids.clear()
            self.last_rank = self.last_row = 0

    def forget(self) -> None:
        """After a rollback: nothing learnt in it holds."""
        self.learn(())
        self.refresh(-1)
