"""The client of OpenAI's SDK: made at the first request, with its own retries off, closed with its provider.

Importing the SDK takes longer than starting a worker, so it happens in a thread and only where a model of it is asked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from lash.errors import ProviderError
from lash.limits import MODEL_CONNECT_MS
from lash.providers.address import checked_url
from lash.providers.faults import code_of, fault_of, fault_of_transport
from lash.providers.reading import Deadlines, Events, obj, text

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_HOST: Final = "api.openai.com"


class Client:
    """``prefix`` is that of its models, ``vendor`` what people call it."""

    def __init__(self, prefix: str, vendor: str, api_key: str, base_url: str | None, deadlines: Deadlines) -> None:
        self.vendor = vendor
        self.deadlines = deadlines
        self._api_key = api_key
        self.base_url = checked_url(prefix, base_url, "OPENAI_BASE_URL")
        """None is OpenAI itself."""
        self._client: AsyncOpenAI | None = None
        self._making = asyncio.Lock()

    async def get(self) -> AsyncOpenAI:
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(self._make)
            return self._client

    def _make(self) -> AsyncOpenAI:
        import httpx2
        import openai

        quiet_s = self.deadlines.quiet_s
        timeout = httpx2.Timeout(quiet_s, connect=min(quiet_s, MODEL_CONNECT_MS / 1_000))
        return openai.AsyncOpenAI(api_key=self._api_key, base_url=self.base_url, max_retries=0, timeout=timeout)

    @staticmethod
    async def hang_up(events: Events) -> None:
        await cast(Any, events).close()

    def fault(self, error: Exception, partial: str, begun: bool) -> ProviderError | None:
        import openai

        if isinstance(error, openai.APIConnectionError) or not isinstance(error, openai.APIError):
            return fault_of_transport(self.vendor, self.base_url or f"https://{OPENAI_HOST}/v1", error, partial, begun)
        refusal = error if isinstance(error, openai.APIStatusError) else None
        body = obj(error.body)
        return fault_of(
            self.vendor,
            None if refusal is None else refusal.status_code,
            text(body.get("message")) or text(error.body) or error.message,
            code=code_of(body),
            headers=None if refusal is None else refusal.response.headers,
            partial=partial,
            raw=error.body,
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
