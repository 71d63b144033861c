"""How many transactions a runtime has committed, and where, as its store tells the doctor.

The store measures the disk when it is opened and then commits on the event loop or on a thread. On a disk that others
disturb at that moment it chooses the thread, and every figure after it is another: so the share is told with them.
"""

from __future__ import annotations

from typing import NamedTuple

import lash


class Commits(NamedTuple):
    """Since the store was opened; subtract two to have those in between."""

    inline: int
    thread: int

    @property
    def total(self) -> int:
        return self.inline + self.thread

    @property
    def inline_percent(self) -> float:
        return self.inline / max(1, self.total) * 100

    def since(self, before: Commits) -> Commits:
        return Commits(self.inline - before.inline, self.thread - before.thread)


async def commits(app: lash.Runtime) -> Commits:
    about = await app.store.diagnose()
    return Commits(int(str(about["inline_commits"])), int(str(about["thread_commits"])))
