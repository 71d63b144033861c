"""A context for unit tests of tools: the tool is called like any function, and nothing outlives the test.

Attachments are kept in a dict, and what the tool tells its observers is noted.
"""

from __future__ import annotations

import hashlib
from typing import Any

from lash.abc.tool import ToolContext
from lash.core.ids import child_id
from lash.errors import NotInProcess


class DirectToolPort:
    """What a tool's context stands on where no runtime is; see :class:`lash.abc.tool.ToolPort`."""

    def __init__(self, session_id: str, turn: int, call_id: str, key: str, attempt: int, deps: Any, app: Any) -> None:
        self.session_id = session_id
        self.turn = turn
        self.call_id = call_id
        self.idempotency_key = key
        self.attempt = attempt
        self.deps = deps
        self.app = app
        self.cancelled = False
        self.starts = 0
        self.blobs: dict[str, bytes] = {}
        self.notified: list[tuple[str, object]] = []

    async def start(
        self, fn: object, args: tuple[object, ...], kwargs: dict[str, object], options: dict[str, Any]
    ) -> Any:
        if self.app is None:
            raise NotInProcess("No runtime is here to start a process on: tool_context(app=...) gives the tool one.")
        del options["detached"]  # there is no session it could belong to
        self.starts += 1
        options["id"] = options["id"] or child_id(self.idempotency_key, self.starts)
        return await self.app.start(fn, *args, **options, **kwargs)

    async def put(self, data: bytes) -> str:
        reference = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[reference] = data
        return reference

    async def get(self, ref: str) -> bytes | None:
        return self.blobs.get(ref)

    def notify(self, name: str, payload: object) -> None:
        self.notified.append((name, payload))


class TestToolContext(ToolContext):
    """Made by :func:`tool_context`. Beside the context's own, it tells what the tool did with it."""

    __test__ = False  # pytest collects classes by such names
    _port: DirectToolPort

    def __init__(self, port: DirectToolPort) -> None:
        super().__init__(port)

    @property
    def notified(self) -> list[tuple[str, object]]:
        """(name, payload) of each ``ctx.notify``, in order."""
        return self._port.notified

    @property
    def blobs(self) -> dict[str, bytes]:
        """The bytes of each attachment, by its ``ref``."""
        return self._port.blobs

    def cancel(self) -> None:
        """From now on ``ctx.cancelled`` is true."""
        self._port.cancelled = True


def tool_context(
    *,
    session_id: str = "test",
    turn: int = 1,
    call_id: str = "call-1",
    idempotency_key: str = "test/1/call-1",
    attempt: int = 1,
    deps: Any = None,
    app: Any = None,
) -> TestToolContext:
    """A context to call a tool with.

    >>> import asyncio
    >>> from lash.abc.tool import ToolContext, tool
    >>> @tool
    ... async def charge(ctx: ToolContext, cents: int) -> str:
    ...     '''Charge the customer.'''
    ...     ctx.notify("charging", {"cents": cents})
    ...     return f"{cents} cents under {ctx.idempotency_key}"
    >>> ctx = tool_context(idempotency_key="k-1")
    >>> asyncio.run(charge(ctx, 100)), ctx.notified
    ('100 cents under k-1', [('charging', {'cents': 100})])
    """
    return TestToolContext(DirectToolPort(session_id, turn, call_id, idempotency_key, attempt, deps, app))
