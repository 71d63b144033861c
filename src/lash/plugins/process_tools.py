"""A model may start background processes that the operator has named, and look after those its session has started.

Ids are derived from the call, so a call that is made again after a crash starts nothing twice. What was started ends
with its session; and what another session has started is not there, whatever id the model gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from lash.abc.plugin import Plugin
from lash.abc.tool import AnyTool, BodyContext, ToolContext, tool
from lash.core.session import process_id_of
from lash.errors import InvalidAgent, LashError, NotCompleted, ToolFailed, UsageError
from lash.limits import PROCESS_WAIT_S_MAX

PAGE = 50
OPTIONS = frozenset({"self", "fn", "id", "delay", "tags", "priority", "detached"})
"""Words of ``ctx.start``, which are the operator's: a model gives arguments and nothing else."""


class ProcessTools(Plugin):
    """``names``: the registered processes a model may start. Its tools: ``start_process``, ``list_processes``,
    ``wait_process``, ``signal_process``, ``cancel_process``."""

    id: ClassVar[str] = "process_tools"

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str) or not names or not all(isinstance(name, str) and name for name in names):
            raise InvalidAgent(f"ProcessTools takes a list of the names a model may start, not {names!r}.")
        self.names = tuple(names)
        self._tools = tools_of(self.names)

    def tools(self) -> Sequence[AnyTool]:
        return self._tools


def tools_of(names: Sequence[str]) -> tuple[AnyTool, ...]:
    @tool(description=f"Start a background process. Processes: {', '.join(names)}. Returns its id.")
    async def start_process(ctx: ToolContext, name: str, arguments: dict[str, Any] | None = None) -> str:
        if name not in names:
            raise ToolFailed(f"There is no process named {name!r}. Processes: {', '.join(names)}.", code="unknown")
        if taken := sorted(OPTIONS & set(arguments or {})):
            message = f"The process cannot be given {', '.join(taken)} from here."
            raise ToolFailed(message, code="invalid_arguments", failure_class="invalid_request")
        process_id = f"{name}-{ctx.idempotency_key}"
        try:
            await ctx.start(name, id=process_id, tags=[tag_of(ctx)], **(arguments or {}))
        except LashError as error:
            raise ToolFailed(error.message, code=error.code, failure_class="invalid_request") from None
        return process_id

    @tool(effect="pure")
    async def list_processes(ctx: ToolContext) -> list[dict[str, str]]:
        """List the background processes this conversation has started, newest first."""
        rows = await ctx.app.processes(tag=tag_of(ctx), limit=PAGE)
        return [{"id": row.record.id, "name": row.record.spec.name, "status": row.record.status.value} for row in rows]

    @tool
    async def wait_process(ctx: BodyContext, process_id: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for a background process, for some seconds, and tell its result.

        Args:
            process_id: What start_process returned.
            seconds: How long to wait, at most 3600.
        """
        app, tag = ctx.app, ctx.process_id

        async def is_own() -> bool:
            return await found(app, tag, process_id) is not None

        if not await ctx.step(is_own):
            raise not_own(process_id)
        try:
            value = await ctx.handle(process_id).result(min(max(seconds, 0), PROCESS_WAIT_S_MAX))
            return {"status": "completed", "value": value}
        except TimeoutError:
            return {"status": "running"}
        except NotCompleted as error:
            return {"status": error.code.removeprefix("process_"), "message": error.message}

    @tool
    async def signal_process(ctx: ToolContext, process_id: str, name: str, payload: Any = None) -> str:
        """Send a background process a signal it waits for."""
        handle = await own(ctx, process_id)
        await acted(handle.signal(name, payload, key=ctx.idempotency_key))
        return "sent"

    @tool
    async def cancel_process(ctx: ToolContext, process_id: str) -> str:
        """Ask a background process to end."""
        handle = await own(ctx, process_id)
        await acted(handle.cancel("a model asked for it"))
        return "asked to end"

    return (start_process, list_processes, wait_process, signal_process, cancel_process)


def tag_of(ctx: ToolContext) -> str:
    """Of what a session has started: the process id of the session."""
    return process_id_of(ctx.session_id)


async def own(ctx: ToolContext, process_id: str) -> Any:
    """The handle of a process this session has started. Raises ``ToolFailed``."""
    handle = await found(ctx.app, tag_of(ctx), process_id)
    if handle is None:
        raise not_own(process_id)
    return handle


async def found(app: Any, tag: str, process_id: str) -> Any:
    """Its handle; None where it has another tag, or there is no such process."""
    handle = app.handle(process_id)
    try:
        record = await handle.record()
    except UsageError:
        return None
    return handle if tag in record.spec.tags else None


def not_own(process_id: str) -> ToolFailed:
    return ToolFailed(f"This conversation has started no process {process_id!r}; see list_processes.", code="unknown")


async def acted(request: Any) -> None:
    try:
        await request
    except LashError as error:
        raise ToolFailed(error.message, code=error.code, failure_class="invalid_request") from None
