"""What a turn begins from: the messages of the current frame, the plugins' states, and what was used so far.

It is read back in a window, so that a session of any length reopens alike, and kept while the same worker goes on with
the session: the head tells whether what is kept is still whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from lash.abc.store import Store
from lash.core import codec
from lash.core.message import Message, decode_message
from lash.core.model import Usage
from lash.core.session import NewNode, Node, SessionRow
from lash.errors import SessionUnknown
from lash.limits import WINDOW_NODES
from lash.runtime.spending import Spent

KEPT: Final = 256
"""Sessions whose context is kept: a conversation of 100,000 tokens is some 500 KB."""


@dataclass(frozen=True, slots=True)
class SessionUsage:
    """What a session has used, sessions and models that its tools asked included. ``models``: by model, the calls made
    and their tokens."""

    models: dict[str, tuple[int, Usage]]
    turns: int = 0
    tool_calls: int = 0
    last_input_tokens: int = 0
    """What the newest model call read."""

    @property
    def total(self) -> Usage:
        return sum((usage for _, usage in self.models.values()), Usage())

    def with_turn(self, model: str, calls: int, usage: Usage, tool_calls: int, last: int, spent: Spent) -> SessionUsage:
        """``usage``: of the turn's own ``calls``; ``spent``: what its tools used besides."""
        models = dict(self.models)
        for name, (many, used) in (((model, (calls, usage)),) if calls else ()) + tuple(spent.items()):
            had, before = models.get(name, (0, Usage()))
            models[name] = (had + many, before + used)
        return SessionUsage(models, self.turns + 1, self.tool_calls + tool_calls, last or self.last_input_tokens)

    def encode(self) -> bytes:
        models = {name: [calls, *usage.as_json()] for name, (calls, usage) in self.models.items()}
        return codec.encode([models, self.turns, self.tool_calls, self.last_input_tokens], "usage")


def decode_usage(data: bytes) -> SessionUsage:
    if not data:
        return SessionUsage({})
    models, turns, tool_calls, last = cast("tuple[dict[str, list[int]], int, int, int]", codec.decode(data))
    return SessionUsage({name: (item[0], Usage(*item[1:])) for name, item in models.items()}, turns, tool_calls, last)


@dataclass(frozen=True, slots=True)
class SessionStart:
    """Where a turn begins. ``messages``: of the current frame, oldest first."""

    head: int
    frame: int
    messages: tuple[Message, ...]
    states: dict[str, dict[str, Any]]
    usage: SessionUsage


def messages_of(nodes: Sequence[Node], whole: bool) -> tuple[Message, ...]:
    """The messages among ``nodes``. Where older ones were left out they begin with the first that a user said: what
    stands before it may have lost its other half."""
    found = [decode_message(node.body) for node in nodes if node.kind == "message"]
    if not whole:
        while found and found[0].role != "user":
            del found[0]
    return tuple(found)


class Contexts:
    """One per opened runtime that executes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, SessionStart] = OrderedDict()

    def known(self, process_id: str, head: int) -> SessionStart | None:
        """Where a turn begins at this head, if it is known without a look."""
        kept = self._kept.get(process_id)
        if kept is not None and kept.head == head:
            self._kept.move_to_end(process_id)
            return kept
        return SessionStart(0, 0, (), {}, SessionUsage({})) if head == 0 else None

    async def start_of(self, process_id: str) -> SessionStart:
        (row,) = await self._store.sessions((process_id,))
        if not isinstance(row, SessionRow):
            raise SessionUnknown(f"No session stands behind process {process_id!r}.", process_id=process_id)
        if (known := self.known(process_id, row.head)) is not None:
            return known
        number = row.process.row
        nodes = await self._store.nodes(number, row.frame, row.head, WINDOW_NODES)
        states = await self._store.states(number, row.head)
        start = SessionStart(
            row.head,
            row.frame,
            messages_of(nodes, len(nodes) < WINDOW_NODES or nodes[0].number == row.frame + 1),
            {name: codec.decode_object(node.body) for name, node in states.items()},
            decode_usage(row.usage),
        )
        self._keep(process_id, start)
        return start

    def committed(self, process_id: str, start: SessionStart, nodes: Sequence[NewNode], usage: SessionUsage,
                  said: Sequence[Message]) -> None:  # fmt: skip
        """The turn that began from ``start`` was committed here; ``said`` are its messages."""
        head = start.head + len(nodes)
        frames = [place for place, node in enumerate(nodes) if node.kind == "frame"]
        if frames or len(start.messages) + len(said) > WINDOW_NODES:
            self._kept.pop(process_id, None)  # read back in its window
            return
        states = dict(start.states)
        for node in nodes:
            if node.kind == "state":
                states[node.name] = codec.decode_object(node.body)
        self._keep(process_id, SessionStart(head, start.frame, (*start.messages, *said), states, usage))

    def forget(self, process_id: str) -> None:
        self._kept.pop(process_id, None)

    def _keep(self, process_id: str, start: SessionStart) -> None:
        self._kept[process_id] = start
        self._kept.move_to_end(process_id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
