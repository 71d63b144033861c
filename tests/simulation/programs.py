"""Random process bodies as data: a program is JSON, and one async function interprets it.

What a program returns tells everything that happened in it, in order: each node notes its beginning and its end in one
trace. So two runs are equal exactly when they interleaved alike. Nothing in here may depend on anything but what the
context and the recorded replies say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

import lash

Node = list[Any]
"""``[kind, number, ...]``; the number names the node in the trace."""
SIGNALS = ("a", "b")


class Bug(Exception):
    """What a program raises on purpose."""


class Grower:
    """Grows one program. ``budget`` bounds its nodes, ``children`` how many other processes it may start."""

    def __init__(self, rng: Random, budget: int = 24, children: int = 2) -> None:
        self.rng = rng
        self.budget = budget
        self.children = children
        self.numbers = 1

    def program(self) -> Node:
        """A whole program: what happens when it fails or is cancelled belongs to it."""
        return [
            "main",
            0,
            ["seq", 1, [self.node(4) for _ in range(3)]],
            self.rng.random() < 0.7,
            self.rng.random() < 0.4,
        ]

    def node(self, depth: int) -> Node:
        self.budget -= 1
        self.numbers += 1
        number = self.numbers
        kinds = LEAVES if depth <= 0 or self.budget <= 0 else LEAVES + BRANCHES * 3
        kind = self.rng.choice(kinds)
        if kind == "child" and self.children <= 0:
            kind = "step"
        return [kind, number, *getattr(self, kind)(depth - 1)]

    def nodes(self, depth: int, least: int = 2, most: int = 4) -> list[Node]:
        return [self.node(depth) for _ in range(self.rng.randint(least, most))]

    def ms(self, most: int = 400) -> int:
        return self.rng.choice((0, *(self.rng.randint(1, most) for _ in range(5))))

    # Leaves

    def step(self, depth: int) -> list[Any]:
        return [self.rng.random() < 0.3]

    def shaky(self, depth: int) -> list[Any]:
        return [self.rng.randint(1, 4), self.rng.randint(1, 4), self.rng.choice((0, 20, 300, 3_000))]

    def nap(self, depth: int) -> list[Any]:
        return [self.ms(), self.rng.random() < 0.5]

    def signal(self, depth: int) -> list[Any]:
        return [self.rng.choice(SIGNALS), self.rng.choice((None, self.ms(800), self.ms(800), self.ms(800)))]

    def facts(self, depth: int) -> list[Any]:
        return []

    def emit(self, depth: int) -> list[Any]:
        return []

    def bug(self, depth: int) -> list[Any]:
        return []

    def child(self, depth: int) -> list[Any]:
        self.children -= 1
        grower = Grower(self.rng, self.rng.randint(1, 8), self.children if self.rng.random() < 0.5 else 0)
        self.children = min(self.children, grower.children)
        program = grower.program()
        return [program, self.rng.choice(("await", "await", "cancel", "signal", "detach", "timeout")), self.ms()]

    # Branches

    def seq(self, depth: int) -> list[Any]:
        return [self.nodes(depth)]

    def gather(self, depth: int) -> list[Any]:
        return [self.nodes(depth), self.rng.random() < 0.6]

    def wait(self, depth: int) -> list[Any]:
        rule = self.rng.choice(("FIRST_COMPLETED", "ALL_COMPLETED", "FIRST_EXCEPTION"))
        return [self.nodes(depth), rule, self.rng.random() < 0.5, self.rng.choice((None, self.ms()))]

    def completed(self, depth: int) -> list[Any]:
        return [self.nodes(depth, 2, 6), self.rng.random() < 0.5, self.rng.choice((None, None, self.ms()))]

    def group(self, depth: int) -> list[Any]:
        return [self.nodes(depth)]

    def timeout(self, depth: int) -> list[Any]:
        return [self.ms(), self.node(depth), self.rng.choice(("timeout", "wait_for"))]

    def shield(self, depth: int) -> list[Any]:
        return [self.ms(), self.node(depth)]

    def queue(self, depth: int) -> list[Any]:
        return [self.nodes(depth, 1, 3), self.rng.randint(1, 3), self.rng.randint(0, 2)]

    def guard(self, depth: int) -> list[Any]:
        return [self.rng.choice(("lock", "semaphore")), self.nodes(depth)]

    def event(self, depth: int) -> list[Any]:
        return [self.node(depth), self.nodes(depth, 1, 2)]

    def cancel(self, depth: int) -> list[Any]:
        return [self.node(depth), self.node(min(depth, 1))]

    def attempt(self, depth: int) -> list[Any]:
        return [self.node(depth)]

    def lastly(self, depth: int) -> list[Any]:
        return [self.node(depth), self.node(min(depth, 1))]

    def stubborn(self, depth: int) -> list[Any]:
        return [self.node(depth)]

    def choose(self, depth: int) -> list[Any]:
        return [self.node(depth), self.node(depth), self.node(depth)]

    def stream(self, depth: int) -> list[Any]:
        return [self.nodes(depth), self.rng.random() < 0.4]


LEAVES = ["step"] * 8 + [
    "shaky",
    "shaky",
    "nap",
    "nap",
    "nap",
    "signal",
    "signal",
    "facts",
    "emit",
    "emit",
    "bug",
    "child",
]
BRANCHES = [
    "seq", "gather", "wait", "completed", "group", "timeout", "timeout", "shield", "queue", "guard", "event", "cancel",
    "attempt", "lastly", "stubborn", "choose", "stream",
]  # fmt: skip


class Steps:
    """What the steps of a program do, handed in by the simulation."""

    async def work(self, number: int) -> int:
        raise NotImplementedError

    def sync_work(self, number: int) -> int:
        raise NotImplementedError

    async def shaky_work(self, number: int, failures: int) -> int:
        raise NotImplementedError


class Body:
    """One run of one program."""

    def __init__(self, ctx: lash.Context, steps: Steps, child: lash.Process[..., Any]) -> None:
        self.ctx = ctx
        self.steps = steps
        self.child_process = child
        self.trace: list[Any] = []

    async def do(self, node: Node) -> Any:
        kind, number, *rest = node
        self.trace.append([number, kind])
        try:
            value = await getattr(self, "do_" + kind)(number, *rest)
        except BaseException as error:
            self.trace.append([number, "raises", type(error).__name__])
            raise
        self.trace.append([number, "gives", value])
        return value

    async def do_main(self, number: int, node: Node, catches: bool, survives: bool) -> Any:
        try:
            return await self.do(node)
        except asyncio.CancelledError:
            if not survives:
                raise
            return "cancelled"
        except Exception as error:
            if not catches:
                raise
            return told(error)

    async def do_step(self, number: int, sync: bool) -> Any:
        return await self.ctx.step(self.steps.sync_work if sync else self.steps.work, number)

    async def do_shaky(self, number: int, failures: int, attempts: int, initial_ms: int) -> Any:
        retry = lash.Retry(attempts=attempts, initial=initial_ms / 1_000, maximum="5s")
        return await self.ctx.step(self.steps.shaky_work, number, failures, retry=retry)

    async def do_nap(self, number: int, ms: int, plain: bool) -> Any:
        await (asyncio.sleep(ms / 1_000) if plain else self.ctx.sleep(ms / 1_000))

    async def do_signal(self, number: int, name: str, timeout_ms: int | None) -> Any:
        return await self.ctx.signal(name, timeout=None if timeout_ms is None else timeout_ms / 1_000)

    async def do_facts(self, number: int) -> Any:
        return [self.ctx.now().isoformat(), self.ctx.random(), str(self.ctx.uuid())]

    async def do_emit(self, number: int) -> Any:
        await self.ctx.emit("sim.tick", {"node": number, "before": len(self.trace)})

    async def do_bug(self, number: int) -> Any:
        raise Bug(str(number))

    async def do_child(self, number: int, program: Node, mode: str, ms: int) -> Any:
        handle = await self.ctx.start(self.child_process, program, detached=mode == "detach")
        if mode == "detach":
            return handle.id
        if mode == "cancel":
            await asyncio.sleep(ms / 1_000)
            await self.attempted(handle.cancel("not needed"))
        if mode == "signal":
            await self.attempted(handle.signal("a", f"from {number}"))
        return (await handle.result(timeout=ms / 1_000 if mode == "timeout" else None))["value"]

    async def attempted(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except lash.ProcessEnded:
            self.trace.append("too late")

    async def do_seq(self, number: int, nodes: list[Node]) -> Any:
        return [await self.do(node) for node in nodes]

    async def do_gather(self, number: int, nodes: list[Node], keep: bool) -> Any:
        values = await asyncio.gather(*(self.do(node) for node in nodes), return_exceptions=keep)
        return [told(value) for value in values]

    async def do_wait(self, number: int, nodes: list[Node], rule: str, cancel: bool, ms: int | None) -> Any:
        tasks = {asyncio.create_task(self.do(node)): node[1] for node in nodes}
        timeout = None if ms is None else ms / 1_000
        done, pending = await asyncio.wait(tasks, return_when=getattr(asyncio, rule), timeout=timeout)
        seen = [[tasks[task] for task in done], [tasks[task] for task in pending]]  # in the order of the sets
        if cancel:
            for task in pending:
                task.cancel()
        results = await asyncio.gather(*done, *pending, return_exceptions=True)
        return [seen, [told(result) for result in results]]

    async def do_completed(self, number: int, nodes: list[Node], lazily: bool, ms: int | None) -> Any:
        works = (self.do(node) for node in nodes)
        timeout = None if ms is None else ms / 1_000
        return [
            await self.safely(work) for work in asyncio.as_completed(works if lazily else [*works], timeout=timeout)
        ]

    async def do_group(self, number: int, nodes: list[Node]) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.do(node)) for node in nodes]
        return [task.result() for task in tasks]

    async def do_timeout(self, number: int, ms: int, node: Node, way: str) -> Any:
        if way == "wait_for":
            return await asyncio.wait_for(self.do(node), ms / 1_000)
        async with asyncio.timeout(ms / 1_000):
            return await self.do(node)

    async def do_shield(self, number: int, ms: int, node: Node) -> Any:
        inner = asyncio.create_task(self.do(node))
        try:
            async with asyncio.timeout(ms / 1_000):
                return ["in time", await asyncio.shield(inner)]
        except TimeoutError:
            return ["late", await self.safely(inner)]

    async def do_queue(self, number: int, nodes: list[Node], consumers: int, size: int) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue(size)
        taken: list[Any] = []

        async def produce(node: Node) -> None:
            await queue.put([node[1], await self.safely(self.do(node))])

        async def consume(consumer: int) -> None:
            while True:
                item = await queue.get()
                taken.append([consumer, item])
                queue.task_done()

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(consume(consumer)) for consumer in range(consumers)]
            await asyncio.gather(*(produce(node) for node in nodes))
            await queue.join()
            for reader in readers:
                reader.cancel()
        return taken

    async def do_guard(self, number: int, kind: str, nodes: list[Node]) -> Any:
        guard: asyncio.Lock | asyncio.Semaphore = asyncio.Lock() if kind == "lock" else asyncio.Semaphore(2)

        async def inside(node: Node) -> Any:
            async with guard:
                return await self.do(node)

        return [told(value) for value in await asyncio.gather(*map(inside, nodes), return_exceptions=True)]

    async def do_event(self, number: int, first: Node, others: list[Node]) -> Any:
        event = asyncio.Event()

        async def leading() -> Any:
            try:
                return await self.do(first)
            finally:
                event.set()

        async def following(node: Node) -> Any:
            await event.wait()
            return await self.do(node)

        works: list[Coroutine[Any, Any, Any]] = [*map(following, others), leading()]
        return [told(value) for value in await asyncio.gather(*works, return_exceptions=True)]

    async def do_cancel(self, number: int, victim: Node, delay: Node) -> Any:
        task = asyncio.create_task(self.do(victim))
        before = await self.safely(self.do(delay))
        task.cancel()
        return [before, *[told(value) for value in await asyncio.gather(task, return_exceptions=True)]]

    async def do_attempt(self, number: int, node: Node) -> Any:
        return await self.safely(self.do(node))

    async def do_lastly(self, number: int, node: Node, cleanup: Node) -> Any:
        try:
            return await self.do(node)
        finally:
            await self.do(cleanup)

    async def do_stubborn(self, number: int, node: Node) -> Any:
        """Swallows a cancellation, as careless code does."""
        try:
            return await self.do(node)
        except asyncio.CancelledError:
            return "swallowed"

    async def do_choose(self, number: int, condition: Node, one: Node, other: Node) -> Any:
        value = await self.safely(self.do(condition))
        return await self.do(one if len(str(value)) % 2 else other)

    async def do_stream(self, number: int, nodes: list[Node], leaves_early: bool) -> Any:
        """An async generator; leaving it early lets the loop close it."""

        async def values() -> Any:
            try:
                for node in nodes:
                    yield await self.safely(self.do(node))
            finally:
                self.trace.append([number, "closed"])

        found: list[Any] = []
        async for value in values():
            found.append(value)
            if leaves_early:
                break
        return found

    async def safely(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except Exception as error:
            return told(error)


def told(value: Any) -> Any:
    """An exception as plain data; anything else as it is."""
    if isinstance(value, BaseExceptionGroup):
        return ["group", *map(told, value.exceptions)]
    if isinstance(value, lash.NotCompleted):
        return ["error", type(value).__name__, value.failure_code]
    return ["error", type(value).__name__, str(value)] if isinstance(value, BaseException) else value


def interpreter(
    steps: Steps, watch: Callable[[str, Body], None] = lambda process_id, body: None
) -> lash.Process[..., Any]:
    """The process that runs programs. ``watch`` is told of each new run."""

    async def interpret(ctx: lash.Context, program: list[Any]) -> Any:
        body = Body(ctx, steps, process)
        watch(ctx.process_id, body)
        value = await body.do(program)
        return {"value": value, "trace": body.trace}

    process: lash.Process[..., Any] = lash.process(name="interpret")(interpret)
    return process
