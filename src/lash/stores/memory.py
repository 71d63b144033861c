"""A store in plain dicts: the specification every other store is checked against, and honest about forgetting.

One ``MemoryStore`` may serve several Runtimes of one Python process, also on different event loops; a lock makes
each ``write`` one transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from lash.abc.sessions import Piece
from lash.abc.store import Op, ProcessFilter, Verdict, WorkerRecord
from lash.core.effect import Entry
from lash.core.event import Event
from lash.core.lease import Fence
from lash.core.outcome import Status
from lash.core.process import Lane, ProcessRow, Tombstone
from lash.core.session import SESSION, Item, Node, SessionRow, TurnRecord
from lash.stores.clock import system_ms
from lash.stores.listeners import Listeners
from lash.stores.memory_blobs import MemoryBlobs
from lash.stores.memory_ops import perform
from lash.stores.memory_sessions import session_row
from lash.stores.memory_tables import Held, Tables

UNDONE = ("pending", "taken")


class MemoryStore:
    """``clock`` gives epoch milliseconds; without one it is this machine's time."""

    journal_durable = False

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or system_ms
        self._tables = Tables()
        self._lock = threading.RLock()
        self._listeners = Listeners()
        self._blobs = MemoryBlobs(self._tables.sessions, self._lock, self._clock)

    @property
    def facets(self) -> dict[str, bool]:
        return {"attachment_store": False, "artifact_store": False, "session_store": False, "process_registry": False}

    @property
    def blobs(self) -> MemoryBlobs:
        return self._blobs

    async def open(self) -> None:
        """Nothing to do, any number of times."""

    async def close(self) -> None:
        """Nothing to do: other Runtimes may still use the store."""

    async def write(self, ops: Sequence[Op]) -> list[Verdict]:
        return self.write_now(ops)

    def write_now(self, ops: Sequence[Op]) -> list[Verdict]:
        with self._lock:
            tables = self._tables
            tables.now_ms = self._clock()
            tables.stirred = False
            verdicts = [perform(tables, op) for op in ops]
            stirred = tables.stirred
        if stirred:
            self._listeners.notify()
        return verdicts

    def now_ms(self) -> int:
        return self._clock()

    async def get(self, ids: Sequence[str]) -> list[ProcessRow | Tombstone | None]:
        with self._lock:
            return [self._find(process_id) for process_id in ids]

    def _find(self, process_id: str) -> ProcessRow | Tombstone | None:
        held = self._tables.processes.get(process_id)
        return held.as_row() if held is not None else self._tables.tombstones.get(process_id)

    async def not_running(self, ids: Sequence[str]) -> list[str]:
        with self._lock:
            held = self._tables.processes
            return [item for item in ids if item not in held or held[item].record.status.final]

    async def page(self, wanted: ProcessFilter) -> list[ProcessRow]:
        with self._lock:
            rows = self._tables.rows
            if wanted.after is not None:
                last = self._tables.processes.get(wanted.after)
                rows = {row: held for row, held in rows.items() if last is not None and row < last.row}
            newest_first = (rows[row] for row in sorted(rows, reverse=True))
            found = [held.as_row() for held in newest_first if fits(held, wanted)]
            return found[: wanted.limit]

    async def events(self, process_id: str, after: int, limit: int) -> list[Event]:
        with self._lock:
            held = self._tables.processes.get(process_id)
            return [] if held is None else held.events[after : after + limit]

    async def history(self, row: int, after_rank: int) -> list[Entry]:
        with self._lock:
            held = self._tables.rows.get(row)
            return [] if held is None else held.after(after_rank)

    async def next_due_ms(self, lanes: Sequence[Lane]) -> int | None:
        with self._lock:
            wanted = frozenset(lanes)
            moments = (held.moment_ms for held in self._tables.scheduled.values() if held.lane in wanted)
            return min((moment for moment in moments if moment is not None), default=None)

    async def news(self, owner: str) -> list[Fence]:
        with self._lock:
            scheduled = self._tables.scheduled.values()
            marked = [Fence(held.row, held.token) for held in scheduled if held.news and held.owner == owner]
            return sorted(marked)

    async def sessions(self, ids: Sequence[str]) -> list[SessionRow | Tombstone | None]:
        with self._lock:
            return [session_row(self._tables, process_id) for process_id in ids]

    async def nodes(self, row: int, after: int, upto: int, limit: int) -> list[Node]:
        with self._lock:
            return self._tables.sessions.path(row, after, upto)[-limit:] if limit > 0 else []

    async def states(self, row: int, upto: int) -> Mapping[str, Node]:
        with self._lock:
            return {node.name: node for node in self._tables.sessions.path(row, 0, upto) if node.kind == "state"}

    async def items(self, row: int, numbers: Sequence[int]) -> list[Item]:
        with self._lock:
            chat = self._tables.sessions.chats.get(row)
            if chat is None:
                return []
            return [item for item in chat.items if item.number in numbers] if numbers else chat.in_state(*UNDONE)

    async def turns(self, row: int, after: int, limit: int) -> list[TurnRecord]:
        with self._lock:
            chat = self._tables.sessions.chats.get(row)
            found = [] if chat is None else [chat.turns[number] for number in sorted(chat.turns) if number > after]
            return found[:limit]

    async def pieces(self, row: int, token: int, after: int, limit: int) -> list[Piece]:
        with self._lock:
            chat = self._tables.sessions.chats.get(row)
            found = [] if chat is None else [piece for piece in chat.pieces if piece[:2] > (token, after)]
            return sorted(found)[:limit]

    async def workers(self) -> list[WorkerRecord]:
        """Those whose entry has not run out, by owner."""
        with self._lock:
            now_ms = self._clock()
            live = [worker for worker in self._tables.workers.values() if worker.until_ms > now_ms]
            return sorted(live, key=lambda worker: worker.owner)

    async def counts(self) -> dict[str, int]:
        with self._lock:
            found = {status.value: 0 for status in Status}
            for held in self._tables.rows.values():
                if held.row in self._tables.sessions.chats:
                    continue
                found[held.record.status.value] += 1
            return found

    async def diagnose(self) -> dict[str, object]:
        return {
            "store": "memory",
            "durable": False,
            "counts": await self.counts(),
            "tombstones": len(self._tables.tombstones),
            "workers": [worker.owner for worker in await self.workers()],
        }

    def listen(self, changed: Callable[[], None]) -> None:
        self._listeners.add(changed)

    async def prove_life(self, owner: str) -> None:
        """Nothing to hold: what this store knows ends with the Python process anyway."""

    async def dead_owners(self) -> list[str]:
        return []


def fits(held: Held, wanted: ProcessFilter) -> bool:
    spec = held.record.spec
    return (
        (held.record.spec.kind == SESSION) is wanted.sessions
        and (wanted.status is None or held.record.status is wanted.status)
        and (wanted.name is None or spec.name == wanted.name)
        and (wanted.tag is None or wanted.tag in spec.tags)
        and (wanted.parent is None or spec.parent == wanted.parent)
    )
