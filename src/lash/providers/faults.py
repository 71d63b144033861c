"""What went wrong, in words the runtime can act on: every failure has a kind, and says if another try makes sense.

The status decides first, the text only where a status stands for several things. A text that speaks of rates is never
taken for one about an over-long context (spec sessions 15.2).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from lash.errors import ModelUnavailable, ProviderError
from lash.limits import FAILURE_MESSAGE_CHARS_MAX
from lash.providers.address import LIBRARIES, causes, shown_url, unreached
from lash.providers.reading import cut_off, finite, items, obj, text

RETRYABLE: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
KIND_OF_STATUS: Final = {
    401: "auth", 402: "quota", 403: "auth", 408: "timeout", 429: "rate_limit", 503: "overloaded", 504: "timeout",
    529: "overloaded",
}  # fmt: skip
VALIDATION: Final = frozenset({400, 413, 422})
STATUS_OF_CODE: Final = {
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "RESOURCE_EXHAUSTED": 429, "overloaded_error": 529,
    "server_error": 500, "api_error": 500, "internal_error": 500, "INTERNAL": 500, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504, "timeout_error": 504, "authentication_error": 401, "permission_error": 403,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "billing_error": 402, "invalid_request_error": 400,
    "invalid_prompt": 400, "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400,
}  # fmt: skip
STATUS: Final = re.compile(r"[45]\d\d")

QUOTA_WORDS: Final = ("insufficient_quota", "billing_hard_limit", "billing_not_active", "credit balance is too low")
RATE_WORDS: Final = ("rate limit", "rate_limit", "ratelimit", "too many requests", "per minute", "tpm", "throttl")
OVERFLOW_WORDS: Final = (
    "context_length_exceeded", "context length", "context window", "maximum context", "prompt is too long",
    "input is too long", "input token count", "exceeds the maximum number of tokens", "too many tokens",
)  # fmt: skip
FILTER_WORDS: Final = (
    "content_filter", "content filter", "content_policy", "content policy", "content management policy", "usage policy",
    "safety system", "bio_policy", "misalignment_policy",
)  # fmt: skip


def fault_of(
    vendor: str,
    status: int | None,
    message: str,
    *,
    code: str = "",
    headers: Mapping[str, str] | None = None,
    partial: str = "",
    raw: object = None,
    retry_after_ms: int | None = None,
) -> ProviderError:
    """An answer, or an event of a stream, that says no. ``code`` is the vendor's own word for it."""
    if status is None or status < 400:  # inside a stream that began with 200
        status = status_of(code)
    kind, retryable = kind_of(status, f"{code} {message}".lower())
    wish = retry_after_of(headers or {})
    said = f" ({status})" if status else ""
    return ProviderError(
        f"{vendor} answered with an error{said}: {message or code or 'no reason given'}"[:FAILURE_MESSAGE_CHARS_MAX],
        kind=kind,
        retryable=retryable,
        status=status,
        retry_after_ms=retry_after_ms if wish is None else wish,
        partial=partial,
        raw=raw,
    )


def status_of(code: str) -> int | None:
    """What an error inside a stream, which has no status of its own, would have had as an answer."""
    return int(code) if STATUS.fullmatch(code) else STATUS_OF_CODE.get(code)


def code_of(error: Mapping[str, object]) -> str:
    """The vendor's own word for an error: its ``code``, or its ``type``. A number that is a status is as good a code
    (OpenRouter, vLLM); any other number tells less than the ``type``."""
    code, kind = error.get("code"), text(error.get("type"))
    if type(code) is int:
        return kind if kind and status_of(str(code)) is None else str(code)
    return text(code) or kind


def kind_of(status: int | None, words: str) -> tuple[str, bool]:
    """Kind and whether to try again. ``words`` is lower case."""
    if any(word in words for word in QUOTA_WORDS):
        return "quota", False
    if status in VALIDATION or status is None:
        if not any(word in words for word in RATE_WORDS):
            if any(word in words for word in OVERFLOW_WORDS):
                return "context_overflow", False
            if any(word in words for word in FILTER_WORDS):
                return "content_filter", False
        return ("unknown", False) if status is None else ("validation", False)
    retryable = status in RETRYABLE or status >= 500
    return KIND_OF_STATUS.get(status, "http"), retryable


def retry_after_of(headers: Mapping[str, str], now_s: float | None = None) -> int | None:
    """Milliseconds the vendor wants us to wait: from ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
    found = {name.lower(): value.strip() for name, value in headers.items()}
    if (exact := number(found.get("retry-after-ms"))) is not None:
        return max(0, round(exact))
    wish = found.get("retry-after")
    if (seconds := number(wish)) is not None:
        return max(0, round(seconds * 1_000))
    try:
        at_s = parsedate_to_datetime(wish or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0, round((at_s - (time.time() if now_s is None else now_s)) * 1_000))


def number(value: str | None) -> float | None:
    try:
        return finite(float(value or ""))
    except ValueError:
        return None


def retry_delay_of(details: object) -> int | None:
    """Google's wish, which stands in the body: ``{"retryDelay": "13s"}`` among the details."""
    for detail in items(details):
        seconds = number(text(obj(detail).get("retryDelay")).removesuffix("s"))
        if seconds is not None:
            return max(0, round(seconds * 1_000))
    return None


def fault_of_transport(vendor: str, url: str, error: Exception, partial: str, begun: bool) -> ProviderError | None:
    """What the network, or a body that is no JSON, did to a request; None where ``error`` is nothing of the kind."""
    names = [kind.__name__ for kind in type(error).__mro__]
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    unconnected = any("ConnectTimeout" in type(cause).__name__ for cause in causes(error))
    if isinstance(error, TimeoutError) or (any("Timeout" in name for name in names) and not unconnected):
        return ProviderError(
            f"{vendor} at {shown_url(url)} was silent for too long. Ask again.",
            kind="timeout",
            retryable=True,
            partial=partial,
        )
    if isinstance(error, Warning):  # google-genai warns of words that are newer than itself
        return ProviderError(
            f"{vendor} said what its SDK does not know: {error}.", kind="unknown", partial=partial, raw=str(error)
        )
    lost = isinstance(error, OSError) or "APIConnectionError" in names or bool(modules & LIBRARIES)
    if begun and (lost or isinstance(error, ValueError)):
        return cut_off(vendor, partial, f"its end ({type(error).__name__})")
    if lost:
        return ProviderError(
            unreached(vendor, url, error)[:FAILURE_MESSAGE_CHARS_MAX], kind="transport", retryable=True
        )
    if isinstance(error, ValueError):
        return ProviderError(
            f"{vendor} cannot be sent this request: {error}"[:FAILURE_MESSAGE_CHARS_MAX], kind="validation"
        )
    return None


def missing_key(prefix: str, *variables: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"There is no key for models of {prefix!r}. Set {' or '.join(variables)} in the environment, or give the agent "
        "a provider that has one: from lash.providers import provider_of, and "
        f"model=(provider_of({prefix!r}, api_key='...'), '<model>') instead of model='{prefix}:<model>'.",
        prefix=prefix,
        variables=list(variables),
    )
