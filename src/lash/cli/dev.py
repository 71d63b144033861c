"""``lash dev``: a worker that starts again whenever a source file is saved.

The target is imported only in the child, so that every start sees the files as they are. A file that does not compile
is told, and the next save is waited for; what was started meanwhile waits in the database.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lash.cli import exits, output as out
from lash.cli.serving import hand_down, worker_command
from lash.cli.target import parse_target, source_folder

LOOK_S: Final = 0.3
"""Between two looks at the files."""
DRAIN_S: Final = 5.0
"""A developer does not wait longer for a step in flight; its process is taken over by the next worker anyway."""
FILES_MAX: Final = 5_000
"""Files watched: a look must stay far shorter than the pause between two."""
PASSED_OVER: Final = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})

Stamps = dict[str, tuple[int, int]]
"""Path → (mtime_ns, size)."""


def dev(target: str, url: str | None, verbose: bool, as_json: bool) -> int:
    """Until Ctrl-C."""
    folder = source_folder(parse_target(target))
    tell(as_json, f"Watching {folder} for saved *.py files. Ctrl-C ends.", event="watching", folder=str(folder))
    hand_down(url)
    command = worker_command(target, verbose, as_json)
    stopping = stop_flag()
    while not stopping:
        seen = stamps_of(folder)
        with socket_pair() as (ours, theirs):
            child = start(command, theirs)
            theirs.close()
            try:
                changed = wait_for_change(folder, seen, child, stopping, as_json)
            finally:
                drain(child, as_json)
            ours.close()
        if changed:
            names = ", ".join(sorted(os.path.relpath(name, folder) for name in changed)[:5])
            tell(as_json, f"Saved: {names}. Starting again.", event="reload", files=sorted(changed))
    return exits.OK


def start(command: Sequence[str], line: socket.socket) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C ends this loop first and the child drains.

    Without byte code: Python knows it by second and size, and so would run the old code after two quick saves.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*command, f"--lifeline={line.fileno()}"]
    return subprocess.Popen(command, env=environment, pass_fds=(line.fileno(),), start_new_session=True)


def wait_for_change(
    folder: Path, seen: Stamps, child: subprocess.Popen[bytes], stopping: list[int], as_json: bool
) -> set[str]:
    """Paths saved, made or removed; empty when asked to stop. Says once when the child has ended by itself."""
    said = False
    while not stopping:
        time.sleep(LOOK_S)
        now = stamps_of(folder)
        if changed := {path for path in now.keys() | seen.keys() if now.get(path) != seen.get(path)}:
            return changed
        if not said and child.poll() is not None:
            said = True
            text = f"The worker ended with exit code {child.returncode}. Waiting for the next save."
            tell(as_json, text, event="ended", code=child.returncode)
    return set()


def drain(child: subprocess.Popen[bytes], as_json: bool) -> None:
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(DRAIN_S)
    except subprocess.TimeoutExpired:
        tell(as_json, f"A step is still in flight after {DRAIN_S:.0f} s; it will be performed again.", event="killed")
        child.kill()
        child.wait()


def stop_flag() -> list[int]:
    """Empty until SIGINT or SIGTERM arrives; the second one interrupts."""
    stopping: list[int] = []

    def note(number: int, frame: object) -> None:
        if stopping:
            raise KeyboardInterrupt
        stopping.append(number)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return stopping


class socket_pair:  # noqa: N801  # used as a verb
    """Both ends of the child's lifeline; closed whatever happens."""

    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        self.ends = socket.socketpair()
        return self.ends

    def __exit__(self, *error: object) -> None:
        for end in self.ends:
            end.close()


def stamps_of(folder: Path) -> Stamps:
    """Every *.py file below ``folder``, hidden folders and installed packages passed over."""
    found: Stamps = {}
    for path in python_files(str(folder)):
        try:
            status = os.stat(path)
        except OSError:
            continue  # removed between the look and the stat
        found[path] = (status.st_mtime_ns, status.st_size)
        if len(found) >= FILES_MAX:
            break
    return found


def python_files(folder: str) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in PASSED_OVER
            and not os.path.exists(os.path.join(here, name, "pyvenv.cfg"))
        )
        yield from (os.path.join(here, name) for name in sorted(files) if name.endswith(".py"))


def tell(as_json: bool, text: str, **fields: object) -> None:
    if as_json:
        out.print_json(fields)
    else:
        print(out.clean(text), file=sys.stderr, flush=True)
