"""Notices from other Python processes: one connection that listens, mended when it breaks, and nothing but hints.

A notice carries nothing: whoever hears one looks. While the connection is away nobody is told; the slow look stands
behind that, and the first thing after a reconnection is a look.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg

from lash.errors import LashError
from lash.stores.postgres.line import ALIVE, LOST, Line, closed_is_lost
from lash.stores.postgres.place import Place

log = logging.getLogger("lash.store")
PAUSE_S: Final = (0.05, 1.0)


class Listening:
    """``own_pid`` tells the server's process that writes for us: what that one says is no news."""

    def __init__(self, place: Place, heard: Callable[[], None], own_pid: Callable[[], int]) -> None:
        self.line = Line(place, "listener", **ALIVE)
        self.working = False
        self._heard = heard
        self._own_pid = own_pid
        self._broken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._echoes: dict[object, asyncio.Event] = {}

    async def open(self) -> None:
        """Listen from now on. Where that cannot be had, keep trying."""
        if self.line.place.pooler:
            return
        await self._listen()
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="lash-listener")

    async def _listen(self) -> None:
        self._broken.clear()
        try:
            connection = await self.line.get(0)
            connection.add_termination_listener(self._ended)
            with closed_is_lost(connection):
                await connection.add_listener(self.line.place.channel, self._notified)
            self.working = True
        except (LashError, *LOST, asyncpg.PostgresError) as error:
            log.warning("no notices from the database for now, only slow looks: %s", error)
            self._broken.set()

    async def _keep(self) -> None:
        pause_s = PAUSE_S[0]
        while True:
            await self._broken.wait()
            self.working = False
            self.line.drop()
            await asyncio.sleep(pause_s)
            await self._listen()
            if self.working:
                pause_s = PAUSE_S[0]
                self._heard()
            else:
                pause_s = min(2 * pause_s, PAUSE_S[1])

    async def _ended(self, connection: object) -> None:
        if connection is self.line.connection:
            self._broken.set()

    async def echo(self, send: Callable[[str], Awaitable[object]], within_s: float) -> bool:
        """Whether what another connection sends is heard on this one."""
        word = uuid.uuid4().hex
        heard = self._echoes[word] = asyncio.Event()
        try:
            await send(word)
            async with asyncio.timeout(within_s):
                await heard.wait()
            return True
        except TimeoutError:
            return False
        finally:
            del self._echoes[word]

    def _notified(self, connection: object, pid: int, channel: str, payload: object) -> None:
        if (echo := self._echoes.get(payload)) is not None:
            echo.set()
        elif pid != self._own_pid():
            self._heard()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self.working = False
        await self.line.close()

    def crash(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.line.drop()
