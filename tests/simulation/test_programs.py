"""Random programs of plain asyncio, crashed at random: they end as their journals tell, with no false divergence.

Semantic 3 of the kernel. A failing seed is named with the command that runs it again.
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
