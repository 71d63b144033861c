"""What a model is asked and what it answers, in no provider's words.

A request is a plain value; a reply is complete or it is not a reply: a stream that ends without the provider's own
end marker is an error (spec sessions 25.4, ADR 0036). Token buckets never overlap, except that reasoning is part of
output: input is what was not read from a cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias, cast, get_args

from lash.core.message import Message, Part, Reasoning, Text, ToolCall, media_of, part_json, part_of
from lash.errors import InvalidArguments, ProviderError

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high"]
StopReason: TypeAlias = Literal["stop", "tool_use", "output_limit", "context_overflow", "content_filter"]
"""``stop``: the model is done. ``tool_use``: it wants its calls answered. The others are ends without an answer."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or many model calls."""

    input_tokens: int = 0
    """Read from no cache."""
    output_tokens: int = 0
    """Reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    """That part of the output nobody sees."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + theirs for mine, theirs in zip(self.as_json(), other.as_json(), strict=True)))

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    def as_json(self) -> list[int]:
        return [
            self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens,
            self.reasoning_tokens,
        ]  # fmt: skip


NO_USAGE = Usage()
SETTINGS: Final = (
    ("temperature", (int, float), "a number"),
    ("top_p", (int, float), "a number"),
    ("seed", int, "a whole number"),
    ("output_tokens_max", int, "a whole number"),
    ("parallel_tool_calls", bool, "True or False"),
)
"""What each setting is, where it is given."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is to answer. None leaves a choice to the provider; what a model cannot do is an error. Raises
    ``InvalidArguments``."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    output_tokens_max: int | None = None
    effort: Effort | None = None
    """How much to think, for models that can."""
    parallel_tool_calls: bool | None = None
    cache: bool = True
    """Mark the prompt for the provider's cache where it has one."""
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    """Sent to the provider as it stands, for what has no word here."""

    def __post_init__(self) -> None:
        for name, kinds, words in SETTINGS:
            value: object = getattr(self, name)
            if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
                raise InvalidArguments(f"ModelSettings {name} must be {words}, not {value!r}.")
        if self.output_tokens_max is not None and self.output_tokens_max < 1:
            raise InvalidArguments(
                f"ModelSettings output_tokens_max must be 1 or more, not {self.output_tokens_max!r}."
            )
        if self.effort is not None and self.effort not in (efforts := get_args(Effort)):
            raise InvalidArguments(f"ModelSettings effort must be one of {', '.join(efforts)}, not {self.effort!r}.")
        if not isinstance(self.cache, bool) or not isinstance(self.extra, Mapping):
            raise InvalidArguments(
                f"ModelSettings cache is True or False and extra a mapping, not {self.cache!r} and {self.extra!r}."
            )


@dataclass(frozen=True, slots=True)
class Price:
    """Per million tokens, in US dollars."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def of(self, usage: Usage) -> float:
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        return (
            usage.input_tokens * self.input + usage.output_tokens * self.output
            + usage.cache_read_tokens * read + usage.cache_write_tokens * write
        ) / 1_000_000  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of one model, as data: nothing is ever guessed from its name in code (ADR 0026)."""

    context_tokens: int = 128_000
    output_tokens_max: int = 16_384
    efforts: tuple[Effort, ...] = ()
    """Empty: it has no such setting."""
    effort_budgets: Mapping[str, int] | None = None
    """Tokens to think with, for models that are told a number instead of a word."""
    media_types: tuple[str, ...] = ("image/png", "image/jpeg", "image/gif", "image/webp")
    structured: bool = True
    """It keeps to a JSON schema by itself."""
    temperature: bool = True
    """It takes a temperature."""
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it. ``parameters`` is a JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The final text must be JSON of this schema."""

    name: str
    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call. ``media`` has the bytes of every attachment the messages speak of, by reference."""

    model: str
    """Without the provider's prefix."""
    instructions: str
    messages: Sequence[Message]
    tools: Sequence[ToolSpec] = ()
    tools_allowed: bool = True
    """False: the model is shown the tools but may call none."""
    output: OutputSpec | None = None
    settings: ModelSettings = ModelSettings()  # a frozen value
    info: ModelInfo = ModelInfo()  # as above
    media: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    session_id: str = ""
    """Keeps requests of one conversation near one another's cache."""
    call_key: str = ""
    """Stable across retries and crashes: an idempotency key, where a provider takes one."""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A complete answer. Also the last item of a provider's stream."""

    parts: tuple[Text | Reasoning | ToolCall, ...]
    stop: StopReason
    usage: Usage = NO_USAGE
    model: str = ""
    """What the provider says it served; empty where it says nothing."""
    reply_id: str = ""

    @property
    def text(self) -> str:
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Text) and part.text)

    @property
    def reasoning(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Reasoning))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    def as_json(self) -> list[object]:
        return [[part_json(part) for part in self.parts], self.stop, self.usage.as_json(), self.model, self.reply_id]

    @staticmethod
    def of_json(plain: object) -> ModelReply:
        parts, stop, usage, model, reply_id = cast("Sequence[object]", plain)
        found: tuple[Part, ...] = tuple(part_of(part) for part in cast("Sequence[object]", parts))
        return ModelReply(
            cast("tuple[Text | Reasoning | ToolCall, ...]", found),
            cast(StopReason, stop),
            Usage(*cast("Sequence[int]", usage)),
            cast(str, model),
            cast(str, reply_id),
        )


# Chunks ------------------------------------------------------------------------------------------------------------


class TextDelta(NamedTuple):
    """More of the text. ``part`` numbers the text parts of the reply from 0."""

    text: str
    part: int = 0


class ReasoningDelta(NamedTuple):
    text: str
    part: int = 0


class CallDelta(NamedTuple):
    """The model has begun a tool call, or written more of its arguments. Nothing may be done with it before the end."""

    call_id: str
    name: str
    arguments: str = ""


Chunk: TypeAlias = TextDelta | ReasoningDelta | CallDelta | ModelReply
"""What a provider's stream yields; the last item, and only the last, is the ``ModelReply``."""


def supported(request: ModelRequest) -> ProviderError | None:
    """Why this request cannot be asked of its model, before anybody is asked; None if it can."""
    settings, info = request.settings, request.info
    problem: str | None = None
    if settings.effort is not None and settings.effort not in info.efforts:
        known = ", ".join(info.efforts) or "none: its thinking cannot be set"
        problem = f"effort {settings.effort!r} is not among its efforts ({known})"
    elif settings.output_tokens_max is not None and settings.output_tokens_max > info.output_tokens_max:
        problem = f"output_tokens_max is {settings.output_tokens_max}; it can write {info.output_tokens_max}"
    elif settings.temperature is not None and not info.temperature:
        problem = "it takes no temperature"
    else:
        foreign = [item for item in media_of(request.messages) if item.media_type not in info.media_types]
        if foreign:
            known = ", ".join(info.media_types) or "text only"
            problem = f"it cannot read {foreign[0].media_type} (it reads {known})"
    if problem is None:
        return None
    return ProviderError(f"Model {request.model!r} cannot be asked this: {problem}.", kind="unsupported")
