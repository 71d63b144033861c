"""An MCP server of 2025 in the plainest form, without any SDK: JSON-RPC, a line each, by the published protocol.

Its argument says how it behaves: ``good``, ``quiet`` (tells of no changes), ``mute`` (never answers) or ``broken``
(ends at once).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NOTHING: dict[str, Any] = {"type": "object"}
NAMES = ("rename", "die", "silent", "nonsense", "pid", "freeze", "Weird Näme!", "weird__n_me_")
tools = [("echo", SCHEMA), *((name, NOTHING) for name in NAMES)]


TELLS = sys.argv[1:] != ["quiet"]


def say(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def answer(number: Any, method: str, params: dict[str, Any]) -> None:
    if method == "initialize":
        say(
            id=number,
            result={
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True} if TELLS else {}},
                "serverInfo": {"name": "old", "version": "1"},
            },
        )
    elif method == "tools/list":
        first = int(params.get("cursor") or 0)  # two a page
        page = [{"name": name, "inputSchema": schema} for name, schema in tools[first : first + 2]]
        more = {"nextCursor": str(first + 2)} if first + 2 < len(tools) else {}
        say(id=number, result={"tools": page, **more})
    elif method == "tools/call":
        called(number, params["name"], params.get("arguments") or {})
    else:
        say(id=number, error={"code": -32601, "message": f"no {method} here"})


def called(number: Any, name: str, arguments: dict[str, Any]) -> None:
    if name == "die":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "silent":
        return
    if name == "freeze":
        signal.pause()
    if name == "nonsense":
        say(id=number, result={"content": "what?"})
        return
    if name == "pid":
        say(id=number, result={"content": [{"type": "text", "text": str(os.getpid())}]})
        return
    if name == "rename":
        tools[0] = ("repeat", SCHEMA)
        if TELLS:
            say(method="notifications/tools/list_changed")
    if name not in ("rename", tools[0][0], "Weird Näme!", "weird__n_me_"):
        say(id=number, error={"code": -32602, "message": f"no tool {name}"})
        return
    say(id=number, result={"content": [{"type": "text", "text": arguments.get("text", name)}]})


if __name__ == "__main__":
    if sys.argv[1] == "broken":
        sys.exit("no database")
    for line in sys.stdin:
        message = json.loads(line)
        if sys.argv[1] != "mute" and "id" in message and "method" in message:
            answer(message["id"], message["method"], message.get("params") or {})
