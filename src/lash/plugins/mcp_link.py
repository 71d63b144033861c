"""One MCP server is one task for as long as the worker is open: it connects, lists, notices an end, and connects again.

The SDK's connection has to be left in the task that entered it, so only this task holds it; calls come from other
tasks and go over it. A call that is under way when the server goes fails at once and is never repeated; the next call
connects anew, whatever the pause between the task's own tries has come to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from lash.errors import ToolFailed
from lash.limits import (
    MCP_CLOSE_MS,
    MCP_LIST_AGE_MS,
    MCP_RECONNECT_INITIAL_MS,
    MCP_RECONNECT_MAX_MS,
    MCP_STDERR_LINES,
    MCP_TOOLS_MAX,
)
from lash.plugins.mcp_servers import Http, Stdio
from lash.plugins.mcp_wire import Lost, transport_of

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, Tool as McpTool

log = logging.getLogger("lash.mcp")
CLOSED: Final = -32000
"""The SDK's own code for a connection that ended before the answer came."""
INVALID_REQUEST: Final = -32600
"""JSON-RPC's code for what was not even looked at, such as a call in a session the server has forgotten."""


@dataclass(frozen=True, slots=True)
class Times:
    startup_ms: int
    call_ms: int


class Link:
    """The connection to one server, present or not. ``tools`` is the newest list there was."""

    def __init__(self, name: str, server: Stdio | Http, times: Times) -> None:
        self.name = name
        self.server = server
        self.times = times
        self.tools: tuple[McpTool, ...] = ()
        self.reason = "it has not been connected yet"
        self.loop = asyncio.get_running_loop()
        self._client: Client | None = None
        """Not None while calls may go over it."""
        self._news = asyncio.Event()
        """Something to look at: a list that changed, an end, somebody who wants the server now."""
        self._lost = Lost(self._news.set)
        self._listed_s = 0.0
        self._tells = False
        """The server tells of changes of its tools."""
        self._relist = False
        self._wanted = False
        self._stopped = False
        self._settled: asyncio.Future[None] = self.loop.create_future()
        """Done when the server is connected, or an attempt to connect it has failed."""
        self._said: deque[str] = deque(maxlen=MCP_STDERR_LINES)
        self._task = asyncio.create_task(self._run(), name=f"mcp {name}")

    # For calls ---------------------------------------------------------------------------------------------------

    async def ready(self) -> bool:
        """Connected now, or after one attempt."""
        if self._client is None and not self._task.done():
            self._wanted = True
            self._news.set()
            await asyncio.wait(
                (self._settled, self._task),
                timeout=(self.times.startup_ms + MCP_CLOSE_MS) / 1_000,
                return_when=asyncio.FIRST_COMPLETED,
            )
        return self._client is not None

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """The server's answer. Raises ``ToolFailed``: unreachable, lost on the way, too slow, refused."""
        result = await self._asked(tool, arguments)
        if result is None:  # it had been started again, and did not look at the call: so it can be made
            result = await self._asked(tool, arguments)
        if result is None:
            raise ToolFailed(
                f"The MCP server {self.name!r} forgets its sessions at once, and was not asked.",
                code="mcp_unavailable",
                failure_class="unavailable",
            )
        return result

    async def _asked(self, tool: str, arguments: dict[str, Any]) -> CallToolResult | None:
        """One try; None where the server did not know the session any longer."""
        if not await self.ready():
            raise ToolFailed(
                f"The MCP server {self.name!r} is not reachable, and nothing was asked of it: {self.reason}. "
                "The next call tries again.",
                code="mcp_unavailable",
                failure_class="unavailable",
            )
        client, lost = self._client, self._lost
        assert client is not None
        asking = asyncio.create_task(client.call_tool(tool, arguments), name=f"mcp {self.name} {tool}")
        ending = asyncio.create_task(lost.wait())
        try:
            await asyncio.wait(
                (asking, ending), timeout=self.times.call_ms / 1_000, return_when=asyncio.FIRST_COMPLETED
            )
            if asking.done():
                return self._answer(asking, tool, lost)
            if ending.done():
                raise self._lost_on_the_way()
            self._doubt(lost)
            raise ToolFailed(
                f"The MCP server {self.name!r} did not answer within {self.times.call_ms} ms. Whether it does what it "
                "was asked is not known.",
                code="timeout",
                failure_class="timeout",
            )
        finally:
            asking.cancel()
            ending.cancel()
            await asyncio.wait((asking, ending))
            if not asking.cancelled():
                asking.exception()  # told already, or of no interest: not to be logged as forgotten

    def _answer(self, asking: asyncio.Task[CallToolResult], tool: str, lost: Lost) -> CallToolResult | None:
        from mcp import MCPError

        try:
            return asking.result()
        except MCPError as error:
            if error.code == CLOSED:
                lost.set()
                raise self._lost_on_the_way() from None
            if error.code == INVALID_REQUEST and "session" in error.message.lower():
                lost.set()
                return None
            self._doubt(lost)
            message = f"The MCP server {self.name!r} refused the call of {tool!r}: {error.message} ({error.code})"
        except Exception as error:  # noqa: BLE001  # whatever the SDK makes of an answer that is none
            self._doubt(lost)
            message = f"The MCP server {self.name!r} gave no proper answer to {tool!r}: {told(error)}"
        raise ToolFailed(message, code="mcp_error", failure_class="external")

    def _lost_on_the_way(self) -> ToolFailed:
        return ToolFailed(
            f"The connection to the MCP server {self.name!r} ended during this call. Whether it was carried out is not "
            "known, and it is not made again. The next call connects anew.",
            code="mcp_connection_lost",
            failure_class="unavailable",
        )

    def _doubt(self, lost: Lost) -> None:
        """Calls wait until the server has shown that it is still there."""
        if self._lost is lost and self._client is not None:
            self._client = None
            self.look()

    def look(self) -> None:
        """Ask for the list of tools again, soon."""
        self._relist = True
        self._news.set()

    def turn_begins(self) -> None:
        """A list that may have changed unheard is asked for again, for the turn after this one."""
        if (
            self._client is not None
            and not self._tells
            and (self.loop.time() - self._listed_s) * 1_000 > MCP_LIST_AGE_MS
        ):
            self._listed_s = self.loop.time()
            self.look()

    # The task ----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Returns when the connection is closed and a server that was started has ended."""
        self._stopped = True
        self._news.set()
        if self._client is None:
            self._task.cancel()  # on its way to connect, or waiting to
        done, _ = await asyncio.wait((self._task,), timeout=MCP_CLOSE_MS / 1_000)
        if not done:
            log.warning("MCP server %s does not end; it is left alone", self.name)
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        pause_ms = MCP_RECONNECT_INITIAL_MS
        while not self._stopped:
            began = self.loop.time()
            self._lost = Lost(self._news.set)
            self._said.clear()
            connected = False
            try:
                async with AsyncExitStack() as stack:
                    client = await self._connect(stack)
                    connected = True
                    await self._serve(client)
                reason = "the connection ended"
            except TimeoutError:
                reason = f"it did not answer within {self.times.startup_ms} ms"
            except Exception as error:  # noqa: BLE001  # a group of what the SDK's tasks raised, an OSError, a timeout
                reason = told(error)
            finally:
                self._client = None
            if self._stopped:
                return
            self.reason = reason + (f". Its last words: {' / '.join(self._said)}" if self._said else "")
            log.warning("MCP server %s: %s", self.name, self.reason)
            if not connected:
                self._settle()
            if (self.loop.time() - began) * 1_000 > MCP_RECONNECT_MAX_MS:
                pause_ms = MCP_RECONNECT_INITIAL_MS
            await self._pause(pause_ms)
            pause_ms = min(pause_ms * 2, MCP_RECONNECT_MAX_MS)

    async def _pause(self, pause_ms: int) -> None:
        """Until it is time to try again, or somebody wants the server."""
        end = self.loop.time() + pause_ms / 1_000
        while not self._wanted and not self._stopped and (left := end - self.loop.time()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return

    async def _connect(self, stack: AsyncExitStack) -> Client:
        """Connected, and its tools listed, or raises."""
        from mcp import Client, Implementation

        async with self._startup():
            transport = await transport_of(self.server, self._lost, self._note, stack)
            mode = "legacy" if self.server.protocol == "legacy" else "auto"
            about = Implementation(name="lash", version=own_version())
            client = await stack.enter_async_context(
                Client(transport, mode=mode, client_info=about, message_handler=self._heard, cache=None)
            )
            await self._list(client)
        tools = client.server_capabilities.tools
        self._tells = tools is not None and bool(tools.list_changed)
        return client

    async def _serve(self, client: Client) -> None:
        """While it is connected: until it is lost, or nobody wants it any longer."""
        listening = asyncio.create_task(self._listen(client), name=f"mcp {self.name} listens")
        try:
            while not self._stopped and not self._lost.is_set:
                self._news.clear()
                if self._relist:
                    async with self._startup():
                        await self._list(client)
                    continue
                self._client = client
                self._settle()
                await self._news.wait()
        finally:
            self._client = None
            listening.cancel()
            await asyncio.wait((listening,))

    async def _list(self, client: Client) -> None:
        self._relist = False
        self.tools = () if client.server_capabilities.tools is None else await listed(client)
        self._listed_s = self.loop.time()

    def _startup(self) -> asyncio.Timeout:
        return asyncio.timeout(self.times.startup_ms / 1_000)

    def _settle(self) -> None:
        self._wanted = False
        settled, self._settled = self._settled, self.loop.create_future()
        settled.set_result(None)

    # What the server says by itself ------------------------------------------------------------------------------

    async def _heard(self, message: object) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self.look()

    async def _listen(self, client: Client) -> None:
        """News of the tools, where they have to be subscribed to. A subscription that breaks off is looked into."""
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        while self._tells:
            try:
                async with client.listen(tools_list_changed=True) as subscription:
                    self.look()  # it may have changed before anybody listened
                    async for _ in subscription:
                        self.look()
                self._tells = False  # the server wants no more of it
            except ListenNotSupportedError:
                return  # an older protocol: the news come unasked
            except SubscriptionLost:
                self.look()
                await asyncio.sleep(MCP_RECONNECT_INITIAL_MS / 1_000)
            except Exception as error:  # noqa: BLE001  # it cannot be subscribed to: the list is asked for now and then
                self._tells = False
                log.info("MCP server %s tells no news of its tools: %s", self.name, told(error))

    def _note(self, line: str) -> None:
        self._said.append(line)
        log.info("MCP server %s: %s", self.name, line)


def own_version() -> str:
    """Of lash, for the server's log."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lash-runtime")
    except PackageNotFoundError:
        return "0"


async def listed(client: Client) -> tuple[McpTool, ...]:
    """Every tool, page by page."""
    found: list[McpTool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        if not (cursor := page.next_cursor):
            return tuple(found)
        if len(found) > MCP_TOOLS_MAX or not page.tools:
            raise ValueError(f"it lists more than {MCP_TOOLS_MAX} tools, or pages without any")


def told(error: BaseException) -> str:
    """What went wrong, in words; of a group, what its members say."""
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return "; ".join(dict.fromkeys(told(member) for member in members))
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
