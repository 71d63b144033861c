"""The one word that two ends of a session must agree on: how the item that goes on in a new frame is named."""

from __future__ import annotations


def follow_key(turn: int) -> str:
    """The key of the item that goes on with a turn that switched frames."""
    return f"lash:frame:{turn}"
