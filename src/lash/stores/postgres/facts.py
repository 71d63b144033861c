"""What one transaction has read so far, and what it found it must read: operations never wait for the server.

They run on these facts; the first look at something that was not read yet is noted down and ends the operation, the
rest of the batch is run as well to find out what else is missing, all of it is fetched together, and the batch is run
again from the beginning. A row is always read before what hangs on it, so that whoever finds the row's version
unchanged at the commit knows that nothing of it has changed.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias, cast

from lash.core.session import Item
from lash.stores.postgres.columns import ID, STATE, VERSION
from lash.stores.sql.chats import Chat
from lash.stores.sql.lanes import LaneBook
from lash.stores.sql.rows import IDLE, LEASED, Columns

Kind: TypeAlias = Literal[
    "row", "id", "tombstone", "spec", "keyed", "terminal", "after", "open", "waits", "waiters", "due", "blocked",
    "children", "family", "cancelled", "held", "prunable", "start", "lane", "lanes", "chat", "item",
    "item_key", "turn", "frame",
]  # fmt: skip
Need: TypeAlias = tuple[Kind, tuple[object, ...]]
"""What is missing, and of what."""

ROWS_MAX: Final = 20_000
"""Rows remembered: far more than one worker leases."""
RESTING_MAX: Final = 1_000
"""Sessions remembered while they rest, for the next word somebody says in them."""


class Missing(Exception):
    """Ends an operation that needs something which was not read yet."""


class Changed(Exception):
    """Somebody else changed what is being decided on; nothing was written."""


class KeptChat(NamedTuple):
    """A session as it stood beside this version of its row."""

    version: int
    columns: Columns
    undone: tuple[tuple[int, Item], ...]


class Known(LaneBook):
    """What a writer remembers between transactions: the rows leased through it, the sessions that rest since then, and
    the lanes.

    A remembered row may be out of date. Its version is checked under its lock before anything is decided on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Columns] = {}
        self.ids: dict[str, int] = {}
        self.chats: dict[int, KeptChat] = {}
        self.specs: dict[int, object] = {}
        """Of those sessions; forgotten when arguments are replaced."""
        self._resting: dict[int, None] = {}

    def settle(self, row: int, columns: Columns) -> None:
        """``columns`` were committed. Kept while the row is leased, and a bounded number of sessions longer: a parked
        row must cost nothing."""
        resting = columns[STATE] == IDLE and row in self.chats
        if resting:
            self._resting.pop(row, None)
            self._resting[row] = None
            while len(self._resting) > RESTING_MAX:
                self.forget(next(iter(self._resting)))
        if resting or columns[STATE] == LEASED:
            if len(self.rows) >= ROWS_MAX:
                self.clear()
            if (kept := self.chats.get(row)) is not None and columns[VERSION] == kept.version + 1:
                self.chats[row] = kept._replace(
                    version=kept.version + 1
                )  # one write since, and it left the session alone
            self.rows[row] = columns
            self.ids[cast(str, columns[ID])] = row
        else:
            self.forget(row)

    def forget(self, row: int) -> None:
        columns = self.rows.pop(row, None)
        self.chats.pop(row, None)
        self.specs.pop(row, None)
        self._resting.pop(row, None)
        if columns is not None:
            self.ids.pop(cast(str, columns[ID]), None)

    def clear(self) -> None:
        self.rows.clear()
        self.ids.clear()
        self.chats.clear()
        self.specs.clear()
        self._resting.clear()

    def keep_chat(self, chat: Chat, spec: object) -> None:
        """It was committed as it is now, beside its row; forgotten with it. ``spec``: None where nobody asked."""
        if (columns := self.rows.get(chat.row)) is not None:
            version = cast(int, columns[VERSION])
            self.chats[chat.row] = KeptChat(version, (chat.row, chat.name, *chat.columns()), tuple(chat.undone.items()))
            if spec is not None:
                self.specs[chat.row] = spec


class Facts:
    """One transaction's. ``trust``: whether remembered rows may be used."""

    def __init__(self, known: Known, trust: bool) -> None:
        self.known = known
        self.trust = trust
        self.needs: dict[Need, None] = {}
        self.trusted: set[int] = set()
        """Rows that were remembered, not read."""
        self._rows: dict[int, Columns | None] = {}
        self._ids: dict[str, int | None] = {}
        self._answers: dict[Need, object] = {}

    # For operations ------------------------------------------------------------------------------------------------

    def ask(self, kind: Kind, *of: object) -> object:
        """The answer. Raises ``Missing`` when it was not fetched yet."""
        need = (kind, of)
        try:
            return self._answers[need]
        except KeyError:
            self.needs[need] = None
            raise Missing from None

    def kept_chat(self, row: int) -> KeptChat | None:
        """The session of a remembered row, where it is remembered too. The row's version guards both."""
        kept = self.known.chats.get(row) if row in self.trusted else None
        columns = self._rows.get(row)
        return kept if kept is not None and columns is not None and columns[VERSION] == kept.version else None

    def spec(self, row: int) -> object:
        """Arguments and what else a spec says; None where there is none."""
        if row in self.trusted and (kept := self.known.specs.get(row)) is not None:
            return kept
        return self.ask("spec", row)

    def stored_spec(self, row: int) -> object:
        """The same, if it was fetched."""
        return self._answers.get(("spec", (row,)))

    def row(self, row: int) -> Columns | None:
        if self.has_row(row):
            return self._rows[row]
        self.needs["row", (row,)] = None
        raise Missing

    def has_row(self, row: int) -> bool:
        if row in self._rows:
            return True
        if not self.trust or (columns := self.known.rows.get(row)) is None:
            return False
        self._rows[row] = columns
        self.trusted.add(row)
        return True

    def has_id(self, process_id: str) -> bool:
        """It is known which row has this id, or that none has."""
        return process_id in self._ids or (self.trust and process_id in self.known.ids)

    def row_of(self, process_id: str) -> int | None:
        """Number of the row with this id."""
        if process_id in self._ids:
            return self._ids[process_id]
        if self.trust and (row := self.known.ids.get(process_id)) is not None:
            return row
        self.needs["id", (process_id,)] = None
        raise Missing

    # For whoever fetches -------------------------------------------------------------------------------------------

    def put_row(self, columns: Columns) -> None:
        """The first version read of a row stays: what hangs on it was read later."""
        row = cast(int, columns[0])
        self._rows.setdefault(row, columns)
        self._ids.setdefault(cast(str, columns[ID]), row)

    def put_no_row(self, row: int) -> None:
        self._rows.setdefault(row, None)

    def put_no_id(self, process_id: str) -> None:
        self._ids.setdefault(process_id, None)

    def put(self, kind: Kind, of: tuple[object, ...], answer: object) -> None:
        self._answers[kind, of] = answer

    def knows(self, row: int, version: int) -> bool:
        """The row is there with this very version."""
        if not self.has_row(row):
            return False
        columns = self._rows[row]
        return columns is not None and columns[VERSION] == version
