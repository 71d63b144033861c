"""Processes to be killed at every write, what a caller asks of them, and what must come out whatever happens.

A caller (``drive``) is run again from its beginning in every life, as a real one would be: with the same ids and keys.
It must be told the same each time. Every step notes its idempotency key, so that a test can count how often each was
performed; what a key stands for must never change.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import lash
from lash.runtime.runtime import Runtime

T = TypeVar("T")


class Ledger:
    """What was performed, outside of any store: a list of its own for every case under way, or lines appended to a
    file that outlives this process."""

    def __init__(self) -> None:
        self.path: str | None = None
        self._lines: ContextVar[list[str]] = ContextVar("ledger")

    def begin(self) -> list[str]:
        """An empty list, for the context that runs now and whatever is started from it."""
        lines: list[str] = []
        self._lines.set(lines)
        return lines

    @property
    def lines(self) -> list[str]:
        if self.path is not None:
            return Path(self.path).read_text().splitlines() if Path(self.path).exists() else []
        return self._lines.get()

    def note(self, label: str) -> None:
        step = lash.current()
        line = f"{step.idempotency_key}#{step.attempt} {label}"
        if self.path is None:
            self._lines.get().append(line)
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)


LEDGER = Ledger()


@dataclass(frozen=True)
class Scenario:
    name: str
    register: Callable[[Runtime], None]
    drive: Callable[[Runtime], Awaitable[object]]
    outcomes: tuple[object, ...]
    """What the caller may be told: one thing, unless the contract itself depends on crashes."""
    effects: int
    """Attempts of steps there are to perform; fewer only where several outcomes are allowed."""
    processes: int
    performs_max: int | None = None
    """How often one attempt may be performed; None: once, and once more per crash."""
    runs_once: bool = False
    """Something of it runs once, and is given up where nobody can know whether it ran: the later outcomes tell so."""
    leave: Callable[[Runtime], Awaitable[object]] | None = None
    """What the first life's caller does before it closes the runtime; None: everything."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    outcome: object, effects: int, processes: int = 1, *, outcomes: tuple[object, ...] = (), **more: object
) -> Callable[[Callable[[], tuple[object, object]]], None]:
    """``make()`` gives the registering function and the caller."""

    def decorate(make: Callable[[], tuple[object, object]]) -> None:
        register, drive = make()
        SCENARIOS[make.__name__] = Scenario(
            make.__name__, register, drive, (outcome, *outcomes), effects, processes, **more  # type: ignore[arg-type]
        )  # fmt: skip

    return decorate


# What steps do -----------------------------------------------------------------------------------------------------


async def work(value: int) -> int:
    LEDGER.note(f"work {value}")
    return value


def threaded(value: int) -> int:
    LEDGER.note(f"threaded {value}")
    return value


async def slow(value: int, seconds: float) -> int:
    LEDGER.note(f"slow {value}")
    await asyncio.sleep(seconds)
    return value


async def flaky(value: int, bad: int) -> int:
    LEDGER.note(f"flaky {value}")
    if lash.current().attempt <= bad:
        raise ConnectionError(f"attempt {lash.current().attempt}")
    return value


async def broken(value: int) -> int:
    LEDGER.note(f"broken {value}")
    raise lash.Terminal("no use", code="hopeless")


# What callers do ---------------------------------------------------------------------------------------------------


async def asked(request: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request that is made again while the store is away, as a caller would."""
    while True:
        try:
            return await request()
        except lash.StoreUnavailable:
            await asyncio.sleep(0.005)


async def ended(handle: lash.Handle[object]) -> list[object]:
    """How a process ended, as plain data."""
    try:
        return ["completed", await asked(lambda: handle.result())]
    except lash.ProcessCancelled as error:
        return ["cancelled", error.message.rpartition(": ")[2]]
    except lash.ProcessAbandoned:
        return ["abandoned"]
    except lash.ProcessFailed as error:
        return ["failed", error.failure_class, error.failure_code]


async def reached(app: Runtime, process_id: str, event_type: str) -> None:
    """Until the log of a process has an event of this type."""

    async def look() -> bool:
        return any([event.type == event_type async for event in app.handle(process_id).events()])

    while not await asked(look):
        await asyncio.sleep(0.003)


async def refused(request: Awaitable[object]) -> str:
    """The code of the error a request is answered with."""
    try:
        await request
    except lash.StoreUnavailable:
        raise
    except lash.LashError as error:
        return error.code
    return "accepted"


# Scenarios ---------------------------------------------------------------------------------------------------------


@scenario(["completed", 10], 4)
def sequence():
    def register(app: Runtime) -> None:
        @app.process
        async def sequence(ctx: lash.Context, first: int) -> int:
            total = await ctx.step(work, first)
            total += await ctx.step(threaded, 2)
            total += await ctx.step(work, 3)
            return total + await ctx.step(work, 4)

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("sequence", 1, id="s")))

    return register, drive


@scenario(["completed", [1, 2, "hopeless", 4, "ConnectionError"]], 1 + 3 + 1 + 2 + 2)
def fan_out():
    def register(app: Runtime) -> None:
        @app.process
        async def fan_out(ctx: lash.Context) -> list[object]:
            soon = lash.Retry(attempts=3, initial="2ms")
            later = lash.Retry(attempts=2, initial="30ms")
            replies = await asyncio.gather(
                ctx.step(work, 1),
                ctx.step(flaky, 2, 2, retry=soon),
                ctx.step(broken, 3, retry=soon),
                ctx.step(flaky, 4, 1, retry=later),
                ctx.step(flaky, 5, 9, retry=later),
                return_exceptions=True,
            )
            return [reply.failure_code if isinstance(reply, lash.StepFailed) else reply for reply in replies]

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("fan_out", id="f")))

    return register, drive


@scenario(["completed", ["overslept", 2, True]], 2)
def timers():
    def register(app: Runtime) -> None:
        @app.process
        async def timers(ctx: lash.Context) -> list[object]:
            began = ctx.now()
            await ctx.sleep("8ms")
            await asyncio.gather(ctx.sleep("4ms"), asyncio.sleep(0.012))
            heard = "slept"
            try:
                async with asyncio.timeout(0.005):
                    await ctx.sleep("1h")
            except TimeoutError:
                heard = "overslept"
            count = await ctx.step(work, 1)
            await ctx.sleep("30ms")
            count += await ctx.step(threaded, 1)
            return [heard, count, (ctx.now() - began).total_seconds() >= 0.055]

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("timers", id="t")))

    return register, drive


@scenario([["completed", [1, 2, 3, 4, "done"]], ["process_ended", "accepted", "event_conflict"]], 2)
def signals():
    """The race of a signal with a timeout may go either way; nothing may be lost, doubled or out of order."""

    def register(app: Runtime) -> None:
        @app.process
        async def signals(ctx: lash.Context) -> list[object]:
            await ctx.step(work, 0)
            got: list[object] = []
            while len(got) < 4:
                try:
                    got.append(await ctx.signal("number", int, timeout="4ms"))
                except TimeoutError:
                    await ctx.sleep("1ms")
            both = asyncio.gather(ctx.signal("last", str), ctx.step(work, 9))
            return [*got, (await both)[0]]

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.start("signals", id="sig"))
        for number in (1, 2):
            await signal(handle, "number", number)
        await reached(app, "sig", "process.started")
        await asyncio.sleep(0.004)
        for number in (3, 4):
            await signal(handle, "number", number)
            await asyncio.sleep(0.004)
        await signal(handle, "last", "done")
        told = await ended(handle)
        late = [
            await asked(lambda: refused(handle.signal("number", 5, key="5"))),
            await asked(lambda: refused(handle.signal("number", 1, key="1"))),
            await asked(lambda: refused(handle.signal("number", 99, key="1"))),
        ]
        return [told, late]

    async def signal(handle: lash.Handle[object], name: str, value: object) -> None:
        await asked(lambda: handle.signal(name, value, key=str(value)))

    return register, drive


@scenario(["completed", 30], 7, processes=5)
def family():
    def register(app: Runtime) -> None:
        @app.process
        async def grandchild(ctx: lash.Context, value: int) -> int:
            await ctx.sleep("5ms")
            return await ctx.step(work, value)

        @app.process
        async def child(ctx: lash.Context, value: int) -> int:
            own = await ctx.step(work, value)
            return own + await (await ctx.start(grandchild, value * 2))

        @app.process
        async def parent(ctx: lash.Context) -> int:
            await ctx.step(work, 100)
            left = await ctx.start(child, 3)
            right = await ctx.start(child, 7)
            await ctx.step(threaded, 101)
            total = sum(await asyncio.gather(left, right))
            await ctx.step(work, 102)
            return total

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("parent", id="top")))

    return register, drive


@scenario([["cancelled", "enough"], ["cancelled", "enough"], "accepted"], 3, processes=2)
def cancel():
    def register(app: Runtime) -> None:
        @app.process
        async def below(ctx: lash.Context) -> None:
            await ctx.signal("never")

        @app.process
        async def above(ctx: lash.Context) -> None:
            await ctx.step(work, 1)
            inner = await ctx.start(below, id="below")
            try:
                await inner
            except asyncio.CancelledError:
                await ctx.step(work, 2)
                await ctx.sleep("3ms")
                await ctx.step(threaded, 3)
                raise

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.start("above", id="above"))
        await reached(app, "above", "process.waiting")
        await reached(app, "below", "process.waiting")
        await asked(lambda: handle.cancel("enough"))
        told = [await ended(handle), await ended(app.handle("below"))]
        return [*told, await asked(lambda: refused(handle.cancel("enough")))]

    return register, drive


@scenario([["completed", 3], ["note", "note", "note"], [0, 1, 2]], 3)
def emits():
    def register(app: Runtime) -> None:
        @app.process
        async def emits(ctx: lash.Context) -> int:
            for number in range(3):
                await ctx.emit("note", {"number": number})
                await ctx.step(work, number)
            return 3

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.start("emits", id="e"))
        told = await ended(handle)

        async def notes() -> list[lash.Event]:
            return [event async for event in handle.events() if event.type == "note"]

        found = await asked(notes)
        numbers = [event.value() for event in found]
        return [told, [event.type for event in found], [item["number"] for item in numbers]]  # type: ignore[index]

    return register, drive


@scenario([["completed", [3, 9, "kept"]], [0, 1, 2], 3], 3 + 3, processes=4)
def generations():
    """Each life of a process that goes on as new is its own: keys, children, events and uuids of one are not those
    of another; a signal nobody has heard yet is kept."""

    def register(app: Runtime) -> None:
        @app.process
        async def helper(ctx: lash.Context, value: int) -> int:
            return await ctx.step(work, value)

        @app.process
        async def generations(ctx: lash.Context, turn: int, total: int, seen: list[str]) -> list[object]:
            seen = [*seen, str(ctx.uuid())]
            await ctx.emit("turn", turn)
            total += await ctx.step(work, 10 + turn) - 10 - turn
            total += await (await ctx.start(helper, 3))
            if turn < 2:
                try:
                    await ctx.signal("word", str, timeout="1ms" if turn == 0 else "0ms")
                except TimeoutError:
                    ctx.continue_as_new(turn + 1, total, seen)
                return ["heard too early"]
            return [len(set(seen)), total, await ctx.signal("late", str)]

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.start("generations", 0, 0, [], id="g"))
        await asked(lambda: handle.signal("late", "kept", key="late"))
        told = await ended(handle)

        async def turns() -> list[object]:
            return [event.value() async for event in handle.events() if event.type == "turn"]

        return [told, await asked(turns), len(await asked(lambda: app.processes(name="helper")))]

    return register, drive


@scenario(["completed", 3], 2, outcomes=(["abandoned"],), performs_max=1, runs_once=True)
def once():
    def register(app: Runtime) -> None:
        @app.process(recovery="once")
        async def once(ctx: lash.Context) -> int:
            first = await ctx.step(work, 1)
            await ctx.sleep("3ms")
            return first + await ctx.step(work, 2)

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("once", id="o")))

    return register, drive


@scenario([["completed", {"sum": 7}], "accepted", "process_ended", "process_conflict"], 0)
def external():
    def register(app: Runtime) -> None:
        del app

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.external("elsewhere", {"job": 1}, id="x"))
        await asked(lambda: handle.complete({"sum": 7}))
        return [
            await ended(handle),
            await asked(lambda: refused(handle.complete({"sum": 7}))),
            await asked(lambda: refused(handle.complete({"sum": 8}))),
            await asked(lambda: refused(app.external("elsewhere", {"job": 2}, id="x"))),
        ]

    return register, drive


@scenario(["completed", 2], 1, outcomes=(["failed", "resource_limit", "attempts_exhausted"],))
def attempts():
    def register(app: Runtime) -> None:
        @app.process(attempts_max=1)
        async def attempts(ctx: lash.Context) -> int:
            await ctx.sleep("2ms")
            return await ctx.step(work, 2)

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("attempts", id="a")))

    return register, drive


@scenario([["completed", 5], ["completed", 6], "process_conflict", True], 2, processes=2)
def delayed():
    def register(app: Runtime) -> None:
        @app.process
        async def delayed(ctx: lash.Context, value: int) -> int:
            return await ctx.step(work, value)

    async def drive(app: Runtime) -> object:
        late = await asked(lambda: app.start("delayed", 5, id="late", delay="25ms", tags=["t"], priority=3))
        soon = await asked(lambda: app.start("delayed", 6, id="soon", delay="5ms"))
        told = [await ended(late), await ended(soon)]
        record = await asked(lambda: late.record())
        assert record.first_started is not None
        waited = record.first_started.at_ms - record.created_ms >= 25
        return [*told, await asked(lambda: refused(app.start("delayed", 7, id="late"))), waited]

    return register, drive


@scenario(["failed", "timeout", "process_timeout"], 2)
def bounded():
    def register(app: Runtime) -> None:
        @app.process(timeout="20ms")
        async def bounded(ctx: lash.Context) -> None:
            await ctx.step(work, 1)
            try:
                await ctx.signal("never")
            finally:
                await ctx.step(work, 2)

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("bounded", id="b")))

    return register, drive


@scenario(["completed", [["process_conflict", "ProcessCancelled", "running"], 5, 1]], 3, processes=4)
def commands():
    """Everything a body can ask of other processes."""

    def register(app: Runtime) -> None:
        @app.process
        async def listener(ctx: lash.Context) -> int:
            return await ctx.signal("five", int) + await ctx.step(work, 0)

        @app.process
        async def waiter(ctx: lash.Context) -> None:
            await ctx.signal("never")

        @app.process
        async def single(ctx: lash.Context, value: int) -> int:
            return await ctx.step(work, value)

        @app.process
        async def commands(ctx: lash.Context) -> list[object]:
            told: list[object] = []
            listening = await ctx.start(listener)
            doomed = await ctx.start(waiter)
            alone = await ctx.start(single, 1, id="alone", detached=True)
            try:
                await ctx.start(single, 2, id="alone")
            except lash.ProcessConflict as error:
                told.append(error.code)
            await doomed.cancel("no need")
            try:
                await doomed
            except lash.ProcessCancelled as error:
                told.append(type(error).__name__)
            told.append((await listening.status()).value)
            await listening.signal("five", 5)
            five, one = await asyncio.gather(listening, alone)
            await ctx.step(work, 9)
            return [told, five, one]

    async def drive(app: Runtime) -> object:
        return await ended(await asked(lambda: app.start("commands", id="c")))

    return register, drive


@scenario([["completed", 0], ["completed", 10], ["completed", 20]], 6, processes=3)
def queue():
    """Tasks, a queue and a lock of the standard library, in several processes at once."""

    def register(app: Runtime) -> None:
        @app.process
        async def queue(ctx: lash.Context, base: int) -> int:
            lines: asyncio.Queue[int] = asyncio.Queue(1)
            lock = asyncio.Lock()
            done: list[int] = []

            async def consume() -> None:
                while (item := await lines.get()) >= 0:
                    async with lock:
                        done.append(await ctx.step(slow, item, 0.001))

            async with asyncio.TaskGroup() as group:
                group.create_task(consume())
                for item in (base, 0 if base else base + 1, -1):
                    await lines.put(item)
            return done[0]

    async def drive(app: Runtime) -> object:
        process = app.registered[0]
        calls = [process.call(base).options(id=f"q{base}") for base in (0, 10, 20)]
        return [await ended(handle) for handle in await asked(lambda: app.start_many(calls))]

    return register, drive


@scenario([["cancelled", "never mind"], "accepted", "process_ended", ["completed", "gone"]], 0, processes=2)
def cancel_early():
    """Before it ever ran; and of what runs elsewhere, which only gets to know the wish."""

    def register(app: Runtime) -> None:
        @app.process
        async def far_off(ctx: lash.Context) -> int:
            return await ctx.step(work, 1)

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.start("far_off", id="f", delay="1h"))
        await asked(lambda: handle.cancel("never mind"))
        elsewhere = await asked(lambda: app.external("elsewhere", id="x"))
        await asked(lambda: refused(elsewhere.cancel("stop")))
        await asked(lambda: elsewhere.complete("gone"))
        return [
            await ended(handle),
            await asked(lambda: refused(handle.cancel("never mind"))),
            await asked(lambda: refused(handle.cancel("really"))),
            await ended(elsewhere),
        ]

    return register, drive


@scenario(["process_pruned", "process_conflict", "accepted", "process_pruned"], 1, processes=0)
def pruned():
    def register(app: Runtime) -> None:
        @app.process
        async def tiny(ctx: lash.Context, value: int) -> int:
            return await ctx.step(work, value)

    async def drive(app: Runtime) -> object:
        handle = await asked(lambda: app.start("tiny", 1, id="p"))
        await asked(lambda: refused(handle.result()))
        await asyncio.sleep(0.002)
        await asked(lambda: app.prune("0s"))
        return [
            await asked(lambda: refused(handle.result())),
            await asked(lambda: refused(app.start("tiny", 2, id="p"))),
            await asked(lambda: refused(app.start("tiny", 1, id="p"))),
            await asked(lambda: refused(handle.signal("late"))),
        ]

    return register, drive


async def set_going(app: Runtime) -> object:
    """The caller leaves before anything has ended."""
    await asked(lambda: app.start("handover", 1, id="h1"))
    await asked(lambda: app.start("handover", 2, id="h2"))
    await reached(app, "h1", "process.started")
    return None


@scenario([["completed", 6], ["completed", 7]], 6, processes=2, leave=set_going)
def handover():
    """The first worker closes in order while steps and timers are under way."""

    def register(app: Runtime) -> None:
        @app.process
        async def handover(ctx: lash.Context, value: int) -> int:
            total = await ctx.step(slow, value, 0.02)
            await ctx.sleep("15ms")
            return total + sum(await asyncio.gather(ctx.step(slow, 2, 0.01), ctx.step(threaded, 3)))

    async def drive(app: Runtime) -> object:
        handles = [await asked(lambda: app.start("handover", 1, id="h1"))]
        handles.append(await asked(lambda: app.start("handover", 2, id="h2")))
        return [await ended(handle) for handle in handles]

    return register, drive


from tests.crash import turns as turns  # noqa: E402  # whose scenarios register themselves here
