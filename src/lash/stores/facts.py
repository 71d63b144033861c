"""The words stores write about a process, spelled once: two stores must not tell the same fact differently.

Only payloads and small questions about a spec live here; when a fact is told is each store's own business.
"""

from __future__ import annotations

from typing import Final

from lash.core import codec
from lash.core.effect import Entry
from lash.core.outcome import Abandoned, Failed, Failure
from lash.core.process import EXTERNAL, Blocked, ProcessSpec, Waiting

EMPTY: Final = b"{}"
"""Payload of an event that says nothing beyond its type."""
REPLY_PRUNED: Final = b'["pruned",null]'
REPLY_UNKNOWN: Final = b'["unknown",null]'
PROCESS_PREFIX: Final = "process:"
DELETED: Final = "the session was deleted"
"""Why a deleted session, and what it had started, was cancelled."""


def is_external(spec: ProcessSpec) -> bool:
    """Run elsewhere: never claimed, never swept, closed only by ``Close``."""
    return spec.kind == EXTERNAL or spec.recovery == "external"


def started(attempt: int, owner: str, token: int) -> bytes:
    return codec.encode({"attempt": attempt, "owner": owner, "token": token}, "event")


def waiting(value: Waiting) -> bytes:
    return codec.encode({"on": value.on, "key": value.key, "until_ms": value.until_ms}, "event")


def blocked(value: Blocked) -> bytes:
    return codec.encode({"reason": value.reason, "detail": value.detail, "code_hash": value.code_hash}, "event")


def cancel(reason: str) -> bytes:
    """Of the event and of the journal entry alike."""
    return codec.encode({"reason": reason}, "event")


def continued(args: bytes) -> bytes:
    return codec.encode({"args": codec.decode(args)}, "event")


def committed(turn: int, head: int) -> bytes:
    return codec.encode({"turn": turn, "head": head}, "event")


def normal_args(args: bytes) -> bytes:
    """``args`` as ``fold`` spells them after a ``process.continued`` event."""
    return codec.encode(codec.decode(args), "args")


def abandoned(lost_owner: str, attempt: int) -> Abandoned:
    return Abandoned({"writer": "sweep", "owner": lost_owner, "attempt": attempt})


def exhausted(attempts: int, attempts_max: int) -> Failed:
    message = (
        f"The process lost its worker {attempts} times, which is its limit (attempts_max={attempts_max}). Look for "
        "what kills the worker: memory, a crash in a C extension, a machine that restarts."
    )
    return Failed(Failure("resource_limit", "attempts_exhausted", message))


def identity(entry: Entry) -> tuple[str, int, int]:
    """What tells a repeated entry (its writer never saw the first answer) from a new one."""
    return (entry.kind.value, entry.ordinal, entry.attempt)
