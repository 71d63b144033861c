"""Ids are text; those minted here sort by time, and those derived from a parent are the same in every run.

A process id is the anchor of exactly-once: a retry must be able to present the same one. A child's id is therefore
derived from its parent's id and the ordinal of the effect that starts it (DESIGN section 4, spec N-19).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NewType

from lash.errors import InvalidName
from lash.limits import ID_CHARS_MAX

if TYPE_CHECKING:
    from uuid import UUID

ProcessId = NewType("ProcessId", str)
WaitKey = NewType("WaitKey", str)
"""What a wait waits for: ``process:<id>`` or ``signal:<name>``."""

RESERVED = ("process.", "signal.")


def mint(prefix: str, now_ms: int, chance: bytes) -> str:
    """A fresh id: ``prefix``-, 12 hex digits of time, then 8 bytes of chance. Later ids sort after earlier ones."""
    return f"{prefix}-{now_ms:012x}{chance.hex()}"


def scope_of(process_id: str, generation: int) -> str:
    """What the keys of effects derive from. The first history of a process goes by its id alone; each later one counts
    its effects from 0 again, and so goes by its number too."""
    return process_id if not generation else f"{process_id}~{generation}"


def child_id(parent: str, ordinal: int) -> ProcessId:
    """The id of the child that effect ``ordinal`` of ``parent`` starts: readable while short, hashed when long."""
    name = f"{parent}.{ordinal}"
    if len(name) <= ID_CHARS_MAX:
        return ProcessId(name)
    return ProcessId("child-" + hashlib.blake2b(name.encode(), digest_size=16).hexdigest())


def effect_key(scope: str, ordinal: int) -> str:
    """The idempotency key of an effect: stable across attempts and crashes."""
    return f"{scope}/{ordinal}"


def derived_uuid(scope: str, counter: int) -> UUID:
    """The ``counter``-th uuid of a scope: a version-4-shaped value that every run of the body sees again."""
    from uuid import UUID  # few need it, and everybody would wait for its import

    digest = hashlib.blake2b(f"uuid:{scope}:{counter}".encode(), digest_size=16).digest()
    return UUID(bytes=digest, version=4)


def derived_random(scope: str, counter: int) -> float:
    """The ``counter``-th random number of a scope, in [0, 1)."""
    digest = hashlib.blake2b(f"random:{scope}:{counter}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def stable_hash(scope: str) -> int:
    """40 bits that depend on the text alone, unlike :func:`hash`."""
    return int.from_bytes(hashlib.blake2b(scope.encode(), digest_size=5).digest(), "big")


def check_name(text: object, what: str) -> str:
    """``text``, known to be a usable id, name, key or tag. Raises ``InvalidName``."""
    if not isinstance(text, str):
        raise InvalidName(f"The {what} must be a string, not {type(text).__name__}.", what=what)
    if not text.strip():
        raise InvalidName(f"The {what} is blank. Give it at least one visible character.", what=what)
    if len(text) > ID_CHARS_MAX:
        raise InvalidName(
            f"The {what} has {len(text)} characters; the limit is {ID_CHARS_MAX}.", what=what, chars=len(text)
        )
    if not text.isprintable():  # which no lone surrogate is
        raise InvalidName(f"The {what} {text!r} has characters that cannot be printed.", what=what)
    return text


def check_event_type(name: object) -> str:
    """A name a producer may emit under. ``process.*`` and ``signal.*`` are lash's own."""
    text = check_name(name, "event type")
    if text.startswith(RESERVED):
        raise InvalidName(
            f"Event type {text!r} is reserved: names beginning with 'process.' or 'signal.' are written by lash "
            "itself. Choose another prefix.",
            what="event type",
        )
    return text
