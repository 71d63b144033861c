"""Sessions by single operations: a turn in one call, one of everything a store can hold of them, and all of it read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lash.abc.sessions import CancelTurn, Commit, Committed, Delete, Open, Post, Posted, Stream, Take, Withdrawn
from lash.abc.store import Claim, Claims, Count, Done, ProcessFilter, Put, Recorded, Start, Started, Store
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import Lane, ProcessRow, ProcessSpec, definition_of
from lash.core.session import NewItem, NewNode, SessionRow

ARGS = b"[[],{}]"
LANE = Lane("default", "session", "helper", "")
RECEIPT = b'{"outcome":"done"}'
BLOB = b"a picture in a session"
BLOB_REF = "sha256:" + hashlib.sha256(BLOB).hexdigest()


def session_spec(name: str, **fields: object) -> ProcessSpec:
    definition = definition_of("session", "helper", ARGS)
    return ProcessSpec(f"session:{name}", "session", "helper", "", ARGS, definition, **fields)  # type: ignore[arg-type]


def say(text: str) -> NewNode:
    return NewNode("message", "", b'"' + text.encode() + b'"')


async def open_session(store: Store, name: str, base: str | None = None, base_node: int = 0, **fields: object) -> int:
    """Its row."""
    origin = None if base is None else f"session:{base}"
    (started,) = await store.write([Open(session_spec(name, **fields), origin, base_node)])
    assert isinstance(started, Started), started
    assert started.created
    return started.row


async def post(store: Store, name: str, text: str = "hello", key: str | None = None) -> Posted:
    (posted,) = await store.write([Post(f"session:{name}", NewItem("input", "next_turn", say(text).body, key))])
    assert isinstance(posted, Posted), posted
    return posted


async def begin(store: Store, name: str, text: str = "hello", ttl_ms: int = 60_000) -> tuple[Fence, int]:
    """A resting session is given something to do; its lease, and the turn that was begun."""
    item = NewItem("input", "next_turn", say(text).body)
    (posted,) = await store.write([Post(f"session:{name}", item, "w-gone", ttl_ms)])
    assert isinstance(posted, Posted), posted
    assert posted.claimed is not None
    fence = posted.claimed.lease.fence
    await take(store, fence)
    return fence, posted.item.number


async def take(store: Store, fence: Fence) -> bytes:
    (recorded,) = await store.write([Take(fence, 0, Entry(EntryKind.COMMAND, 0, "take"), 0, False)])
    assert isinstance(recorded, Recorded), recorded
    return recorded.entries[-1].payload


async def commit(
    store: Store, fence: Fence, turn: int, head: int, nodes: Sequence[NewNode], refs: Sequence[str] = ()
) -> int:
    """The new head."""
    (done,) = await store.write([Commit(fence, turn, "ab" * 16, head, nodes, RECEIPT, b'{"calls":1}', refs)])
    assert isinstance(done, Committed), done
    assert done.new
    return done.record.last_node


async def turn(store: Store, name: str, head: int, *nodes: NewNode, refs: Sequence[str] = ()) -> int:
    """A whole turn of a resting session; the new head."""
    fence, number = await begin(store, name)
    step = Entry(EntryKind.STEP, 1, "model", "ab" * 16, b"".join(node.body for node in nodes) or b"1")
    await store.write([Put(fence, 0, [step])])
    return await commit(store, fence, number, head, nodes, refs)


async def furnish(store: Store) -> None:
    """One of everything, when nobody has any of it: paths, forks of forks, a deleted base, all states of items."""
    await open_session(store, "chat", tags=("vip",))
    head = await turn(store, "chat", 0, say("one"), NewNode("state", "mood", b'"calm"'), refs=(BLOB_REF,))
    head = await turn(store, "chat", head, NewNode("frame", "topic", b"{}"), NewNode("note", "plugin", b"[1]"))
    await turn(store, "chat", head, NewNode("state", "mood", b'"glad"'), say("two"))
    await open_session(store, "fork", "chat", 4)
    await turn(store, "fork", 4, say("another way"), NewNode("state", "mood", b'"wild"'))
    await open_session(store, "fork of fork", "fork", 5)
    await open_session(store, "base of all")
    await turn(store, "base of all", 0, say("shared"), say("not shared"))
    await open_session(store, "heir", "base of all", 1)
    (gone,) = await store.write([Delete("session:base of all")])
    assert gone == Count([])
    await post(store, "chat", "said before", "k-1")
    await post(store, "chat", "taken back")
    (withdrawn,) = await store.write([CancelTurn("session:chat", 5, "no", b'{"outcome":"cancelled"}')])
    assert isinstance(withdrawn, Withdrawn)
    fence, number = await begin(store, "heir", "half done", ttl_ms=1)
    assert number == 1
    (streamed,) = await store.write([Stream(fence, 1, b'["piece"]')])
    assert streamed == Done()
    await wait_for(store, "waiter", "turn:session:chat/4")


async def wait_for(store: Store, process_id: str, key: str) -> int:
    """A process opens a wait and is released; its row."""
    spec = ProcessSpec(process_id, "python", "waiter", "", ARGS, definition_of("python", "waiter", ARGS))
    (started,) = await store.write([Start(spec, "w-gone", 1)])
    assert isinstance(started, Started)
    assert started.claimed is not None
    (recorded,) = await store.write([Put(started.claimed.lease.fence, 0, [Entry(EntryKind.WAIT, 0, key)])])
    assert isinstance(recorded, Recorded)
    assert [entry.kind for entry in recorded.entries] == [EntryKind.WAIT]
    return started.row


async def claimed(store: Store, lane: Lane = LANE) -> dict[str, Fence]:
    """By process id, everything that is due."""
    (claims,) = await store.write([Claim("w-new", [lane], 99, 60_000)])
    assert isinstance(claims, Claims)
    return {row.lease.process_id: row.lease.fence for row in claims.rows}


async def picture(store: Store) -> dict[str, object]:
    """What every read of the store answers about sessions."""
    listed = await store.page(ProcessFilter(sessions=True, limit=1_000))
    ids = [row.record.id for row in listed]
    gone = ("session:base of all", "session:nobody")
    found: dict[str, object] = {
        "listed": listed,
        "sessions": await store.sessions([*ids, *gone, "waiter"]),
        "events": {process_id: await store.events(process_id, 0, 1_000) for process_id in ids},
    }
    for session in await store.sessions(ids):
        assert isinstance(session, SessionRow)
        row, head = session.process.row, session.head
        found[session.id] = {
            "nodes": await store.nodes(row, 0, head, 1_000),
            "newest": await store.nodes(row, 1, head, 2),
            "states": dict(await store.states(row, head)),
            "states before": dict(await store.states(row, head - 2)),
            "items": await store.items(row, range(1, session.items + 1)) if session.items else [],
            "unfinished": await store.items(row, ()),
            "turns": await store.turns(row, 0, 1_000),
            "pieces": await store.pieces(row, 0, 0, 1_000),
            "history": await store.history(row, 0),
        }
    return found


async def row_of(store: Store, process_id: str) -> ProcessRow:
    (row,) = await store.get([process_id])
    assert isinstance(row, ProcessRow)
    return row
