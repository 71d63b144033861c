"""One life in a Python process of its own, which SIGKILLs itself: ``child.py URL SCENARIO MODE WRITE WHEN LEDGER``.

Exit code 0: the life was over before it came to that write.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tests.crash.lives import EAGER, PATIENT, Life
from tests.crash.scenarios import LEDGER, SCENARIOS


class Doomed(Life):
    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, scenario: str, mode: str, crash_at: str, when: str, ledger: str) -> None:
    LEDGER.path = ledger
    modes = {mode.name: mode for mode in (EAGER, PATIENT)}
    asyncio.run(Doomed(SCENARIOS[scenario], url, modes[mode], int(crash_at), when).run())  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
