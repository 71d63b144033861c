"""A prefix leads to its provider, or to a message that says what to do; making one loads no SDK."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from lash.errors import ModelUnavailable
from lash.providers import PREFIXES, faults, provider_of
from lash.providers.address import checked_url

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
VARIABLES = """
    OPENAI_API_KEY OPENAI_BASE_URL ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL GEMINI_API_KEY
    GOOGLE_API_KEY GOOGLE_GEMINI_BASE_URL
""".split()


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("prefix", ["openai", "openai-chat", "anthropic", "google"])
def test_a_known_prefix_leads_to_its_provider(prefix: str) -> None:
    provider = provider_of(prefix, api_key="k")
    assert provider.name == prefix
    asyncio.run(provider.close())  # nothing was opened


def test_the_prefixes_are_these() -> None:
    assert PREFIXES == ("openai", "openai-chat", "anthropic", "google")


def test_an_unknown_prefix_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ModelUnavailable, match=r"'gork'.*openai, openai-chat, anthropic, google") as caught:
        provider_of("gork", api_key="k")
    assert caught.value.fields == {"prefix": "gork", "known": ["openai", "openai-chat", "anthropic", "google"]}


@pytest.mark.parametrize(
    ("prefix", "variables"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("openai-chat", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN"),
        ("google", "GEMINI_API_KEY or GOOGLE_API_KEY"),
    ],
)
def test_a_missing_key_is_named_by_its_variables(prefix: str, variables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailable, match=f"Set {variables} in the environment") as caught:
        provider_of(prefix)
    (expression,) = re.findall(r"model=(\(.*?\), '<model>'\))", str(caught.value))
    provider, _ = eval(expression, {"provider_of": provider_of})  # what the message says to write is what works
    assert provider.name == prefix
    for name in variables.split(" or "):
        with monkeypatch.context() as one:
            one.setenv(name, "k")
            assert provider_of(prefix).name == prefix


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_of("openai-chat", base_url="http://127.0.0.1:11434/v1").name == "openai-chat"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert provider_of("openai-chat").name == "openai-chat"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    with pytest.raises(ModelUnavailable):
        provider_of("openai-chat")


WRONG_URLS = [
    ("localhost:11434/v1", "does not begin with http:// or https://"),
    ("ftp://host/v1", "does not begin with http:// or https://"),
    ("/v1", "does not begin with http:// or https://"),
    ("http:///v1", "names no host"),
    ("http://:8000/v1", "names no host"),
    ("http://host:0/v1", "has the port 0"),
    ("http://host:eighty/v1", "is malformed"),
    ("http://host:70000/v1", "is malformed"),
    ("http://[::1/v1", "is malformed"),
    ("http://host name/v1", "has a blank in it"),
    ("http://host/v1\n", "has a blank in it"),
    (b"http://host/v1", "is no text"),
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("url", "problem"), WRONG_URLS)
def test_a_malformed_address_is_refused_when_the_provider_is_made(prefix: str, url: str, problem: str) -> None:
    with pytest.raises(ModelUnavailable, match=re.escape(problem)) as caught:
        provider_of(prefix, base_url=url, api_key="k")
    assert str(caught.value).startswith(f"base_url of models of {prefix!r} is {str(url)!r}")
    assert caught.value.fields["base_url"] == str(url)


@pytest.mark.parametrize(
    ("prefix", "variable"),
    [
        ("openai", "OPENAI_BASE_URL"),
        ("openai-chat", "OPENAI_BASE_URL"),
        ("anthropic", "ANTHROPIC_BASE_URL"),
        ("google", "GOOGLE_GEMINI_BASE_URL"),
    ],
)
def test_an_address_of_the_environment_is_checked_under_its_name(
    prefix: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "localhost:1")
    with pytest.raises(ModelUnavailable, match=f"{variable} of models of"):
        provider_of(prefix, api_key="k")
    assert provider_of(prefix, base_url="http://localhost:1", api_key="k").name == prefix
    monkeypatch.setenv(variable, "")
    assert provider_of(prefix, api_key="k").name == prefix


@pytest.mark.parametrize(
    "url", ["http://localhost", "https://api.x.y/v1", "http://[::1]:8000/v1/", "http://u:p@h_1:8/v1?a=b", "HTTP://X"]
)
def test_a_proper_address_is_taken(url: str) -> None:
    assert checked_url("openai", url, "NOTHING") == url


def test_no_message_shows_the_secrets_of_an_address() -> None:
    with pytest.raises(ModelUnavailable) as caught:
        provider_of("openai", base_url="ftp://me:s3cret@host/v1?key=s3cret", api_key="k")
    assert "s3cret" not in str(caught.value) + str(caught.value.fields)
    assert "ftp://***@host/v1" in str(caught.value)


def refused(*inner: BaseException) -> Exception:
    """What the SDKs raise: their own error around httpx's, around what happened."""
    error: BaseException | None = None
    for cause in reversed(inner):
        cause.__cause__, error = error, cause
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "Nothing listens there: start the server"),
        (socket.gaierror(-2, "Name or service not known"), "The name leads nowhere: check base_url"),
        (ssl.SSLError(1, "wrong version number"), "No secure connection came about: check http or https"),
        (OSError(101, "Network is unreachable"), "Check base_url, and the network"),
        (ExceptionGroup("several", [ConnectionRefusedError(111, "Connect call failed")]), "Nothing listens there"),
    ],
)
def test_an_unreachable_server_is_named_with_the_cause_and_what_to_do(cause: Exception, advice: str) -> None:
    error = refused(OSError("Connection error."), OSError("All connection attempts failed"), cause)
    found = faults.fault_of_transport("The chat endpoint", "http://u:pw@host:1/v1", error, "", begun=False)
    assert found is not None
    assert (found.kind, found.retryable) == ("transport", True)
    inner = cause.exceptions[0] if isinstance(cause, ExceptionGroup) else cause
    said = f"The chat endpoint could not be reached at http://***@host:1/v1 ({type(inner).__name__}: {inner}). "
    assert str(found).startswith(said + advice)


def test_a_server_that_no_connection_comes_to_is_unreachable_and_not_silent() -> None:
    import httpx2
    import openai

    outer = openai.APITimeoutError(request=httpx2.Request("POST", "http://h"))
    error = refused(outer, httpx2.ConnectTimeout("no connection"))
    found = faults.fault_of_transport("X", "http://h", error, "", begun=False)
    assert found is not None
    assert found.kind == "transport"
    assert "could not be reached at http://h (ConnectTimeout: no connection)" in str(found)
    silent = faults.fault_of_transport("X", "http://h", httpx2.ReadTimeout("nothing"), "so far", begun=True)
    assert silent is not None
    assert (silent.kind, silent.partial, "X at http://h was silent" in str(silent)) == ("timeout", "so far", True)


NO_SDK = """
import importlib.machinery, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("openai", "anthropic", "google"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
from lash.providers import provider_of
for prefix in ("openai", "openai-chat", "anthropic", "google"):
    try:
        provider_of(prefix, api_key="k")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    done = subprocess.run([sys.executable, "-c", NO_SDK], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    for line, extra in zip(lines, ("openai", "openai", "anthropic", "google"), strict=True):
        assert line.startswith("ModelUnavailable ")
        assert f"pip install 'lash-runtime[{extra}]'" in line


def test_making_a_provider_loads_no_sdk() -> None:
    code = (
        "import sys\nfrom lash.providers import PREFIXES, provider_of\n"
        "for prefix in PREFIXES: provider_of(prefix, api_key='k').info('x')\n"
        "print([name for name in ('openai', 'anthropic', 'google.genai', 'httpx2', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1.25"}, 1_250),
        ({"Retry-After-Ms": "70", "Retry-After": "9"}, 70),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 59_000),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after": "tomorrow"}, None),
    ],
)
def test_a_time_to_come_back_is_read_in_every_spelling(headers: dict[str, str], expected: int | None) -> None:
    assert faults.retry_after_of(headers, now_s=1.0) == expected
