"""One write transaction: its time, its numbers, and a picture of the rows it works on, written when it ends.

Operations change the picture and never send a statement; a dialect fills in how a row is found, what is looked up and
how the picture is written. Every look-up answers as if all that was changed so far stood in the tables. A row's columns
change only together with :meth:`Transaction.tell`, or by what no event tells (lease, due time, fault count).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from lash.abc.store import Stale
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.outcome import Outcome, outcome_of
from lash.core.process import Lane
from lash.stores.sql.rows import IDLE, LEASED, READY, STATUSES, TIMED, Hot
from lash.stores.sql.session_rows import SessionRows

ENTRY_FIELDS: Final = len(Entry._fields) - 2
"""All but rank and time, which the store sets."""
TIMED_SCAN_MIN: Final = 256
"""Due timers of a lane looked at in one claim: among more of them, an earlier one goes before a larger priority."""

There: TypeAlias = "tuple[int, int, bytes | str, int]"
"""(row, status, definition, lane) of whatever has an id; row 0 for a pruned process."""
WaitColumns: TypeAlias = "tuple[int, int, str, bytes | None, int | None, str | None]"
"""(rank, kind, name, payload, attempt, open_key) of an entry that belongs to a wait."""


class Transaction(SessionRows):
    """What operations work with. The dialect's writer makes one per transaction and writes it."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.stirred = False
        """It did something a worker or an awaiter should look at."""
        self.expired: list[str] = []
        """Owners whose leases were ended as those of the dead."""

    # Numbers and lanes ---------------------------------------------------------------------------------------------

    @abstractmethod
    def next_row(self, process_id: str) -> int:
        """A number no row ever had, for a process that is not there."""

    @abstractmethod
    def lane_number(self, lane: Lane) -> int: ...

    @abstractmethod
    def known_lanes(self, wanted: Sequence[Lane]) -> list[int]:
        """Numbers of those lanes that any process was ever started in."""

    @abstractmethod
    def lane(self, number: int) -> Lane: ...

    # Rows ----------------------------------------------------------------------------------------------------------
    # A Hot that was got before a look-up of many rows must be got again before it is changed.

    @abstractmethod
    def find(self, row: int) -> Hot | None:
        """The row, only to be looked at."""

    @abstractmethod
    def load(self, row: int) -> Hot | None:
        """The row, to be changed."""

    @abstractmethod
    def load_id(self, process_id: str) -> Hot | None: ...

    @abstractmethod
    def find_id(self, process_id: str) -> Hot | None: ...

    @abstractmethod
    def load_full(self, row: int) -> Hot | None:
        """The row with its spec, to be changed; the spec is None where it cannot be decoded."""

    @abstractmethod
    def there(self, process_id: str) -> There | None: ...

    @abstractmethod
    def pruned(self, process_id: str) -> bool: ...

    @abstractmethod
    def add(self, hot: Hot) -> None:
        """A row that is new."""

    @abstractmethod
    def set_args(self, hot: Hot, args: bytes) -> None: ...

    # Rows by what they are in; numbers, in the order in which they are to be taken ---------------------------------

    @abstractmethod
    def due(self, lanes: Sequence[int], limit: int) -> Iterable[int]:
        """Rows of these lanes whose moment had come when this was asked: larger priority first, then earlier due time.
        Some ``limit`` of them will be taken; more are looked for only where some are closed or put off in passing."""

    @abstractmethod
    def blocked(self, lane: int, code_hash: str) -> list[int]:
        """Those blocked under other code, not leased and not due."""

    @abstractmethod
    def children(self, process_id: str) -> list[int]:
        """Those running and not detached."""

    @abstractmethod
    def cancelled_before(self, at_ms: int) -> list[int]:
        """Running rows that were asked to cancel by then."""

    @abstractmethod
    def live(self, owner: str) -> list[int]:
        """Rows under a lease of ``owner`` that has not run out."""

    @abstractmethod
    def renew(self, owner: str, until_ms: int) -> list[Fence]:
        """Extend every lease of ``owner`` and its entry among the workers; what it holds."""

    # Events and entries --------------------------------------------------------------------------------------------

    @abstractmethod
    def told(self, row: int, key: str) -> Event | None:
        """The event that has this key."""

    @abstractmethod
    def terminal(self, hot: Hot) -> bytes:
        """Payload of the event that ended the row."""

    @abstractmethod
    def tell(self, hot: Hot, event_type: str, payload: bytes, key: str | None = None) -> Event:
        """Append an event. The caller changes the columns it speaks of."""

    @abstractmethod
    def note(self, hot: Hot, entry: Entry, open_key: str | None = None) -> Entry:
        """Append a journal entry under the next rank of its scope."""

    @abstractmethod
    def shut(self, hot: Hot, rank: int) -> None:
        """A wait of this row got its reply or was given up, or mail of it was taken."""

    @abstractmethod
    def entries_after(self, hot: Hot, rank: int) -> list[Entry]: ...

    @abstractmethod
    def waits(self, hot: Hot, ordinal: int) -> list[WaitColumns]:
        """What the journal has of wait ``ordinal``, oldest first."""

    @abstractmethod
    def oldest_mail(self, hot: Hot, key: str) -> tuple[int, int, bytes | None] | None:
        """(rank, event sequence, payload)."""

    @abstractmethod
    def oldest_wait(self, hot: Hot, key: str) -> tuple[int, int] | None:
        """(rank, ordinal)."""

    @abstractmethod
    def awaits(self, hot: Hot) -> None:
        """Somebody opens a wait on the end of this row, or of a turn of it: whoever ends that must see the wait."""

    @abstractmethod
    def waiters(self, hot: Hot, key: str) -> list[tuple[int, int, int]]:
        """(rank, row, ordinal) of every open wait on ``key``, which is about this row, whoever waits."""

    @abstractmethod
    def cut(self, hot: Hot) -> None:
        """Drop the journal, all but untaken mail and cancel requests."""

    # Pruning and workers -------------------------------------------------------------------------------------------

    @abstractmethod
    def bury(self, before_ms: int, limit: int) -> list[str]:
        """Leave tombstones of up to ``limit`` processes that ended before then, delete everything else; their ids."""

    @abstractmethod
    def put_worker(self, owner: str, lanes: bytes, about: bytes, until_ms: int) -> None: ...

    @abstractmethod
    def delete_worker(self, owner: str) -> None: ...

    # Hints ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def expect_family(self, process_id: str, key: str) -> None:
        """All that asking the running family of this process to cancel will look at is wanted now; ``key`` is the
        request's."""

    def every(self, rows: Iterable[int], action: Callable[[int], None]) -> None:
        """``action`` on each of the rows, which do not depend on one another."""
        for row in rows:
            action(row)

    # The same in every dialect -------------------------------------------------------------------------------------

    def leased(self, fence: Fence) -> Hot | Stale:
        """The row the fence still guards, only to be looked at; or the refusal."""
        hot = self.find(fence.row)
        if hot is None or hot.status:
            return Stale(0)
        return hot if hot.token == fence.token and hot.state == LEASED else Stale(hot.token)

    def holder(self, fence: Fence) -> Hot | Stale:
        """The same, to be changed."""
        hot = self.leased(fence)
        if not isinstance(hot, Stale):
            self.load(fence.row)
        return hot

    def at_ms(self, hot: Hot) -> int:
        """Now, but never before anything the scope already has."""
        return max(self.now_ms, hot.updated_ms, hot.last_ms)

    def outcome(self, hot: Hot) -> Outcome:
        """Of an ended row."""
        return outcome_of(STATUSES[hot.status], self.terminal(hot))

    def deliver(self, hot: Hot, entry: Entry) -> None:
        """An entry from outside: a leased row gets the news mark, a parked one becomes claimable."""
        self.note(hot, entry)
        if hot.state == LEASED:
            hot.news = 1
            self.stirred = True
        elif hot.parked:
            self.make_due(hot)

    def make_due(self, hot: Hot) -> None:
        hot.wake_ms = self.now_ms if hot.state == IDLE or hot.wake_ms is None else min(hot.wake_ms, self.now_ms)
        hot.state = READY
        self.stirred = True

    def give_back(self, hot: Hot, due_ms: int | None) -> None:
        """End a lease. The token moves on, so that the former holder can write nothing more."""
        hot.state = IDLE if due_ms is None else READY if due_ms <= self.now_ms else TIMED
        hot.wake_ms = due_ms
        hot.owner = hot.news = None
        hot.token += 1
        if hot.state == READY:
            self.stirred = True
