"""What a process body must not do, as data: one code per reason, and the calls that fall under it.

The rule of this file: a name is listed once, under the code whose advice helps most. Names are canonical dotted names
(``datetime.datetime.now``), whatever they were imported as; builtins stand under ``builtins.``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason. ``why`` finishes the sentence "<call> in the body of <process> ..."; ``advice`` is what to do."""

    why: str
    advice: str


UNREADABLE: Final = "LASH000"
CLOCK: Final = "LASH001"
CHANCE: Final = "LASH002"
SET_ORDER: Final = "LASH003"
IDENTITY: Final = "LASH004"
SURROUNDINGS: Final = "LASH005"
OUTSIDE: Final = "LASH006"
THREADS: Final = "LASH007"
LISTING: Final = "LASH008"
GLOBALS: Final = "LASH009"
COMPLETION: Final = "LASH010"

RULES: Final[dict[str, Rule]] = {
    UNREADABLE: Rule("cannot be read as Python", "Mend the file; nothing in it was checked."),
    CLOCK: Rule("reads the wall clock, which shows another time on replay", "Use ctx.now()."),
    CHANCE: Rule(
        "draws a new random value on replay",
        "Use ctx.random() or ctx.uuid(), or draw it in a step: await ctx.step(...).",
    ),
    SET_ORDER: Rule(
        "shows the order of a set, which differs from one Python run to the next",
        "Use sorted(...), or keep the values in a list or dict.",
    ),
    IDENTITY: Rule(
        "differs from one Python run to the next",
        "Compare or key by the value itself; hashlib gives a stable hash.",
    ),
    SURROUNDINGS: Rule(
        "depends on the machine it runs on, and is not recorded",
        "Wrap it in a step: await ctx.step(...); or pass the value as an argument of the process.",
    ),
    OUTSIDE: Rule(
        "blocks or reaches outside, and would be performed again on replay",
        "Wrap it in a step: await ctx.step(...).",
    ),
    THREADS: Rule(
        "leaves the body's own event loop, so its order is not recorded",
        "Use await ctx.step(...): a plain (not async) function runs in a thread there.",
    ),
    LISTING: Rule(
        "lists entries in no certain order, and the folder may change before a replay",
        "List it in a step and sort there: await ctx.step(...).",
    ),
    GLOBALS: Rule(
        "changes state of the module, which a replay on another worker does not have",
        "Keep it in a local variable, or return it from a step.",
    ),
    COMPLETION: Rule(
        "starts the members of a set in an order that differs from one Python run to the next",
        "Pass a list.",
    ),
}

SLEEP_ADVICE: Final = "Use await ctx.sleep(...)."


def table(code: str, module: str, names: str) -> dict[str, str]:
    return {f"{module}.{name}": code for name in names.split()}


CALLS: Final[dict[str, str]] = {
    **table(CLOCK, "time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time"),
    **table(CLOCK, "time", "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns"),
    **table(CLOCK, "datetime", "datetime.now datetime.utcnow datetime.today date.today"),
    **table(CHANCE, "uuid", "uuid1 uuid4 uuid6 uuid7 uuid8 getnode"),
    **table(CHANCE, "os", "urandom getrandom"),
    **table(SURROUNDINGS, "builtins", "open"),
    **table(SURROUNDINGS, "os", "getenv getenvb putenv unsetenv getcwd getpid getppid cpu_count uname getlogin"),
    **table(SURROUNDINGS, "os", "open stat lstat access remove unlink rename replace mkdir makedirs rmdir chdir"),
    **table(SURROUNDINGS, "os", "readlink symlink link chmod chown truncate utime removedirs get_terminal_size"),
    **table(SURROUNDINGS, "os.path", "exists lexists isfile isdir islink getsize getmtime getctime getatime"),
    **table(SURROUNDINGS, "os.path", "realpath abspath expanduser expandvars samefile ismount"),
    **table(SURROUNDINGS, "io", "open open_code FileIO"),
    **table(SURROUNDINGS, "pathlib", "Path.cwd Path.home"),
    **table(SURROUNDINGS, "socket", "gethostname getfqdn"),
    **table(OUTSIDE, "time", "sleep"),
    **table(OUTSIDE, "builtins", "input"),
    **table(OUTSIDE, "os", "system popen fork forkpty kill killpg wait waitpid spawnl spawnv execv posix_spawn"),
    **table(OUTSIDE, "asyncio", "create_subprocess_exec create_subprocess_shell open_connection start_server"),
    **table(OUTSIDE, "asyncio", "open_unix_connection start_unix_server"),
    **table(OUTSIDE, "sqlite3", "connect"),
    **table(THREADS, "asyncio", "to_thread run run_coroutine_threadsafe new_event_loop Runner"),
    **table(LISTING, "os", "listdir scandir walk fwalk"),
    **table(LISTING, "glob", "glob iglob"),
}
"""Canonical name of a called function → code."""

MODULES: Final[dict[str, str]] = {
    "random": CHANCE,
    "secrets": CHANCE,
    "numpy.random": CHANCE,
    "shutil": SURROUNDINGS,
    "tempfile": SURROUNDINGS,
    "platform": SURROUNDINGS,
    "requests": OUTSIDE,
    "httpx": OUTSIDE,
    "aiohttp": OUTSIDE,
    "urllib3": OUTSIDE,
    "urllib.request": OUTSIDE,
    "http.client": OUTSIDE,
    "socket": OUTSIDE,
    "ssl": OUTSIDE,
    "subprocess": OUTSIDE,
    "smtplib": OUTSIDE,
    "ftplib": OUTSIDE,
    "imaplib": OUTSIDE,
    "poplib": OUTSIDE,
    "threading": THREADS,
    "multiprocessing": THREADS,
    "concurrent.futures": THREADS,
    "_thread": THREADS,
}
"""Any call into these modules → code, but for :data:`HARMLESS` and for classes named ...Error or ...Exception."""

HARMLESS: Final = frozenset(
    {
        "secrets.compare_digest",
        "httpx.URL",
        "httpx.Timeout",
        "httpx.Limits",
        "httpx.Headers",
        "httpx.QueryParams",
        "httpx.Request",
        "requests.Request",
        "aiohttp.ClientTimeout",
        "urllib.request.Request",
        "socket.inet_aton",
        "socket.inet_ntoa",
        "socket.inet_pton",
        "socket.inet_ntop",
        "socket.htonl",
        "socket.htons",
        "socket.ntohl",
        "socket.ntohs",
        "threading.current_thread",
        "concurrent.futures.Future",
    }
)
"""Calls into :data:`MODULES` that only build or compare values."""

WITHOUT_ARGUMENTS: Final[dict[str, str]] = {
    "time.localtime": CLOCK,
    "time.gmtime": CLOCK,
    "time.ctime": CLOCK,
    "time.asctime": CLOCK,
    "random.Random": CHANCE,
    "numpy.random.default_rng": CHANCE,
    "numpy.random.RandomState": CHANCE,
}
"""Only wrong when called with nothing: a given time or seed makes them repeatable."""

READS: Final[dict[str, str]] = {
    "builtins.hash": IDENTITY,
    "builtins.id": IDENTITY,
    "os.environ": SURROUNDINGS,
    "os.environb": SURROUNDINGS,
    "sys.argv": SURROUNDINGS,
    "sys.stdin": OUTSIDE,
}
"""Wrong as soon as they are mentioned, called or not."""

METHODS: Final[dict[str, str]] = {
    "read_text": SURROUNDINGS,
    "read_bytes": SURROUNDINGS,
    "write_text": SURROUNDINGS,
    "write_bytes": SURROUNDINGS,
    "iterdir": LISTING,
    "rglob": LISTING,
    "run_in_executor": THREADS,
}
"""Method names that mean one thing, whatever they are called on."""

PATH_METHODS: Final[dict[str, str]] = {
    "glob": LISTING,
    "walk": LISTING,
    **{
        name: SURROUNDINGS
        for name in (
            "open exists stat lstat is_file is_dir is_symlink is_mount mkdir rmdir unlink rename replace touch chmod "
            "resolve absolute expanduser readlink symlink_to hardlink_to owner group samefile"
        ).split()
    },
}
"""Method names that touch the file system when called on a ``pathlib.Path``."""

ORDER_SHOWN: Final = frozenset(
    {f"builtins.{name}" for name in "list tuple enumerate iter zip map filter str repr".split()}
    | {"builtins.dict.fromkeys", "collections.deque"}
)
"""Calls that make the order of their arguments visible; so does every function of :mod:`itertools`."""

ORDER_KEPT: Final = frozenset(f"builtins.{name}" for name in "list tuple iter map filter".split())
"""Calls that pass the order of their arguments on, and do nothing else with it."""

ORDER_HIDDEN: Final = frozenset(
    f"builtins.{name}" for name in "sorted set frozenset sum min max any all len".split()
) | {"collections.Counter"}
"""Calls whose result does not depend on the order of what they are given."""


def code_of_call(name: str, arguments: int) -> str | None:
    """The code for calling ``name`` (canonical) with so many arguments; None when there is nothing against it."""
    if name in WITHOUT_ARGUMENTS:
        return None if arguments else WITHOUT_ARGUMENTS[name]
    if name in CALLS:
        return CALLS[name]
    if name in HARMLESS or name.endswith(("Error", "Exception")):
        return None
    parts = name.split(".")
    prefixes = (".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1))
    return next((MODULES[prefix] for prefix in prefixes if prefix in MODULES), None)


def advice_for(code: str, name: str) -> str:
    """The rule's advice, or a closer one where a single call has one."""
    return SLEEP_ADVICE if name == "time.sleep" else RULES[code].advice
