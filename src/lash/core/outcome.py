"""How work ended: exactly one of completed, failed, cancelled, abandoned, as a value that can be stored.

An outcome is one JSON object. ``status`` is its tag; a completed one has ``value``, a failed one ``failure``, the
others ``message`` (and ``evidence`` where a third party closed it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from lash.core import codec
from lash.errors import LashError, NotCompleted, ProviderError, Terminal, ToolFailed
from lash.limits import FAILURE_MESSAGE_CHARS_MAX, ID_CHARS_MAX, RAW_BYTES_MAX, SHOWN_CHARS_MAX

FAILURE_CLASSES: Final = (
    "invalid_request",
    "unavailable",
    "permission_denied",
    "timeout",
    "execution",
    "external",
    "resource_limit",
    "internal",
)


class Status(str, Enum):
    """Where a process stands. All but ``running`` are final and absorbing."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"

    def __str__(self) -> str:
        return self.value

    @property
    def final(self) -> bool:
        return self is not Status.RUNNING


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed. ``failure_class`` is one of ``FAILURE_CLASSES``; ``code`` is short and stable; ``raw`` is
    any JSON the producer kept."""

    failure_class: str
    code: str
    message: str
    raw: object = None

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {"class": self.failure_class, "code": self.code, "message": self.message}
        if self.raw is not None:
            document["raw"] = self.raw
        return document

    @staticmethod
    def of_json(document: object) -> Failure:
        fields = codec.as_object(document)
        return Failure(
            str(fields.get("class", "internal")),
            str(fields.get("code", "")),
            str(fields.get("message", "")),
            fields.get("raw"),
        )


@dataclass(frozen=True, slots=True)
class Completed:
    value: bytes
    """The value as JSON bytes, decoded where its type is known."""
    status = Status.COMPLETED


@dataclass(frozen=True, slots=True)
class Failed:
    failure: Failure
    status = Status.FAILED


@dataclass(frozen=True, slots=True)
class Cancelled:
    message: str
    status = Status.CANCELLED


@dataclass(frozen=True, slots=True)
class Abandoned:
    evidence: dict[str, object]
    """Who closed it and why: ``writer`` (``sweep``, ``owner_drain`` or ``owner_trouble``), ``owner``, ``attempt``, and
    the ``reason`` of the trouble."""
    status = Status.ABANDONED


Outcome: TypeAlias = Completed | Failed | Cancelled | Abandoned


def outcome_payload(outcome: Outcome) -> bytes:
    """The payload of the terminal event. A completed value is spliced in as it stands, not encoded again."""
    match outcome:
        case Completed(value):
            return b'{"value":' + value + b"}"
        case Failed(failure):
            return codec.encode({"failure": failure.as_json()}, "failure")
        case Cancelled(message):
            return codec.encode({"message": message}, "message")
        case Abandoned(evidence):
            return codec.encode({"evidence": evidence}, "evidence")


def outcome_of(status: Status, payload: bytes) -> Outcome:
    """The outcome told by a terminal event of ``status`` with ``payload``."""
    if status is Status.COMPLETED:
        return Completed(payload[len(b'{"value":') : -1])
    document = codec.decode_object(payload)
    if status is Status.FAILED:
        return Failed(Failure.of_json(document.get("failure")))
    if status is Status.CANCELLED:
        return Cancelled(str(document.get("message", "")))
    return Abandoned(codec.as_object(document.get("evidence")))


def failure_of(error: BaseException, code: str | None = None) -> Failure:
    """What is kept of an exception. Its text is cut at ``FAILURE_MESSAGE_CHARS_MAX`` and made encodable."""
    message = text_of(error, str)[:FAILURE_MESSAGE_CHARS_MAX] or word(type(error).__name__)
    if isinstance(error, NotCompleted):
        kind, name = word(error.failure_class), word(error.failure_code or error.code)
        return Failure(kind, name, message, raw_or_none(error.raw))
    if isinstance(error, Terminal):
        return Failure("execution", word(error.code), message, raw_or_none(error.raw))
    if isinstance(error, ToolFailed):
        return Failure(word(error.failure_class), word(error.code), message, raw_or_none(error.raw))
    if isinstance(error, ProviderError):
        return Failure("unavailable", word(error.kind), message, raw_or_none(error.raw))
    if isinstance(error, TimeoutError):
        return Failure("timeout", code or "timeout", message)
    if isinstance(error, LashError):
        return Failure("execution", error.code, message)
    return Failure("execution", code or word(type(error).__name__), message)


def text_of(value: object, show: Callable[[object], str]) -> str:
    """``value`` shown, encodable, and empty where showing it fails: a failure must never fail to be recorded."""
    try:
        return codec.safe_text(show(value))
    except Exception:  # noqa: BLE001  # a user's own __str__ or __repr__
        return ""


def line_of(value: object) -> str:
    """``value`` shown in one line of an error message."""
    text = " ".join((text_of(value, repr) or type(value).__name__).split())
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def word(value: object) -> str:
    """A class or code as users give them, fit to be stored."""
    return text_of(value, str)[:ID_CHARS_MAX]


def raw_or_none(raw: object) -> object:
    """``raw`` as plain JSON, or its printed form where it has none or is too large to be kept beside a message."""
    if raw is None:
        return None
    try:
        data = codec.encode(raw, "raw")
    except LashError:
        return text_of(raw, repr)[:FAILURE_MESSAGE_CHARS_MAX]
    return codec.decode(data) if len(data) <= RAW_BYTES_MAX else text_of(raw, repr)[:FAILURE_MESSAGE_CHARS_MAX]
