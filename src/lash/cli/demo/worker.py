"""A worker of the demo, as a Python process of its own: it serves, and writes its counters to a file.

The counters are written a few times a second and once more at the end, under a name of their own that is then renamed,
so that a reader never sees half of them. A killed worker leaves the last ones it wrote.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from lash.cli.demo.app import SETTING, Setting, build_app
from lash.cli.serving import hold_on_to
from lash.runtime.report import Counters
from lash.runtime.runtime import Runtime
from lash.runtime.standalone import SIGNALS

COUNTERS_S: Final = 0.2


async def serve(app: Runtime, folder: Path, lifeline: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    await app.open(with_worker=True)
    counters = app.counters
    hold_on_to(lifeline, loop, stop)
    try:
        while not stop.is_set():
            write_counters(folder, counters, ended=False)
            try:
                async with asyncio.timeout(COUNTERS_S):
                    await stop.wait()
            except TimeoutError:
                pass
    finally:
        await app.close()
        write_counters(folder, counters, ended=True)


def write_counters(folder: Path, counters: Counters, ended: bool) -> None:
    path = folder / f"{os.getpid()}.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"pid": os.getpid(), "ended": ended, **asdict(counters)}))
    fresh.rename(path)


def main(arguments: list[str]) -> None:
    setting = Setting.of_json(os.environ[SETTING])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(build_app(setting, worker=True), Path(setting.counters), int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
