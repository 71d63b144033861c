"""``lash demo``: the promises shown on real files, with workers that are killed and stopped in the middle of it."""
