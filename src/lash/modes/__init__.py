"""Modes: what an agent makes of its model's answers. Siblings never import one another."""
