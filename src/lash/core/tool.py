"""What a tool call came to: a value for the program, content for the model, and perhaps a word for the turn.

An output is plain data with one JSON form, because it is recorded before anything sees it. Failure and control are part
of it: a failed call is a result the model reads, never an end of the turn (spec sessions 14.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from lash.core import codec
from lash.core.message import (
    Media,
    Message,
    Text,
    ToolCall,
    ToolResult,
    media_of,
    message_json,
    message_of,
    part_json,
    part_of,
    unsound,
)
from lash.core.outcome import Failure, line_of
from lash.errors import InvalidValue

Effect: TypeAlias = Literal["pure", "idempotent", "once"]
"""What a crash in the middle of a call may do: call it again (``pure``: without any trace; ``idempotent``: under the
same idempotency key), or never again (``once``: the result is then the failure ``unknown``)."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the turn with this value instead of asking the model again."""

    value: object


@dataclass(frozen=True, slots=True)
class SwitchFrame:
    """Commit the turn, begin a new context, and go on there with ``task`` as the next input.

    ``seeds`` are the first messages of the new context. ``name`` is anything but blank. Raises ``InvalidValue`` for
    what is no text, and for seeds that are no sound history.
    """

    name: str
    task: str
    seeds: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.task, str):
            raise InvalidValue(f"A frame has a name and a task in words, not {line_of((self.name, self.task))}.")
        if self.seeds and (problem := unsound(self.seeds)) is not None:
            raise InvalidValue(f"The seeds of frame {self.name!r} can begin no context: {problem}.")


@dataclass(frozen=True, slots=True)
class Fail:
    """End the turn as stopped, with this failure. Raises ``InvalidValue`` for what is none."""

    failure: Failure

    def __post_init__(self) -> None:
        if not isinstance(self.failure, Failure):
            raise InvalidValue(f"Fail takes a lash.Failure(class, code, message), not {line_of(self.failure)}.")


Control: TypeAlias = Finish | SwitchFrame | Fail
CONTROLS: Final = (Finish, SwitchFrame, Fail)
CALLED: Final = (ToolCall, ToolResult)


def check_said(who: str, messages: object) -> tuple[Message, ...]:
    """Messages that a tool or a plugin adds. Raises ``InvalidValue`` for what no history can take from them."""
    if not isinstance(messages, (tuple, list)):
        raise InvalidValue(f"{who} adds a tuple of messages, not {line_of(messages)}.")
    found = tuple(cast("Sequence[object]", messages))
    for message in found:
        if not isinstance(message, Message):
            raise InvalidValue(f"{who} adds messages, as lash.user('…') makes them, not {line_of(message)}.")
        if message.role not in ("user", "system") or any(isinstance(part, CALLED) for part in message.parts):
            raise InvalidValue(
                f"{who} cannot add a message of role {message.role!r} with these parts: what is added are user and "
                "system messages of text and attachments."
            )
    return cast("tuple[Message, ...]", found)


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """``content`` is what the model reads; ``value`` what programs see. ``failure`` says why there is no value.

    Raises ``InvalidValue`` for content that is no text or attachment, and for a message of ``say`` that would break the
    history it is put into.
    """

    content: tuple[Text | Media, ...]
    value: object = None
    """Plain JSON."""
    failure: Failure | None = None
    control: Control | None = None
    say: tuple[Message, ...] = ()
    """Messages to add to the conversation at the next boundary: of the user or the system, of text and attachments."""

    def __post_init__(self) -> None:
        content: object = self.content
        if not isinstance(content, (tuple, list)) or not all(isinstance(part, (Text, Media)) for part in self.content):
            raise InvalidValue(
                f"The content of a ToolOutput is a tuple of lash.Text and lash.Media, not {line_of(self.content)}."
            )
        object.__setattr__(self, "content", tuple(self.content))
        for name, item, kinds in (("failure", self.failure, Failure), ("control", self.control, CONTROLS)):
            if item is not None and not isinstance(item, kinds):
                raise InvalidValue(f"The {name} of a ToolOutput cannot be {line_of(item)}.")
        object.__setattr__(self, "say", check_said("A tool", self.say))

    @property
    def media(self) -> list[Media]:
        """Every attachment it speaks of."""
        seeds = self.control.seeds if isinstance(self.control, SwitchFrame) else ()
        return media_of((Message("user", self.content), *self.say, *seeds))

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {"content": [part_json(part) for part in self.content]}
        if self.value is not None:
            document["value"] = self.value
        if self.failure is not None:
            document["failure"] = self.failure.as_json()
        if self.control is not None:
            document["control"] = control_json(self.control)
        if self.say:
            document["say"] = [message_json(message) for message in self.say]
        return document

    @staticmethod
    def of_json(plain: object) -> ToolOutput:
        document = codec.as_object(plain)
        failure, control = document.get("failure"), document.get("control")
        return ToolOutput(
            cast("tuple[Text | Media, ...]", tuple(part_of(part) for part in listed(document.get("content")))),
            document.get("value"),
            None if failure is None else Failure.of_json(failure),
            None if control is None else control_of(control),
            tuple(message_of(item) for item in listed(document.get("say"))),
        )

    def result(self, call: ToolCall) -> ToolResult:
        """What stands in the history for this call."""
        return ToolResult(call.id, call.name, self.content, self.failure is not None)


FAILED: Final = re.compile(r"\[failed: ([^\]\s]+)\] (.*)", re.DOTALL)


def failed(failure: Failure) -> ToolOutput:
    """A failed call as the model reads it."""
    return ToolOutput((Text(f"[failed: {failure.code}] {failure.message}"),), failure=failure)


def output_in(result: ToolResult) -> ToolOutput:
    """What is known of a call by what stands in the history: not its value, nor the class of its failure."""
    if not result.failed:
        return ToolOutput(result.content)
    text = " ".join(part.text for part in result.content if isinstance(part, Text))
    found = FAILED.fullmatch(text)
    code, message = ("failed", text) if found is None else found.groups()
    return ToolOutput(result.content, failure=Failure("execution", code, message))


def listed(plain: object) -> Sequence[object]:
    return cast("Sequence[object]", plain) if isinstance(plain, list) else ()


def control_json(control: Control) -> list[object]:
    match control:
        case Finish(value):
            return ["finish", value]
        case Fail(failure):
            return ["fail", failure.as_json()]
        case SwitchFrame(name, task, seeds):
            return ["frame", name, task, [message_json(message) for message in seeds]]


def control_of(plain: object) -> Control:
    tag, *rest = listed(plain)
    if tag == "finish":
        return Finish(rest[0])
    if tag == "fail":
        return Fail(Failure.of_json(rest[0]))
    return SwitchFrame(cast(str, rest[0]), cast(str, rest[1]), tuple(message_of(item) for item in listed(rest[2])))
