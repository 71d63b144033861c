"""The first example of the project runs as it stands, and running it again performs nothing twice."""

from __future__ import annotations

from tests.acceptance.kit import Shell

DIGEST = """
import asyncio, lash
app = lash.Runtime("sqlite:///jobs.db")

def note(what):
    with open("performed", "a") as file:
        file.write(what + "\\n")

async def read_text(path: str) -> str:
    note("read")
    return open(path).read()

def count_words(text: str) -> int:
    note("words")
    return len(text.split())

def count_lines(text: str) -> int:
    note("lines")
    return len(text.splitlines())

@app.process
async def digest(ctx: lash.Context, path: str) -> dict[str, int]:
    text = await ctx.step(read_text, path)
    a, b = await asyncio.gather(ctx.step(count_words, text), ctx.step(count_lines, text))
    await ctx.sleep("2s")
    return {"words": a, "lines": b}

async def main():
    async with app:
        h = await app.start(digest, "README.md", id="digest-readme")
        print(await h)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_digest_example_runs_and_is_the_same_process_ever_after(shell: Shell) -> None:
    (shell.folder / "README.md").write_text("one two\nthree\n")
    (shell.folder / "digest.py").write_text(DIGEST)
    for _ in range(2):
        done = shell.python("digest.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, "{'words': 3, 'lines': 2}\n", "")
    assert sorted((shell.folder / "performed").read_text().split()) == ["lines", "read", "words"]


def test_the_digest_example_is_seen_on_the_command_line(shell: Shell) -> None:
    (shell.folder / "README.md").write_text("one two\nthree\n")
    (shell.folder / "digest.py").write_text(DIGEST)
    assert shell.document("check", "digest.py")["ok"] is True
    started = shell.document("start", "digest.py", "digest", '["README.md"]', "--id=d")
    assert (started["status"], started["state"]) == ("running", "ready")
    worker = shell.begin("worker", "digest.py")
    waited = shell.lash("start", "digest.py", "digest", '["README.md"]', "--id=d", "--wait", "--timeout=30s")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    assert '{"words": 3, "lines": 2}' in waited.stdout
    assert shell.end(worker) == 0
    shown = shell.document("show", "d", "--url=sqlite:///jobs.db")
    names = [line["name"] for line in shown["timeline"] if line["kind"] == "step"]
    assert sorted(names) == ["count_lines", "count_words", "read_text"]
    [sleep] = [line for line in shown["timeline"] if line["kind"] == "sleep"]
    assert sleep["ended_ms"] - shown["first_started"]["at_ms"] >= 2_000
