"""The conformance kit of a store: one case per promise of :mod:`lash.abc.store`; a case never asks which store it has.

Give :class:`StoreHarness` for your store and run every case, each on a harness of its own::

    from lash.testing.conformance import Case, cases

    @pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
    def test_my_store(case: Case, tmp_path: Path) -> None:
        asyncio.run(case.run(MyHarness(tmp_path)))

A case raises ``AssertionError`` with both sides of what differs, and ends by folding the events of every process it
started: the records must say the same.
"""

from __future__ import annotations

from lash.testing.conformance import (
    blobs,
    cancelling,
    ending,
    journaling,
    leasing,
    operating,
    session_cancels,
    session_commits,
    session_ends,
    session_forks,
    session_inbox,
    session_sharing,
    session_turns,
    sharing,
    starting,
    telling,
    waiting,
)
from lash.testing.conformance.stage import Case, ManualClock, Stage, StoreHarness, registered

cases: list[Case] = list(registered)
"""All of them, in the order of their files."""

FACETS = (
    starting, leasing, journaling, waiting, telling, cancelling, ending, operating, sharing, session_inbox,
    session_turns, session_commits, session_cancels, session_forks, session_ends, session_sharing, blobs,
)  # fmt: skip
"""The files, by subject."""

__all__ = ["FACETS", "Case", "ManualClock", "Stage", "StoreHarness", "cases"]
