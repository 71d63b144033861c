"""How a turn ended, as whoever awaits or watches it is told: typed by its agent, with what the turn used and its id.

Inside, an answer is plain JSON; only what leaves the runtime is of the agent's ``output`` type.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lash.core import codec
from lash.core.model import Usage
from lash.core.observe import Committed
from lash.core.turn import Finished, Outcome, Stopped, Switched
from lash.errors import InvalidValue
from lash.runtime.shapes import Shape, decoded


def told(outcome: Outcome, shape: Shape, usage: Usage, turn_id: str) -> Finished[Any] | Stopped:
    """Of a turn that has ended for good. Raises ``InvalidValue`` when its answer does not fit the type any more."""
    assert not isinstance(outcome, Switched)
    if isinstance(outcome, Finished) and outcome.structured:
        value = decoded(shape, codec.encode(outcome.value, "answer"), f"answer of turn {turn_id}")
        outcome = replace(outcome, value=value)
    return replace(outcome, usage=usage, turn_id=turn_id)


def committed(event: Committed, shape: Shape, session_id: str) -> Committed:
    """The last event of a turn. An answer that does not fit stays plain: the turn has ended, whatever it said."""
    outcome, turn_id = event.outcome, f"{session_id}/{event.turn}"
    if isinstance(outcome, Switched):
        return replace(event, outcome=replace(outcome, usage=event.usage, turn_id=turn_id))
    try:
        outcome = told(outcome, shape, event.usage, turn_id)
    except InvalidValue:
        outcome = replace(outcome, usage=event.usage, turn_id=turn_id)
    return replace(event, outcome=outcome)
