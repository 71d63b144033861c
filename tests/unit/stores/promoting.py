"""A SQLite database with one of everything a store can hold, made by an app and by single operations.

``furnish`` fills it; ``picture`` reads everything that can be read of a store; ``settle`` goes on with it elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import lash
from lash.abc.store import Cancel, Continue, ProcessFilter, Put, Release, Signal, Start, Started, Store
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.outcome import Status
from lash.core.process import Blocked, Lane, ProcessRow, ProcessSpec, definition_of
from lash.runtime.runtime import Runtime
from lash.stores.postgres.place import place_of
from lash.stores.sqlite import SqliteStore
from tests.unit.stores import chatting

ARGS = b"[[],{}]"
DEADLINE_S = 40.0
TWO_HOURS_MS = 2 * 3_600_000
GONE = "pruned"
UNKNOWN = "never-was"
BLOBS = (b"", b"\x00\xff blob", b"x" * 100_000, chatting.BLOB)
"""A session speaks of the last one."""
UNREGISTERED = "other"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def later_ms() -> int:
    """When every timer that was set here is due."""
    return now_ms() + TWO_HOURS_MS


def app_on(url: str, clock: Callable[[], int] | None = None) -> Runtime:
    app = lash.Runtime(url, linger="10ms", clock=clock)

    def double(number: int) -> int:
        return 2 * number

    def away() -> None:
        raise OSError("away")

    calls: list[int] = []

    def once_away() -> str:
        if clock is None:
            raise OSError("away")
        calls.append(1)
        return "there"

    @app.process
    async def approve(ctx: lash.Context, order: str) -> str:
        await ctx.emit("asked", {"order": order})
        return order + ":" + await ctx.signal("approval", str)

    @app.process
    async def sleeper(ctx: lash.Context) -> int:
        first = await ctx.step(double, 4)
        await ctx.sleep("1h")
        return first + await ctx.step(double, 1)

    @app.process
    async def late(ctx: lash.Context) -> list[str]:
        """Its mail waits while it sleeps."""
        await ctx.sleep("1h")
        return [await ctx.signal("note", str) for _ in range(2)]

    @app.process
    async def parent(ctx: lash.Context) -> str:
        child = await ctx.start(approve, "child", tags=["kid"])
        await ctx.start(approve, "stray", id="stray", detached=True)
        return await child

    @app.process
    async def rounds(ctx: lash.Context, number: int) -> str:
        """Its journal was cut three times."""
        total = await ctx.step(double, number)
        if number < 3:
            ctx.continue_as_new(number + 1)
        return f"{total} {await ctx.signal('go', str)}"

    @app.process
    async def retrying(ctx: lash.Context) -> str:
        return await ctx.step(once_away, retry=lash.Retry(attempts=9, initial="50m", maximum="50m"))

    @app.process
    async def failing(ctx: lash.Context) -> None:
        await ctx.step(away)

    @app.process
    async def tidy(ctx: lash.Context) -> str:
        """It was asked to cancel, and cleans up for longer than anybody waits."""
        try:
            return await ctx.signal("never", str)
        except asyncio.CancelledError:
            await ctx.signal("cleaned")
            raise

    @app.process
    async def job(ctx: lash.Context) -> int:
        return await ctx.step(double, 21)

    return app


def job(process_id: str, name: str = "job", **fields: Any) -> ProcessSpec:
    fields = {"definition": definition_of("python", name, ARGS)} | fields
    return ProcessSpec(process_id, "python", name, "", ARGS, **fields)


async def until(reached: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await reached():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not so after {DEADLINE_S:.0f} s: {what}") from None


PARKED = ("wanted", "asleep", "late", "parent", "parent.0", "stray", "rounds", "retrying", "tidy")


async def furnish(path: Path) -> None:
    """Everything is parked, ended, ready, blocked or lost by its worker when this returns; nobody has it open."""
    app = app_on(f"sqlite:///{path}")
    async with app:
        name = {process.name: process for process in app.registered}
        await (await app.start(name["job"], id=GONE)).result(timeout=DEADLINE_S)
        await until(lambda: pruned(app), "one is pruned")
        await app.start(name["approve"], "ördér", id="wanted", tags=["a", "b"], priority=7)
        for kind in ("late", "parent", "retrying", "tidy"):
            await app.start(name[kind], id=kind)
        await app.start(name["sleeper"], id="asleep")
        await app.start(name["rounds"], 0, id="rounds")
        await (await app.start(name["job"], id="done")).result(timeout=DEADLINE_S)
        try:
            await (await app.start(name["failing"], id="failed")).result(timeout=DEADLINE_S)
        except lash.ProcessFailed:
            pass
        await app.start(name["job"], id="tomorrow", delay="1h")
        await app.external("crane", {"load": [1, None]}, id="crane")
        await (await app.external("crane", id="crane-done")).complete("moved")
        for number in range(2):
            await app.handle("late").signal("note", f"note {number}", key=f"n{number}")
        await until(lambda: parked(app.store), "all are parked")
        await app.handle("tidy").cancel("enough")
        await until(lambda: is_waiting_on(app.store, "tidy", "cleaned"), "it cleans up")
        for data in BLOBS:
            await app.store.blobs.put(data)
    await add_by_hand(SqliteStore(str(path)))


async def add_by_hand(store: SqliteStore) -> None:
    await store.open()
    try:
        fence = await leased(store, job("blocked"))
        await store.write([Release(fence, 60_000, Blocked("diverged", "détail", "no hex"))])
        fence = await leased(store, job("cut", observers=("s1", "s2"), caused_by="x", wake_target="y"))
        await store.write([Put(fence, 0, [Entry(EntryKind.STEP, 0, "double", "ab" * 16, b"42")])])
        await store.write([Continue(fence, ARGS), Release(fence)])
        fence = await leased(store, job("odd", UNREGISTERED, definition="a hash that is no hex"))
        entries = [
            Entry(EntryKind.STEP, 0, "", "AB" * 16, b""),
            Entry(EntryKind.ATTEMPT, 1, "failed", "short", b"{}", True, 1, 5, 6),
            Entry(EntryKind.STEP, 1, "failed", "short", b"{}", True, 2, 7),
            Entry(EntryKind.WAIT, 2, "signal:odd"),
        ]
        await store.write([Put(fence, 0, entries), Release(fence, 1_000)])
        await store.write([Start(job("never-ran", UNREGISTERED)), Cancel("never-ran", "too late")])
        await store.write([Start(job("unseen", UNREGISTERED, host_profile="", tags=("a",)))])
        await store.write([Signal("unseen", "hello", b"null", None)])
        await leased(store, job("lost"), ttl_ms=1)
        await asyncio.sleep(0.01)
    finally:
        await store.close()


async def leased(store: Store, spec: ProcessSpec, ttl_ms: int = 60_000) -> Fence:
    (started,) = await store.write([Start(spec, "w-gone", ttl_ms)])
    assert isinstance(started, Started)
    assert started.claimed is not None
    return started.claimed.lease.fence


async def pruned(app: Runtime) -> bool:
    return await app.prune("1ms") > 0


async def parked(store: Store) -> bool:
    rows = [row for row in await store.get(PARKED) if isinstance(row, ProcessRow)]
    return len(rows) == len(PARKED) and all(row.record.waiting is not None and row.owner is None for row in rows)


async def is_waiting_on(store: Store, process_id: str, name: str) -> bool:
    (row,) = await store.get([process_id])
    waiting = row.record.waiting if isinstance(row, ProcessRow) else None
    return waiting is not None and waiting.key == f"signal:{name}" and isinstance(row, ProcessRow) and not row.owner


# Reading everything ------------------------------------------------------------------------------------------------


async def picture(store: Store) -> dict[str, object]:
    """What every read of the store answers."""
    rows = await store.page(ProcessFilter(limit=1_000))
    ids = [row.record.id for row in rows]
    lanes = sorted({Lane(row.record.spec.host_profile, row.record.spec.kind, row.record.spec.name, "") for row in rows})
    filters = [
        *(ProcessFilter(status) for status in Status),
        *(ProcessFilter(name=lane.name) for lane in lanes),
        *(ProcessFilter(tag=tag) for tag in ("a", "b", "kid", "none")),
        ProcessFilter(parent="parent"),
        ProcessFilter(after=ids[len(ids) // 2], limit=3),
    ]
    return {
        "rows": rows,
        "get": await store.get([*ids, GONE, UNKNOWN]),
        "pages": [[row.record.id for row in await store.page(wanted)] for wanted in filters],
        "events": {process_id: await store.events(process_id, 0, 1_000) for process_id in ids},
        "histories": {row.record.id: await store.history(row.row, 0) for row in rows},
        "counts": await store.counts(),
        "not_running": await store.not_running([*ids, GONE, UNKNOWN]),
        "due": [await store.next_due_ms([lane]) for lane in lanes],
        "news": await store.news("w-gone"),
        "workers": await store.workers(),
        "sessions": await chatting.picture(store),
        "blobs": [await store.blobs.get("sha256:" + name) for name in blob_names()],
    }


def blob_names() -> list[str]:
    import hashlib

    return [hashlib.sha256(data).hexdigest() for data in BLOBS]


async def picture_of(store: Any) -> dict[str, object]:
    await store.open()
    try:
        return await picture(store)
    finally:
        await store.close()


# Going on ----------------------------------------------------------------------------------------------------------

OUTCOMES = {
    "wanted": "ördér:yes",
    "asleep": 10,
    "late": ["note 0", "note 1"],
    "parent": "child:yes",
    "parent.0": "child:yes",
    "stray": "stray:yes",
    "rounds": "6 on",
    "retrying": "there",
    "tomorrow": 42,
    "blocked": 42,
    "cut": 42,
    "lost": 42,
    "done": 42,
    "crane-done": "moved",
}
"""Of everything that comes to an end once it is signalled, two hours later."""


async def settle(url: str) -> dict[str, object]:
    """Signal what waits, and run a worker until all of ``OUTCOMES`` have one."""
    app = app_on(url, later_ms)
    found: dict[str, object] = {}
    async with app:
        for process_id in ("wanted", "parent.0", "stray"):
            await app.handle(process_id).signal("approval", "yes")
        await app.handle("rounds").signal("go", "on")
        for process_id in OUTCOMES:
            found[process_id] = await app.handle(process_id).result(timeout=DEADLINE_S)
        await app.handle("crane").complete(None)
        await until(lambda: ended(app.store, "tidy"), "what was to be cancelled is")
        started = await app.start(next(item for item in app.registered if item.name == "job"), id="fresh")
        found["fresh"] = await started.result(timeout=DEADLINE_S)
    return found


async def ended(store: Store, process_id: str) -> bool:
    return await store.not_running([process_id]) == [process_id]


# Losing an answer -------------------------------------------------------------------------------------------------


class Eater:
    """Between driver and server on a loopback port. When ``hungry`` it eats the next answer and ends the connection."""

    def __init__(self, url: str) -> None:
        self.hungry = False
        self._theirs = url
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        schema = place_of(url).schema
        parts = urlsplit(place_of(url).dsn)
        user = f"{parts.username or 'lash'}:{parts.password or ''}"
        self.url = f"postgresql://{user}@127.0.0.1:{port}{parts.path}?schema={schema}&sslmode=disable"

    def __enter__(self) -> Eater:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._open):
            end.close()

    def _server(self) -> socket.socket:
        parts = urlsplit(place_of(self._theirs).dsn)
        folder = dict(parse_qsl(parts.query)).get("host", "")
        if folder.startswith("/"):
            end = socket.socket(socket.AF_UNIX)
            end.connect(f"{folder}/.s.PGSQL.{parts.port or 5432}")
            return end
        return socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5432))

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._listener.accept()
                server = self._server()
                self._open += [client, server]
                for source, sink, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()
        except OSError:
            pass  # closed

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65_536):
                if answers and self.hungry:
                    self.hungry = False
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
