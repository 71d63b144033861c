"""The bytes between lash and an MCP server are the SDK's; what is added here is to notice at once when they end.

The SDK tells of an end only to requests under way. So the stream of what the server says is watched, and its end sets
:class:`Lost`. What a started server writes to its standard error goes to the log, line by line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TextIO, TypeVar

from lash.core import codec
from lash.limits import MCP_CONNECT_MS, MCP_QUIET_MS, MCP_STDERR_LINE_CHARS_MAX
from lash.plugins.mcp_servers import Http, Stdio

if TYPE_CHECKING:
    from mcp.client import Transport

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W")
LAST_WORDS_S: Final = 0.5
"""For what a server wrote before it ended to arrive; a child of it may hold the pipe open for ever."""


class Lost:
    """That one connection has ended; it stays so. ``tell`` is called once."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._event = asyncio.Event()
        self._tell = tell

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        if not self._event.is_set():
            self._event.set()
            self._tell()

    async def wait(self) -> None:
        await self._event.wait()


class Reading(Protocol[T_co]):
    """The part of the SDK's read stream that is used."""

    async def __anext__(self) -> T_co: ...

    async def receive(self) -> T_co: ...

    async def aclose(self) -> None: ...


class Watched(Generic[T]):
    """A read stream whose end sets ``lost``."""

    def __init__(self, inner: Reading[T], lost: Lost) -> None:
        self._inner = inner
        self._lost = lost

    @property
    def last_context(self) -> object:
        """The SDK looks for it: whose message the newest one answers."""
        return getattr(self._inner, "last_context", None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._inner.__anext__()
        except Exception:  # StopAsyncIteration among them: whatever it is, nothing more will come
            self._lost.set()
            raise

    async def receive(self) -> T:
        try:
            return await self._inner.receive()
        except Exception:
            self._lost.set()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        await self.aclose()
        return None


@asynccontextmanager
async def watched(
    inner: AbstractAsyncContextManager[tuple[Reading[T], W]], lost: Lost
) -> AsyncGenerator[tuple[Watched[T], W]]:
    """A transport of the SDK with its read stream watched."""
    async with inner as (reading, writing):
        yield Watched(reading, lost), writing


async def transport_of(
    server: Stdio | Http, lost: Lost, note: Callable[[str], None], stack: AsyncExitStack
) -> Transport:
    """The SDK's transport to ``server``, not entered yet; ``stack`` closes what it stands on. ``note`` gets each line
    of a started server's standard error."""
    if isinstance(server, Stdio):
        from mcp import StdioServerParameters, stdio_client

        errors = await stack.enter_async_context(lines_to(note))
        parameters = StdioServerParameters(
            command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
        )
        return watched(stdio_client(parameters, errors), lost)
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    limits = httpx2.Timeout(MCP_CONNECT_MS / 1_000, read=MCP_QUIET_MS / 1_000)
    client = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(server.headers), timeout=limits))
    return watched(streamable_http_client(server.url, http_client=client), lost)


class Lines(asyncio.Protocol):
    """Cuts what comes into lines, and lines to a length."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._rest = b""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MCP_STDERR_LINE_CHARS_MAX * 4 :]
        for line in lines:
            self._tell(line)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._tell(self._rest)
        self.ended.set()

    def _tell(self, line: bytes) -> None:
        text = codec.safe_text(line.decode("utf-8", "replace").strip())[:MCP_STDERR_LINE_CHARS_MAX]
        if text:
            self._note(text)


@asynccontextmanager
async def lines_to(note: Callable[[str], None]) -> AsyncGenerator[TextIO]:
    """A file for another program to write to; ``note`` gets its lines."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        transport, lines = await asyncio.get_running_loop().connect_read_pipe(
            lambda: Lines(note), os.fdopen(reading, "rb", 0)
        )
        try:
            yield file
        finally:
            file.close()
            try:
                await asyncio.wait_for(lines.ended.wait(), LAST_WORDS_S)
            except TimeoutError:
                pass  # a child of the server has it still
            finally:
                transport.close()
