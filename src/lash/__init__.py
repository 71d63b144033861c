"""lash: durable agents and background processes in plain async Python.

Open one :class:`Runtime` on a database URL; whatever is started on it reaches exactly one outcome.
"""

from __future__ import annotations

from lash.core.event import Event
from lash.core.outcome import Failure, Status
from lash.core.process import ProcessRecord
from lash.core.retry import Retry
from lash.errors import (
    AlreadyRegistered,
    BadUrl,
    Diverged,
    DurableStoreRequired,
    EventConflict,
    InfrastructureError,
    InvalidArguments,
    InvalidName,
    InvalidValue,
    LashError,
    LeaseLost,
    NotADatabase,
    NotAuthorised,
    NotCompleted,
    NotInProcess,
    NotInStep,
    NotRegistered,
    ProcessAbandoned,
    ProcessCancelled,
    ProcessConflict,
    ProcessEnded,
    ProcessFailed,
    ProcessPruned,
    ProcessUnknown,
    RuntimeNotOpen,
    StepFailed,
    StoreTooNew,
    StoreUnavailable,
    Terminal,
    UsageError,
    VersionMissing,
    WiringError,
)  # fmt: skip
from lash.runtime.context import Context
from lash.runtime.handle import Handle
from lash.runtime.registry import Call, Process, process
from lash.runtime.report import Report
from lash.runtime.steps import StepContext, current
from lash.wiring import Runtime

__version__ = "0.1.0"

__all__ = [
    "AlreadyRegistered", "BadUrl", "Call", "Context", "Diverged", "DurableStoreRequired", "Event", "EventConflict",
    "Failure", "Handle", "InfrastructureError", "InvalidArguments", "InvalidName", "InvalidValue", "LashError",
    "LeaseLost", "NotADatabase", "NotAuthorised", "NotCompleted", "NotInProcess", "NotInStep", "NotRegistered",
    "Process", "ProcessAbandoned", "ProcessCancelled", "ProcessConflict", "ProcessEnded", "ProcessFailed",
    "ProcessPruned", "ProcessRecord", "ProcessUnknown", "Report", "Retry", "Runtime", "RuntimeNotOpen", "Status",
    "StepContext", "StepFailed", "StoreTooNew", "StoreUnavailable", "Terminal", "UsageError", "VersionMissing",
    "WiringError", "current", "process",
]  # fmt: skip
