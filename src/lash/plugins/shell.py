"""A command is run to its end or stopped with everything it started, and what it wrote is never lost silently.

This is no sandbox: a command may do whatever the user of this process may, anywhere on the machine and the network.
The root is only where it begins. Where a model is not trusted, run the worker in a container.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from lash.abc.plugin import Plugin
from lash.abc.tool import AnyTool, ToolContext, tool
from lash.core import codec
from lash.core.message import Text
from lash.core.outcome import Failure
from lash.core.schedule import Duration, duration_ms
from lash.core.tool import ToolOutput
from lash.errors import InvalidAgent, LashError, ToolFailed
from lash.limits import SHELL_KEPT_BYTES_MAX, SHELL_KEPT_FILES_MAX, SHELL_MS, SHELL_OUTPUT_BYTES_MAX
from lash.plugins.root import FOLDER_FLAGS, NEW_FLAGS, Root, create, wrong

PASSED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""Of the worker's environment; its keys and passwords are not a command's business."""
QUIET: Final = {"TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat", "GIT_TERMINAL_PROMPT": "0", "NO_COLOR": "1"}
CHUNK_BYTES: Final = 64 * 1024
HALF: Final = SHELL_OUTPUT_BYTES_MAX // 2
LEFTOVER_S: Final = 0.5
"""How long to go on reading after a command has ended, should something it set free hold its output open."""
OUTPUT_FOLDER: Final = ".lash/output"
CUT_OFF: Final = 141
"""The exit code of a command that wrote to a pipe nobody reads any more: 128 and SIGPIPE."""
SKIPPING: Final = re.compile(r"&&|\b(?:exit|return)\b")
"""Where one of these follows a pipe, its failure may have kept something from being run."""
FORGIVE: Final = (
    'lash_end() { local code=$? codes=("${PIPESTATUS[@]}") each; '
    f"if [[ $code == {CUT_OFF} && $- != *e* && ${{codes[${{#codes[@]}}-1]}} == 0 ]]; then code=0; "
    f'for each in "${{codes[@]}}"; do [[ $each == 0 || $each == {CUT_OFF} ]] || code=$each; done; fi; '
    "exit $code; }; trap lash_end EXIT; "
)
"""Stands before a command, on its first line: the exit code is that of the last pipe without the parts the next one had
read enough of, as ``head`` does. Not under ``set -e``, which skips what follows."""
CUT_OFF_WORDS: Final = (
    f"exit code {CUT_OFF}: a command wrote to a pipe that nobody read any more. If that was meant, as with head or "
    "grep -q, begin with 'set +o pipefail'; anything behind it with && was not run"
)


class Shell(Plugin):
    """The tool ``exec_command``, which runs a shell command below ``root`` (and is no sandbox).

    ``timeout``: of a command, and the most a model may ask for. ``env``: added to a small environment of PATH, HOME and
    the like; give ``env=dict(os.environ)`` to pass everything on. Raises ``InvalidAgent``.
    """

    id = "lash.shell"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        timeout: Duration = f"{SHELL_MS}ms",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Root(root)
        try:
            self.timeout_ms = duration_ms(timeout, "timeout")
        except LashError as error:
            raise InvalidAgent(f"Shell: {error.message}") from None
        passed = {name: value for name in PASSED_ON if (value := os.environ.get(name)) is not None}
        self.env = {**passed, **QUIET, **(env or {})}
        bash = shutil.which("bash")
        self.is_bash = bash is not None
        self.shell = [bash, "--noprofile", "--norc", "-o", "pipefail", "-c"] if bash else ["/bin/sh", "-c"]
        self._tools: tuple[AnyTool, ...] = (tool(effect="once", serial=True)(self.exec_command),)

    def tools(self) -> Sequence[AnyTool]:
        return self._tools

    async def exec_command(
        self, ctx: ToolContext, command: str, path: str = ".", timeout_s: float | None = None
    ) -> ToolOutput:
        """Run a shell command and wait for its end. There is no terminal and nothing to read on standard input, and
        what it starts in the background ends with it. A long output is shown in part and kept in a file.

        Args:
            command: For bash, with pipefail: before '&&' or in an 'if', a command that head or grep -q cut off has
                failed. 'set +o pipefail' ends that.
            path: The folder it begins in, from the root.
            timeout_s: Seconds until it is stopped.
        """
        if not command.strip() or "\0" in command:
            raise wrong("A command is text without NUL, and not empty.", "invalid_tool_args")
        if timeout_s is not None and not timeout_s > 0:
            raise wrong(f"timeout_s is more than 0, not {timeout_s}.", "invalid_tool_args")
        limit_ms = self.timeout_ms if timeout_s is None else min(self.timeout_ms, round(timeout_s * 1_000) or 1)
        folder = await asyncio.to_thread(self._folder, path)
        kept = Kept(self.root, f"{ctx.turn}-{secrets.token_hex(4)}.txt")
        began = time.monotonic()
        try:
            ended = await self._run(command, folder, limit_ms, kept)
        finally:
            await asyncio.to_thread(kept.close)
        return told(ended, kept, limit_ms, time.monotonic() - began)

    def _folder(self, path: str) -> str:
        with self.root.spot(path) as spot:
            os.close(os.open(spot.name, FOLDER_FLAGS, dir_fd=spot.folder))
            return str(self.root.path / spot.shown)

    async def _run(self, command: str, folder: str, limit_ms: int, kept: Kept) -> int | str:
        """The exit code, or why it was stopped."""
        program, pipe = await self._begin(command, folder)
        reading = asyncio.create_task(keep_all(pipe, kept))
        why: str | None = None
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                await until_over(program, reading, kept)
        except TimeoutError:
            why = "timeout"
        finally:
            stop(program)  # and what it left behind
            code = await program.wait()
            await asyncio.wait((reading,), timeout=LEFTOVER_S)
            reading.cancel()
        if reading.done() and not reading.cancelled():
            reading.result()  # says what broke
        return why or ("too_much" if kept.is_full else code)

    def _forgiving(self, command: str) -> str:
        _, pipe, rest = command.partition("|")
        return FORGIVE + command if self.is_bash and pipe and not SKIPPING.search(rest) else command

    async def _begin(self, command: str, folder: str) -> tuple[asyncio.subprocess.Process, int]:
        """The started shell, and the end of a pipe that has what it writes. The pipe is ours, so that waiting for the
        shell is not also waiting for whatever else holds the pipe open."""
        ours, theirs = os.pipe()
        try:
            program = await asyncio.create_subprocess_exec(
                *self.shell, self._forgiving(command), cwd=folder, env=self.env, stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs, stderr=theirs, start_new_session=True,
            )  # fmt: skip
        except BaseException as error:
            os.close(ours)
            if isinstance(error, (OSError, ValueError)):
                raise ToolFailed(f"The command could not be started: {error}.", code="not_started") from error
            raise
        finally:
            os.close(theirs)
        return program, ours


async def until_over(program: asyncio.subprocess.Process, reading: asyncio.Task[None], kept: Kept) -> None:
    """Until the shell has ended, or there is no more room for what it writes."""
    ended = asyncio.create_task(program.wait())
    try:
        await asyncio.wait((ended, reading), return_when=asyncio.FIRST_COMPLETED)
        if not kept.is_full:
            await ended  # it may have closed its output, and go on
    finally:
        ended.cancel()


def stop(program: asyncio.subprocess.Process) -> None:
    """Kill the shell and everything in its process group."""
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # there is nobody left


async def keep_all(pipe: int, kept: Kept) -> None:
    """Everything up to the end of the pipe, or until ``kept`` is full. Closes the pipe."""
    stream = asyncio.StreamReader(limit=CHUNK_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        while not kept.is_full and (data := await stream.read(CHUNK_BYTES)):
            if kept.size + len(data) <= SHELL_OUTPUT_BYTES_MAX:
                kept.add(data)
            else:
                await asyncio.to_thread(kept.add, data)  # writes to the disk
    finally:
        transport.close()


# Output ------------------------------------------------------------------------------------------------------------


class Kept:
    """The beginning and the end of an output, and a file with all of it once that is more than is shown."""

    def __init__(self, root: Root, name: str) -> None:
        self.root = root
        self.path = f"{OUTPUT_FOLDER}/{name}"
        self.size = 0
        self.trouble = ""
        """Why there is no file."""
        self._head = b""
        self._tail = b""
        self._file: int | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        return self.size > SHELL_KEPT_BYTES_MAX

    @property
    def is_cut(self) -> bool:
        return self.size > SHELL_OUTPUT_BYTES_MAX

    def add(self, data: bytes) -> None:
        with self._lock:
            if self._closed:
                return
            before = self._head + self._tail if self.size <= SHELL_OUTPUT_BYTES_MAX else b""
            self.size += len(data)
            if self.is_cut:
                self._write(before + data)
            taken = data[: HALF - len(self._head)]
            self._head += taken
            self._tail = (self._tail + data[len(taken) :])[-HALF:]

    def _write(self, data: bytes) -> None:
        if self.trouble:
            return
        try:
            if self._file is None:
                self._file = new_file(self.root, self.path)
            while data:
                data = data[os.write(self._file, data) :]
        except (OSError, ToolFailed) as error:
            self.trouble = str(error)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def text(self) -> str:
        if not self.is_cut:
            return readable(self._head + self._tail)
        where = f"all of it is in {self.path}" if not self.trouble else f"it could not be kept: {self.trouble}"
        left_out = self.size - len(self._head) - len(self._tail)
        head, tail = readable(whole_end(self._head)), readable(whole_begin(self._tail))
        return f"{head}\n[{left_out} of {self.size} bytes are left out here; {where}]\n{tail}"


def new_file(root: Root, path: str) -> int:
    """A file for one output, in a folder that version control leaves alone and that holds no more than so many."""
    with root.spot(f"{OUTPUT_FOLDER}/../.gitignore", make=True) as spot:
        try:
            create(spot, b"*\n")
        except FileExistsError:
            pass
    with root.spot(path, follow=False, make=True) as spot:
        names = [entry.name for entry in os.scandir(spot.folder) if entry.is_file(follow_symlinks=False)]
        names.sort(key=lambda name: os.stat(name, dir_fd=spot.folder, follow_symlinks=False).st_mtime_ns)
        for name in names[: max(0, len(names) - SHELL_KEPT_FILES_MAX + 1)]:
            os.unlink(name, dir_fd=spot.folder)
        return os.open(spot.name, NEW_FLAGS, 0o666, dir_fd=spot.folder)


def whole_end(data: bytes) -> bytes:
    """Without a character whose last bytes were cut off."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead >= 0xC0:
            need = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return data[:-back] if need > back else data
        if lead < 0x80:
            break
    return data


def whole_begin(data: bytes) -> bytes:
    """Without a character whose first bytes were cut off."""
    start = next((place for place, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
    return data[start:]


def readable(data: bytes) -> str:
    return codec.safe_text(data.decode("utf-8", "replace"))


def told(ended: int | str, kept: Kept, limit_ms: int, seconds: float) -> ToolOutput:
    """The output as the model reads it; anything but exit code 0 is a failed result."""
    failure: Failure | None = None
    if ended == "timeout":
        failure = Failure("timeout", "timeout", f"stopped after {limit_ms / 1_000:g} s, its time limit")
    elif ended == "too_much":
        failure = Failure("resource_limit", "too_much_output", f"stopped at {SHELL_KEPT_BYTES_MAX} bytes of output")
    elif ended == CUT_OFF:
        failure = Failure("execution", "exit_code", CUT_OFF_WORDS, {"exit_code": ended})
    elif ended != 0:
        failure = Failure("execution", "exit_code", f"exit code {ended}", {"exit_code": ended})
    output = kept.text().removesuffix("\n")
    if failure is not None:
        text = f"[failed: {failure.code}] {failure.message}"
        return ToolOutput((Text(f"{text}\n{output}" if output else text),), failure=failure)
    note = f"[exit code 0 after {seconds:.1f} s]"
    value = {"exit_code": 0, "output_bytes": kept.size, "output_file": kept.path if kept.is_cut else None}
    return ToolOutput((Text(f"{output}\n{note}" if output else note),), value)
