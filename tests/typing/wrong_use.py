"""Mistakes a type checker must find. Each line marked ``# wrong`` has to be an error, and no other line may be one."""

from __future__ import annotations

import lash

app = lash.Runtime("sqlite:///jobs.db")


@app.process
async def digest(ctx: lash.Context, path: str) -> int:
    return await ctx.step(len, path)


async def main() -> None:
    handle = await app.start(digest, "README.md")
    text: str = await handle  # wrong
    digest.call(1)  # wrong
    await app.start("digest", "README.md")  # wrong
    await handle.result(timeout=[1])  # wrong
    lash.Runtime("sqlite:///jobs.db", engine="loud")  # wrong
    print(text)


@lash.tool
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


double("2")  # wrong
lash.tool(effect="twice")  # wrong


@app.process  # wrong
def not_async(ctx: lash.Context) -> int:
    return 1
