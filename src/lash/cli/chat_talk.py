"""One conversation: its session, its screen, and the turns that are watched to their end.

A session is made when the first thing is said. A turn that is at work when a session is opened again is watched as one
that was just sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from queue import Empty, SimpleQueue
from typing import Any, Final, cast

from lash.cli.chat_screen import Screen
from lash.cli.chat_thread import LoopThread, interrupts
from lash.cli.explain import explain_process
from lash.cli.sessions import MARKS, STYLES, transcript
from lash.cli.transcript import Shown, prose
from lash.core.observe import Committed, TurnEvent
from lash.core.session import Node, TurnRecord
from lash.core.turn import Switched
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.agent import Agent
from lash.runtime.runtime import Runtime
from lash.runtime.session import Session, said
from lash.runtime.turn import Turn

TICK_S: Final = 0.1
"""How often the screen is told that time has passed."""
UNCLAIMED_S: Final = 3.0
"""How long a turn that nobody works on is waited for in silence."""
NODES_SHOWN: Final = 8
"""Of a session that is gone on with, and of what others said in it."""
NODES_LOOKED_AT: Final = 64
"""For what others said: the turn at hand may be committed already, and is not told twice."""
CANCELLED: Final = "Ctrl-C"
"""The reason that is kept."""


class Told(str):
    """A line for the screen, among the events of a turn."""

    __slots__ = ()


Queue = SimpleQueue["TurnEvent | Told | Shown | None"]


class Talk:
    """What a chat holds. Its methods are called on the main thread; what they wait for is done on ``loop``."""

    def __init__(
        self,
        app: Runtime,
        agent: Agent[Any],
        session_id: str,
        session: Session[Any] | None,
        screen: Screen,
        loop: LoopThread,
        worker: bool,
    ) -> None:
        self.app = app
        self.agent = agent
        self.session_id = session_id
        self.session = session
        """None: nothing was said yet, and there is no such session."""
        self.screen = screen
        self.loop = loop
        self.worker = worker
        """Whether this program runs turns."""
        self.interrupted = False
        """Whether the newest turn was cancelled from here."""
        self.told: int | None = None
        """The newest turn that was shown; None: what others say in the session is not shown."""

    def move(self, session: Session[Any]) -> None:
        """Go on in another session."""
        self.session, self.session_id, self.told = session, session.id, 0

    # Saying ------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Send ``text``, and show the turn it begins up to its end."""
        self.watch(self.loop.call(self._send(text)))

    async def _send(self, text: str) -> Turn[Any]:
        said(text)  # what cannot be sent makes no session
        if self.session is None:
            self.session = await self.app.session(self.session_id, self.agent)
        return await self.session.send(text)

    def watch(self, turn: Turn[Any]) -> None:
        """Show a turn up to its end; Ctrl-C meanwhile cancels it. Raises ``SessionDeleted``, ``StoreUnavailable``."""
        queue: Queue = SimpleQueue()
        self.interrupted = False
        self.screen.begin()

        def cancel() -> None:
            self.interrupted = True
            queue.put(Told("[cancelling; Ctrl-C again leaves]"))
            self.loop.start(self._cancel(turn))

        with interrupts(cancel):
            done = self.loop.start(self._pump(turn, queue))
            while (event := self._next(queue)) is not None:
                if isinstance(event, Told):
                    self.screen.line(event, "yellow")
                elif isinstance(event, Shown):
                    self.show(event)
                else:
                    self.screen.show(event)
            done.result()
        if self.told is not None:
            self.told = max(self.told, self.screen.turn)

    def _next(self, queue: Queue) -> TurnEvent | Told | Shown | None:
        while True:
            try:
                return queue.get(timeout=TICK_S)
            except Empty:
                self.screen.tick()

    async def _cancel(self, turn: Turn[Any]) -> None:
        if not await turn.cancel(CANCELLED) and self.session is not None:
            await self.session.cancel(CANCELLED)  # it goes on in a new frame, as another turn

    async def _pump(self, turn: Turn[Any], queue: Queue) -> None:
        """Everything that happens in the turn, and in those that go on with it in new frames; then None. Inputs are
        numbered without a gap, so that nothing else was said where this one follows the newest turn that was shown."""
        hint = None if self.worker else asyncio.create_task(self._hint(queue))
        try:
            last: TurnEvent | None = None
            others = self.told is not None and turn.item > self.told + 1
            if others and min(await self._unfinished(), default=turn.item) < turn.item:
                queue.put(Told("[another program has a turn in this session; this one is next]"))
            async for event in turn.stream():
                if last is None and others:
                    await self._tell_missed(turn.item, queue)
                last = event
                queue.put(event)
            while isinstance(last, Committed) and isinstance(last.outcome, Switched):
                last = await self._follow(last.cursor, queue)
        finally:
            if hint is not None:
                hint.cancel()
            queue.put(None)

    async def _tell_missed(self, turn: int, queue: Queue) -> None:
        """What others said in the session before this turn, and since the newest that was shown."""
        if self.told is None or self.session is None:
            return
        told, row = self.told, await self.session.row()
        number = row.process.row
        nodes = await self.app.store.nodes(number, row.base_node, row.head, NODES_LOOKED_AT)
        nodes = [node for node in nodes if told < node.turn < turn]
        if nodes:
            queue.put(Told("[meanwhile another program said in this session:]"))
            if len(nodes) > NODES_SHOWN:
                nodes = nodes[-NODES_SHOWN:]
                queue.put(Told(f"[the newest {NODES_SHOWN} nodes; lash show {self.session_id} has all]"))
            ends = await self.app.store.turns(number, nodes[0].turn - 1, PAGE_ROWS_MAX)
            for shown in transcript(nodes, [record for record in ends if record.number < turn], row.base_node):
                queue.put(shown)
            queue.put(Told("[and this turn:]"))

    async def _follow(self, cursor: str, queue: Queue) -> TurnEvent | None:
        """The events of the next turn."""
        assert self.session is not None
        events = cast("AsyncGenerator[TurnEvent]", self.session.observe(cursor))
        async with aclosing(events):
            async for event in events:
                queue.put(event)
                if isinstance(event, Committed):
                    return event
        return None

    async def _hint(self, queue: Queue) -> None:
        """Say why nothing happens, where no worker has taken the turn."""
        await asyncio.sleep(UNCLAIMED_S)
        if self.session is not None:
            row = (await self.session.row()).process
            if row.owner is None and row.due_ms is not None:
                found = await explain_process(self.app.store, row)
                queue.put(Told("\n".join([found.headline, *found.details, *(f"→ {line}" for line in found.advice)])))

    # Going on ----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Show the last messages, and watch the turns that were sent before, from here or elsewhere, and are not done.

        What is not done is read first: a worker may be at it already, and every turn is shown once.
        """
        unfinished = self.loop.call(self._unfinished())
        self.show_newest(unfinished)
        shown: set[int] = set()
        for item in unfinished:
            assert self.session is not None
            if self.loop.call(self._turn_of(item)) not in shown:
                self.screen.line(f"[turn {item} was sent before and was not done]", "yellow")
                self.watch(self.session.turn(item))
                shown |= {item, self.screen.turn}

    async def _unfinished(self) -> list[int]:
        """Items that are not part of another one's turn."""
        assert self.session is not None
        row = (await self.session.row()).process
        if row.record.status.final:
            return []
        items = await self.app.store.items(row.row, ())
        return [item.number for item in items if item.turn in (0, item.number)]

    async def _turn_of(self, item: int) -> int | None:
        """The turn that took it by now."""
        assert self.session is not None
        row = (await self.session.row()).process
        return next((found.turn for found in await self.app.store.items(row.row, (item,)) if found.turn), None)

    def show_newest(self, without: Sequence[int] = ()) -> None:
        """The last messages of a session that is gone on with, but for those of some turns."""
        nodes, turns, base_node, closed = self.loop.call(self._newest(without))
        self.told = max((node.turn for node in nodes if node.number > base_node), default=0)
        if nodes and nodes[0].number > 1:
            self.screen.line(f"[the newest {len(nodes)} nodes; lash show {self.session_id} has all]", "dim")
        for shown in transcript(nodes, turns, base_node):
            self.show(shown)
        if closed:
            self.screen.line("[this session is closed; /fork goes on from it]", "yellow")

    async def _newest(self, without: Sequence[int]) -> tuple[list[Node], list[TurnRecord], int, bool]:
        assert self.session is not None
        row = await self.session.row()
        found = await self.session.nodes(limit=NODES_SHOWN)
        nodes = [node for node in found if node.number <= row.base_node or node.turn not in without]
        own = [node.turn for node in nodes if node.number > row.base_node]
        number = row.process.row
        turns = await self.app.store.turns(number, own[0] - 1, PAGE_ROWS_MAX) if own else []
        told = [record for record in turns if record.number not in without]
        return nodes, told, row.base_node, row.process.record.status.final

    def show(self, shown: Shown) -> None:
        """A piece of a transcript."""
        if shown.kind == "assistant":
            self.screen.whole(shown.text)
            return
        mark = MARKS.get(shown.kind, "")
        text = prose(shown.text).strip("\n").replace("\n", "\n" + " " * len(mark))
        self.screen.line(mark + text, STYLES.get(shown.kind, ""))
