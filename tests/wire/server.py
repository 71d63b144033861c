"""A vendor on the loopback: it speaks HTTP/1.1 byte for byte from a script, and hears what it is asked.

The rule of this file: nothing here knows what lash makes of it. A script is bytes and how they travel: in which pieces,
up to where, and what happens then. A request whose history a vendor would refuse is answered with 400.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from tests.wire.pairing import fault_of_history

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 500: "Internal Server Error"}
TRICKLE_S = 0.02


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. ``cut`` stops the body after so many bytes; ``then`` says how: ``end`` finishes the HTTP body as if
    all were well, ``drop`` closes the connection in the middle of it, ``reset`` sends a RST, ``hold`` says nothing more
    until the client hangs up, ``trickle`` sends ``drop_by_drop`` again and again until then."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str = "text/event-stream"
    seed: int | None = None
    cut: int | None = None
    then: Literal["end", "drop", "reset", "hold", "trickle"] = "end"
    drop_by_drop: bytes = b": ping\n\n"
    framing: Literal["chunked", "close"] = "chunked"


@dataclass(frozen=True, slots=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: dict[str, object]


class Wire:
    """``url`` is where it listens; ``asked`` what came, in order; ``hung_up`` is set once a client left early."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.asked: list[Asked] = []
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.serving: set[asyncio.Task[None]] = set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            while (asked := await heard(reader)) is not None:
                self.asked.append(asked)
                fault = fault_of_history(asked.path, asked.body)
                script = refusal(fault) if fault else self.scripts.pop(0)
                if not await self.answer(script, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()
            self.serving.discard(task)

    async def answer(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        chunked = script.framing == "chunked"
        head = {"content-type": script.type, **script.headers}
        head |= {"transfer-encoding": "chunked"} if chunked else {"connection": "close"}
        lines = [f"HTTP/1.1 {script.status} {REASONS.get(script.status, 'Whatever')}"]
        writer.write("\r\n".join([*lines, *(f"{name}: {value}" for name, value in head.items()), "", ""]).encode())
        for piece in pieces(script.body[: script.cut], script.seed):
            await send(writer, piece, chunked)
        if script.then == "end":
            writer.write(b"0\r\n\r\n" if chunked else b"")
            await writer.drain()
            return chunked
        if script.then == "reset":
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif script.then in ("hold", "trickle"):
            leaving = asyncio.create_task(reader.read(1))
            while not leaving.done():
                if script.then == "trickle":
                    await send(writer, script.drop_by_drop, chunked)
                await asyncio.wait([leaving], timeout=TRICKLE_S)
            self.hung_up.set()
        return False


def pieces(body: bytes, seed: int | None) -> Iterator[bytes]:
    """``body`` in one piece, or cut at places that ``seed`` chooses: in the middle of lines, events and code points."""
    if seed is None:
        if body:
            yield body
        return
    chance = random.Random(seed)
    while body:
        size = chance.choice((1, 2, 3, 7, 40, 300))
        yield body[:size]
        body = body[size:]


async def send(writer: asyncio.StreamWriter, piece: bytes, chunked: bool) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
    await writer.drain()


async def heard(reader: asyncio.StreamReader) -> Asked | None:
    first = await reader.readline()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := (await reader.readline()).strip().decode("latin-1"):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split()[1].decode(), headers, json.loads(body))


def refusal(fault: str) -> Script:
    return Script(json.dumps({"error": {"message": fault, "type": "invalid_request_error"}}).encode(), 400)


@asynccontextmanager
async def wire(*scripts: Script) -> AsyncIterator[Wire]:
    found = Wire(*scripts)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()
        if found.serving:  # until every client has hung up
            await asyncio.wait(found.serving, timeout=5)


# Server-sent events ------------------------------------------------------------------------------------------------


def sse(*events: Mapping[str, object], named: bool = False) -> bytes:
    """Events as bytes; ``named`` adds the line ``event:`` from each one's type."""
    found = b""
    for event in events:
        head = f"event: {event['type']}\n" if named else ""
        found += f"{head}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
    return found
