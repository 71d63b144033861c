"""A blob stays while a session or a fork speaks of it, or will, and for a while after it was put or kept; then pruning
deletes it, a page at a time."""

from __future__ import annotations

from lash.abc.sessions import Committed, Delete
from lash.abc.store import BlobsPruned, Cancel, Count, Prune, Stale
from lash.testing.conformance.session_stage import (
    OTHER,
    committing,
    leased,
    messages,
    opened,
    posted,
    session,
    taken,
    turn,
)
from lash.testing.conformance.stage import Stage, case, equal, expect

PICTURE, PAPER = b"a picture", b"a paper"
UNKNOWN = "sha256:" + "0f" * 32


async def pruned(s: Stage, limit: int = 100) -> BlobsPruned:
    """Nothing that was put or kept before this moment is spared."""
    found = await s.store.blobs.prune(s.clock.now_ms, limit)
    return BlobsPruned(found.looked, list(found.gone))


async def there(s: Stage, *refs: str) -> list[bool]:
    return [await s.store.blobs.get(ref) is not None for ref in refs]


async def put(s: Stage, *contents: bytes) -> list[str]:
    """Each a millisecond after the one before, the last one a millisecond ago."""
    refs: list[str] = []
    for data in contents:
        refs.append(await s.store.blobs.put(data))
        s.clock.advance(1)
    return refs


async def deleted(s: Stage, name: str = "s") -> None:
    await s.do(Delete(f"session:{name}"), Count)


@case
async def a_blob_nobody_speaks_of_goes_when_it_was_put_long_ago(s: Stage) -> None:
    """It is spared up to the moment that is named, and then deleted, once."""
    blobs = s.store.blobs
    ref = await blobs.put(PICTURE)
    equal(await pruned(s), BlobsPruned(0, []), "just put")
    s.clock.advance(1)
    equal((await blobs.prune(s.clock.now_ms - 1, 9)).looked, 0, "put at that very moment")
    equal(await there(s, ref), [True], "spared")
    equal(await pruned(s), BlobsPruned(1, [ref]), "put before")
    equal(await there(s, ref), [False], "deleted")
    equal(await pruned(s), BlobsPruned(0, []), "and nothing is left of it")
    equal(await blobs.put(PICTURE), ref, "put anew")
    equal(await blobs.get(ref), PICTURE, "it is there as if it had never gone")


@case
async def to_put_or_keep_it_again_renews_its_time(s: Stage) -> None:
    """The same content that is put again, and what somebody means to speak of, counts as put just now."""
    one, two, three = await put(s, b"1", b"2", b"3")
    s.clock.advance(1_000)
    before_ms = s.clock.now_ms
    await s.store.blobs.put(b"1")
    s.clock.advance(1)
    equal(await s.store.blobs.keep([two, two]), [], "all are there")
    equal(await s.store.blobs.prune(before_ms, 9), BlobsPruned(1, [three]), "the one that nobody asked for")
    s.clock.advance(-500)
    await s.store.blobs.put(b"1")
    await s.store.blobs.keep([two])
    equal((await s.store.blobs.prune(before_ms, 9)).looked, 0, "a clock that was set back has shortened nothing")
    s.clock.advance(501)
    equal(await there(s, one, two, three), [True, True, False], "there")
    equal(await pruned(s), BlobsPruned(2, [one, two]), "all in the end")


@case
async def what_is_not_there_is_told_and_not_kept(s: Stage) -> None:
    """Of several, those that are missing are told, each once; then the session speaks of none of them."""
    row = await opened(s)
    (ref,) = await put(s, PICTURE)
    for odd in (UNKNOWN, "nonsense", ref.upper(), ""):
        equal(await s.store.blobs.keep([odd, ref, odd], row), [odd], "missing")
    equal(await s.store.blobs.keep([], row), [], "nothing")
    s.clock.advance(1)
    equal(await pruned(s), BlobsPruned(1, [ref]), "nobody speaks of it")
    equal(await s.store.blobs.keep([ref], row), [ref], "and now it is missing itself")


@case
async def what_a_node_speaks_of_stays_as_long_as_its_session(s: Stage) -> None:
    """Pruning looks at it once and no more, until the session is deleted."""
    await opened(s)
    picture, paper = await put(s, PICTURE, PAPER)
    await turn(s, "s", *messages("look"), refs=(picture, UNKNOWN, "nonsense"))
    equal(await pruned(s), BlobsPruned(2, [paper]), "of two, one is spoken of")
    equal(await pruned(s), BlobsPruned(0, []), "which is not looked at again")
    await s.store.blobs.put(PICTURE)
    s.clock.advance(1)
    equal(await pruned(s), BlobsPruned(1, []), "but for having been put again")
    await deleted(s)
    equal(await there(s, picture), [True], "not gone with the session")
    equal(await pruned(s), BlobsPruned(1, [picture]), "but with the next pruning")


@case
async def what_was_kept_for_a_session_needs_no_node_yet(s: Stage) -> None:
    """Pending inputs, and turns that are at work for days, speak of what was kept for their session."""
    row = await opened(s)
    (ref,) = await put(s, PICTURE)
    equal(await s.store.blobs.keep([ref], row), [], "there")
    await posted(s)
    s.clock.advance(1_000)
    equal(await pruned(s), BlobsPruned(1, []), "an input is pending")
    fence = (await s.claim_one("session:s")).lease.fence
    await taken(s, fence)
    await s.store.blobs.put(PICTURE)
    s.clock.advance(1_000)
    equal(await pruned(s), BlobsPruned(1, []), "and is at work")
    await deleted(s)
    equal(await pruned(s), BlobsPruned(1, [ref]), "gone with the session")


@case
async def only_a_session_that_is_there_can_speak(s: Stage) -> None:
    """To keep something for a deleted session, a process or nobody renews its time and nothing else."""
    gone = await opened(s, "gone")
    await deleted(s, "gone")
    shared = await opened(s, "shared")
    await turn(s, "shared", *messages("a"))
    await opened(s, "fork", "shared", 1)
    await deleted(s, "shared")
    process = (await s.start("p")).row
    (ref,) = await put(s, PICTURE)
    for row in (gone, shared, process, 0, 10**9):
        equal(await s.store.blobs.keep([ref], row), [], f"row {row}")
    s.clock.advance(1)
    equal(await pruned(s), BlobsPruned(1, [ref]), "nobody speaks of it")


@case
async def a_deleted_session_whose_nodes_a_fork_shares_speaks_only_through_them(s: Stage) -> None:
    """What only its own nodes spoke of goes; the rest stays until the last fork that shares it is gone."""
    await opened(s)
    first, second, third = await put(s, b"1", b"2", b"3")
    await turn(s, "s", *messages("a", "b"), refs=(first,))
    await turn(s, "s", *messages("c"), refs=(second, first))
    equal(await s.store.blobs.keep([third, first], (await session(s)).process.row), [], "kept for what is to come")
    await opened(s, "f", "s", 2)
    await opened(s, "g", "f", 1)
    s.clock.advance(1)
    equal((await pruned(s)).gone, [], "all are spoken of")
    await deleted(s)
    found = await pruned(s)
    equal((found.looked, set(found.gone)), (2, {second, third}), "its own")
    equal(await pruned(s), BlobsPruned(0, []), "and no more")
    await deleted(s, "f")
    equal((await pruned(s)).gone, [], "another fork shares the node")
    await deleted(s, "g")
    equal(await pruned(s), BlobsPruned(1, [first]), "nobody shares it any more")


@case
async def a_fork_may_go_before_its_base(s: Stage) -> None:
    """What both speak of stays for the other; what the fork added goes with it."""
    await opened(s)
    shared, added = await put(s, b"1", b"2")
    await turn(s, "s", *messages("a"), refs=(shared,))
    await opened(s, "f", "s", 1)
    await turn(s, "f", *messages("b"), refs=(added, shared))
    equal(await pruned(s), BlobsPruned(2, []), "both are spoken of")
    await deleted(s, "f")
    equal(await pruned(s), BlobsPruned(2, [added]), "what the base speaks of stays")
    await deleted(s)
    equal(await pruned(s), BlobsPruned(1, [shared]), "and goes with it")


@case
async def sessions_share_equal_blobs(s: Stage) -> None:
    """The same content in several sessions is one blob, and goes with the last; in one transaction all may go."""
    for name in ("a", "b", "c"):
        await opened(s, name)
    (ref,) = await put(s, PICTURE)
    for name in ("a", "b", "c"):
        await turn(s, name, *messages("look"), refs=(ref,))
    await deleted(s, "a")
    equal(await pruned(s), BlobsPruned(1, []), "two speak of it")
    await s.write(Delete("session:b"), Delete("session:c"))
    equal(await pruned(s), BlobsPruned(1, [ref]), "nobody does")


@case
async def a_deletion_does_not_shorten_the_time_of_what_somebody_has_put(s: Stage) -> None:
    """Somebody has attached the same content and not sent it yet."""
    await opened(s)
    (ref,) = await put(s, PICTURE)
    await turn(s, "s", *messages("look"), refs=(ref,))
    equal(await pruned(s), BlobsPruned(1, []), "spoken of")
    s.clock.advance(1_000)
    before_ms = s.clock.now_ms
    await s.store.blobs.put(PICTURE)
    await deleted(s)
    equal((await s.store.blobs.prune(before_ms, 9)).looked, 0, "put a moment ago")
    s.clock.advance(1)
    equal(await pruned(s), BlobsPruned(1, [ref]), "put long ago")


@case
async def what_a_pruned_session_spoke_of_goes_too(s: Stage) -> None:
    """A session that was closed, and pruned long after, leaves no blob behind."""
    await opened(s)
    (ref,) = await put(s, PICTURE)
    await turn(s, "s", *messages("look"), refs=(ref,))
    await s.write(Cancel("session:s", "closed"))
    equal(await pruned(s), BlobsPruned(1, []), "a closed session keeps its history")
    s.clock.advance(1_000)
    equal(await s.do(Prune(s.clock.now_ms, 9), Count), Count(["session:s"]), "pruned")
    equal(await pruned(s), BlobsPruned(1, [ref]), "its blob")


@case
async def a_refused_commit_speaks_of_nothing(s: Stage) -> None:
    """Neither does one that was made before."""
    await opened(s)
    one, two = await put(s, b"1", b"2")
    fence = await leased(s)
    number = (await taken(s, fence))[0]
    stale = committing(fence._replace(token=fence.token + 1), number, 0, messages("a"), refs=(one,))
    expect((await s.write(stale))[0], Stale)
    await s.do(committing(fence, number, 0, messages("a")), Committed)
    await s.do(committing(fence, number, 0, messages("a"), refs=(one,)), Committed)
    await s.write(committing(fence, number, 0, messages("a"), OTHER, refs=(two,)))
    equal(await pruned(s), BlobsPruned(2, [one, two]), "none is spoken of")


@case
async def blobs_are_pruned_a_page_at_a_time(s: Stage) -> None:
    """Those put longest ago come first; how many were looked at tells whether there may be more."""
    refs = await put(s, b"1", b"2", b"3", b"4", b"5")
    await opened(s)
    await turn(s, "s", *messages("look"), refs=(refs[1],))
    equal(await pruned(s, 2), BlobsPruned(2, [refs[0]]), "the first page")
    equal(await pruned(s, 2), BlobsPruned(2, refs[2:4]), "the second")
    equal(await pruned(s, 2), BlobsPruned(1, refs[4:]), "the last")
    equal(await there(s, *refs), [False, True, False, False, False], "left")


@case
async def every_store_on_the_same_storage_sees_the_same_blobs(s: Stage) -> None:
    """What one has kept, another one's pruning spares."""
    other = await s.harness.open()
    row = await opened(s)
    one, two = await put(s, b"1", b"2")
    equal(await other.blobs.keep([one], row), [], "kept by another")
    s.clock.advance(1)
    equal(await pruned(s), BlobsPruned(2, [two]), "pruned here")
    equal([await other.blobs.get(ref) for ref in (one, two)], [b"1", None], "read there")
    await deleted(s)
    equal(await other.blobs.prune(s.clock.now_ms, 9), BlobsPruned(1, [one]), "pruned there")
