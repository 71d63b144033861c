"""What a user writes, as the type checkers must see it. Never run: ``test_typing.py`` has mypy and pyright read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, assert_type

import lash

app = lash.Runtime("sqlite:///jobs.db")


@dataclass
class Receipt:
    id: str


def read_text(path: str) -> str:
    return path


async def count_words(text: str) -> int:
    return len(text)


async def count_lines(text: str) -> int:
    return len(text)


async def pay_back(order: str, cents: int) -> Receipt:
    return Receipt(f"{order}-{cents}")


@app.process
async def digest(ctx: lash.Context, path: str) -> dict[str, int]:
    text = await ctx.step(read_text, path)
    assert_type(text, str)
    a, b = await asyncio.gather(ctx.step(count_words, text), ctx.step(count_lines, text))
    assert_type(a, int)
    await ctx.sleep("2s")
    return {"words": a, "lines": b}


@app.process(name="refund", version="2", recovery="once", attempts_max=3, timeout="1h")
async def refund(ctx: lash.Context, order: str, cents: int = 0) -> Receipt:
    answer = await ctx.signal("approval", Receipt, timeout="3d")
    assert_type(answer, Receipt)
    receipt = await ctx.step(pay_back, order, cents, retry=lash.Retry(attempts=5))
    assert_type(receipt, Receipt)
    child = await ctx.start(digest, "README.md")
    assert_type(child, lash.Handle[dict[str, int]])
    assert_type(await child, dict[str, int])
    return receipt


@lash.process
async def unregistered(ctx: lash.Context) -> None:
    await ctx.emit("noticed", {"a": 1})


@lash.tool
async def find_receipt(ctx: lash.ToolContext, order: str) -> Receipt:
    """Find the receipt of an order."""
    return Receipt(order)


@lash.tool(name="net", effect="pure", retry=3, timeout="2s")
def net_of(cents: int, vat: float = 0.19) -> int:
    """Without the tax."""
    return round(cents / (1 + vat))


class Shop:
    @lash.tool
    async def price_of(self, ctx: lash.ToolContext, item: str) -> int:
        """What it costs, in cents."""
        return len(item)

    def tools(self) -> list[lash.Tool[..., Any]]:
        return [self.price_of, lash.tool(self.close, name="close_shop", serial=True)]

    def close(self) -> bool:
        """Close it."""
        return True


@app.lifespan
@asynccontextmanager
async def resources(runtime: Any) -> AsyncGenerator[dict[str, str], None]:
    yield {"for": repr(runtime)}


async def main() -> None:
    app.include(unregistered)
    async with app:
        handle = await app.start(digest, "README.md", id="digest-readme")
        assert_type(handle, lash.Handle[dict[str, int]])
        assert_type(await handle, dict[str, int])
        assert_type(await handle.result(timeout="1s"), dict[str, int])
        assert_type(await handle.status(), lash.Status)
        assert_type(await handle.record(), lash.ProcessRecord)
        other = await app.start(refund, "o-1", 900, delay="1s", tags=["urgent"], priority=3)
        assert_type(await other, Receipt)
        many = await app.start_many([digest.call("a.md").options(id="a"), digest.call("b.md")])
        assert_type(many, list[lash.Handle[dict[str, int]]])
        async for event in handle.events(after=0, follow=True):
            assert_type(event, lash.Event)
        assert_type(await app.drive(), lash.Report)
        assert_type(lash.current().idempotency_key, str)


async def calling_tools(ctx: lash.ToolContext) -> None:
    assert_type(await find_receipt(ctx, "o-1"), Receipt)
    assert_type(net_of(119), int)
    assert_type(await Shop().price_of(ctx, "cup"), int)
    assert_type(await ctx.put(b"...", "image/png"), lash.Media)
