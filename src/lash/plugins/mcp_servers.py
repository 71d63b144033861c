"""What an operator says of an MCP server: a value that is checked before anything is started or connected.

Everything that can be wrong is refused with the server's name; what is secret (environment, headers) is never printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from lash.core.tool import Effect
from lash.errors import InvalidAgent
from lash.limits import MCP_SERVER_NAME_CHARS_MAX

Protocol: TypeAlias = Literal["auto", "legacy"]
EFFECTS: Final = ("pure", "idempotent", "once")
SERVER_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_))*")
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, kw_only=True)
class Server:
    """What holds for a server however it is reached."""

    tools: Sequence[str] | None = None
    """The server's own names of the tools to offer; None: all of them."""
    effect: Effect | None = None
    """What a crash during a call may do, see ``lash.tool``. None: as the server says of each tool: ``pure`` where it
    only reads, ``idempotent`` where a repetition changes nothing, else ``once``."""
    required: bool = True
    """The worker does not open without this server. Otherwise it opens, and its tools come when it does."""
    protocol: Protocol = "auto"
    """``legacy`` spares a server the question for the protocol of 2026, which an old one may leave unanswered."""


@dataclass(frozen=True, kw_only=True)
class Stdio(Server):
    """A server to be started, and spoken to over its standard input and output."""

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Beside ``HOME``, ``PATH`` and a few more; nothing else of this process's environment is handed on."""
    cwd: str | None = None


@dataclass(frozen=True, kw_only=True)
class Http(Server):
    """A server that runs somewhere, reached by streamable HTTP."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def servers_of(servers: object) -> dict[str, Stdio | Http]:
    """By name in lower case. A mapping stands for a value, as in configuration files: ``{"command": …}`` or
    ``{"url": …}``. Raises ``InvalidAgent``."""
    if not isinstance(servers, Mapping):
        raise InvalidAgent(f"Mcp takes a mapping of names to servers, not {type(servers).__name__}.")
    if not servers:
        raise InvalidAgent("Mcp was given no server.")
    found: dict[str, Stdio | Http] = {}
    for name, given in cast("Mapping[object, object]", servers).items():
        if (
            not isinstance(name, str)
            or not SERVER_NAME.fullmatch(name)
            or len(name) > MCP_SERVER_NAME_CHARS_MAX
            or name.endswith("_")
        ):
            raise InvalidAgent(
                f"An MCP server is named by 1 to {MCP_SERVER_NAME_CHARS_MAX} letters, digits, '-' and single '_', for "
                f"its tools are called mcp__SERVER__TOOL; not {name!r}."
            )
        if name.lower() in found:
            raise InvalidAgent(f"Two MCP servers are named {name.lower()!r}.")
        found[name.lower()] = server_of(name, given)
    return found


def server_of(name: str, given: object) -> Stdio | Http:
    if isinstance(given, (Stdio, Http)):
        server = given
    elif isinstance(given, Mapping):
        server = server_of_mapping(name, dict(cast("Mapping[str, object]", given)))
    else:
        raise InvalidAgent(f"MCP server {name!r} is a Stdio, an Http or a mapping of their fields, not {given!r}.")
    check_common(name, server)
    if isinstance(server, Stdio):
        check_stdio(name, server)
    else:
        check_http(name, server)
    return server


def server_of_mapping(name: str, given: dict[str, object]) -> Stdio | Http:
    kind = given.pop("type", "stdio" if "command" in given else "http")
    if kind == "sse":
        raise InvalidAgent(
            f"MCP server {name!r} is of the old kind 'sse', which is not spoken here. Use its streamable HTTP address."
        )
    kinds: dict[object, type[Stdio | Http]] = {
        "stdio": Stdio, "http": Http, "streamable_http": Http, "streamable-http": Http,
    }  # fmt: skip
    made = kinds.get(kind) if isinstance(kind, str) else None
    if made is None:
        raise InvalidAgent(f"MCP server {name!r} is of the unknown type {kind!r}. Use 'stdio' or 'streamable_http'.")
    known = [item.name for item in fields(made)]
    needed = "command" if made is Stdio else "url"
    unknown = sorted(str(key) for key in given if key not in known)
    if needed not in given or unknown:
        wrong = f"no {needed!r}" if needed not in given else f"unknown fields {', '.join(unknown)}"
        raise InvalidAgent(f"MCP server {name!r} has {wrong}. A {kind} server has: {', '.join(sorted(known))}.")
    return made(**given)  # type: ignore[arg-type]  # looked at next, field by field


def check_common(name: str, server: Stdio | Http) -> None:
    if server.tools is not None and not texts(server.tools):
        raise InvalidAgent(f"tools of MCP server {name!r} is a list of names, not {server.tools!r}.")
    if server.effect is not None and server.effect not in EFFECTS:
        raise InvalidAgent(f"effect of MCP server {name!r} is one of {', '.join(EFFECTS)}, not {server.effect!r}.")
    if not isinstance(server.required, bool):
        raise InvalidAgent(f"required of MCP server {name!r} is True or False, not {server.required!r}.")
    if server.protocol not in ("auto", "legacy"):
        raise InvalidAgent(f"protocol of MCP server {name!r} is 'auto' or 'legacy', not {server.protocol!r}.")


def check_stdio(name: str, server: Stdio) -> None:
    if not isinstance(server.command, str) or not server.command.strip() or "\0" in server.command:
        raise InvalidAgent(f"command of MCP server {name!r} is the name of a program, not {server.command!r}.")
    if not texts(server.args) or any("\0" in item for item in server.args):
        raise InvalidAgent(f"args of MCP server {name!r} is a list of texts, not {server.args!r}.")
    if not pairs(server.env) or any("\0" in key + value or "=" in key for key, value in server.env.items()):
        raise InvalidAgent(f"env of MCP server {name!r} maps names to texts; one of them is neither.")
    if server.cwd is not None and not isinstance(server.cwd, str):
        raise InvalidAgent(f"cwd of MCP server {name!r} is a path, not {server.cwd!r}.")


def check_http(name: str, server: Http) -> None:
    try:
        parts = urlsplit(server.url) if isinstance(server.url, str) else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidAgent(f"url of MCP server {name!r} begins with http:// or https:// and names a host.")
    if not pairs(server.headers):
        raise InvalidAgent(f"headers of MCP server {name!r} maps names to texts; one of them is neither.")
    for key, value in server.headers.items():
        if not HEADER_NAME.fullmatch(key) or not HEADER_VALUE.fullmatch(value):
            raise InvalidAgent(f"Header {key!r} of MCP server {name!r} has signs that no HTTP header can have.")


def texts(value: object) -> bool:
    """A list of texts, which a text itself is not."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
        and all(isinstance(item, str) for item in cast("Sequence[object]", value))
    )


def pairs(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(item, str) for key, item in cast("Mapping[object, object]", value).items()
    )
