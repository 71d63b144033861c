"""From how a body's main task ended to the one outcome of its process."""

from __future__ import annotations

from typing import cast

from lash.core.outcome import Cancelled, Completed, Failed, Failure, Outcome, failure_of
from lash.limits import ACTIVATION_CALLBACKS_MAX
from lash.runtime.bodyrun import BodyRun
from lash.runtime.context import ContinueAsNew
from lash.runtime.shapes import Shape


class ProcessTimeout(Exception):
    """The process ran past its ``timeout``."""


def ending_of(run: BodyRun, shape: Shape) -> Outcome | ContinueAsNew:
    """What the body's end means. A body that finishes first wins over a cancel request."""
    main = run.main
    assert main is not None
    if run.loop.never_blocks:
        message = f"The body ran {ACTIVATION_CALLBACKS_MAX} callbacks without waiting for anything recorded."
        return Failed(Failure("resource_limit", "body_never_blocks", message))
    if main.cancelled():
        if run.cancelled_ms is not None:
            return Cancelled(run.cancel_reason)
        return Failed(Failure("execution", "cancelled_itself", "The body raised CancelledError without a request."))
    error = main.exception()
    if (onwards := going_on(error)) is not None:
        return onwards if run.cancelled_ms is None else Cancelled(run.cancel_reason)  # it cannot shed its cancel so
    if isinstance(error, ProcessTimeout):
        return Failed(Failure("timeout", "process_timeout", str(error)))
    if error is not None:
        return Failed(failure_of(error))
    try:
        return Completed(shape.encode(main.result(), "result of the process"))
    except Exception as unusable:  # noqa: BLE001  # InvalidValue, or whatever a serializer of the user's raises
        return Failed(failure_of(unusable))


def going_on(error: BaseException | None) -> ContinueAsNew | None:
    """The wish to go on as new, also from within task groups that had no other error to tell."""
    while isinstance(error, BaseExceptionGroup):
        several = cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = several[0] if len(several) == 1 else None
    return error if isinstance(error, ContinueAsNew) else None
