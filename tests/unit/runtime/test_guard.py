"""I/O, threads and executors asked for in a body are refused with ``NotInStep`` naming the call; nowhere else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import lash
from lash.runtime import guard
from lash.testing import simulate
from tests.unit.runtime.kit import app_on, virtual


def connect() -> None:
    with socket.socket() as plain:
        plain.connect(("127.0.0.1", 9))


def send_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"x", ("127.0.0.1", 9))


def listen() -> None:
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", 0))


def use_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(print).result()


SYNC: dict[str, tuple[Callable[[], Any], str]] = {
    "socket.connect": (connect, "connecting a socket"),
    "socket.sendto": (send_datagram, "sending a datagram"),
    "socket.bind": (listen, "binding a socket"),
    "getaddrinfo": (lambda: socket.getaddrinfo("localhost", 80), "looking up a host"),
    "gethostbyname": (lambda: socket.gethostbyname("localhost"), "looking up a host"),
    "urlopen": (lambda: urllib.request.urlopen("http://127.0.0.1:9/"), "looking up a host"),
    "subprocess.run": (lambda: subprocess.run(["true"]), "starting a sub-process"),
    "subprocess.Popen": (lambda: subprocess.Popen(["true"]), "starting a sub-process"),
    "os.system": (lambda: os.system("true"), "os.system"),
    "Thread.start": (lambda: threading.Thread(target=print).start(), "starting a thread"),
    "Timer.start": (lambda: threading.Timer(1, print).start(), "starting a thread"),
    "ThreadPoolExecutor": (use_pool, "starting a thread"),
    "sqlite3.connect": (lambda: sqlite3.connect(":memory:"), "opening a database"),
}

ASYNC: dict[str, tuple[Callable[[], Awaitable[Any]], str]] = {
    "open_connection": (lambda: asyncio.open_connection("127.0.0.1", 9), "create_connection"),
    "open_unix_connection": (lambda: asyncio.open_unix_connection("/tmp/none"), "create_unix_connection"),
    "start_server": (lambda: asyncio.start_server(print, "127.0.0.1", 0), "create_server"),
    "to_thread": (lambda: asyncio.to_thread(print), "run_in_executor"),
    "run_in_executor": (lambda: asyncio.get_running_loop().run_in_executor(None, print), "run_in_executor"),
    "create_subprocess_exec": (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec"),
    "create_subprocess_shell": (lambda: asyncio.create_subprocess_shell("true"), "subprocess_shell"),
    "loop.getaddrinfo": (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80), "getaddrinfo"),
    "loop.sock_connect": (
        lambda: asyncio.get_running_loop().sock_connect(socket.socket(), ("127.0.0.1", 9)),
        "sock_connect",
    ),
    "call_soon_threadsafe": (
        lambda: as_awaitable(asyncio.get_running_loop().call_soon_threadsafe(print)),
        "call_soon_threadsafe",
    ),
    "add_signal_handler": (
        lambda: as_awaitable(asyncio.get_running_loop().add_signal_handler(10, print)),  # type: ignore[func-returns-value]
        "add_signal_handler",
    ),
}


async def as_awaitable(value: Any) -> Any:
    return value


async def refusal_of(call: Callable[[], Any]) -> list[str]:
    """How a body was refused what ``call`` does."""
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> list[str]:
        try:
            result = call()
            if asyncio.iscoroutine(result) or asyncio.isfuture(result):
                await result
        except lash.NotInStep as error:
            return [str(error.fields["call"]), str(error), error.code]
        return []

    async with app:
        return await (await app.start(body))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", SYNC)
@virtual
async def test_blocking_calls_are_refused_by_name_in_a_body(name: str) -> None:
    call, expected = SYNC[name]
    found, message, code = await refusal_of(call)
    assert (found, code) == (expected, "not_in_step")
    assert "ctx.step" in message
    assert expected.lower() in message.lower()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ASYNC)
@virtual
async def test_asyncios_io_is_refused_by_name_in_a_body(name: str) -> None:
    call, expected = ASYNC[name]
    found, message, _ = await refusal_of(call)
    assert found == expected
    assert expected in message
    assert "ctx.step" in message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@virtual
async def test_forking_is_refused() -> None:
    found, _, _ = await refusal_of(os.fork)
    assert found == "os.fork"


def audits_sleep() -> bool:
    return sys.version_info >= (3, 13)


@virtual
async def test_time_sleep_is_refused_where_the_interpreter_tells_of_it() -> None:
    """From Python 3.13 on; before that ``lash check`` finds it (documented in docs/guarantees)."""
    found = await refusal_of(lambda: time.sleep(0))  # sleeps: it must be refused, and waits for nothing
    assert found[:1] == (["time.sleep"] if audits_sleep() else [])


def test_outside_bodies_nothing_is_refused_also_while_bodies_exist() -> None:
    """Everything above is done by the main program and by steps, async and in threads, between and beside bodies."""
    done: list[str] = []

    def everything() -> None:
        threading.Thread(target=done.append, args=("thread",)).start()
        socket.getaddrinfo("127.0.0.1", 80)
        listen()
        send_datagram()
        sqlite3.connect(":memory:").close()
        use_pool()
        subprocess.run([sys.executable, "-c", ""], check=True)
        with pytest.raises(OSError):
            connect()

    async def everything_async() -> str:
        hung_up = asyncio.Event()  # of this server alone: three of these run beside one another

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            await writer.wait_closed()
            hung_up.set()

        everything()
        await asyncio.to_thread(everything)
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        await reader.read()
        writer.close()
        await writer.wait_closed()  # or its transport outlives the loop, and Python 3.12 says so in some later test
        server.close()
        await hung_up.wait()
        await server.wait_closed()
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        assert await child.wait() == 0
        return "async"

    async def main() -> None:
        app = lash.Runtime("memory://")

        @app.process
        async def body(ctx: lash.Context) -> list[Any]:
            found = await asyncio.gather(ctx.step(everything), ctx.step(everything_async))
            return [*found, await ctx.signal("go")]

        async with app:
            handle = await app.start(body)
            waiting = await app.start(body)
            assert await everything_async() == "async"
            await handle.signal("go", 1)
            assert await handle.result(timeout=60) == [None, "async", 1]
            await waiting.cancel()
            with pytest.raises(lash.ProcessCancelled):
                await waiting.result(timeout=60)
            everything()

    asyncio.run(main())
    assert guard.active == set()
    assert done


def test_a_thread_beside_a_running_body_is_not_refused() -> None:
    """A body that computes for long does not lame the other threads of the program."""
    went: list[str] = []
    turn, over = threading.Event(), threading.Event()

    def beside() -> None:
        turn.wait(20)
        listen()
        worker = threading.Thread(target=went.append, args=("thread",))
        worker.start()
        worker.join()
        went.append("socket")
        over.set()

    async def main() -> None:
        app = lash.Runtime("memory://")

        @app.process
        async def body(ctx: lash.Context) -> bool:
            turn.set()
            return over.wait(20)

        async with app:
            assert await (await app.start(body)).result(timeout=60) is True

    other = threading.Thread(target=beside)
    other.start()
    asyncio.run(main())
    other.join()
    assert went == ["thread", "socket"]


def test_runtimes_in_two_threads_guard_their_bodies_apart() -> None:
    """While one thread's body computes, bodies of another thread come and go."""
    inside, went = threading.Event(), threading.Event()
    found: list[str] = []

    async def computing() -> None:
        app = lash.Runtime("memory://")

        @app.process
        async def body(ctx: lash.Context) -> str:
            inside.set()
            went.wait(20)
            try:
                listen()
            except lash.NotInStep as error:
                return error.code
            return "unguarded"

        async with app:
            found.append(await (await app.start(body)).result(timeout=60))

    async def coming_and_going() -> None:
        app = lash.Runtime("memory://")

        @app.process
        async def body(ctx: lash.Context) -> None:
            ctx.log.debug("hello")

        inside.wait(20)
        async with app:
            await (await app.start(body)).result(timeout=60)
            listen()
        went.set()

    other = threading.Thread(target=lambda: asyncio.run(computing()))
    other.start()
    asyncio.run(coming_and_going())
    other.join()
    assert found == ["not_in_step"]


@virtual
async def test_a_refused_call_is_an_ordinary_error_of_the_body() -> None:
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> None:
        await asyncio.to_thread(print)

    async with app:
        with pytest.raises(lash.ProcessFailed) as failed:
            await (await app.start(body))
        assert failed.value.failure_code == "not_in_step"


@virtual
async def test_clean_up_while_a_body_is_closed_is_refused_io_as_well() -> None:
    app = app_on(linger="1ms", resident=0)
    found: list[str] = []

    @app.process
    async def body(ctx: lash.Context) -> None:
        try:
            await ctx.signal("go")
        finally:
            try:
                listen()
            except lash.NotInStep as error:
                found.append(error.code)

    async with app:
        await app.start(body, id="p")
        await asyncio.sleep(1)
        assert found == ["not_in_step"]
        listen()


@virtual
async def test_a_handler_of_the_log_may_do_what_it_likes() -> None:
    """``ctx.log`` goes to handlers that send over sockets or start threads: they are not the body."""
    import logging

    sent: list[str] = []

    class Sending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            send_datagram()
            worker = threading.Thread(target=sent.append, args=(record.getMessage(),))
            worker.start()
            worker.join()

    handler = Sending()
    log = logging.getLogger("lash.process")
    log.addHandler(handler)
    app = app_on()

    @app.process
    async def body(ctx: lash.Context) -> str:
        ctx.log.warning("hello")
        try:
            listen()
        except lash.NotInStep:
            return "still guarded"
        return "unguarded"

    try:
        async with app:
            assert await (await app.start(body, id="p")) == "still guarded"
    finally:
        log.removeHandler(handler)
    assert sent == ["[p] hello"]


def test_the_hook_costs_nothing_before_the_first_body() -> None:
    """Importing lash and opening a runtime patches nothing."""
    code = """
import asyncio, threading
plain, start = asyncio.as_completed, threading.Thread.start
import lash
async def main():
    async with lash.Runtime("memory://"):
        pass
asyncio.run(main())
assert asyncio.as_completed is plain and threading.Thread.start is start
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0


def test_virtual_time_is_no_body() -> None:
    async def main() -> None:
        listen()
        await asyncio.to_thread(listen)

    simulate.run(main())
