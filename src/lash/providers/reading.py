"""A stream of a vendor's events becomes chunks that end with one whole reply, or a ``ProviderError``: nothing else.

Everything that is the same for all vendors is here: deadlines, the end of a stream, closing the connection, and the
typed look at JSON that a server sent and nobody has checked. What an event means is for the parser of each dialect.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from lash.core.codec import as_object
from lash.core.model import Chunk, ModelReply, StopReason, Usage
from lash.errors import ProviderError
from lash.limits import MODEL_ANSWER_MS, MODEL_QUIET_MS, STREAM_LINGER_MS


@dataclass(frozen=True, slots=True)
class Deadlines:
    """``answer_s`` bounds the time between two events, pings not counted; ``quiet_s`` that between two bytes."""

    answer_s: float = MODEL_ANSWER_MS / 1_000
    quiet_s: float = MODEL_QUIET_MS / 1_000


class Events(Protocol):
    """What the vendors' SDKs return for a streamed request."""

    def __aiter__(self) -> AsyncIterator[object]: ...


class Parser(Protocol):
    """Reads the events of one reply."""

    @property
    def partial(self) -> str:
        """The text that has come."""
        ...

    @property
    def ended(self) -> bool:
        """The protocol's last event was seen: nothing that follows can change the reply."""
        ...

    def feed(self, event: object) -> Iterable[Chunk]: ...

    def reply(self) -> ModelReply:
        """The whole reply. Raises ``ProviderError`` where the end marker is missing or means nothing we know."""
        ...


async def chunks_of(
    ask: Callable[[], Awaitable[Events]],
    close: Callable[[Events], Awaitable[None]],
    parser: Parser,
    fault: Callable[[Exception, str, bool], ProviderError | None],
    deadlines: Deadlines,
) -> AsyncGenerator[Chunk]:
    """Ask, read to the end, close. ``fault(error, partial, begun)`` says what an SDK's exception means, or None where
    it is none of the vendor's doing and must be seen as it is."""
    events: Events | None = None
    try:
        try:
            async with asyncio.timeout(deadlines.answer_s):
                events = await ask()
            source = aiter(events)
            while not parser.ended and (event := await next_of(source, deadlines.answer_s)) is not END:
                for chunk in parser.feed(event):
                    yield chunk
            if parser.ended:
                await drain(source)
        except ProviderError:
            raise
        except Exception as error:
            if (known := fault(error, parser.partial, events is not None)) is None:
                raise
            raise known from error
        yield parser.reply()
    finally:
        if events is not None:
            await close(events)


END: Final = object()


async def next_of(source: AsyncIterator[object], seconds: float) -> object:
    """The next event, or ``END``. Raises ``TimeoutError``."""
    async with asyncio.timeout(seconds):
        return await anext(source, END)


async def drain(source: AsyncIterator[object]) -> None:
    """Read what little may follow the end marker; the reply is whole whatever happens here."""
    try:
        while await next_of(source, STREAM_LINGER_MS / 1_000) is not END:
            pass
    except Exception:  # noqa: BLE001  # a lost connection only means that the next request opens another
        return


# What a reply is made of -------------------------------------------------------------------------------------------


class Ids:
    """Call ids of one reply, made unique: the second ``a`` is ``a-2``. Where there are none: ``call-1``, ``call-2``."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def unique(self, wanted: str) -> str:
        number, name = 1, wanted or "call-1"
        while name in self.taken:
            number += 1
            name = f"{wanted or 'call'}-{number}"
        self.taken.add(name)
        return name


def cut_off(vendor: str, partial: str, what: str) -> ProviderError:
    return ProviderError(
        f"The stream of {vendor} ended before {what}: the answer is not whole, and nothing of it counts. Ask again.",
        kind="stream",
        retryable=True,
        partial=partial,
    )


def unknown_end(vendor: str, reason: str, partial: str, *, retryable: bool = False) -> ProviderError:
    return ProviderError(
        f"{vendor} ended its answer with the reason {reason!r}, which stands for nothing lash knows; "
        "what came is not taken for an answer.",
        kind="unknown",
        retryable=retryable,
        partial=partial,
        raw=reason,
    )


def stop_with_calls(vendor: str, stop: StopReason, calls: int, partial: str) -> StopReason:
    """``stop`` once the calls are counted: some servers say ``stop`` where they mean ``tool_use``."""
    if stop == "stop" and calls:
        return "tool_use"
    if stop == "tool_use" and not calls:
        raise unknown_end(vendor, "tool use without a call", partial, retryable=True)
    return stop


def usage_of(*, whole_input: int, output: int, read: int = 0, write: int = 0, reasoning: int = 0) -> Usage:
    """Of a vendor that counts what it read from or wrote to its cache as input too."""
    return Usage(max(0, whole_input - read - write), output, read, write, min(reasoning, output))


# Unchecked JSON ----------------------------------------------------------------------------------------------------

obj = as_object


def items(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def whole(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def plain_event(event: object) -> dict[str, object]:
    """An SDK's model as the JSON it was made from, with fields the SDK does not know."""
    to_dict = cast("Callable[..., dict[str, object]] | None", getattr(event, "to_dict", None))
    return obj(event) if to_dict is None else to_dict(mode="json", warnings=False)


def json_object(source: str) -> dict[str, object]:
    """Arguments for a vendor that takes them as an object only. What is no JSON object is handed back as text, so
    that the model sees its own mistake."""
    try:
        value: object = json.loads(source or "{}", parse_constant=refuse)
    except (ValueError, RecursionError):
        return {"INVALID_JSON": source}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {"INVALID_JSON": source}


def refuse(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
