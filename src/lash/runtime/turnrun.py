"""The shell of a turn: it performs what :func:`lash.core.turn.step` asks for, on the deterministic body loop.

Every effect is a recorded request of the session's process, so a turn that runs again is told the same replies in the
same order and comes to the same commit. Nothing here decides what a reply means, and nothing is written but through
those requests and the one commit at the end, which brings the whole turn or nothing of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from lash.abc.sessions import Commit
from lash.abc.tool import AnyTool
from lash.core import codec
from lash.core.effect import Entry, EntryKind
from lash.core.lease import Fence
from lash.core.message import Message, Text, encode_message, media_of, part_of, unsound
from lash.core.model import NO_USAGE, ModelRequest
from lash.core.observe import Picture
from lash.core.outcome import Failure
from lash.core.retry import NO_RETRY
from lash.core.session import ItemKind, NewItem, NewNode, session_id_of
from lash.core.tool import SwitchFrame, ToolOutput
from lash.core.turn import (
    AtBoundary,
    CallModel,
    CallTool,
    Finished,
    Halted,
    ModelFailed,
    ModelReplied,
    Outcome,
    Passed,
    Phase,
    StopCause,
    Stopped,
    Switched,
    ToolReplied,
    begin,
    end,
    outstanding,
    step,
)
from lash.limits import TOOL_CANCEL_GRACE_MS, TOOLS_AT_ONCE_MAX
from lash.runtime import hooks
from lash.runtime.agents import Running
from lash.runtime.bodyport import BodyPort
from lash.runtime.bodyrun import BodyRun
from lash.runtime.context import Context
from lash.runtime.contexts import SessionStart, SessionUsage
from lash.runtime.frames import follow_key
from lash.runtime.live import LiveTurn
from lash.runtime.modelcall import ModelCall, ModelJob, model_retry, perform_model, replied
from lash.runtime.receipts import Answered, Receipt, text_place
from lash.runtime.spending import Spending
from lash.runtime.steps import StepCall
from lash.runtime.toolcall import ToolJob, beside, kept_output, output_of, perform_tool, run_tool

SUMMARISE = (
    "Write a summary of this conversation so far, for yourself: you will go on with it and nothing else. Keep every "
    "fact, decision, name, number, file and open question that may still matter, and what was to be done next. {focus}"
)
SUMMARY = "Summary of the conversation before this point:\n\n"


FIRST_TAKE: Final = Entry(EntryKind.COMMAND, 0, "take 0")
"""The entry with which every turn begins: what it asks for first."""


@dataclass(frozen=True, slots=True)
class Taken:
    number: int
    kind: ItemKind
    payload: dict[str, object]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """A turn that wants to be committed."""

    turn: int
    start: SessionStart
    items: tuple[int, ...]
    said: tuple[Message, ...]
    nodes: tuple[NewNode, ...]
    refs: tuple[str, ...]
    """Of the attachments that the nodes speak of."""
    receipt: Receipt
    outcome: Outcome
    usage: SessionUsage
    follow: tuple[NewItem, ...]
    scene: hooks.Scene
    live: LiveTurn

    def commit(self, fence: Fence) -> Commit:
        receipt = self.receipt.encode()
        digest = hashlib.blake2b(receipt, digest_size=16)
        for node in self.nodes:
            digest.update(f"{node.kind}:{node.name}:{len(node.body)}:".encode())
            digest.update(node.body)
        return Commit(
            fence, self.turn, digest.hexdigest(), self.start.head, self.nodes, receipt, self.usage.encode(), self.refs,
            self.follow,
        )  # fmt: skip


class TurnRun:
    """One run of one turn of a session."""

    def __init__(self, run: BodyRun, port: BodyPort, running: Running, start: SessionStart) -> None:
        self.run = run
        self.port = port
        self.running = running
        self.agent = running.agent
        self.start = start
        self.session_id = session_id_of(run.process_id)
        self.live = LiveTurn(Picture(0))
        self.state = begin((), self.agent.limits)
        self.turn = 0
        self.items: list[int] = []
        self.own: tuple[Message, ...] = ()
        """What its items say."""
        self.states: hooks.States = dict(start.states)
        self.context: tuple[Message, ...] = start.messages
        self.viewed = 0
        """How many of the turn's own messages stand in the context already, because a view was made of them."""
        self.instructions = self.agent.instructions if isinstance(self.agent.instructions, str) else ""
        self.tools: dict[str, AnyTool] = {}
        self.answered: list[Answered] = []
        self.later: list[Message] = []
        """Said by plugins, for the next boundary."""
        self.follow: list[NewItem] = []
        self.spending = port.spending = Spending()
        self.frame: SwitchFrame | None = None
        """A new frame to begin at the end, although the outcome is another."""

    # From input to commit ----------------------------------------------------------------------------------------

    async def body(self) -> TurnEnd | None:
        """The session's body: one turn; None when nothing is left to do."""
        taken = await self.take(boundary=False)
        if not taken:
            return None
        self.turn = taken[0].number
        self.live.picture.turn = self.turn
        self.running.watch(self.run, self.live)
        if taken[0].kind == "command":
            return await self.guarded(self.compact(taken[0].payload))
        self.own = tuple(message_of_item(item, steered=False) for item in taken)
        self.state = begin(self.own, self.agent.limits)
        return await self.guarded(self.converse())

    async def guarded(self, work: Any) -> TurnEnd:
        """``work``, and whatever ends it before its time as the turn's own end."""
        try:
            await work
        except asyncio.CancelledError:
            if self.run.cancelled_ms is None:
                raise  # the run is being closed
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            reason = self.run.cancel_reason
            self.halt("cancelled", "cancelled", f"The turn was cancelled: {reason}." if reason else "It was cancelled.")
        else:
            if "after_turn" in self.agent.hooked and self.state.outcome is not None:
                decided = await self.stage("after_turn", self.state.outcome)
                if decided is not None and decided.compact is not None:
                    command = codec.encode({"command": "compact", "focus": decided.compact})
                    self.follow.append(NewItem("command", "next_turn", command, f"lash:compact:{self.turn}"))
        return self.ended()

    async def converse(self) -> None:
        try:
            self.tools = {tool.name: tool for tool in hooks.tools_of(self.agent)}
        except Exception as error:  # noqa: BLE001  # a plugin's own error, or two tools under one name
            self.halt("error", "tools_unusable", str(error))
            return
        if self.running.prepares:
            decided = await self.stage("prepare")
            if decided is None:
                return
            self.instructions = decided.instructions or ""
            for name in decided.hidden:
                self.tools.pop(name, None)
            self.state = replace(self.state, said=self.state.said + decided.say)
            if decided.view is not None:
                self.context, self.viewed = decided.view, len(self.state.said)
        while self.state.phase is not Phase.DONE:
            match self.state.phase:
                case Phase.ASKING:
                    await self.ask()
                case Phase.WORKING:
                    await self.work()
                case _:
                    await self.pass_boundary()

    def move(self, reply: ModelReplied | ModelFailed | ToolReplied | Passed | Halted) -> None:
        self.state = step(self.running.mode, self.state, reply).state

    def halt(self, reason: StopCause, code: str, message: str) -> None:
        if self.state.phase is not Phase.DONE:
            self.move(Halted(reason, code, message))

    async def stage(self, name: hooks.Stage, *told: object) -> hooks.Decided | None:
        """One stage of hooks as a recorded step; None when it ended the turn."""
        scene = self.scene()
        entry = await self.step(f"{name} {self.state.model_calls}", "", hooks.stage, (scene, name, *told))
        if entry.failed:
            failure = Failure.of_json(codec.decode(entry.payload))
            reason: StopCause = "error" if failure.code == hooks.INSTRUCTIONS_FAILED else "plugin"
            self.halt(reason, failure.code, failure.message)
            return None
        decided = hooks.Decided().of_json(codec.decode(entry.payload), scene.messages)
        self.states.update(decided.states)
        if decided.abort is not None:
            self.later += decided.say
            self.halt("plugin", *decided.abort)
            return None
        return decided

    def step(self, name: str, witness: str, function: Callable[..., Any], args: tuple[object, ...], retry: Any = None
             ) -> Any:  # fmt: skip
        call = StepCall(function, args, {}, retry or NO_RETRY, None, self.run.process_id)
        return self.port.step(name, witness, call)

    def scene(self) -> hooks.Scene:
        return hooks.Scene(
            self.agent,
            self.session_id,
            self.turn,
            self.messages(),
            self.states,
            self.running.deps,
            self.running.info.context_tokens,
            self.state.last_input_tokens or self.start.usage.last_input_tokens,
            self.live,
        )

    def messages(self) -> tuple[Message, ...]:
        """What the model is sent."""
        return (*self.context, *self.state.said[self.viewed :])

    # Items -------------------------------------------------------------------------------------------------------

    async def take(self, boundary: bool) -> list[Taken]:
        name = f"take {self.state.boundaries + 1}" if boundary else FIRST_TAKE.name
        entry: Entry = await self.run.take(name, self.turn, boundary)
        found = [
            Taken(number, kind, payload)
            for number, kind, payload in cast(
                "list[tuple[int, ItemKind, dict[str, object]]]", codec.decode(entry.payload)
            )
        ]
        self.items += [item.number for item in found]
        return found

    async def pass_boundary(self) -> None:
        (effect,) = outstanding(self.state)
        assert isinstance(effect, AtBoundary)
        added = [message_of_item(item, steered=True) for item in await self.take(boundary=True)]
        self.own += tuple(added)
        if "at_boundary" in self.agent.hooked:
            decided = await self.stage("at_boundary", effect.kind)
            if decided is None:
                return
            added += decided.say
        added = [*self.later, *added]
        self.later = []
        self.move(Passed(effect.path, tuple(added)))

    # The model ---------------------------------------------------------------------------------------------------

    async def ask(self) -> None:
        (effect,) = outstanding(self.state)
        assert isinstance(effect, CallModel)
        if self.state.model_calls and not await self.looked("view_again"):
            return
        reply = await self.call_model(effect.path, self.request(self.messages(), True))
        before = len(self.state.said)
        self.move(reply)
        for place, message in enumerate(self.state.said[before:], before):
            if message.role == "assistant":
                self.answered[-1] = self.answered[-1]._replace(node=self.node_at(place))
        if isinstance(reply, ModelReplied) and "model_replied" in self.agent.hooked:
            if self.state.phase is Phase.DONE:
                return
            decided = await self.stage("model_replied", reply.reply)
            if decided is not None:
                self.later += decided.say

    def node_at(self, place: int) -> int:
        """The number that the ``place``-th message said in this turn will have."""
        return self.start.head + 1 + place

    async def looked(self, hook: hooks.ViewHook) -> bool:
        """Let plugins change what is sent from here on. False when that ended the turn."""
        if hook not in self.agent.hooked:
            return True
        decided = await self.stage(hook)
        if decided is not None and decided.view is not None:
            self.context, self.viewed = decided.view, len(self.state.said)
        return decided is not None

    def request(self, messages: Sequence[Message], tools_allowed: bool) -> ModelRequest:
        running = self.running
        return ModelRequest(
            running.model,
            self.instructions,
            messages,
            tuple(tool.spec for tool in self.tools.values()),
            tools_allowed,
            running.output if tools_allowed else None,
            self.agent.settings,
            running.info,
            session_id=self.session_id,
        )

    async def call_model(self, path: str, request: ModelRequest) -> ModelReplied | ModelFailed:
        number = self.state.model_calls + 1
        running, token = self.running, self.run.fence.token
        serial = frozenset(tool.name for tool in self.tools.values() if tool.serial)
        job = ModelJob(running.provider, request, running.blobs, self.live, number, token, self.own, serial)
        witness = codec.digest(f"lash.model/1:{request.model}:{self.start.head}:{len(request.messages)}")
        call = ModelCall(perform_model, (job,), {}, model_retry(self.agent.retry), None, self.run.process_id)
        entry = await self.port.step(path, witness, call)
        if entry.failed:
            failure = Failure.of_json(codec.decode(entry.payload))
            reason: StopCause = "context_overflow" if failure.code == "context_overflow" else "model"
            return ModelFailed(path, reason, failure.code, failure.message)
        version, reply, serial_calls = replied(entry.payload)
        self.answered.append(Answered(version, reply.usage))
        self.live.replied(number, version, reply, serial_calls)
        return ModelReplied(path, reply)

    # Tools -------------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """All calls of one answer: parallel ones together, then serial ones one after another."""
        wanted = [effect for effect in outstanding(self.state) if isinstance(effect, CallTool)]
        serial = [effect for effect in wanted if (tool := self.tools.get(effect.call.name)) and tool.serial]
        together = [effect for effect in wanted if effect not in serial]
        gate = asyncio.Semaphore(TOOLS_AT_ONCE_MAX)
        tasks = [asyncio.create_task(self.one_tool(effect, gate)) for effect in together]
        try:
            if tasks:
                await asyncio.wait(tasks)
            for effect in serial:
                task = asyncio.create_task(self.one_tool(effect, gate))
                tasks.append(task)
                await asyncio.wait((task,))
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            if live := [task for task in tasks if not task.done()]:
                await asyncio.wait(live, timeout=TOOL_CANCEL_GRACE_MS / 1_000)
            raise
        for task in tasks:
            task.result()

    async def one_tool(self, effect: CallTool, gate: asyncio.Semaphore) -> None:
        async with gate:
            output = await self.call_tool(effect)
        output = beside(self.state.results, output)
        self.live.tool_done(self.state.model_calls, effect.place, output)
        self.move(ToolReplied(effect.path, output, self.spending.untold()))

    async def call_tool(self, effect: CallTool) -> ToolOutput:
        tool = self.tools.get(effect.call.name)
        job = ToolJob(
            tool, effect.call, self.scene(), tuple(self.tools), self.running, self.port.spec,
            lambda: self.run.fence.token, self.run.fence.row,
        )  # fmt: skip
        if tool is not None and tool.in_body:
            ctx = Context(self.port.within(effect.path))
            output = await run_tool(job, lambda arguments: tool.invoke(ctx, arguments))
            if not output.media:
                return output
            return output_of(await self.step(f"{effect.path} attachments", "", kept_output, (job, output)))
        witness = codec.digest(f"lash.tool/1:{effect.call.name}:{effect.call.arguments}")
        name = f"{effect.path} {effect.call.name}"
        if tool is not None and tool.effect == "once":
            entry = await self.step(f"intent {name}", witness, note_intent, (job,))
            job.intent = cast(int, codec.decode(entry.payload))
        entry = await self.step(name, witness, perform_tool, (job,), None if tool is None else tool.retry)
        return output_of(entry)

    # Compaction --------------------------------------------------------------------------------------------------

    async def compact(self, payload: dict[str, object]) -> None:
        """The model sums up the frame; what it writes is the first message of the next one."""
        if not self.context:
            self.state = end(self.state, Finished(""))
            return
        if not await self.looked("view"):
            return
        focus = str(payload.get("focus") or "")
        question = Message("user", (Text(SUMMARISE.format(focus=focus).strip()),), "lash")
        reply = await self.call_model("model 1", self.request((*self.context, question), False))
        if isinstance(reply, ModelFailed):
            self.move(reply)
            return
        state = replace(self.state, model_calls=1, usage=reply.reply.usage)
        stop, text = reply.reply.stop, reply.reply.text
        if stop != "stop" and stop != "tool_use":  # one by one, so that type checkers see what is left
            told = "The model's summary was cut off or withheld. The conversation goes on as it was."
            self.state = end(state, Stopped(stop, told, stop, text))
            return
        if not text:
            self.state = end(state, Stopped("model", "The model wrote no summary.", "empty_response"))
            return
        summary = Message("user", (Text(SUMMARY + text),), "lash")
        self.frame = SwitchFrame("compaction", "", (summary,))
        self.state = end(state, Finished(text))

    # The end -----------------------------------------------------------------------------------------------------

    def ended(self) -> TurnEnd:
        state = self.state
        outcome = state.outcome
        assert outcome is not None
        said = state.said + tuple(self.later)
        problem = unsound((*said,))
        assert problem is None, problem
        nodes = [NewNode("message", "", encode_message(message)) for message in said]
        follow = list(self.follow)
        frame = outcome.frame if isinstance(outcome, Switched) else self.frame
        refs = tuple(item.ref for item in media_of((*said, *(() if frame is None else frame.seeds))))
        if frame is not None:
            nodes.append(NewNode("frame", frame.name, codec.NULL))
            nodes += [NewNode("message", "", encode_message(message)) for message in frame.seeds]
            if frame.task:
                task = codec.encode({"parts": [["text", frame.task]]}, "task")
                follow.append(NewItem("input", "next_turn", task, follow_key(self.turn)))
        nodes += [
            NewNode("state", name, codec.encode(value, "state"))
            for name, value in self.states.items()
            if value != self.start.states.get(name)
        ]
        place = text_place(outcome, said)
        parsed = place is not None and isinstance(outcome, Finished) and outcome.structured
        receipt = Receipt(
            outcome,
            state.usage + self.spending.untold(),
            self.agent.model,
            state.model_calls,
            state.tool_calls,
            self.answered,
            0 if place is None else self.node_at(place),
            parsed,
            self.spending.models,
        )
        own = sum((call.usage for call in self.answered), NO_USAGE)
        usage = self.start.usage.with_turn(
            self.agent.model, state.model_calls, own, state.tool_calls, state.last_input_tokens, self.spending.models
        )
        return TurnEnd(
            self.turn, self.start, tuple(self.items), said, tuple(nodes), refs, receipt, outcome, usage, tuple(follow),
            self.scene(), self.live,
        )  # fmt: skip


async def note_intent(job: ToolJob) -> int:
    """The lease under which a call that may happen only once is about to be made."""
    return job.token()


def message_of_item(item: Taken, steered: bool) -> Message:
    """What an item says, as the model reads it."""
    parts = tuple(part_of(part) for part in cast("list[object]", item.payload["parts"]))
    origin = item.payload.get("origin")
    if origin is None and steered:
        origin = "steer"
    return Message("user", parts, cast("str | None", origin))
