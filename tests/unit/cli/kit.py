"""The command line as tests use it: typed in-process, on a database and a target file of the test's own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lash.cli.main import run
from lash.core.process import ProcessRow
from lash.runtime.runtime import Runtime

DEADLINE_S = 30.0

JOBS = """
    import asyncio
    import lash

    app = lash.Runtime("sqlite:///jobs.db", linger="10ms")

    def double(number: int) -> int:
        return 2 * number

    def fail(text: str) -> None:
        raise ValueError(text)

    @app.process
    async def twice(ctx: lash.Context, number: int) -> int:
        return await ctx.step(double, number)

    @app.process
    async def failing(ctx: lash.Context, text: str) -> None:
        await ctx.step(fail, text)

    @app.process
    async def approve(ctx: lash.Context, id: str = "nobody") -> str:
        return await ctx.signal("approval", str)

    @app.process
    async def parent(ctx: lash.Context) -> str:
        return await (await ctx.start(approve, "child"))

    @app.process
    async def sleeper(ctx: lash.Context) -> None:
        await ctx.sleep("1d")

    @app.process
    async def stuck(ctx: lash.Context) -> None:
        await asyncio.Event().wait()

    @app.process
    async def retrying(ctx: lash.Context) -> None:
        await ctx.step(fail, "away", retry=lash.Retry(attempts=9, initial="1h", maximum="1h"))
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        found = self.document["error"]
        assert isinstance(found["code"], str)
        assert isinstance(found["message"], str)
        return dict(found)


class Cli:
    """``cli("ls", "--json")`` on the test's own database; ``url=None`` leaves the database out."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/jobs.db"
        self.target = folder / "jobs.py"
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, url: str | None = "own") -> Result:
        if url == "own":
            self._monkeypatch.setenv("LASH_URL", self.url)
        else:
            self._monkeypatch.delenv("LASH_URL", raising=False)
            arguments = (*arguments, *([f"--url={url}"] if url is not None else []))
        self._capsys.readouterr()
        code = run(arguments)
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def start(self, name: str, arguments: str = "[]", *more: str) -> Result:
        return self("start", str(self.target), name, arguments, *more)

    def write(self, name: str, source: str) -> Path:
        """Byte code of what stood there before goes with it: Python takes a file of the same second and length for
        the same."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), "utf-8")
        if path.suffix == ".py":
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        return path

    def serve_until(self, reached: Callable[[Runtime], Awaitable[bool]]) -> None:
        """Run a worker of the target until ``reached`` says so, then drain it."""
        from lash.cli.apps import load_app

        app = load_app(str(self.target), self.url)

        async def work() -> None:
            await app.open(with_worker=True)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    while not await reached(app):
                        await asyncio.sleep(0.01)
            finally:
                await app.close()

        asyncio.run(work())

    def serve_until_state(self, process_id: str, *states: str) -> None:
        """Until the process is in one of these states, as ``lash ls`` names them."""
        from lash.cli.documents import state_of

        async def reached(app: Runtime) -> bool:
            (row,) = await app.store.get((process_id,))
            return isinstance(row, ProcessRow) and state_of(row, app.store.now_ms()) in states

        self.serve_until(reached)
