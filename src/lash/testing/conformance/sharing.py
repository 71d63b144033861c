"""Several stores on one storage, and the same storage later: what one wrote, all others go by (spec 16.1-1, 23)."""

from __future__ import annotations

import asyncio

from lash.abc.store import Appended, Cancel, Claim, Done, Finish, Put, Recorded, Signal, Stale, Start, Store
from lash.core.outcome import Completed
from lash.core.process import lane_of
from lash.testing.conformance.stage import TTL_MS, Stage, case, equal, expect, said, step, wait

NOTICE_S = 10.0
"""A notice comes within milliseconds; this only bounds a failing run."""


@case
async def durability_is_stated_once(s: Stage) -> None:
    """Facets in their checking order, and no facet that outlives another without saying so."""
    names = ["attachment_store", "artifact_store", "session_store", "process_registry"]
    equal(list(s.store.facets), names, "facets")
    equal(s.store.facets["process_registry"], s.store.journal_durable, "registry and journal")
    equal(s.store.facets["session_store"], s.store.journal_durable, "sessions and journal")
    equal(s.store.facets["attachment_store"], s.store.blobs.durable, "attachments and blobs")


@case
async def everything_survives_closing_and_opening(s: Stage) -> None:
    """Records, events, journals, keys, tokens, ranks, leases."""
    fence = await s.leased("p")
    await s.put(fence, 0, step(0), wait(1, "signal:go"))
    first = await s.do(Signal("p", "other", b"1", "k"), Appended)
    before = (await s.row("p"), await s.store.events("p", 0, 99), await s.store.history(fence.row, 0))
    await s.store.close()
    s.store = await s.harness.open()
    after = (await s.row("p"), await s.store.events("p", 0, 99), await s.store.history(fence.row, 0))
    equal(after, before, "row, events and journal")
    equal(await s.do(Signal("p", "other", b"1", "k"), Appended), Appended(first.event, False), "a replayed key")
    entries = await s.put(fence, before[2][-1].rank, step(2))
    equal(entries[0].rank > before[2][-1].rank, True, "ranks go on")
    await s.do(Signal("p", "go", b"2", None), Appended)
    equal(said(await s.store.history(fence.row, entries[0].rank)), [("reply", 1, b"2")], "the open wait")


@case
async def opening_and_closing_may_be_repeated(s: Stage) -> None:
    """An open store stays as it is, a closed one stays closed."""
    await s.start("p")
    await s.store.open()
    equal((await s.row("p")).record.id, "p", "row")
    await s.store.close()
    await s.store.close()
    s.store = await s.harness.open()


@case
async def a_fence_taken_over_through_another_store_is_stale_here(s: Stage) -> None:
    """What one store remembers of a row never outlives what another one did to it."""
    other = await s.harness.open()
    fence = await s.leased("p")
    await s.put(fence, 0, step(0))
    s.clock.advance(TTL_MS)
    claims = (await other.write([Claim("w2", [lane_of(s.specs["p"])], 1, TTL_MS)]))[0]
    token = claims.rows[0].lease.token  # type: ignore[union-attr]  # a Claim gives Claims
    equal(await s.do(Put(fence, 1, [step(1)]), Stale), Stale(token), "the first store's put")
    recorded = (await other.write([Put(fence._replace(token=token), 0, [step(1)])]))[0]
    equal(said(expect(recorded, Recorded).entries), [("step", 0, b"1"), ("step", 1, b"1")], "the second store's put")
    await other.write([Finish(fence._replace(token=token), Completed(b"1"))])
    equal(await s.do(Put(fence._replace(token=token), 0, [step(2)]), Stale), Stale(0), "after the end")


@case
async def entries_written_through_another_store_are_seen_here(s: Stage) -> None:
    """Ranks follow the commits, whoever made them."""
    other = await s.harness.open()
    fence = await s.leased("p")
    seen = (await s.put(fence, 0, step(0), wait(1, "signal:go")))[-1].rank
    await other.write([Signal("p", "go", b"1", None), Cancel("p", "stop")])
    equal(await s.store.news("w1"), [fence], "news")
    entries = await s.put(fence, seen, step(2))
    equal([entry.kind.value for entry in entries], ["reply", "cancel", "step"], "entries")
    equal(await other.history(fence.row, seen), list(entries), "read by the other")
    equal(await other.news("w1"), [], "news after the put")


@case
async def concurrent_writes_are_transactions_in_call_order(s: Stage) -> None:
    """Fifty tasks on two stores: every id is created once, one store's calls take effect in their order."""
    other = await s.harness.open()
    fence = await s.leased("p")

    async def one(store: Store, number: int) -> bool:
        verdict = (await store.write([Start(s.spec(f"c{number}"))]))[0]
        return bool(getattr(verdict, "created", False))

    for number in range(50):
        s.specs[f"c{number}"] = s.spec(f"c{number}")
    both = [one(store, number) for number in range(50) for store in (s.store, other)]
    equal(sum(await asyncio.gather(*both)), 50, "created")
    puts = [s.store.write([Put(fence, 0, [step(number)])]) for number in range(50)]
    await asyncio.gather(*puts)
    ordinals = [entry.ordinal for entry in await s.store.history(fence.row, 0)]
    equal(ordinals, list(range(50)), "order of calls")


@case
async def listeners_hear_what_concerns_workers(s: Stage) -> None:
    """A claimable row, news for a leased one, an end: whichever store committed it."""
    other = await s.harness.open()
    heard = asyncio.Event()
    other.listen(heard.set)

    async def told(what: str) -> None:
        try:
            await asyncio.wait_for(heard.wait(), NOTICE_S)
        except TimeoutError:
            raise AssertionError(f"no notice of {what} within {NOTICE_S} s") from None
        heard.clear()

    await s.start("p")
    await told("a claimable row")
    fence = (await s.claim_one("p")).lease.fence
    await s.do(Cancel("p", "stop"), Appended)
    await told("news for a leased row")
    await s.do(Finish(fence, Completed(b"1")), Done)
    await told("an end")


@case
async def blobs_are_found_by_their_content(s: Stage) -> None:
    """The same bytes have the same reference; an unknown reference is None."""
    one = await s.store.blobs.put(b"hello")
    equal(one, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "reference")
    equal(await s.store.blobs.put(b"hello"), one, "the same bytes")
    equal((await s.store.blobs.get(one), await s.store.blobs.get("sha256:00")), (b"hello", None), "bytes")
    for odd in (one.upper(), one.removeprefix("sha256:"), one + " ", "sha256:no hex", ""):
        equal(await s.store.blobs.get(odd), None, f"behind {odd!r}")
    empty = await s.store.blobs.put(b"")
    equal(await s.store.blobs.get(empty), b"", "no bytes")
