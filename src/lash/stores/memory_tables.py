"""The memory store's rows, and the few moves every operation is made of.

A record changes only in :meth:`Tables.tell`, with an event; scheduling changes only in :meth:`Tables.place`. Kept
apart from the operations so that each of those reads as its rule.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from lash.abc.store import Claimed, WorkerRecord, wait_key_of_process, wait_reply
from lash.core import event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.lease import Fence, Lease
from lash.core.outcome import Cancelled, Outcome, Status, outcome_payload
from lash.core.process import Lane, ProcessRecord, ProcessRow, Tombstone, apply
from lash.core.session import turn_key
from lash.stores import facts
from lash.stores.memory_chats import Chats


@dataclass(slots=True, eq=False)
class Held:
    """One process with everything that belongs to it."""

    row: int
    record: ProcessRecord
    lane: Lane
    events: list[Event] = field(default_factory=list[Event])
    keyed: dict[str, Event] = field(default_factory=dict[str, Event])
    entries: list[Entry] = field(default_factory=list[Entry])
    open: dict[int, Entry] = field(default_factory=dict[int, Entry])
    """By rank: waits without a reply, and mail nobody took."""
    owner: str | None = None
    token: int = 0
    until_ms: int | None = None
    due_ms: int | None = None
    faults: int = 0
    news: bool = False
    """Somebody else wrote a delivered entry while the row was leased."""
    lost: bool = False
    """Its worker was lost: the next claim is another attempt."""

    @property
    def parked(self) -> bool:
        return self.record.waiting is not None and self.owner is None and not self.record.status.final

    @property
    def may_await(self) -> bool:
        """It runs and is not at rest: somebody may be awaited in it."""
        return not self.record.status.final and (self.moment_ms is not None or self.record.waiting is not None)

    @property
    def moment_ms(self) -> int | None:
        """When ``Claim`` looks at the row: its due time, or the end of its lease."""
        return self.due_ms if self.owner is None else self.until_ms

    def after(self, rank: int) -> list[Entry]:
        return self.entries[bisect_right(self.entries, rank, key=lambda entry: entry.rank) :]

    def opened(self, kind: EntryKind, key: str) -> list[Entry]:
        """Open waits (oldest rank first) or untaken mail (oldest event first) of ``key``."""
        found = [entry for entry in self.open.values() if entry.kind is kind and entry.name == key]
        return sorted(found, key=lambda entry: entry.ordinal if kind is EntryKind.MAIL else entry.rank)

    def as_row(self) -> ProcessRow:
        return ProcessRow(self.row, self.record, self.owner, self.token, self.until_ms, self.due_ms, self.faults)


class Tables:
    """All rows of one memory store, and the time of the transaction at hand."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.stirred = False
        """The transaction did something a worker or an awaiter should look at."""
        self.last_row = 0
        self.last_rank = 0
        self.processes: dict[str, Held] = {}
        self.rows: dict[int, Held] = {}
        self.scheduled: dict[int, Held] = {}
        """Rows ``Claim`` may ever look at: parked ones without a timer are not among them."""
        self.children: dict[str, list[Held]] = {}
        self.awaiting: dict[str, list[Held]] = {}
        """By wait key: who has opened a wait on the end of a process or a turn."""
        self.tombstones: dict[str, Tombstone] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.sessions = Chats()

    def holder(self, fence: Fence) -> Held | None:
        """The process the fence still guards."""
        held = self.rows.get(fence.row)
        if held is None or held.owner is None or held.token != fence.token:
            return None
        return held

    def token_of(self, fence: Fence) -> int:
        """What a refused writer is told: the newer token, or 0 for an ended or missing row."""
        held = self.rows.get(fence.row)
        return 0 if held is None or held.record.status.final else held.token

    def at_ms(self, held: Held) -> int:
        """Now, but never before anything the scope already has."""
        last_ms = held.entries[-1].at_ms if held.entries else 0
        return max(self.now_ms, held.record.updated_ms, last_ms)

    def tell(self, held: Held, event_type: str, payload: bytes, key: str | None = None) -> Event:
        """Append an event and fold it into the record."""
        item = Event(held.record.last_event + 1, event_type, payload, key, self.at_ms(held))
        held.events.append(item)
        if key is not None:
            held.keyed[key] = item
        held.record = apply(held.record, item)
        return item

    def note(self, held: Held, entry: Entry) -> Entry:
        """Append a journal entry under the next rank."""
        self.last_rank += 1
        noted = entry._replace(rank=self.last_rank, at_ms=self.at_ms(held))
        held.entries.append(noted)
        return noted

    def deliver(self, held: Held, entry: Entry) -> None:
        """An entry from outside: a leased row gets the news mark, a parked one becomes claimable."""
        self.note(held, entry)
        if held.owner is not None:
            held.news = True
            self.stirred = True
        elif held.parked:
            self.make_due(held)

    def make_due(self, held: Held) -> None:
        due_ms = self.now_ms if held.due_ms is None else min(held.due_ms, self.now_ms)
        self.place(held, due_ms=due_ms)
        self.stirred = True

    def place(
        self, held: Held, *, owner: str | None = None, until_ms: int | None = None, due_ms: int | None = None
    ) -> None:
        """Where the row stands: leased, due at a time, or (neither) waiting or ended."""
        held.owner, held.until_ms, held.due_ms = owner, until_ms, due_ms
        if owner is None:
            held.news = False
        if owner is None and due_ms is None:
            self.scheduled.pop(held.row, None)
        else:
            self.scheduled[held.row] = held

    def give_back(self, held: Held, due_ms: int | None) -> None:
        """End a lease. The token moves on, so that the former holder can write nothing more."""
        held.token += 1
        self.place(held, due_ms=due_ms)
        if due_ms is not None and due_ms <= self.now_ms:
            self.stirred = True

    def lease(self, held: Held, owner: str, ttl_ms: int) -> Claimed:
        record = held.record
        fresh = record.first_started is None
        held.token += 1
        if fresh or held.lost:
            self.tell(held, ev.STARTED, facts.started(record.attempts + 1, owner, held.token))
        elif record.waiting is not None:
            self.tell(held, ev.RESUMED, facts.EMPTY)
        held.lost = held.news = False
        until_ms = self.now_ms + ttl_ms
        self.place(held, owner=owner, until_ms=until_ms)
        return Claimed(held.as_row(), Lease(held.row, record.id, owner, held.token, until_ms), fresh)

    def end(self, held: Held, outcome: Outcome) -> None:
        """As ``end_alone``; and whoever was asked to cancel leaves no child that was not."""
        self.end_alone(held, outcome)
        request = held.record.cancel_requested
        if request is not None and outcome.status is not Status.COMPLETED:
            # those it started after it was asked itself
            self.cancel_children(held, request.reason, ev.cancel_key(request.reason))

    def end_alone(self, held: Held, outcome: Outcome) -> None:
        """The outcome, the end of the lease, and the replies to everybody who waits for it."""
        terminal = self.tell(held, ev.TERMINAL[outcome.status], outcome_payload(outcome))
        self.place(held)
        held.lost = False
        self.stirred = True
        self.answer(wait_key_of_process(held.record.id), wait_reply(outcome.status, terminal.payload))
        for item in self.sessions.unfinished(held.row):
            self.answer(turn_key(held.record.id, item.number), b"null")

    def answer(self, key: str, payload: bytes) -> None:
        """A reply to every open wait on ``key``, whoever waits."""
        waiters = dict.fromkeys(self.awaiting.pop(key, []))
        waits = [(wait, waiter) for waiter in waiters for wait in waiter.opened(EntryKind.WAIT, key)]
        for wait, waiter in sorted(waits, key=lambda pair: pair[0].rank):
            if not waiter.record.status.final:
                del waiter.open[wait.rank]
                self.deliver(waiter, Entry(EntryKind.REPLY, wait.ordinal, key, payload=payload, attempt=0))

    def request_cancel(self, held: Held, reason: str, key: str) -> Event:
        first = held.record.cancel_requested is None
        payload = facts.cancel(reason)
        item = self.tell(held, ev.CANCEL_REQUESTED, payload, key)
        if facts.is_external(held.record.spec):
            return item
        if held.owner is None and (held.record.first_started is None or self.at_rest(held)):
            self.end_alone(held, Cancelled(reason))
        elif first:
            self.deliver(held, Entry(EntryKind.CANCEL, 0, payload=payload))
        return item

    def cancel_children(self, held: Held, reason: str, key: str) -> list[str]:
        """Ask the whole running family that is not detached, once per reason; who was asked."""
        parents = [held]
        for parent in parents:  # grows while it is read: no recursion
            for child in self.children.get(parent.record.id, ()):
                running = not child.record.status.final
                if running and not child.record.spec.detached and key not in child.keyed:
                    self.request_cancel(child, reason, key)
                    parents.append(child)
        return [parent.record.id for parent in parents[1:]]

    def at_rest(self, held: Held) -> bool:
        """A session nobody has, with nothing due and nothing waited for."""
        unscheduled = held.owner is None and held.due_ms is None and held.record.waiting is None
        return unscheduled and held.row in self.sessions.chats and not held.record.status.final

    def bury(self, held: Held) -> None:
        """Leave a tombstone of an ended row, and nothing else but nodes that forks share."""
        record = held.record
        self.tombstones[record.id] = Tombstone(
            record.id, record.spec.definition, record.status, record.updated_ms, self.now_ms
        )
        del self.processes[record.id], self.rows[held.row]
        if record.spec.parent is not None:
            self.children[record.spec.parent].remove(held)
        self.sessions.forget(held.row)

    def reply_of_process(self, process_id: str) -> bytes | None:
        """What a wait on this process gets at once; None while it runs."""
        held = self.processes.get(process_id)
        if held is None:
            return facts.REPLY_PRUNED if process_id in self.tombstones else facts.REPLY_UNKNOWN
        return wait_reply(held.record.status, held.events[-1].payload) if held.record.status.final else None
