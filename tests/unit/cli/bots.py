"""A target with agents, whose model does what it is told, and a terminal to type in."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

from tests.unit.cli.kit import DEADLINE_S

ROOT = Path(__file__).resolve().parents[3]

BOT = """
    import lash
    from lash.testing import Say, ScriptedModel

    class Priced(ScriptedModel):
        __hash__ = ScriptedModel.__hash__

        def info(self, model):
            return lash.ModelInfo(price=lash.Price(1.0, 10.0))

    @lash.tool
    async def find_order(ctx: lash.ToolContext, email: str) -> dict[str, str]:
        \"\"\"Find the newest order of a customer.\"\"\"
        print("a tool that prints")
        return {"id": "o-17"}

    @lash.tool(effect="pure")
    async def broken(number: int) -> int:
        \"\"\"Always fails.\"\"\"
        raise lash.ToolFailed("the printer is on fire", code="fire")

    @lash.tool
    async def clean_desk(task: str):
        \"\"\"Begin anew.\"\"\"
        return lash.SwitchFrame("desk", task)

    def line(request):
        last = request.messages[-1]
        match last.text:
            case _ if last.role == "tool":
                return "It was **shipped**."
            case "order":
                calls = [("find_order", {"email": "a@b.c"}), ("broken", {"number": 7})]
                return Say("Let me look.", reasoning="An order.", calls=calls)
            case "cut":
                tries = sum(1 for seen in model.requests if seen.messages[-1].text == "cut")
                return Say("half of it", cut=2, pause_s=0.2) if tries == 1 else "all of it"
            case "slow":
                return Say("tick " * 5_000, pause_s=0.02)
            case "refuse":
                return lash.ProviderError("the account is empty", kind="quota")
            case "long":
                return Say("It was shipped, and", stop="output_limit")
            case "anew":
                return Say(calls=[("clean_desk", {"task": "go on"})])
            case text if text.startswith("Write a summary"):
                return "we spoke"
            case text:
                return f"You said: {text}"

    model = Priced(always=line)
    tools = [find_order, broken, clean_desk]
    retry = lash.Retry(attempts=2, initial="1ms")
    support = lash.Agent("support", model=(model, "m"), tools=tools, retry=retry)
    other = lash.Agent("other", model=(ScriptedModel(always="I am the other."), "m"))
    app = lash.Runtime("sqlite:///bots.db", agents=[support], linger="10ms", drain="2s")
    both = lash.Runtime("sqlite:///bots.db", agents=[support, other])
    nobody = lash.Runtime("sqlite:///nobody.db")
    forgetful = lash.Runtime("memory://", agents=[support], engine="inline")

    @app.process
    async def asks(ctx: lash.Context, text: str) -> str:
        outcome = await ctx.run(support, text)
        return outcome.text
"""

CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Terminal:
    """``lash`` in a terminal of its own: what it shows is waited for, and what is typed is what a person would."""

    def __init__(self, folder: Path, *arguments: str, kind: str = "dumb", env: Mapping[str, str] | None = None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1", "TERM": kind, **(env or {})}
        environment.pop("LASH_URL", None)
        self.pid, self._fd = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, "-m", "lash.cli.main", *arguments], environment)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character
        self._read = 0
        self._open = True

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def line(self, text: str) -> None:
        self.type(text + "\n")

    def expect(self, text: str) -> str:
        """Wait until ``text`` is shown, behind what was expected before; what was shown up to it."""
        deadline = time.monotonic() + DEADLINE_S
        while (found := self.text.find(text, self._read)) < 0:
            assert self._more(deadline), f"{text!r} is not in {self.text[self._read :]!r}"
        before, self._read = self.text[self._read : found], found + len(text)
        return before

    def end(self) -> int:
        """Wait for the end of the program; its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._more(deadline):
            pass
        assert not self._open, f"it has not ended: {self.text!r}"
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def _more(self, deadline: float) -> bool:
        """Read what has come; False when time is up, and when the program has ended."""
        if not self._open or time.monotonic() > deadline:
            return False
        if select.select([self._fd], [], [], 0.2)[0]:
            try:
                data = os.read(self._fd, 65_536)
            except OSError:  # how Linux tells that the other end is gone
                data = b""
            self._open = bool(data)
            self.text = (self.text + self._decoder.decode(data)).replace("\r\n", "\n")
        return self._open


def seen(raw: str) -> list[str]:
    """What stands on a terminal after ``raw`` was written to it: line ends, erased lines and steps up are obeyed."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(raw):
        if (code := CODE.match(raw, place)) is not None:
            place = code.end()
            if code[2] == "A":
                row = max(0, row - int(code[1] or 1))
            elif code[2] == "K":
                lines[row], column = "", 0
            continue
        char, place = raw[place], place + 1
        if char == "\r":
            column = 0
        elif char == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
