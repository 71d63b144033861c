"""What a process body may ask of agents and models: a turn of a child session, and one direct answer.

The child session is opened and given its input by one recorded command, under ids derived from the process; the body
then waits, parked, for the turn's own record, which the commit of the turn brings. A direct answer is a step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from lash.abc.engine import Again, Reply
from lash.abc.provider import Provider
from lash.abc.sessions import Open, Post, Posted
from lash.abc.store import Store
from lash.core import codec
from lash.core.effect import EffectKind, Entry
from lash.core.ids import child_id, effect_key
from lash.core.message import Message, Text
from lash.core.model import ModelRequest, ModelSettings, Usage
from lash.core.outcome import Failure, line_of
from lash.core.session import NewItem, process_id_of, session_id_of, turn_key
from lash.core.turn import Finished, Stopped, Switched
from lash.core.turn_json import outcome_json, outcome_of
from lash.errors import InvalidArguments, LashError, ModelUnavailable, StoreUnavailable
from lash.runtime.agent import Agent
from lash.runtime.agents import reader_of
from lash.runtime.modelcall import ModelJob, model_retry, perform_model, replied
from lash.runtime.outcomes import told
from lash.runtime.pictures import Place, committed_nodes
from lash.runtime.receipts import decode_receipt, with_text
from lash.runtime.session import opened_place, refusal, said, session_spec
from lash.runtime.shapes import decoded
from lash.runtime.spending import Spending
from lash.runtime.steps import StepCall, failure_payload, step_failed
from lash.runtime.turn import following_item

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A model's direct answer. ``output`` is of the type asked for, or the text."""

    output: T
    text: str
    usage: Usage


class Asked(Protocol):
    """What asking needs of the body's port."""

    @property
    def process_id(self) -> str: ...

    @property
    def scope(self) -> str: ...

    @property
    def host_profile(self) -> str: ...

    @property
    def store(self) -> Store: ...

    @property
    def spending(self) -> Spending | None: ...

    def token(self) -> int: ...

    def provider_of(self, agent: Agent[Any]) -> Provider: ...

    def step(self, name: str, witness: str, call: StepCall) -> Awaitable[Entry]: ...

    def wait(self, key: str, kind: EffectKind) -> Awaitable[Entry]: ...

    async def command(self, name: str, witness: str, perform: Callable[[int], Awaitable[Reply]]) -> object: ...

    async def write(self, op: Open | Post) -> object: ...


async def run_turn(port: Asked, agent: Agent[Any], text: str, session: str | None) -> Finished[Any] | Stopped:
    """See :meth:`lash.runtime.context.Context.run`."""
    payload = said(text, ())

    async def begin(ordinal: int) -> Reply:
        name = session or child_id(port.scope, ordinal)
        spec = session_spec(name, agent.name, port.host_profile, port.process_id)
        try:
            place = opened_place(cast(Any, await port.write(Open(spec))), spec, name)
            item = NewItem("input", "next_turn", payload, "run:" + effect_key(port.scope, ordinal))
            posted = await port.write(Post(spec.id, item))
            if not isinstance(posted, Posted):
                raise refusal(posted, name)
        except StoreUnavailable:
            raise
        except LashError as error:
            return Reply(failure_payload(Failure("invalid_request", error.code, error.message)), True)
        return Reply(codec.encode([name, place.row, posted.item.number]))

    witness = codec.fingerprint("lash.run/1", agent.name, text, session)
    begun = await port.command(f"run {agent.name}", witness, begin)
    name, row, item = cast("tuple[str, int, int]", begun)
    place = Place(row, process_id_of(name))
    while True:
        entry = await port.wait(turn_key(place.process_id, item), EffectKind.WAIT)
        if entry.payload == codec.NULL:
            gone = "The session was closed or deleted before its turn ended."
            return Stopped("deleted", gone, "session_deleted", turn_id=f"{name}/{item}")
        receipt = decode_receipt(entry.payload)
        if port.spending is not None:
            port.spending.add(receipt.by_model)
        read = await read_turn(port, place, item)
        if isinstance(read, int):
            item = read  # the turn went on in a new frame
            continue
        return told(outcome_of(read), agent.shape, receipt.usage, f"{name}/{item}")


async def read_turn(port: Asked, place: Place, item: int) -> list[object] | int:
    """How the turn of an item ended, recorded: its outcome as JSON, or the item it went on with."""

    async def read(ordinal: int) -> Reply:
        del ordinal
        (found,) = await port.store.items(place.row, (item,))
        (record,) = await port.store.turns(place.row, found.turn - 1, 1)
        receipt = decode_receipt(record.receipt)
        if isinstance(receipt.outcome, Switched):
            return Reply(codec.encode(await following_item(port.store, place, record)))
        nodes = await committed_nodes(port.store, place.row, record) if receipt.text_node else []
        return Reply(codec.encode(outcome_json(with_text(receipt, nodes))))

    name = f"turn {session_id_of(place.process_id)}/{item}"
    return cast("list[object] | int", await port.command(name, "", read))


class AskCall(StepCall):
    """That the model is not to be had here (no such provider, no key, no extra) says nothing about the process: it is
    trouble, and the row waits for a worker that has it."""

    __slots__ = ()

    def _failed(self, error: BaseException, attempt: int, began_ms: int, now_ms: Callable[[], int]) -> Reply | Again:
        if isinstance(error, ModelUnavailable):
            raise error
        return super()._failed(error, attempt, began_ms, now_ms)


async def perform_asking(ask: Callable[[], Awaitable[object]]) -> object:
    """The step: the provider is looked up only where the model is really asked."""
    return await ask()


async def ask_model(
    port: Asked,
    model: str | tuple[Provider, str],
    prompt: str,
    instructions: str,
    output: object,
    settings: ModelSettings | None,
) -> Answer[Any]:
    """See :meth:`lash.runtime.context.Context.model`."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidArguments(f"ctx.model needs a prompt, not {prompt!r}.")
    if not isinstance(instructions, str):
        raise InvalidArguments(f"The instructions of ctx.model are text, not {line_of(instructions)}.")
    asked: Agent[Any] = Agent(
        "ctx.model", model=model, output=cast(Any, output), instructions=instructions, settings=settings
    )
    label = asked.model

    async def ask() -> object:
        provider, name = port.provider_of(asked), label.partition(":")[2]
        request = ModelRequest(
            name, instructions, (Message("user", (Text(prompt),)),), output=asked.output_spec,
            settings=asked.settings, info=provider.info(name), session_id=port.process_id,
        )  # fmt: skip
        return await perform_model(ModelJob(provider, request, port.store.blobs, None, 1, port.token()))

    witness = codec.fingerprint("lash.ask/1", label, prompt, instructions)
    call = AskCall(perform_asking, (ask,), {}, model_retry(asked.retry), None, port.process_id)
    entry = await port.step(f"model {label}", witness, call)
    if entry.failed:
        raise step_failed(entry.payload, port.process_id)
    _, reply, _ = replied(entry.payload)
    if port.spending is not None:
        port.spending.add({label: (1, reply.usage)})
    if (read := reader_of(asked)) is None:
        return Answer(reply.text, reply.text, reply.usage)
    try:
        value = read(reply.text)
    except ValueError as error:
        failure = Failure("execution", "invalid_output", f"The model's answer does not fit the output type: {error}")
        raise step_failed(failure_payload(failure), port.process_id) from None
    return Answer(decoded(asked.shape, codec.encode(value, "answer"), "answer"), reply.text, reply.usage)
