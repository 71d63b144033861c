"""Engines: what performs effects once. Siblings never import one another."""
