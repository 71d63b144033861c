"""A prefix leads to its provider, or to a message that says what to do; making one loads no SDK."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lash.errors import ModelUnavailable
from lash.providers import PREFIXES, faults, provider_of

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
VARIABLES = """
    OPENAI_API_KEY OPENAI_BASE_URL ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN GEMINI_API_KEY GOOGLE_API_KEY
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
    with pytest.raises(ModelUnavailable, match=f"Set {variables} in the environment"):
        provider_of(prefix)
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
