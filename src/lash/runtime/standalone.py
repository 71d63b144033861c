"""A worker on its own: an event loop, a signal that means drain, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import Protocol

from lash.core import codec

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Served(Protocol):
    async def open(self, with_worker: bool) -> None: ...

    async def close(self) -> None: ...


async def serve(runtime: Served) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the Python process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        await runtime.open(with_worker=True)
        await stop.wait()
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        await runtime.close()


def about_this_process() -> bytes:
    """What a worker says of itself to ``lash doctor`` and ``lash explain``."""
    about = {"host": socket.gethostname(), "pid": os.getpid(), "started_ms": time.time_ns() // 1_000_000}
    return codec.encode(about, "about")
