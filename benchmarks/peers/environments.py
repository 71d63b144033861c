"""Each peer lives in a virtual environment of its own, made when it is first asked for, with pinned versions.

A peer that cannot be installed is told with its reason; nothing is left out in silence. Nothing is made for lash: it
runs in the environment that the benchmark runs in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.child import ROOT

FOLDER: Final = ROOT / ".venvs" / "peers"
INSTALL_SECONDS_MAX: Final = 600
STAMP: Final = "installed"
RESTATE_BINARY: Final = "node/node_modules/@restatedev/restate-server-*/bin/restate-server"


class PeerMissing(Exception):
    """The peer cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """``variables`` names environment variables by a pattern of the file they point to."""

    name: str
    pip: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def pins(self) -> str:
        return " ".join((*self.pip, *self.npm))


OURS: Final = Environment("lash")
ENVIRONMENTS: Final = {
    item.name: item
    for item in (
        OURS,
        Environment("dbos", ("dbos==3.4.0",)),
        Environment("absurd", ("absurd-sdk==0.5.1", "absurdctl==0.5.1")),
        Environment(
            "langgraph",
            (
                "langgraph==1.2.24",
                "langgraph-checkpoint-sqlite==3.1.2",
                "langgraph-checkpoint-postgres==3.2.0",
                "psycopg[binary]==3.3.9",
            ),
        ),
        Environment("openai", ("openai-agents==0.24.0",)),
        Environment(
            "restate",
            ("restate-sdk==1.3.0", "hypercorn==0.18.0"),
            ("@restatedev/restate-server@1.7.12",),
            (("RESTATE_SERVER", RESTATE_BINARY),),
        ),
        Environment("chart", ("matplotlib==3.11.2",)),
    )
}


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that is there: its interpreter, and what its programs find in theirs."""

    python: str
    variables: Mapping[str, str]


def prepare(environment: Environment, folder: Path = FOLDER) -> Installed:
    """Make the environment, unless it is there with these very versions. Raises ``PeerMissing``."""
    if environment is OURS:
        return Installed(sys.executable, {})
    home = folder / environment.name
    stamp = home / STAMP
    if not (stamp.exists() and stamp.read_text("utf-8") == environment.pins):
        install(environment, home)
        stamp.write_text(environment.pins, "utf-8")
    return Installed(str(home / "bin" / "python"), dict(found_in(home, environment.variables)))


def install(environment: Environment, home: Path) -> None:
    npm = shutil.which("npm")
    if environment.npm and npm is None:
        raise PeerMissing("npm is not installed")
    home.parent.mkdir(parents=True, exist_ok=True)
    perform("venv", [sys.executable, "-m", "venv", "--clear", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    perform("pip", [*pip, *environment.pip])
    if environment.npm and npm is not None:
        node = home / "node"
        node.mkdir()
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        perform("npm", [npm, "install", "--prefix", str(node), *options, *environment.npm])


def perform(tool: str, command: Sequence[str]) -> None:
    """Raises ``PeerMissing`` with the last line that the tool said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{tool} could not install it: {type(error).__name__}") from error
    if done.returncode:
        raise PeerMissing(f"{tool} could not install it: {last_line(done.stderr or done.stdout)}")


def found_in(home: Path, variables: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, pattern in variables:
        path = next(iter(sorted(home.glob(pattern))), None)
        if path is None:
            raise PeerMissing(f"no {Path(pattern).name} for this system came with its package")
        found.append((name, str(path)))
    return found


def last_line(output: str) -> str:
    """What a tool said last, without the paths of this machine."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    text = lines[-1] if lines else "it said nothing"
    for path in (str(ROOT), sys.prefix, str(Path.home())):
        text = text.replace(path, "…")
    return text[:200]
