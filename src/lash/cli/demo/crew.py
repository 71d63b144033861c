"""The demo's worker processes: started, killed, stopped and continued by the numbers of those we started ourselves.

Whatever happens, ``dismiss`` leaves none of them behind. One that outlives this Python process drains by itself, for
it holds one end of a socket of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lash.cli.demo.app import SETTING, Setting

DISMISS_S: Final = 15.0
"""For draining at the end; the steps of the demo take milliseconds."""


@dataclass(slots=True)
class Member:
    """One worker process."""

    label: str
    process: subprocess.Popen[bytes]
    line: socket.socket
    fate: str = "serving"
    """What became of it, for the table."""
    counters: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


class Crew:
    """``setting`` for all of them; what they print goes to ``log``."""

    def __init__(self, setting: Setting, log: Path) -> None:
        self.setting = setting
        self.log = log
        self.members: list[Member] = []

    def start(self) -> Member:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "lash.cli.demo.worker", str(theirs.fileno())]
        environment = os.environ | {SETTING: self.setting.as_json()}  # not an argument: the URL may hold a password
        with theirs, self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
            )
        member = Member(f"worker {chr(ord('A') + len(self.members))}", process, ours)
        self.members.append(member)
        return member

    def kill(self, member: Member) -> None:
        member.process.send_signal(signal.SIGKILL)
        member.process.wait()
        member.fate = "killed (SIGKILL)"

    def stop(self, member: Member) -> None:
        member.process.send_signal(signal.SIGSTOP)
        member.fate = "stopped (SIGSTOP)"

    def cont(self, member: Member) -> None:
        member.process.send_signal(signal.SIGCONT)
        member.fate = "zombie (stopped past its lease)"

    def of_pid(self, pid: int) -> Member | None:
        return next((member for member in self.members if member.pid == pid), None)

    def read_counters(self) -> None:
        """The newest ones each member has written."""
        for member in self.members:
            try:
                text = Path(self.setting.counters, f"{member.pid}.json").read_text()
            except OSError:
                continue  # it has not written any yet
            found = json.loads(text)
            member.counters = {name: int(value) for name, value in found.items() if name not in ("pid", "ended")}

    async def dismiss(self) -> list[Member]:
        """Drain all that are alive and wait for them; those that had to be killed are returned."""
        for member in self.members:
            if member.alive:
                member.process.send_signal(signal.SIGCONT)
                member.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(ended_within, member, DISMISS_S) for member in self.members))
        late = [member for member in self.members if member.alive]
        self.destroy()
        return late

    def destroy(self) -> None:
        """At once, whatever state they are in."""
        for member in self.members:
            if member.alive:
                member.process.kill()
                member.process.wait()
            member.line.close()


def ended_within(member: Member, seconds: float) -> bool:
    try:
        member.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
