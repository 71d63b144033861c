"""Every way lash can fail, drawn as one tree and split by whose fault it is.

The rule of this file: an error carries a stable ``code``, says what happened, to which thing, and what to do now, and
keeps the facts as fields. Expected results (a write refused, a row that is busy) are values, never exceptions.

    LashError
    ├── UsageError              the caller's fault: nothing was written
    │   ├── InvalidArguments        arguments that do not fit the signature
    │   ├── InvalidValue            not JSON, too large, too deep, NaN, a lone surrogate
    │   ├── InvalidName             a blank or over-long id, name or key, or a reserved event name
    │   ├── ProcessUnknown          no process has this id
    │   ├── ProcessPruned           the process existed; its history was pruned
    │   ├── ProcessConflict         the id belongs to a process with other arguments
    │   ├── ProcessEnded            the request came after the outcome
    │   ├── EventConflict           the key belongs to another event
    │   ├── NotRegistered           no function has this name (and version)
    │   ├── AlreadyRegistered       two functions under one name and version
    │   ├── NotAuthorised           only the owner of the work may close it
    │   ├── NotInProcess            a context or step used outside its process
    │   ├── NotInStep               I/O, a thread or an executor asked for in a process body
    │   ├── RuntimeNotOpen          the runtime was used before or after ``async with``
    │   ├── BadUrl                  a database URL that names no store
    │   ├── InvalidAgent            an agent, tool or plugin that cannot be
    │   ├── AgentUnknown            no agent of this name is registered
    │   ├── SessionUnknown          no session has this id
    │   ├── SessionDeleted          the session was deleted; an id is used once
    │   ├── SessionConflict         the session of this id is another agent's, or another fork
    │   ├── InputConflict           the key belongs to another input
    │   ├── NodeUnknown             the session has no such node
    │   ├── TurnUnknown             the session has accepted no such input
    │   ├── BadCursor               a cursor that is malformed, or of another turn or session
    │   └── AttachmentMissing       no blob has this reference
    ├── WiringError             the operator's fault: the pieces do not fit together
    │   ├── DurableStoreRequired    a durable engine over a facet that forgets
    │   ├── StoreTooNew             the database was written by a newer lash
    │   ├── StoreNotMigrated        the schema is not there, or old, and may not be changed from here
    │   ├── StoreMoved              the content was moved to another database
    │   ├── StoreInUse              its content cannot be moved while somebody works on it
    │   ├── StoreNotEmpty           nothing can be moved to where work is kept already
    │   ├── NotADatabase            the file is something else
    │   └── ModelUnavailable        no provider for a model: unknown prefix, missing key or extra
    ├── InfrastructureError     nobody's fault: the work stays claimable and is tried again
    │   ├── StoreUnavailable        locked, full, read-only or unreachable
    │   ├── LeaseLost               another worker owns the process now
    │   ├── Diverged                the code asked for something its journal does not hold
    │   ├── VersionMissing          no code for the version this process was started with
    │   └── ProviderError           a model could not be asked, or did not answer whole
    └── NotCompleted            awaited work that ended without a value
        ├── StepFailed              raised inside the body when a step failed for good
        ├── ProcessFailed
        ├── ProcessCancelled
        └── ProcessAbandoned

``Terminal`` and ``ToolFailed`` stand apart: user code raises the one inside a step to stop retrying, the other inside
a tool to tell the model what went wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class LashError(Exception):
    """Base of every error lash raises. ``code`` is stable across releases; ``fields`` holds the facts."""

    code: ClassVar[str] = "lash_error"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields: Mapping[str, object] = fields


class UsageError(LashError):
    """The caller asked for something that cannot be; nothing was written."""

    code = "usage_error"


class InvalidArguments(UsageError):
    code = "invalid_arguments"


class InvalidValue(UsageError):
    code = "invalid_value"


class InvalidName(UsageError):
    code = "invalid_name"


class ProcessUnknown(UsageError):
    code = "process_unknown"


class ProcessPruned(UsageError):
    code = "process_pruned"


class ProcessConflict(UsageError):
    code = "process_conflict"


class ProcessEnded(UsageError):
    code = "process_ended"


class EventConflict(UsageError):
    code = "event_conflict"


class NotRegistered(UsageError):
    code = "not_registered"


class AlreadyRegistered(UsageError):
    code = "already_registered"


class NotAuthorised(UsageError):
    code = "not_authorised"


class NotInProcess(UsageError):
    code = "not_in_process"


class NotInStep(UsageError):
    code = "not_in_step"


class RuntimeNotOpen(UsageError):
    code = "runtime_not_open"


class BadUrl(UsageError):
    code = "bad_url"


class InvalidAgent(UsageError):
    code = "invalid_agent"


class AgentUnknown(UsageError):
    code = "agent_unknown"


class SessionUnknown(UsageError):
    code = "session_unknown"


class SessionDeleted(UsageError):
    code = "session_deleted"


class SessionConflict(UsageError):
    code = "session_conflict"


class InputConflict(UsageError):
    code = "input_conflict"


class NodeUnknown(UsageError):
    code = "node_unknown"


class TurnUnknown(UsageError):
    code = "turn_unknown"


class BadCursor(UsageError):
    code = "bad_cursor"


class AttachmentMissing(UsageError):
    code = "attachment_missing"


class WiringError(LashError):
    """The pieces an operator wired do not fit together; refused before any work runs."""

    code = "wiring_error"


class DurableStoreRequired(WiringError):
    """A durable engine was wired over a facet that forgets (DESIGN section 9)."""

    code = "durable_store_required"

    def __init__(self, facet: str) -> None:
        super().__init__(
            f"durable_store_required:{facet}: the engine is durable but its {facet} is not. "
            f"Wire a durable {facet}, or use engine='inline'.",
            facet=facet,
        )
        self.facet = facet


class StoreTooNew(WiringError):
    code = "store_too_new"


class StoreNotMigrated(WiringError):
    code = "store_not_migrated"


class StoreMoved(WiringError):
    code = "store_moved"


class StoreInUse(WiringError):
    code = "store_in_use"


class StoreNotEmpty(WiringError):
    code = "store_not_empty"


class NotADatabase(WiringError):
    code = "not_a_database"


class ModelUnavailable(WiringError):
    code = "model_unavailable"


class InfrastructureError(LashError):
    """Trouble around the work, never the work's outcome (promise 5): the process stays claimable."""

    code = "infrastructure_error"


class StoreUnavailable(InfrastructureError):
    code = "store_unavailable"


class LeaseLost(InfrastructureError):
    code = "lease_lost"


class VersionMissing(InfrastructureError):
    code = "version_missing"


class ProviderError(InfrastructureError):
    """A model could not be asked, or gave no whole answer. ``kind`` says why, ``retryable`` whether to try again.

    ``kind``: ``transport timeout stream rate_limit overloaded http auth quota validation unsupported context_overflow
    content_filter unknown``. ``retry_after_ms`` is the provider's own wish; ``partial`` the text that had come.
    """

    code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "unknown",
        retryable: bool = False,
        status: int | None = None,
        retry_after_ms: int | None = None,
        partial: str = "",
        raw: object = None,
    ) -> None:
        super().__init__(message, kind=kind, retryable=retryable, status=status)
        self.kind = kind
        self.retryable = retryable
        self.status = status
        self.retry_after_ms = retry_after_ms
        self.partial = partial
        self.raw = raw


class Diverged(InfrastructureError):
    """The body asked for something else than its journal holds. ``fields`` has ``recorded`` and ``requested``."""

    code = "diverged"


class NotCompleted(LashError):
    """Raised by awaiting a process or a step that ended without a value.

    ``failure_class`` is one of :data:`lash.core.outcome.FAILURE_CLASSES`; ``failure_code`` and ``raw`` are the
    body's own where it gave any.
    """

    code = "not_completed"

    def __init__(
        self,
        message: str,
        *,
        failure_class: str = "internal",
        failure_code: str = "",
        raw: object = None,
        process_id: str | None = None,
    ) -> None:
        super().__init__(message, failure_class=failure_class, failure_code=failure_code, process_id=process_id)
        self.failure_class = failure_class
        self.failure_code = failure_code
        self.raw = raw
        self.process_id = process_id


class ProcessFailed(NotCompleted):
    code = "process_failed"


class StepFailed(NotCompleted):
    """A step failed for good. ``failure_code`` is the exception's type name, ``raw`` its recorded details."""

    code = "step_failed"


class ProcessCancelled(NotCompleted):
    code = "process_cancelled"


class ProcessAbandoned(NotCompleted):
    code = "process_abandoned"


class Terminal(Exception):
    """Raise it inside a step to say: do not try again, whatever ``retry`` allows.

    ``raw`` is any JSON value to keep with the failure.
    """

    def __init__(self, message: str, *, code: str = "terminal", raw: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.raw = raw


class ToolFailed(Exception):
    """Raise it inside a tool to say what went wrong, in words for the model.

    ``failure_class`` is one of :data:`lash.core.outcome.FAILURE_CLASSES`; ``raw`` is any JSON value to keep with it.
    """

    def __init__(
        self, message: str, *, code: str = "tool_failed", failure_class: str = "execution", raw: object = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.failure_class = failure_class
        self.raw = raw
