"""Random programs of plain asyncio, crashed at random: they end as their journals tell, with no false divergence.

Semantic 3 of the kernel. The lane runs a fixed range of seeds, ``LASH_SEEDS=5000`` runs more, and a failing one is
named with the command that runs it again.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.world import simulated

BLOCKS = 10
SEEDS_PER_BLOCK = int(os.environ.get("LASH_SEEDS", "300")) // BLOCKS


@pytest.mark.parametrize("block", range(BLOCKS))
def test_programs_end_as_their_journals_tell(block: int) -> None:
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        simulated(seed)


def test_a_seed_is_the_whole_run() -> None:
    """The same seed gives the same events at the same moments: what fails once can be looked at."""
    assert simulated(7) == simulated(7)
    assert simulated(7) != simulated(8)
