"""Models behind one interface: :func:`provider_of` makes the provider a model's prefix names, over the vendor's SDK;
:func:`limited` bounds what is asked of one.

Importing this package imports no SDK, and neither does making a provider: only its first request does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, NamedTuple

from lash.abc.provider import Provider
from lash.core.ratelimit import RateLimit
from lash.errors import ModelUnavailable
from lash.providers.faults import missing_key
from lash.providers.limiting import limited

__all__ = ["PREFIXES", "limited", "provider_of"]


def openai(base_url: str | None, api_key: str | None) -> Provider:
    from lash.providers.openai import VENDOR, OpenAI

    key = api_key or os.environ.get("OPENAI_API_KEY")
    if not key:
        raise missing_key(VENDOR, "OPENAI_API_KEY")
    return OpenAI(api_key=key, base_url=base_url)


def openai_chat(base_url: str | None, api_key: str | None) -> Provider:
    from lash.providers.openai_chat import VENDOR, OpenAIChat
    from lash.providers.openai_client import OPENAI_HOST

    url = base_url or os.environ.get("OPENAI_BASE_URL") or None
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if not key and (url is None or OPENAI_HOST in url):
        raise missing_key(VENDOR, "OPENAI_API_KEY")
    # Servers of one's own want no key; the SDK wants a word.
    return OpenAIChat(api_key=key or "none", base_url=base_url)


def anthropic(base_url: str | None, api_key: str | None) -> Provider:
    from lash.providers.anthropic import VENDOR, Anthropic

    key = api_key or os.environ.get("ANTHROPIC_API_KEY")
    token = os.environ.get("ANTHROPIC_AUTH_TOKEN")
    if not key and not token:
        raise missing_key(VENDOR, "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    return Anthropic(api_key=key, auth_token=token, base_url=base_url)


def google(base_url: str | None, api_key: str | None) -> Provider:
    from lash.providers.google import VENDOR, Google

    key = api_key or os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY")
    if not key:
        raise missing_key(VENDOR, "GEMINI_API_KEY", "GOOGLE_API_KEY")
    return Google(api_key=key, base_url=base_url)


class Maker(NamedTuple):
    module: str
    extra: str
    make: Callable[[str | None, str | None], Provider]


MAKERS: Final = {
    "openai": Maker("openai", "openai", openai),
    "openai-chat": Maker("openai", "openai", openai_chat),
    "anthropic": Maker("anthropic", "anthropic", anthropic),
    "google": Maker("google.genai", "google", google),
}
PREFIXES: Final = tuple(MAKERS)
"""The prefixes of models that are known, as in ``openai:gpt-5-mini``."""


def provider_of(
    prefix: str, *, base_url: str | None = None, api_key: str | None = None, rate_limit: RateLimit | None = None
) -> Provider:
    """The provider of the models named ``<prefix>:...``; an address and a key that are not given are those of the
    environment.

    Raises ``ModelUnavailable``, which says what to do, for an unknown prefix, an extra that is not installed, a key
    that is not there, and a ``base_url`` that cannot be one.
    """
    maker = MAKERS.get(prefix)
    if maker is None:
        raise ModelUnavailable(
            f"There is no provider for models of {prefix!r}. Known prefixes: {', '.join(PREFIXES)}. "
            "A server that speaks OpenAI's chat API is reached as openai-chat with a base_url.",
            prefix=prefix,
            known=list(PREFIXES),
        )
    if not installed(maker.module):
        raise ModelUnavailable(
            f"Models of {prefix!r} need the package {maker.module!r}, which is not installed. "
            f"Run: pip install 'lash-runtime[{maker.extra}]'",
            prefix=prefix,
            extra=maker.extra,
        )
    provider = maker.make(base_url, api_key)
    return provider if rate_limit is None else limited(provider, rate_limit)


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
