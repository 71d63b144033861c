"""A real MCP server, made with the protocol's SDK: over stdio, or over HTTP on the port it is given."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import AudioContent, CallToolResult, ImageContent, ResourceLink, TextContent, ToolAnnotations

PIXEL = base64.b64encode(b"\x89PNG one pixel").decode()
server = MCPServer("real", log_level="CRITICAL")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def everything() -> CallToolResult:
    """One of each."""
    return CallToolResult(
        content=[
            TextContent(text="a picture"),
            ImageContent(data=PIXEL, mime_type="image/png"),
            ImageContent(data="not base64!", mime_type="image/png"),
            AudioContent(data=PIXEL, mime_type="audio/wav"),
            ResourceLink(name="readme", uri="file:///readme.md"),
        ],
        structured_content={"pixels": 1},
    )


@server.tool()
def refuse() -> CallToolResult:
    """Never works."""
    return CallToolResult(content=[TextContent(text="the disk is full")], is_error=True)


@server.tool()
async def hang(path: str) -> str:
    """Says its process id in a file, and never answers."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    await anyio.sleep_forever()
    return ""


@server.tool()
async def grow(ctx: Context) -> str:
    """Adds a tool."""

    def extra() -> str:
        return "extra"

    server.add_tool(extra, name="extra", description="New.")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
