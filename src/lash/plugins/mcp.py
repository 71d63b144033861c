"""The tools of MCP servers are tools of the agent, under names that say whose they are: ``mcp__server__tool``.

The servers are connected while the worker is open, each by a task of its own. A turn has the tools that were listed
when it began; what a server changes meanwhile is there in the next turn. A call that the connection did not outlive is
a failed result that says so, and is not made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from lash.abc.plugin import Plugin
from lash.abc.tool import AnyTool, Tool, ToolContext
from lash.core import codec
from lash.core.schedule import Duration, duration_ms
from lash.core.tool import Effect, ToolOutput
from lash.errors import InvalidAgent, LashError, WiringError
from lash.limits import MCP_CALL_MS, MCP_STARTUP_MS, TOOL_NAME_CHARS_MAX
from lash.plugins.mcp_link import Link, Times
from lash.plugins.mcp_results import output_of
from lash.plugins.mcp_servers import Http, Stdio, servers_of

if TYPE_CHECKING:
    from mcp_types import Tool as McpTool

__all__ = ["Http", "Mcp", "Stdio"]
FOREIGN: Final = re.compile(r"[^a-z0-9-]+")
EXTRA: Final = "pip install 'lash-runtime[mcp]'"
Servers = Mapping[str, "Stdio | Http | Mapping[str, object]"]


class Mcp(Plugin):
    """``servers``: by name, each a :class:`Stdio`, an :class:`Http`, or a mapping of the same fields.
    ``startup_timeout``: for a server to start and list its tools. ``call_timeout``: for one call. Raises
    ``InvalidAgent``; opening raises ``WiringError`` for a server that is required and not there."""

    id: ClassVar[str] = "mcp"

    def __init__(
        self,
        servers: Servers,
        *,
        startup_timeout: Duration = MCP_STARTUP_MS / 1_000,
        call_timeout: Duration = MCP_CALL_MS / 1_000,
    ) -> None:
        self.servers = servers_of(servers)
        try:
            self._times = Times(
                duration_ms(startup_timeout, "startup_timeout"), duration_ms(call_timeout, "call_timeout")
            )
        except LashError as error:
            raise InvalidAgent(f"Mcp: {error.message}") from None
        if min(self._times.startup_ms, self._times.call_ms) < 1:
            raise InvalidAgent("startup_timeout and call_timeout of Mcp are longer than nothing.")
        if importlib.util.find_spec("mcp") is None:
            raise InvalidAgent(f"Mcp needs the package mcp: {EXTRA}.")
        self._links: dict[str, Link] = {}
        self._openings = 0
        self._made: dict[str, tuple[object, tuple[AnyTool, ...]]] = {}
        """By server: the list its tools were made of, and the tools."""

    # The worker's life -------------------------------------------------------------------------------------------

    async def open(self, deps: object) -> None:
        """Connect every server, all at the same time. A second opening in the same event loop shares the first's."""
        del deps
        self._openings += 1
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        await asyncio.to_thread(load)
        loop = asyncio.get_running_loop()
        if any(link.loop.is_closed() for link in self._links.values()):
            self._links, self._openings = {}, 1  # of a loop that went without closing anything
        elif any(link.loop is not loop for link in self._links.values()):
            raise WiringError("One Mcp serves one event loop. Make one for each loop that opens a runtime.")
        for name, server in self.servers.items():
            if name not in self._links:
                self._links[name] = Link(name, server, self._times)
        links = list(self._links.values())
        there = await asyncio.gather(*[link.ready() for link in links])
        missing = [link for link, ready in zip(links, there, strict=True) if not ready and link.server.required]
        if missing:
            told = " ".join(f"{link.name!r}: {link.reason}." for link in missing)
            raise WiringError(
                f"These MCP servers could not be connected: {told} Mend them, or give them required=False to open the "
                "worker without them."
            )

    async def close(self) -> None:
        """Disconnect; servers that were started end."""
        self._openings -= 1
        if self._openings > 0:
            return
        links, self._links = self._links, {}
        await asyncio.gather(*[link.close() for link in links.values()])

    # Tools -------------------------------------------------------------------------------------------------------

    def tools(self) -> Sequence[AnyTool]:
        """What the servers listed last; nothing before the worker has opened."""
        found: list[AnyTool] = []
        for name, link in self._links.items():
            link.turn_begins()
            made = self._made.get(name)
            if made is None or made[0] is not link.tools:
                made = self._made[name] = (link.tools, tuple(tools_of(self, name, link)))
            found += made[1]
        return found

    async def call(self, server: str, tool: str, ctx: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        """One call of a server's tool by its own name. Raises ``ToolFailed``."""
        return await output_of(ctx, server, await self._links[server].call(tool, arguments))


def load() -> None:
    """The SDK, which takes a second to import: in a thread, when a worker opens. Raises ``WiringError``."""
    try:
        import mcp
    except ImportError as error:
        raise WiringError(f"The package mcp cannot be imported ({error}): {EXTRA}.") from error
    if not hasattr(mcp, "Client"):
        raise WiringError(f"The package mcp that is installed is too old: {EXTRA}.")


def tools_of(plugin: Mcp, server: str, link: Link) -> list[AnyTool]:
    """The tools of one server, in the order of its list."""
    chosen = link.server.tools
    listed = [item for item in link.tools if chosen is None or item.name in chosen]
    names = names_of(server, [item.name for item in listed])
    return [tool_of(plugin, server, names[item.name], item, link.server.effect) for item in listed]


def names_of(server: str, tools: Sequence[str]) -> dict[str, str]:
    """From a server's own names to those the model is shown: lower case, of letters, digits, '-' and single '_', not
    too long. Names that become the same are numbered in alphabetical order, so that no order of listing matters."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for own in sorted(set(tools)):
        plain = re.sub("_+", "_", FOREIGN.sub("_", own.lower())).strip("_") or "tool"
        name = short(f"mcp__{server}__{plain}", own)
        number = 1
        while name in taken:
            number += 1
            name = short(f"mcp__{server}__{plain}_{number}", f"{own} {number}")
        taken.add(name)
        found[own] = name
    return found


def short(name: str, own: str) -> str:
    """A name that is too long ends in a digest of what it stands for."""
    if len(name) <= TOOL_NAME_CHARS_MAX:
        return name
    digest = hashlib.blake2b(own.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    return f"{name[: TOOL_NAME_CHARS_MAX - 9]}_{digest}"


def tool_of(plugin: Mcp, server: str, name: str, item: McpTool, effect: Effect | None) -> AnyTool:
    own = item.name

    async def perform(ctx: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        return await plugin.call(server, own, ctx, arguments)

    text = codec.safe_text((item.description or item.title or "").strip())
    return Tool.of_schema(
        name,
        text or f"The tool {own} of {server}.",
        schema_of(item.input_schema),
        perform,
        effect=effect or effect_of(item),
    )


def schema_of(given: Mapping[str, object]) -> dict[str, object]:
    """The server's own schema; what every provider wants to find in it is there."""
    schema = dict(given)
    schema["type"] = "object"
    if not isinstance(schema.get("properties"), dict):
        schema["properties"] = {}
    required = schema.get("required")
    if required is not None and not isinstance(required, list):
        del schema["required"]
    elif required is not None:
        schema["required"] = [name for name in cast("list[object]", required) if isinstance(name, str)]
    return schema


def effect_of(item: McpTool) -> Effect:
    """What the server says a repeated call may do; the protocol's own defaults are the careful ones."""
    hints = item.annotations
    if hints is not None and hints.read_only_hint:
        return "pure"
    return "idempotent" if hints is not None and hints.idempotent_hint else "once"
