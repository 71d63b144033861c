"""Short words for the common moves of a session, on top of :mod:`lash.testing.conformance.stage`; no case lives here.

Names of sessions are short; their process ids are ``session:<name>``. A turn's receipt tells its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from lash.abc.sessions import Commit, Committed, Open, Post, Posted, Take
from lash.abc.store import Recorded, Started
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.process import ProcessSpec
from lash.core.session import Delivery, Item, ItemKind, NewItem, NewNode, Node, SessionRow
from lash.testing.conformance.stage import TTL_MS, Stage, equal, expect

HELLO = b'{"text":"hello"}'
USAGE = b'{"calls":1}'
WITNESS = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
"""Another turn's witness."""


def spec_of(s: Stage, name: str, agent: str = "helper", **fields: object) -> ProcessSpec:
    """Of a session; ``fields`` replace those of the spec."""
    plain: dict[str, object] = {"kind": "session", "name": agent, "version": "", "args": b"[[],{}]"}
    return s.spec(f"session:{name}", **(plain | {"attempts_max": 1_000} | fields))


async def opened(
    s: Stage, name: str = "s", base: str | None = None, base_node: int = 0, agent: str = "helper", **fields: object
) -> int:
    """The row of a new session, a fork where ``base`` names another."""
    origin = None if base is None else f"session:{base}"
    started = await s.do(Open(spec_of(s, name, agent, **fields), origin, base_node), Started)
    equal((started.created, started.claimed), (True, None), f"opening {name}")
    return started.row


def new_item(
    payload: bytes = HELLO, kind: ItemKind = "input", delivery: Delivery = "next_turn", key: str | None = None
) -> NewItem:
    return NewItem(kind, delivery, payload, key)


def steering(payload: bytes = b'{"text":"stop"}') -> NewItem:
    return NewItem("input", "earliest_boundary", payload)


async def posted(s: Stage, name: str = "s", item: NewItem | None = None) -> Item:
    """A new item, accepted."""
    verdict = await s.do(Post(f"session:{name}", item or new_item()), Posted)
    equal((verdict.new, verdict.claimed), (True, None), "a new item, and no lease")
    return verdict.item


def taking(fence: Fence, seen: int = 0, turn: int = 0, ordinal: int = 0) -> Take:
    """The ``Take`` that begins a turn, or that of a boundary of ``turn``."""
    return Take(fence, seen, Entry(EntryKind.COMMAND, ordinal, "take"), turn, turn > 0)


async def taken(s: Stage, fence: Fence, seen: int = 0, turn: int = 0, ordinal: int = 0) -> list[int]:
    """Numbers of the items that a ``Take`` gave."""
    recorded = await s.do(taking(fence, seen, turn, ordinal), Recorded)
    entry = next(entry for entry in recorded.entries if (entry.kind, entry.ordinal) == (EntryKind.COMMAND, ordinal))
    return numbers_of(entry)


def numbers_of(entry: Entry) -> list[int]:
    """Of the items in the payload of a ``Take``'s entry."""
    document = cast("list[tuple[int, str, object]]", codec.decode(entry.payload))
    return [number for number, _, _ in document]


def messages(*texts: str) -> list[NewNode]:
    return [NewNode("message", "", codec.encode({"text": text}, "node")) for text in texts]


def receipt(turn: int) -> bytes:
    return b'{"turn":%d}' % turn


def committing(
    fence: Fence,
    turn: int,
    base: int = 0,
    nodes: Sequence[NewNode] = (),
    witness: str = WITNESS,
    follow: Sequence[NewItem] = (),
    refs: Sequence[str] = (),
) -> Commit:
    return Commit(fence, turn, witness, base, nodes, receipt(turn), USAGE, refs, follow)


async def leased(s: Stage, name: str = "s", item: NewItem | None = None) -> Fence:
    """An item is accepted by the resting session, which is leased for it; nothing is taken yet."""
    await posted(s, name, item)
    return (await s.claim_one(f"session:{name}")).lease.fence


async def turn(s: Stage, name: str, *nodes: NewNode, refs: Sequence[str] = ()) -> Committed:
    """One whole turn of a resting session, whose nodes speak of these blobs."""
    fence = await leased(s, name)
    there = await session(s, name)
    number = (await taken(s, fence))[0]
    return await s.do(committing(fence, number, there.head, nodes, refs=refs), Committed)


async def session(s: Stage, name: str = "s") -> SessionRow:
    return expect((await s.store.sessions([f"session:{name}"]))[0], SessionRow)


async def path(s: Stage, name: str = "s") -> list[Node]:
    """All of it."""
    row = await session(s, name)
    return await s.store.nodes(row.process.row, 0, row.head, 1_000)


def bodies(nodes: Sequence[Node]) -> list[object]:
    return [codec.decode(node.body) for node in nodes]


async def states_of(s: Stage, name: str = "s") -> list[str]:
    """Of every item, in order."""
    row = await session(s, name)
    found = await s.store.items(row.process.row, list(range(1, row.items + 1))) if row.items else []
    return [item.state for item in found]


async def lost(s: Stage, name: str = "s", owner: str = "w3") -> Fence:
    """The worker of the session is gone, its lease has run out, and another has claimed it."""
    s.clock.advance(TTL_MS)
    claims = await s.claim(owner)
    if claims.postponed:
        s.clock.advance((await s.due_ms() or 0) - s.clock.now_ms)
        claims = await s.claim(owner)
    equal([claimed.row.record.id for claimed in claims.rows], [f"session:{name}"], "claimed again")
    return claims.rows[0].lease.fence
