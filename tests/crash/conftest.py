"""Whatever dies, the event loop has nothing to complain about: no lost exception, no failed callback."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from tests.crash.scenarios import LEDGER

LOGGERS = ("asyncio", "lash.body")
"""The worker's loop, and the loops of bodies."""


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[Complaints]:
    complaints = Complaints()
    for name in LOGGERS:
        logging.getLogger(name).addHandler(complaints)
    LEDGER.begin()
    try:
        yield complaints
        gc.collect()
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(complaints)
    assert complaints.lines == []
