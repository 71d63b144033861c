"""``lash worker``: one worker in this process, or N of them in processes of their own under a supervisor.

A supervised worker that dies is started again after a growing pause. SIGTERM and SIGINT mean drain, for all of them;
a second one ends the draining too. A worker whose supervisor is gone drains by itself: it holds one end of a socket,
and its end of file is the notice. The same socket tells the supervisor that the worker serves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias

from lash.cli import exits, output as out
from lash.cli.apps import load_app, outlives_us, url_of
from lash.core.schedule import backoff_ms, show_ms
from lash.errors import UsageError
from lash.runtime.runtime import Runtime
from lash.runtime.standalone import SIGNALS

STEADY_S: Final = 10.0
"""A worker that served this long was well: its next crash counts as the first."""
PAUSE_MAX_MS: Final = 30_000
"""Longest pause before a crashed worker is started again."""
READY: Final = b"ready\n"
Teller: TypeAlias = "Callable[[str], None]"


class NothingRegistered(UsageError):
    code = "nothing_registered"


# One worker --------------------------------------------------------------------------------------------------------


def worker(target: str, url: str | None, verbose: bool, as_json: bool, lifeline: int | None) -> int:
    """Serve until SIGTERM or SIGINT."""
    set_up_logging(verbose)
    plain = sys.stdout

    def tell(line: str) -> None:
        print(line, file=plain, flush=True)

    if as_json:
        sys.stdout = sys.stderr  # what bodies and steps print must not get among our lines
    try:
        app = load_app(target, url)
        if not app.registered and not list(app.agents):
            raise NothingRegistered(
                f"{target} registers no process and no agent, so a worker has nothing to do. Use @app.process, or "
                "lash.Runtime(url, agents=[...])."
            )
        asyncio.run(serve(app, lifeline, tell, as_json))
    finally:
        sys.stdout = plain
    return exits.OK


async def serve(app: Runtime, lifeline: int | None, tell: Teller, as_json: bool) -> None:
    """As :func:`lash.runtime.standalone.serve`, and it says when it serves and what it did."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        await app.open(with_worker=True)
        try:
            tell(serving_line(app, as_json))
            if not outlives_us(app):
                out.remark(f"{url_of(app)} is this process's own memory: nothing can be started on it from outside.")
            if lifeline is not None:
                hold_on_to(lifeline, loop, stop)
            await stop.wait()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            counters = app.counters
            began = time.monotonic()
            await app.close()
            tell(stopped_line(asdict(counters), time.monotonic() - began, as_json))
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def hold_on_to(lifeline: int, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Tell the supervisor that we serve; when its end of the socket closes, drain."""
    line = socket.socket(fileno=lifeline)
    line.sendall(READY)

    def watch() -> None:
        try:
            while line.recv(64):
                pass
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:
            pass  # it has ended anyway

    threading.Thread(target=watch, name="lash-lifeline", daemon=True).start()


def serving_line(app: Runtime, as_json: bool) -> str:
    names = sorted({process.name for process in app.registered})
    agents = sorted(agent.name for agent in app.agents)
    if as_json:
        about: dict[str, object] = {
            "event": "serving",
            "pid": os.getpid(),
            "url": url_of(app),
            "processes": names,
            "agents": agents,
        }
        return json_line(about)
    shown = ", ".join([*names, *(f"agent {name}" for name in agents)])
    return out.clean(f"Worker {os.getpid()} serves {shown} on {url_of(app)}. Ctrl-C drains.")


def stopped_line(counters: dict[str, int], drained_s: float, as_json: bool) -> str:
    if as_json:
        return json_line({"event": "stopped", "pid": os.getpid(), "counters": counters})
    return (
        f"Worker {os.getpid()} drained in {show_ms(drained_s * 1_000)}: {counters['ended']} ended, "
        f"{counters['turns']} turns, {counters['performed_steps']} steps performed, "
        f"{counters['replayed_effects']} effects replayed."
    )


# A supervisor ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Child:
    """One worker process and our end of its lifeline."""

    process: asyncio.subprocess.Process
    line: socket.socket
    ready: bool = False


class Supervisor:
    """Keeps ``count`` children of ``command`` alive until it is asked to stop."""

    def __init__(self, command: Sequence[str], count: int, as_json: bool) -> None:
        self.command = command
        self.count = count
        self.as_json = as_json
        self.children: dict[int, Child] = {}
        """By slot."""
        self.stopping = asyncio.Event()
        self.code = exits.OK
        self._first_ready = asyncio.Event()

    async def run(self) -> int:
        """Until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep(0))
                await self._first()
                for slot in range(1, self.count):
                    group.create_task(self._keep(slot))
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
        return self.code

    async def _first(self) -> None:
        """The others are started once the first one serves, so that a broken target is told once."""
        stopped = asyncio.ensure_future(self.stopping.wait())
        ready = asyncio.ensure_future(self._first_ready.wait())
        await asyncio.wait((stopped, ready), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        ready.cancel()

    def stop(self) -> None:
        """Ask every child to drain; asked again, it ends the draining."""
        self.stopping.set()
        for child in list(self.children.values()):
            if child.process.returncode is None:
                child.process.send_signal(signal.SIGTERM)

    async def _keep(self, slot: int) -> None:
        """One child after another, until told to stop."""
        failures = 0
        while not self.stopping.is_set():
            began = time.monotonic()
            child = await self._start(slot)
            code = await child.process.wait()
            child.line.close()
            del self.children[slot]
            if self.stopping.is_set():
                break
            told = code >= 0  # a signal says nothing about the target
            if told and not child.ready and not self._first_ready.is_set():
                self.code = code if code in (exits.USAGE, exits.INFRASTRUCTURE) else exits.DEFECT
                self.stopping.set()
                break
            failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
            pause_ms = backoff_ms(failures, maximum_ms=PAUSE_MAX_MS)
            self._say_died(child.process.pid, code, pause_ms)
            try:
                async with asyncio.timeout(pause_ms / 1_000):
                    await self.stopping.wait()
            except TimeoutError:
                pass

    async def _start(self, slot: int) -> Child:
        """In a session of its own, so that Ctrl-C reaches the supervisor alone and is passed on once."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self.command, f"--lifeline={theirs.fileno()}", pass_fds=(theirs.fileno(),), start_new_session=True
            )
        child = Child(process, ours)
        self.children[slot] = child
        ours.setblocking(False)
        asyncio.get_running_loop().create_task(self._hear(child))
        if self.stopping.is_set():  # asked while the child was being made
            process.send_signal(signal.SIGTERM)
        return child

    async def _hear(self, child: Child) -> None:
        try:
            if await asyncio.get_running_loop().sock_recv(child.line, len(READY)):
                child.ready = True
                self._first_ready.set()
        except OSError:
            pass  # it died before it served

    def _say_died(self, pid: int, code: int, pause_ms: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if self.as_json:
            out.print_json({"event": "died", "pid": pid, "code": code, "restart_in_ms": pause_ms})
        else:
            out.remark(f"Worker {pid} {how}; another one starts in {show_ms(pause_ms)}. Its work is taken over.")


def supervise(target: str, url: str | None, count: int, verbose: bool, as_json: bool) -> int:
    """``lash worker TARGET --processes N``."""
    hand_down(url)
    command = worker_command(target, verbose, as_json)
    return asyncio.run(supervised(command, count, as_json))


async def supervised(command: Sequence[str], count: int, as_json: bool) -> int:
    return await Supervisor(command, count, as_json).run()


def hand_down(url: str | None) -> None:
    """To the workers that are started from here. Among their arguments everybody could read its password."""
    if url:
        os.environ["LASH_URL"] = url


def worker_command(target: str, verbose: bool, as_json: bool) -> list[str]:
    """A worker as a process of its own, of this same Python."""
    command = [sys.executable, "-m", "lash.cli.main", "worker", target]
    command += ["--verbose"] if verbose else []
    return command + (["--json"] if as_json else [])


# Small things ------------------------------------------------------------------------------------------------------


def json_line(document: dict[str, object]) -> str:
    import json

    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def set_up_logging(verbose: bool) -> None:
    """Warnings, and with ``verbose`` what lash does; unless the user's module sets up logging of its own."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
