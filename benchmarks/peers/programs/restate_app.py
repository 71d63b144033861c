"""Restate: its server, one service process under hypercorn, and calls over HTTP on kept connections of 127.0.0.1.

The server stays up in W4, as a database server does; what is killed is the service process that runs the workflows.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import restate

from benchmarks.peers.programs import measuring
from benchmarks.peers.programs.measuring import CONCURRENCY, STEPS, STEPS_BEFORE, VALUE, Asked, Values

MODULE = "benchmarks.peers.programs.restate_app"
HOST = "127.0.0.1"
SERVER = "RESTATE_SERVER"
"""Names the server's binary."""
HOLDING = "PEER_HOLDING"
"""Set in the first life of W4."""
NOTED = "PEER_NOTED"
"""Names the file that a service process appends a byte to for each step of W4 in flight, and each workflow parked."""
READY_SECONDS_MAX = 60
UNBOUNDED = 2**31 - 1
"""What Restate's templates give hypercorn for streams and requests of one connection, and for keeping it."""

service = restate.Service("bench")
sleepers = restate.Service("sleepers", inactivity_timeout=timedelta(0))


def note() -> None:
    with open(os.environ[NOTED], "ab") as file:
        file.write(b".")


async def answer() -> dict[str, str]:
    return VALUE


async def hold_step() -> dict[str, str]:
    note()
    if HOLDING in os.environ:
        await asyncio.Event().wait()
    return VALUE


@service.handler()
async def steps(ctx: restate.Context, count: int) -> int:
    for number in range(count):
        await ctx.run_typed(f"answer-{number}", answer)
    return count


@service.handler()
async def nothing(ctx: restate.Context) -> None:
    del ctx


@service.handler()
async def journey(ctx: restate.Context) -> int:
    for number in range(STEPS_BEFORE):
        await ctx.run_typed(f"answer-{number}", answer)
    await ctx.run_typed("hold", hold_step)
    for number in range(STEPS_BEFORE + 1, STEPS):
        await ctx.run_typed(f"answer-{number}", answer)
    return STEPS


@sleepers.handler()
async def asleep(ctx: restate.Context) -> None:
    note()
    await ctx.sleep(timedelta(seconds=measuring.PARK_S))


async def serve(port: int) -> None:
    """The service process: one event loop, hypercorn speaking HTTP/2 to the server."""
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.loglevel = "ERROR"
    config.h2_max_concurrent_streams = UNBOUNDED
    config.keep_alive_max_requests = UNBOUNDED
    config.keep_alive_timeout = UNBOUNDED
    await hypercorn_serve(restate.app([service, sleepers]), config)


class Connection:
    """One kept HTTP/1.1 connection, for one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes | None = None) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {len(body or b'')}\r\n"
        kind = "" if body is None else "content-type: application/json\r\n"
        writer.write((head + kind + "\r\n").encode() + (body or b""))
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields if ": " in field)
        answered = await self._body(reader, headers)
        if status.split()[1][0] != "2":
            raise RuntimeError(f"{path}: {status} {answered.decode(errors='replace')[:500]}")
        return answered

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        found = b""
        while size := int(await reader.readline(), 16):
            found += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Ports:
    """Of one run: the server's three and the service's."""

    def __init__(self) -> None:
        self.node, self.admin, self.ingress, self.service = free_ports(4)


def configuration(ports: Ports) -> str:
    return f"""
        disable-telemetry = true
        listen-mode = "tcp"
        log-filter = "error"
        bind-address = "{HOST}:{ports.node}"
        advertised-address = "http://{HOST}:{ports.node}"
        [admin]
        bind-address = "{HOST}:{ports.admin}"
        [ingress]
        bind-address = "{HOST}:{ports.ingress}"
    """


@contextmanager
def server(asked: Asked, ports: Ports) -> Iterator[None]:
    """The server, for as long as the block lasts."""
    path = Path(asked.folder, "restate.toml")
    path.write_text(configuration(ports), "utf-8")
    command = [os.environ[SERVER], "--no-logo", "-c", str(path), "--base-dir", asked.folder]
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    with open(Path(asked.folder, "server.log"), "wb") as log:
        running = subprocess.Popen(command, cwd=asked.folder, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        running.kill()
        running.wait()


def start_service(asked: Asked, ports: Ports, holding: bool = False) -> subprocess.Popen[bytes]:
    environment = {**os.environ, NOTED: str(Path(asked.folder, "noted"))} | ({HOLDING: "1"} if holding else {})
    return subprocess.Popen([sys.executable, "-m", MODULE, "serve", str(ports.service)], env=environment)


def noted(asked: Asked) -> int:
    path = Path(asked.folder, "noted")
    return path.stat().st_size if path.exists() else 0


async def reachable(port: int) -> None:
    async with asyncio.timeout(READY_SECONDS_MAX):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def register(ports: Ports) -> None:
    await reachable(ports.admin)
    await reachable(ports.ingress)
    await reachable(ports.service)
    body = json.dumps({"uri": f"http://{HOST}:{ports.service}"}).encode()
    async with asyncio.timeout(READY_SECONDS_MAX):
        while True:
            try:
                await Connection(ports.admin).post("/deployments", body)
                return
            except RuntimeError:
                await asyncio.sleep(0.1)  # the server is up and not yet a cluster of one


class Calls:
    """Connections to the ingress; a call takes a free one, or makes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[Connection] = []

    async def post(self, path: str, body: bytes | None = None) -> bytes:
        connection = self._free.pop() if self._free else Connection(self._port)
        found = await connection.post(path, body)
        self._free.append(connection)
        return found

    async def steps(self, count: int) -> None:
        assert int(await self.post("/bench/steps", str(count).encode())) == count

    async def nothing(self) -> None:
        await self.post("/bench/nothing")

    async def journey(self) -> None:
        assert int(await self.post("/bench/journey")) == STEPS


async def measure(asked: Asked) -> Values:
    """Any workload, between the start of a server and its end."""
    ports = Ports()
    with server(asked, ports):
        running = start_service(asked, ports, asked.workload == "W4")
        try:
            await register(ports)
            calls = Calls(ports.ingress)
            if asked.workload == "W4":
                found, running = await w4(asked, ports, calls, running)
            else:
                found = await WORKLOADS[asked.workload](asked, calls)
        finally:
            running.kill()
            running.wait()
    return found


async def w1(asked: Asked, calls: Calls) -> Values:
    await calls.steps(20)
    began = time.perf_counter()
    await calls.steps(asked.steps)
    return {"ms_per_step": (time.perf_counter() - began) / asked.steps * 1_000}


async def w2(asked: Asked, calls: Calls) -> Values:
    await measuring.at_once(CONCURRENCY, lambda _: calls.steps(STEPS))
    began = time.perf_counter()
    await measuring.at_once(asked.workflows, lambda _: calls.steps(STEPS))
    return {"steps_per_s": asked.workflows * STEPS / (time.perf_counter() - began)}


async def w3(asked: Asked, calls: Calls) -> Values:
    await measuring.at_once(CONCURRENCY, lambda _: calls.nothing())
    began = time.perf_counter()
    await measuring.at_once(asked.empty, lambda _: calls.nothing())
    return {"processes_per_s": asked.empty / (time.perf_counter() - began)}


async def w4(
    asked: Asked, ports: Ports, calls: Calls, first: subprocess.Popen[bytes]
) -> tuple[Values, subprocess.Popen[bytes]]:
    """The callers wait for the outcomes all along, so that the last of these ends the time."""
    waiting = asyncio.gather(*[calls.journey() for _ in range(asked.resumed)])
    async with asyncio.timeout(measuring.SECONDS_MAX):
        while noted(asked) < asked.resumed:  # noqa: ASYNC110  # another OS process fills it
            await asyncio.sleep(0.01)
    first.kill()
    first.wait()
    began = time.perf_counter()
    second = start_service(asked, ports)
    await waiting
    return {"resume_s": time.perf_counter() - began}, second


async def w5(asked: Asked, calls: Calls) -> Values:
    await measuring.at_once(CONCURRENCY, lambda _: calls.nothing())
    began = time.perf_counter()
    await measuring.at_once(asked.parked, lambda _: calls.post("/sleepers/asleep/send"))
    async with asyncio.timeout(measuring.SECONDS_MAX):
        while noted(asked) < asked.parked:  # noqa: ASYNC110  # another OS process fills it
            await asyncio.sleep(0.05)
    fill_s = time.perf_counter() - began
    await asyncio.sleep(2)
    return {**await measuring.latencies(asked, calls.nothing), "parked": asked.parked, "fill_s": fill_s}


WORKLOADS = {"W1": w1, "W2": w2, "W3": w3, "W5": w5}

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        measuring.run(dict.fromkeys([*WORKLOADS, "W4"], measure))
