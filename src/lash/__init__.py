"""lash: durable agents and background processes in plain async Python.

Open one :class:`Runtime` on a database URL; whatever is started on it reaches exactly one outcome.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lash.core.event import Event
from lash.core.outcome import Failure, Status
from lash.core.process import ProcessRecord
from lash.core.retry import Retry
from lash.errors import (
    AgentUnknown,
    AlreadyRegistered,
    AttachmentMissing,
    BadCursor,
    BadUrl,
    Diverged,
    DurableStoreRequired,
    EventConflict,
    InfrastructureError,
    InputConflict,
    InvalidAgent,
    InvalidArguments,
    InvalidName,
    InvalidValue,
    LashError,
    LeaseLost,
    ModelUnavailable,
    NodeUnknown,
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
    ProviderError,
    RuntimeNotOpen,
    SessionConflict,
    SessionDeleted,
    SessionUnknown,
    StepFailed,
    StoreTooNew,
    StoreUnavailable,
    Terminal,
    ToolFailed,
    TurnUnknown,
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

if TYPE_CHECKING:
    from lash.abc.plugin import (
        Abort,
        Answer as ToolAnswer,
        Compact,
        Deny,
        Notify,
        Plugin,
        ReplaceArguments,
        Say,
        TurnView,
    )
    from lash.abc.provider import Provider
    from lash.abc.tool import Tool, ToolContext, tool
    from lash.core.message import Media, Message, Text, user
    from lash.core.model import ModelInfo, ModelSettings, Price, Usage
    from lash.core.observe import (
        Committed,
        Gap,
        ModelFinished,
        PluginEvent,
        ReasoningDelta,
        Reset,
        Retrying,
        TextDelta,
        ToolFinished,
        ToolStarted,
        TurnEvent,
    )
    from lash.core.ratelimit import RateLimit
    from lash.core.tool import Fail, Finish, SwitchFrame, ToolOutput
    from lash.core.turn import Finished, Stopped, Switched, TurnLimits
    from lash.runtime.agent import Agent
    from lash.runtime.asking import Answer
    from lash.runtime.contexts import SessionUsage
    from lash.runtime.session import HistoryEntry, Session, SessionInfo
    from lash.runtime.turn import Turn

__version__ = "0.1.0"

LAZY = {
    "lash.abc.plugin": "Abort ToolAnswer=Answer Compact Deny Notify Plugin ReplaceArguments Say TurnView",
    "lash.abc.provider": "Provider",
    "lash.abc.tool": "Tool ToolContext tool",
    "lash.core.message": "Media Message Text user",
    "lash.core.model": "ModelInfo ModelSettings Price Usage",
    "lash.core.observe": "Committed Gap ModelFinished PluginEvent ReasoningDelta Reset Retrying TextDelta "
    "ToolFinished ToolStarted TurnEvent",
    "lash.core.ratelimit": "RateLimit",
    "lash.core.tool": "Fail Finish SwitchFrame ToolOutput",
    "lash.core.turn": "Finished Stopped Switched TurnLimits",
    "lash.runtime.agent": "Agent",
    "lash.runtime.asking": "Answer",
    "lash.runtime.contexts": "SessionUsage",
    "lash.runtime.session": "HistoryEntry Session SessionInfo",
    "lash.runtime.turn": "Turn",
}
"""What agents need, by module: a worker of plain processes starts without it. ``A=B`` is ``B`` under another name."""
PLACES = {
    shown: (module, name or shown)
    for module, names in LAZY.items()
    for shown, _, name in (item.partition("=") for item in names.split())
}

__all__ = [
    "Abort", "Agent", "AgentUnknown", "AlreadyRegistered", "Answer", "AttachmentMissing", "BadCursor", "BadUrl", "Call",
    "Committed", "Compact", "Context", "Deny", "Diverged", "DurableStoreRequired", "Event", "EventConflict", "Fail",
    "Failure", "Finish", "Finished", "Gap", "Handle", "HistoryEntry", "InfrastructureError", "InputConflict",
    "InvalidAgent", "InvalidArguments", "InvalidName", "InvalidValue", "LashError", "LeaseLost", "Media", "Message",
    "ModelFinished", "ModelInfo", "ModelSettings", "ModelUnavailable", "NodeUnknown", "NotADatabase", "NotAuthorised",
    "NotCompleted", "NotInProcess", "NotInStep", "NotRegistered", "Notify", "Plugin", "PluginEvent", "Price", "Process",
    "ProcessAbandoned", "ProcessCancelled", "ProcessConflict", "ProcessEnded", "ProcessFailed", "ProcessPruned",
    "ProcessRecord", "ProcessUnknown", "Provider", "ProviderError", "RateLimit", "ReasoningDelta", "ReplaceArguments",
    "Report", "Reset", "Retry", "Retrying", "Runtime", "RuntimeNotOpen", "Say", "Session", "SessionConflict",
    "SessionDeleted", "SessionInfo", "SessionUnknown", "SessionUsage", "Status", "StepContext", "StepFailed", "Stopped",
    "StoreTooNew", "StoreUnavailable", "SwitchFrame", "Switched", "Terminal", "Text", "TextDelta", "Tool", "ToolAnswer",
    "ToolContext", "ToolFailed", "ToolFinished", "ToolOutput", "ToolStarted", "Turn", "TurnEvent", "TurnLimits",
    "TurnUnknown", "TurnView", "Usage", "UsageError", "VersionMissing", "WiringError", "current", "process", "tool",
    "user",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in PLACES:
        raise AttributeError(f"module 'lash' has no attribute {name!r}")
    module, inner = PLACES[name]
    value: object = getattr(importlib.import_module(module), inner)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
