"""What every dialect does to a request before it writes it in its own words; nothing here changes what it was given.

Metadata of another vendor is left out, reasoning without our own metadata is never sent, a setting that a vendor has
no word for is an error, never dropped in silence (ADR 0047).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Final, cast

from lash.core.codec import as_object
from lash.core.message import Media, Meta, Text, ToolResult
from lash.core.model import ModelRequest, supported
from lash.errors import AttachmentMissing, ProviderError

NOTE: Final = "[Note from the runtime, not from the user]\n"
IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/heic", "image/heif"})
PDF: Final = "application/pdf"


def check(request: ModelRequest, *, without: Iterable[str] = ()) -> None:
    """Raises ``ProviderError`` of kind ``unsupported`` for what the model, or the dialect, cannot do.

    ``without`` names the settings this dialect has no word for.
    """
    if (refusal := supported(request)) is not None:
        raise refusal
    if request.settings.top_p is not None and not request.info.temperature:
        raise unsupported(request, "it takes no top_p")
    for name in without:
        if getattr(request.settings, name) is not None:
            raise unsupported(request, f"its API has no {name}")


def unsupported(request: ModelRequest, problem: str) -> ProviderError:
    return ProviderError(f"Model {request.model!r} cannot be asked this: {problem}.", kind="unsupported")


def own(meta: Meta, vendor: str) -> dict[str, object]:
    """What this vendor had put into ``meta``; empty where it was another."""
    return as_object(dict(meta).get(vendor)) if meta else {}


def bytes_of(request: ModelRequest, media: Media) -> bytes:
    try:
        return request.media[media.ref]
    except KeyError:
        raise AttachmentMissing(
            f"The attachment {media.label or media.ref!r} ({media.media_type}) is spoken of in the history, but its "
            f"bytes were not given. Store it again under {media.ref!r}, or leave it out of what is sent.",
            ref=media.ref,
        ) from None


def base64_of(request: ModelRequest, media: Media) -> str:
    return base64.b64encode(bytes_of(request, media)).decode("ascii")


def data_url(request: ModelRequest, media: Media) -> str:
    return f"data:{media.media_type};base64,{base64_of(request, media)}"


def result_text(result: ToolResult) -> str:
    return "\n\n".join(part.text for part in result.content if isinstance(part, Text) and part.text)


def result_media(result: ToolResult) -> list[Media]:
    return [part for part in result.content if isinstance(part, Media)]


def introduction(result: ToolResult, media: Media) -> str:
    """Said before an attachment that had to leave its tool result."""
    return f"{NOTE}Attachment {media.label or media.media_type} of the result of {result.name} ({result.call_id}):"


def instructions_of(request: ModelRequest, *, told: bool) -> str:
    """The instructions; ``told`` adds the schema of the answer in words, where the vendor cannot be held to it."""
    if request.output is None or not told:
        return request.instructions
    schema = json.dumps(request.output.schema, ensure_ascii=False)
    demand = f"Your final answer must be one JSON document of this JSON schema, and nothing else:\n{schema}"
    return f"{request.instructions}\n\n{demand}" if request.instructions else demand


# A schema that OpenAI calls strict ---------------------------------------------------------------------------------

KEPT_BESIDE_REF: Final = frozenset({"$ref"})
TOO_RICH: Final = frozenset(
    "allOf not if then else patternProperties dependentRequired dependentSchemas propertyNames".split()
)


def strict_schema(schema: Mapping[str, object]) -> dict[str, object] | None:
    """A copy in which every object is closed and requires all it may have, so that what fits it fits ``schema`` too.

    None where there is no such copy (open maps, rules that OpenAI cannot express): then it is sent as it stands.
    """
    try:
        return as_object(strict(schema))
    except LookupError:
        return None


def strict(node: object) -> object:
    if isinstance(node, list):
        return [strict(item) for item in cast("list[object]", node)]
    if not isinstance(node, Mapping):
        return node
    plain = dict(cast("Mapping[str, object]", node))
    if TOO_RICH & plain.keys():
        raise LookupError
    if "$ref" in plain and "$defs" not in plain:
        return {name: plain[name] for name in plain if name in KEPT_BESIDE_REF}
    found: dict[str, object] = {}
    for name, value in plain.items():
        if name in ("properties", "$defs", "definitions"):
            found[name] = {key: strict(inner) for key, inner in as_object(value).items()}
        elif name == "oneOf":
            found["anyOf"] = strict(value)
        elif name in ("items", "anyOf", "prefixItems"):
            found[name] = strict(value)
        elif name not in ("default", "discriminator"):
            found[name] = value
    if plain.get("type") == "object" or "properties" in plain:
        if plain.get("additionalProperties", False) is not False or "properties" not in plain:
            raise LookupError
        found |= {"type": "object", "additionalProperties": False, "required": list(as_object(plain["properties"]))}
    return found
