"""A fork begins as the first nodes of another session and goes on with its own; nothing is copied or moved (ADR 47)."""

from __future__ import annotations

from lash.abc.sessions import NoNode, Open
from lash.abc.store import Unknown
from lash.core.session import NewNode
from lash.testing.conformance.session_stage import bodies, messages, opened, path, session, spec_of, turn
from lash.testing.conformance.stage import Stage, case, equal


def state(name: str, value: bytes) -> NewNode:
    return NewNode("state", name, value)


FRAME = NewNode("frame", "start", b"{}")


def texts(*said: str) -> list[object]:
    return [{"text": text} for text in said]


@case
async def a_fork_shares_the_first_nodes(s: Stage) -> None:
    """Its nodes are those of its base, ids and all, and then its own; neither sees what the other adds."""
    await opened(s)
    await turn(s, "s", *messages("a", "b", "c"))
    row = await opened(s, "f", "s", 2)
    there = await session(s, "f")
    equal((there.base, there.base_node, there.head, there.turns, there.items), ("session:s", 2, 2, 0, 0), "fork")
    equal(await path(s, "f"), (await path(s))[:2], "shared nodes")
    equal(there.usage, b"", "its usage is its own")
    equal(await s.store.turns(row, 0, 9), [], "and so are its turns")
    await turn(s, "f", *messages("x", "y"))
    await turn(s, "s", *messages("d"))
    equal(bodies(await path(s, "f")), texts("a", "b", "x", "y"), "the fork")
    equal(bodies(await path(s)), texts("a", "b", "c", "d"), "its base")
    equal([node.id for node in await path(s, "f")], ["s#1", "s#2", "f#3", "f#4"], "ids")
    equal([node.number for node in await path(s, "f")], [1, 2, 3, 4], "places")
    equal([(node.session_id, node.turn) for node in await path(s, "f")], [("s", 1)] * 2 + [("f", 1)] * 2, "writers")


@case
async def a_fork_begins_at_any_node(s: Stage) -> None:
    """At none, at the head, and not beyond it."""
    await opened(s)
    await turn(s, "s", *messages("a", "b"))
    await opened(s, "none", "s", 0)
    await opened(s, "all", "s", 2)
    equal(await path(s, "none"), [], "at none")
    equal(bodies(await path(s, "all")), texts("a", "b"), "at the head")
    equal((await session(s, "none")).base, None, "one that shares nothing has no base")
    for number in (3, -1):
        equal(await s.do(Open(spec_of(s, "x"), "session:s", number), NoNode), NoNode(2), f"at {number}")
    await s.start("session:plain")
    for base in ("session:nobody", "session:plain"):
        equal(await s.do(Open(spec_of(s, "x"), base, 0), Unknown), Unknown(False), base)
    equal(await s.store.sessions(["session:x"]), [None], "nothing was opened")
    again = await s.write(Open(spec_of(s, "all"), "session:s", 1), Open(spec_of(s, "all"), "session:nobody", 9))
    equal([getattr(verdict, "created", None) for verdict in again], [False, False], "an id that is there is there")
    equal((await session(s, "all")).base_node, 2, "where it was forked first")


@case
async def forks_of_forks_share_alike(s: Stage) -> None:
    """Whoever wrote the last node shared is the base; a path leads through all who wrote it."""
    await opened(s)
    await turn(s, "s", *messages("a", "b", "c"))
    await opened(s, "f", "s", 2)
    await turn(s, "f", *messages("x", "y"))
    await opened(s, "g", "f", 3)
    await turn(s, "g", *messages("z"))
    await opened(s, "h", "g", 1)
    await opened(s, "i", "g", 4)
    await turn(s, "i", *messages("end"))
    equal(bodies(await path(s, "g")), texts("a", "b", "x", "z"), "through three")
    equal(bodies(await path(s, "h")), texts("a"), "back to the first")
    equal(bodies(await path(s, "i")), texts("a", "b", "x", "z", "end"), "through four")
    bases = [((await session(s, name)).base, (await session(s, name)).base_node) for name in "fghi"]
    equal(bases, [("session:s", 2), ("session:f", 3), ("session:s", 1), ("session:g", 4)], "bases")
    row = (await session(s, "i")).process.row
    equal(bodies(await s.store.nodes(row, 1, 4, 9)), texts("b", "x", "z"), "a part of it")
    equal(bodies(await s.store.nodes(row, 0, 4, 2)), texts("x", "z"), "the newest two up to a place")
    equal(bodies(await s.store.nodes(row, 0, 99, 99)), texts("a", "b", "x", "z", "end"), "no more than there are")
    equal(await s.store.nodes(row, 3, 3, 9), [], "nothing between")
    equal(await s.store.nodes(row, 0, 5, 0), [], "nothing asked for")


@case
async def a_state_lasts_until_the_next_of_its_name(s: Stage) -> None:
    """At any place of a path, also of one that is shared."""
    row = await opened(s)
    await turn(s, "s", state("plan", b"1"), state("mood", b"2"), *messages("a"), state("plan", b"4"))
    fork = await opened(s, "f", "s", 3)
    await turn(s, "f", state("mood", b"9"), NewNode("note", "plan", b"0"))

    async def at(number: int, place: int) -> dict[str, tuple[int, bytes]]:
        found = await s.store.states(number, place)
        return {name: (node.number, node.body) for name, node in found.items()}

    equal(await at(row, 4), {"plan": (4, b"4"), "mood": (2, b"2")}, "at the head")
    equal(await at(row, 3), {"plan": (1, b"1"), "mood": (2, b"2")}, "before it")
    equal(await at(row, 1), {"plan": (1, b"1")}, "after the first")
    equal(await at(row, 0), {}, "at the beginning")
    equal(await at(fork, 5), {"plan": (1, b"1"), "mood": (4, b"9")}, "of the fork")
    equal(await at(fork, 3), await at(row, 3), "of what they share")


@case
async def a_frame_is_the_newest_on_its_path(s: Stage) -> None:
    """A fork from before it has the one before it."""
    await opened(s)
    await turn(s, "s", *messages("a"), FRAME, *messages("b"))
    equal((await session(s)).frame, 2, "first")
    await turn(s, "s", FRAME, *messages("c"), FRAME, *messages("d"))
    equal((await session(s)).frame, 6, "of three")
    for place, frame in ((1, 0), (2, 2), (3, 2), (5, 4), (7, 6)):
        await opened(s, f"f{place}", "s", place)
        equal((await session(s, f"f{place}")).frame, frame, f"of a fork at {place}")
    await turn(s, "f3", *messages("x"))
    await opened(s, "g", "f3", 4)
    equal((await session(s, "g")).frame, 2, "of a fork's fork")
    await turn(s, "g", FRAME)
    equal(((await session(s, "g")).frame, (await session(s, "f3")).frame), (5, 2), "its own, and nobody else's")
