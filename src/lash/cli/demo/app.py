"""The demo's processes: one for each file, and a report that starts them, awaits them and adds up.

Every step tells the outside world that it was performed: it appends one short line to a ledger file, in one write.
What lash records and what the ledger says are compared at the end, so that nothing is merely claimed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import lash
from lash.cli.demo.analysis import Found, Totals, look_at, merge, split_lines, text_of, total

NAP_AT_ONCE_MS: Final = 900
"""A longer timer is slept in pieces, so that the body stays with its worker; of every fifth file it is slept at once,
and the body parks meanwhile."""
FLAKY_ONE_IN: Final = 20
SETTING: Final = "LASH_DEMO_SETTING"
"""Name of the environment variable."""
RETRY: Final = lash.Retry(attempts=4, initial="150ms")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a worker of the demo must know; told in its environment as JSON."""

    url: str
    profile: str
    """Only workers of this demo run its processes, whatever else the database holds."""
    folder: str
    ledger: str
    counters: str
    """Folder of the files in which workers write their counters."""
    ttl_ms: int

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def of_json(text: str) -> Setting:
        return Setting(**json.loads(text))


class TransientError(Exception):
    """Injected: an outside that fails now and then."""


class Steps:
    """What the demo does to the world. Each method is a step, run in a thread."""

    def __init__(self, folder: Path, ledger: Path) -> None:
        self.folder = folder
        self.ledger = ledger

    def performed(self) -> None:
        """One line in the ledger: the idempotency key, which attempt, and which Python process."""
        step = lash.current()
        line = f"{step.idempotency_key} {step.attempt} {os.getpid()}\n"
        descriptor = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def read(self, name: str) -> str:
        self.performed()
        return text_of(self.folder / name)

    def split(self, text: str) -> list[str]:
        self.performed()
        return split_lines(text)

    def analyse(self, part: str) -> Found:
        self.performed()
        return look_at(part)

    def hand_in(self, name: str, found: Found) -> int:
        """Fails at the first attempt for one file in twenty, always the same ones."""
        self.performed()
        if is_flaky(name) and lash.current().attempt == 1:
            raise TransientError(f"the outside is away for a moment ({name})")
        return found.words


def number_of(name: str) -> int:
    """Stable, unlike ``hash``."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")


def is_flaky(name: str) -> bool:
    return number_of(name) % FLAKY_ONE_IN == 0


def naps_of(name: str, nap_ms: int) -> list[int]:
    """The timers of one file, in milliseconds."""
    if nap_ms <= NAP_AT_ONCE_MS or number_of(name) % 5 == 0:
        return [nap_ms]
    pieces = -(-nap_ms // NAP_AT_ONCE_MS)
    return [nap_ms // pieces] * pieces


def build_app(setting: Setting, worker: bool) -> lash.Runtime:
    """The same app in the workers and in the command that starts the report."""
    app = lash.Runtime(
        setting.url,
        worker=worker,
        concurrency=64,
        lease_ttl=setting.ttl_ms / 1_000,
        linger="1s",
        drain="5s",
        host_profile=setting.profile,
    )
    steps = Steps(Path(setting.folder), Path(setting.ledger))

    @app.process
    async def analyse_file(ctx: lash.Context, name: str, nap_ms: int) -> Found:
        text = await ctx.step(steps.read, name, name="read")
        parts = await ctx.step(steps.split, text, name="split")
        found = await asyncio.gather(*(ctx.step(steps.analyse, part, name="analyse") for part in parts))
        whole = merge(found)
        for pause_ms in naps_of(name, nap_ms):
            await ctx.sleep(pause_ms / 1_000)
        await ctx.step(steps.hand_in, name, whole, name="hand in", retry=RETRY)
        return whole

    @app.process
    async def report(ctx: lash.Context, names: list[str], nap_ms: int, window: int) -> Totals:
        gate = asyncio.Semaphore(window)

        async def one(name: str) -> Found:
            async with gate:
                return await (await ctx.start(analyse_file, name, nap_ms))

        found = await asyncio.gather(*(one(name) for name in names))
        return total(names, found)

    return app
