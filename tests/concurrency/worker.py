"""A worker on its own, as ``lash worker`` runs one: ``worker.py URL REPORT OPTIONS-JSON``. Drains at SIGTERM.

``REPORT`` gets one JSON object at the end: its counters, and the faults of its last passes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path

import lash
from lash.runtime.standalone import serve
from lash.stores.sqlite import SqliteStore
from tests.concurrency.chatting import AGENT
from tests.concurrency.jobs import PROCESSES


class Reporting:
    """The runtime, with what it counted written down just before it closes."""

    def __init__(self, app: lash.Runtime, report: Path, in_thread: bool) -> None:
        self.app = app
        self.report = report
        self.in_thread = in_thread

    async def open(self, with_worker: bool) -> None:
        await self.app.open(with_worker)
        if self.in_thread:  # as on a slow disk
            assert isinstance(self.app.store, SqliteStore)
            self.app.store.commit_in_thread()
        self.report.with_suffix(".open").write_text(str(os.getpid()))

    async def close(self) -> None:
        opening = self.app._opening
        await self.app.close()
        if opening is not None and opening.worker is not None:
            leases = opening.worker.leases
            faults = [[fault.process_id, fault.code] for fault in leases.faults]
            self.report.write_text(json.dumps({**asdict(leases.counters), "faults": faults}))


def main(url: str, report: str, options: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = json.loads(options)
    in_thread = bool(settings.pop("in_thread", False))
    app = lash.Runtime(url, agents=[AGENT], **settings)
    for process in PROCESSES:
        app.include(process)
    asyncio.run(serve(Reporting(app, Path(report), in_thread)))


if __name__ == "__main__":
    main(*sys.argv[1:])
