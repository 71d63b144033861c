"""What an exit code says, the same for every command and every release.

    0    done, and what was asked about is well
    1    done, but what was asked about is not: a process failed, a check or the demo found something
    2    wrong use or bad input: an unknown id or name, arguments that do not fit, a target that cannot be loaded, a
         model that nobody provides, or whose key or package is not there
    3    infrastructure: the store is unavailable, no database, moved away, in use, or written by a newer lash
    70   a defect of lash itself; the traceback is on stderr
    130  interrupted (Ctrl-C)
    141  whoever read the output went away

Scripts may rely on these; the words on stderr are for people.
"""

from __future__ import annotations

from typing import Final

from lash.errors import (
    DurableStoreRequired,
    InfrastructureError,
    LashError,
    ModelUnavailable,
    NotCompleted,
    WiringError,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INFRASTRUCTURE: Final = 3
DEFECT: Final = 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


def exit_code_of(error: LashError) -> int:
    """The exit code an error ends a command with."""
    if isinstance(error, NotCompleted):
        return FAILED
    if isinstance(error, (DurableStoreRequired, ModelUnavailable)):
        return USAGE
    if isinstance(error, (InfrastructureError, WiringError)):
        return INFRASTRUCTURE
    return USAGE


def error_document(error: LashError) -> dict[str, object]:
    """What ``--json`` prints for an error: ``{"error": {"code", "message", …the error's own fields}}``."""
    fields = {name: value for name, value in error.fields.items() if is_plain(value)}
    return {"error": {**fields, "code": error.code, "message": error.message}}


def is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
