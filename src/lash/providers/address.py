"""Where a vendor is asked: an address is checked when its provider is made, and shown without the secrets in it."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final, cast
from urllib.parse import urlsplit

from lash.errors import ModelUnavailable

SECRET: Final = re.compile(r"(?<=//)[^/?#]*@")
BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")
LIBRARIES: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "anyio", "aiohttp", "ssl"})
"""Whose errors are trouble with the network."""
CAUSES_MAX: Final = 16
"""Exceptions looked through for the one that began it all."""


def checked_url(prefix: str, base_url: str | None, variable: str) -> str | None:
    """``base_url``, or what the environment's ``variable`` says; None where neither says anything.

    Raises ``ModelUnavailable`` for what cannot be the address of a server.
    """
    given = "base_url" if base_url else variable
    url = base_url or os.environ.get(variable) or None
    if url is None or (problem := problem_of(url)) is None:
        return url
    raise ModelUnavailable(
        f"{given} of models of {prefix!r} is {shown_url(url)!r}, which {problem}. "
        "It must be the address of a server, as in http://localhost:8000/v1.",
        prefix=prefix,
        base_url=shown_url(url),
    )


def problem_of(url: object) -> str | None:
    """Why this is no address of a server; None if it may be one."""
    if not isinstance(url, str):
        return "is no text"
    if BLANK.search(url):
        return "has a blank in it"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"is malformed ({error})"
    if parts.scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    if not host:
        return "names no host"
    return "has the port 0" if port == 0 else None


def shown_url(url: object) -> str:
    """For people: without a password, and without a query, where keys are put too."""
    return SECRET.sub("***@", str(url)).partition("?")[0]


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and so on. Libraries hide what they wrap (``from None``): that is looked at as well,
    and nothing else that is only near."""
    found: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if found is None:
            return
        yield found
        if isinstance(found, BaseExceptionGroup):
            found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
        else:
            wraps = type(found).__module__.partition(".")[0] in LIBRARIES
            found = found.__cause__ or (found.__context__ if wraps else None)


def unreached(vendor: str, url: str, error: BaseException) -> str:
    """A server that could not be reached: where, why, and what to do."""
    *_, first = causes(error)
    match first:
        case socket.gaierror():
            advice = "The name leads nowhere: check base_url, and this machine's network"
        case ConnectionRefusedError():
            advice = "Nothing listens there: start the server, or correct base_url"
        case ssl.SSLError():
            advice = "No secure connection came about: check http or https in base_url, and the server's certificate"
        case _:
            advice = "Check base_url, and the network on the way there"
    cause = f"{type(first).__name__}: {first}".removesuffix(": ")
    return f"{vendor} could not be reached at {shown_url(url)} ({cause}). {advice}."
