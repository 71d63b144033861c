"""One tool call is one recorded step, from the model's arguments to what the model reads: validated, inspected by
plugins, performed, inspected again, shown.

Whatever goes wrong in it is a failed result. Decisions fold monotonely: a denial stands whatever comes after it, and
arguments that were replaced are shown once to the plugins that had seen the former ones. A call that may happen only
once is preceded by a recorded intent: whoever finds the intent of a lost lease does not call, and answers ``unknown``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from lash.abc.plugin import Abort, Answer, Deny, Notify, Plugin, ReplaceArguments, Say
from lash.abc.tool import AnyTool, ToolContext
from lash.core import codec
from lash.core.attachment import named
from lash.core.effect import Entry
from lash.core.ids import child_id
from lash.core.message import Message, Text, ToolCall, part_json
from lash.core.outcome import Failure, failure_of, line_of, text_of
from lash.core.process import ProcessSpec
from lash.core.retry import NO_RETRY
from lash.core.tool import Finish, ToolOutput, failed
from lash.errors import InvalidValue, LeaseLost, StoreUnavailable
from lash.limits import RESULTS_BYTES_MAX
from lash.runtime.agents import Running
from lash.runtime.handle import Handle
from lash.runtime.hooks import PluginFailed, Scene, asked, listed, said_by
from lash.runtime.shapes import short
from lash.runtime.steps import StepContext, current

JSON_BYTES_OF_CHAR_MAX: Final = 6
log = logging.getLogger("lash.tools")
UNKNOWN: Final = failed(
    Failure(
        "unavailable",
        "unknown",
        "The worker was lost during this call. Whether it was carried out is not known, and it is not made again.",
    )
)


@dataclass(slots=True, eq=False)
class ToolJob:
    """What one call needs. ``tool`` is None for a name the turn does not have."""

    tool: AnyTool | None
    call: ToolCall
    scene: Scene
    names: Sequence[str]
    """Of the tools there are, for the message when there is none of this name."""
    running: Running
    owner: ProcessSpec
    """Of the session: what the tool starts belongs to it."""
    token: Callable[[], int]
    """Of the lease as it is now."""
    row: int
    """Of the session."""
    intent: int | None = None
    """Of the lease under which the intent was recorded."""


async def perform_tool(job: ToolJob) -> object:
    """The step: the output as JSON. Raises only what is to be tried again."""
    if job.intent is not None and job.intent != job.token():
        return UNKNOWN.as_json()
    return await kept_output(job, await run_tool(job, lambda arguments: invoke(job, arguments)))


async def kept_output(job: ToolJob, output: ToolOutput) -> object:
    """The output as JSON, once the session speaks of its attachments. Where one is not there, the call has failed."""
    if not (media := output.media):
        return output.as_json()
    try:
        missing = await job.running.blobs.keep([item.ref for item in media], job.row)
        what = ", ".join(named(item) for item in media if item.ref in missing)
        code, why = "attachment_missing", f"is not in the store: {what}. Tools store attachments with ctx.put(...)"
    except StoreUnavailable as error:
        missing, code, why = [""], error.code, f"could not be looked for: {error.message}"
    if not missing:
        return output.as_json()
    message = f"The tool was carried out, but an attachment of its result {why}"
    return failed(Failure("execution", code, message)).as_json()


def output_of(entry: Entry) -> ToolOutput:
    """What the step recorded."""
    plain = codec.decode(entry.payload)
    return failed(Failure.of_json(plain)) if entry.failed else ToolOutput.of_json(plain)


async def run_tool(job: ToolJob, perform: Callable[[dict[str, Any]], Any]) -> ToolOutput:
    """The call with everything around it; ``perform`` is the tool itself."""
    tool = job.tool
    if tool is None:
        known = ", ".join(sorted(job.names)) or "none"
        message = f"There is no tool named {job.call.name!r}. Tools: {known}."
        return failed(Failure("unavailable", "tool_unavailable", message))
    inspected = Inspected(job)
    try:
        arguments = tool.parse(job.call.arguments)
        arguments = await inspected.before(arguments)
    except Exception as error:  # noqa: BLE001  # ToolFailed of the arguments, or a hook's own error
        inspected.output = failed(failure_of(error))
        arguments = {}
    ran = inspected.output is None
    if inspected.output is None:
        inspected.output = await performed(job, tool, perform, arguments)
    output = finishing(job, await inspected.after())
    output = replace(output, say=output.say + tuple(inspected.say))
    try:
        codec.encode(output.as_json(), "result")
    except Exception as error:  # noqa: BLE001  # InvalidValue, or whatever a serializer of the user's raises
        return unkept(error, ran)
    return output


def unkept(error: Exception, ran: bool = True) -> ToolOutput:
    """What the model is told of a result that cannot be recorded."""
    problem = error.fields.get("problem") if isinstance(error, InvalidValue) else None
    why = f"The result {problem}." if problem else text_of(error, str)
    told = f"The tool ran, and what it did stands, but its result cannot be kept. {why}" if ran else why
    return failed(Failure("execution", "result_not_kept", told))


def beside(results: Sequence[ToolOutput | None], output: ToolOutput) -> ToolOutput:
    """``output`` in the one message it becomes with those that came before it, or word that it has no room there."""
    contents = [result.content for result in (*results, output) if result is not None]
    chars = sum(len(part.text) for content in contents for part in content if isinstance(part, Text))
    if chars * JSON_BYTES_OF_CHAR_MAX < RESULTS_BYTES_MAX:
        return output
    total = sum(len(codec.encode([part_json(part) for part in content])) for content in contents)
    if total <= RESULTS_BYTES_MAX:
        return output
    advice = "Call fewer tools at once, or ask for less."
    problem = f"with those beside it is {total} bytes of JSON; the limit of all of them is {RESULTS_BYTES_MAX}"
    return unkept(codec.refusal("result", problem, advice))


def finishing(job: ToolJob, output: ToolOutput) -> ToolOutput:
    """``output``, or why the turn cannot be finished with its value: it must be of the agent's output type."""
    agent = job.scene.agent
    if not isinstance(output.control, Finish) or not agent.is_structured:
        return output
    try:
        agent.shape.revive(output.control.value)
    except Exception as error:  # noqa: BLE001  # a validator of the user's may raise anything
        problem = (
            f"The turn cannot be finished with {line_of(output.control.value)}, which does not fit the output type"
        )
        return failed(
            Failure("invalid_request", "invalid_output", f"{problem}: {short(error)}. Finish it with what fits.")
        )
    return output


async def performed(
    job: ToolJob, tool: AnyTool, perform: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]
) -> ToolOutput:
    try:
        async with asyncio.timeout(None if tool.timeout_ms is None else tool.timeout_ms / 1_000):
            value = await perform(arguments)
    except (asyncio.CancelledError, LeaseLost):
        raise
    except Exception as error:
        retry = tool.retry or NO_RETRY
        if not tool.in_body and retry.pause_ms(current().attempt, error) is not None:
            raise  # the journal counts the attempts and sees to the pause
        if isinstance(error, TimeoutError) and tool.timeout_ms is not None:
            return failed(Failure("timeout", "timeout", f"The tool did not answer within {tool.timeout_ms} ms."))
        log.info("tool %s failed: %r", tool.name, error)
        return failed(failure_of(error))
    try:
        return tool.output_of(value)
    except Exception as error:  # noqa: BLE001  # as where the whole is encoded
        return unkept(error)


async def invoke(job: ToolJob, arguments: dict[str, Any]) -> object:
    """Call the function: async on the worker's loop, sync in a thread."""
    tool = job.tool
    assert tool is not None
    context = ToolContext(CallPort(job, current()))
    if tool.is_async:
        return await tool.invoke(context, arguments)
    variables = copy_context()
    loop = asyncio.get_running_loop()
    call = partial(tool.invoke, context, arguments)
    value = await loop.run_in_executor(job.running.threads(), variables.run, call)
    return await value if inspect.isawaitable(value) else value


class CallPort:
    """What a context says of one attempt of one call."""

    def __init__(self, job: ToolJob, step: StepContext) -> None:
        scene = job.scene
        self.session_id = scene.session_id
        self.turn = scene.turn
        self.call_id = job.call.id
        self.idempotency_key = step.idempotency_key
        self.attempt = step.attempt
        self.deps = scene.deps
        self.app = job.running.app
        self._job = job
        self._step = step
        self._started = 0

    @property
    def cancelled(self) -> bool:
        return self._step.cancelled

    async def start(
        self, fn: object, args: tuple[object, ...], kwargs: dict[str, object], options: dict[str, Any]
    ) -> Handle[Any]:
        self._started += 1
        given = options.pop("id")
        process_id = child_id(self.idempotency_key, self._started) if given is None else given
        return await self._job.running.start_owned(self._job.owner, process_id, (fn, args, kwargs), options)

    async def put(self, data: bytes) -> str:
        return await self._job.running.blobs.put(data)

    async def get(self, ref: str) -> bytes | None:
        return await self._job.running.blobs.get(ref)

    def notify(self, name: str, payload: object) -> None:
        if self._job.scene.live is not None:
            self._job.scene.live.note(self._job.call.name, name, payload)


class Inspected:
    """The plugins' part in one call. ``output`` is set once it is decided."""

    def __init__(self, job: ToolJob) -> None:
        self.job = job
        self.say: list[Message] = []
        self.output: ToolOutput | None = None
        self.denied: Failure | None = None

    async def before(self, arguments: dict[str, Any]) -> dict[str, Any]:
        plugins = self.job.scene.agent.hooked.get("before_tool", ())
        replaced: int | None = None
        for place, plugin in enumerate(plugins):
            changed = await self._before(plugin, arguments)
            if changed is None:
                continue
            if replaced is not None:
                raise ValueError(f"plugins {plugins[replaced].id!r} and {plugin.id!r} both replace its arguments")
            replaced, arguments = place, self._parsed(changed)
            for earlier in plugins[:place]:
                if await self._before(earlier, arguments) is not None:
                    raise ValueError(f"plugins {earlier.id!r} and {plugin.id!r} both replace its arguments")
        if self.denied is not None:
            self.output = failed(self.denied)
        return arguments

    def _parsed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self.job.tool is not None
        return self.job.tool.parse_object(arguments)

    async def _before(self, plugin: Plugin, arguments: dict[str, Any]) -> dict[str, Any] | None:
        view = self.job.scene.view_of(plugin)
        changed: dict[str, Any] | None = None
        for decision in listed(await asked(plugin, "before_tool", view, self.job.call, dict(arguments))):
            if isinstance(decision, ReplaceArguments):
                changed = decision.arguments
            else:
                self._note(plugin, "before_tool", decision)
        return changed

    async def after(self) -> ToolOutput:
        scene, call = self.job.scene, self.job.call
        output = self.output
        assert output is not None
        try:
            for plugin in scene.agent.hooked.get("after_tool", ()):
                view = scene.view_of(plugin)
                for decision in listed(await asked(plugin, "after_tool", view, call, output)):
                    self._note(plugin, "after_tool", decision)
                output = self.output or output
            for plugin in scene.agent.hooked.get("show_result", ()):
                view = scene.view_of(plugin)
                shown: object = await asked(plugin, "show_result", view, call, output)
                if not isinstance(shown or output, ToolOutput):
                    raise PluginFailed(plugin, "show_result", f"it returned {line_of(shown)}, which is no ToolOutput")
                output = replace(output, content=shown.content) if isinstance(shown, ToolOutput) else output
        except Exception as error:  # noqa: BLE001  # a hook's own error fails the call, not the turn
            return failed(failure_of(error))
        return output if self.denied is None else failed(self.denied)

    def _note(self, plugin: Plugin, hook: str, decision: object) -> None:
        match decision:
            case Abort(code, message) | Deny(code, message):
                self.denied = self.denied or Failure("permission_denied", code, message)
            case Answer(output):
                self.output = output
            case Say():
                self.say += said_by(plugin, decision)
            case Notify(name, payload):
                if self.job.scene.live is not None:
                    self.job.scene.live.note(plugin.id, name, payload)
            case _:
                raise PluginFailed(plugin, hook, f"it decided {line_of(decision)}, which means nothing there")
