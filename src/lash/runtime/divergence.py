"""What is said when a body and its journal disagree: both sides, and what to do."""

from __future__ import annotations

from lash.core.effect import Effect, EffectKind, Entry
from lash.errors import Diverged


def diverged(process_id: str, entry: Entry, effect: Effect | None) -> Diverged:
    """``entry`` was recorded; ``effect`` is what the body asked for under its number, if anything."""
    recorded = f"{entry.kind.value} {entry.ordinal} {entry.name!r}"
    requested = effect.describe() if effect is not None else "nothing under that number"
    if effect is not None and effect.name == entry.name and effect.kind.value == entry.kind.value:
        requested += " with other arguments" if effect.kind is not EffectKind.SLEEP else " at another time"
    return Diverged(
        f"The code of process {process_id!r} has changed under its journal: recorded was {recorded}, "
        f"the body asked for {requested}. Put the old code back, or deploy the new one under a new version.",
        recorded=recorded,
        requested=requested,
        process_id=process_id,
    )
