"""`lash check`: each rule finds what it names, leaves the right way of writing alone, and never guesses."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from lash.cli.lint import Finding, lint_file, lint_source
from lash.cli.lint_rules import RULES


def lint(source: str) -> list[Finding]:
    return lint_source(textwrap.dedent(source), "jobs.py")


def codes(source: str) -> list[str]:
    return [finding.code for finding in lint(source)]


def body(statements: str, imports: str = "") -> str:
    """A module whose one process body is ``statements``."""
    head = f"{textwrap.dedent(imports)}\n@app.process\nasync def digest(ctx, path, names):\n"
    return head + textwrap.indent(textwrap.dedent(statements).strip("\n"), "    ") + "\n"


FOUND = [
    # The wall clock
    ("LASH001", "import time", "t = time.time()"),
    ("LASH001", "import time", "t = time.monotonic_ns()"),
    ("LASH001", "from time import perf_counter", "t = perf_counter()"),
    ("LASH001", "from time import time as t", "start = t()"),
    ("LASH001", "import time as clock", "start = clock.monotonic()"),
    ("LASH001", "import datetime", "t = datetime.datetime.now()"),
    ("LASH001", "import datetime as dt", "t = dt.datetime.now(dt.timezone.utc)"),
    ("LASH001", "import datetime as dt", "t = dt.date.today()"),
    ("LASH001", "from datetime import datetime", "t = datetime.utcnow()"),
    ("LASH001", "from datetime import date as day", "t = day.today()"),
    ("LASH001", "import time", "t = time.localtime()"),
    # Randomness
    ("LASH002", "import random", "x = random.random()"),
    ("LASH002", "import random", "x = random.choice(path)"),
    ("LASH002", "from random import shuffle as mix", "mix(path)"),
    ("LASH002", "import random", "rng = random.Random()"),
    ("LASH002", "import uuid", "x = uuid.uuid4()"),
    ("LASH002", "from uuid import uuid1", "x = uuid1()"),
    ("LASH002", "import secrets", "x = secrets.token_hex(8)"),
    ("LASH002", "import os", "x = os.urandom(8)"),
    # The order of a set
    ("LASH003", "", "for name in {'a', 'b'}:\n    await ctx.step(print, name)"),
    ("LASH003", "", "for name in set(names):\n    await ctx.step(print, name)"),
    ("LASH003", "", "for name in {n.strip() for n in names}:\n    await ctx.step(print, name)"),
    ("LASH003", "", "unique = set(names)\nrows = [n for n in unique]"),
    ("LASH003", "", "unique: set[str] = set()\nrows = {n: 1 for n in unique}"),
    ("LASH003", "", "unique = set(names)\nrows = list(unique)"),
    ("LASH003", "", "unique = frozenset(names)\nrows = tuple(unique)"),
    ("LASH003", "", "text = ', '.join(set(names))"),
    ("LASH003", "", "text = str({'a', 'b'})"),
    ("LASH003", "", "unique = set(names)\ntext = f'{unique}'"),
    ("LASH003", "", "first = next(iter(set(names)))"),
    ("LASH003", "", "unique = set(names)\nfirst = unique.pop()"),
    ("LASH003", "", "a, b = {'a', 'b'}"),
    ("LASH003", "", "a = set(names)\nb = {'x'}\nfor n in a | b:\n    await ctx.step(print, n)"),
    ("LASH003", "", "a = set(names)\nfor n in a.difference(path):\n    await ctx.step(print, n)"),
    ("LASH003", "", "a = set(names)\nfor i, n in enumerate(a):\n    await ctx.step(print, n)"),
    ("LASH003", "import asyncio", "a = set(names)\nawait asyncio.gather(*(ctx.step(print, n) for n in a))"),
    ("LASH003", "import asyncio", "a = {f(n) for n in names}\nawait asyncio.gather(*a)"),
    ("LASH003", "from itertools import chain", "rows = chain(set(names), path)"),
    ("LASH003", "NAMES = {'a', 'b'}", "for name in NAMES:\n    await ctx.step(print, name)"),
    ("LASH003", "", "rows = {await ctx.step(len, n) for n in set(names)}"),
    # Identity
    ("LASH004", "", "key = hash(path)"),
    ("LASH004", "", "key = id(path)"),
    ("LASH004", "", "rows = sorted(names, key=hash)"),
    # Surroundings
    ("LASH005", "import os", "home = os.environ['HOME']"),
    ("LASH005", "import os", "home = os.environ.get('HOME')"),
    ("LASH005", "from os import environ as env", "home = env['HOME']"),
    ("LASH005", "from os import getenv", "home = getenv('HOME')"),
    ("LASH005", "", "with open(path) as file:\n    text = 1"),
    ("LASH005", "from pathlib import Path", "text = Path(path).read_text()"),
    ("LASH005", "from pathlib import Path", "file = Path(path) / 'a'\nready = file.exists()"),
    ("LASH005", "import os.path", "ready = os.path.exists(path)"),
    ("LASH005", "import shutil", "shutil.copy(path, 'b')"),
    ("LASH005", "import sys", "first = sys.argv[1]"),
    ("LASH005", "import os", "rows = sorted(os.listdir(path))"),
    # Outside
    ("LASH006", "import requests", "page = requests.get(path)"),
    ("LASH006", "import httpx", "async with httpx.AsyncClient() as client:\n    page = 1"),
    ("LASH006", "from httpx import get", "page = get(path)"),
    ("LASH006", "import urllib.request", "page = urllib.request.urlopen(path)"),
    ("LASH006", "from urllib.request import urlopen", "page = urlopen(path)"),
    ("LASH006", "import socket", "s = socket.create_connection(('h', 1))"),
    ("LASH006", "import subprocess as sp", "sp.run(['ls'])"),
    ("LASH006", "import time", "time.sleep(1)"),
    ("LASH006", "import os", "os.system('ls')"),
    ("LASH006", "import asyncio", "p = await asyncio.create_subprocess_exec('ls')"),
    # Threads
    ("LASH007", "import threading", "threading.Thread(target=print).start()"),
    ("LASH007", "import asyncio", "x = await asyncio.to_thread(print)"),
    ("LASH007", "import asyncio", "x = await asyncio.get_running_loop().run_in_executor(None, print)"),
    ("LASH007", "from concurrent.futures import ThreadPoolExecutor", "pool = ThreadPoolExecutor()"),
    # Listings
    ("LASH008", "import os", "rows = os.listdir(path)"),
    ("LASH008", "from glob import glob", "rows = glob('*.py')"),
    ("LASH008", "from pathlib import Path", "rows = list(Path(path).glob('*.py'))"),
    ("LASH008", "from pathlib import Path", "root = Path(path)\nrows = [p.name for p in root.iterdir()]"),
    # Module state
    ("LASH009", "COUNT = 0", "global COUNT\nCOUNT += 1"),
    # Completion order
    ("LASH010", "import asyncio", "for f in asyncio.as_completed({ctx.step(len, n) for n in names}):\n    await f"),
    ("LASH010", "from asyncio import as_completed", "todo = set(names)\nfor f in as_completed(todo):\n    await f"),
]


@pytest.mark.parametrize(("code", "imports", "statements"), FOUND)
def test_finds_what_would_run_differently_on_replay(code: str, imports: str, statements: str) -> None:
    assert codes(body(statements, imports)) == [code]


FINE = [
    ("", "now = ctx.now()\nluck = ctx.random()\nkey = ctx.uuid()"),
    ("import time", "await ctx.step(time.time)"),
    ("import time", "await ctx.step(lambda: time.time())"),
    ("import time", "def look():\n    return time.time()\nawait ctx.step(look)"),
    ("import time", "async def look(n):\n    return time.time()\nawait ctx.step(look, 3, name='look')"),
    (
        "import time\nfrom functools import partial",
        "def look(n):\n    return time.time()\nawait ctx.step(partial(look, 3))",
    ),
    ("import time", "step = ctx.step\nawait step(lambda: time.time())"),
    ("import time", "t = time.gmtime(0)\ns = time.strftime('%Y', t)"),
    ("import datetime as dt", "t = dt.datetime(2024, 1, 1)\nd = dt.timedelta(days=1)"),
    ("from datetime import datetime", "t = datetime.fromisoformat(path)"),
    ("", "t = time.time()"),
    ("import time", "time = path\nt = time.time()"),
    ("import random", "rng = random.Random(7)\nx = rng.random()"),
    ("import uuid", "x = uuid.uuid5(uuid.NAMESPACE_URL, path)"),
    ("", "for name in sorted({'a', 'b'}):\n    await ctx.step(print, name)"),
    ("", "unique = set(names)\nrows = sorted(unique)"),
    ("", "unique = set(names)\nrows = sorted(n.strip() for n in unique)"),
    ("", "rows = sorted(list(set(names)))"),
    ("", "unique = set(names)\nunique = sorted(unique)\nfor n in unique:\n    await ctx.step(print, n)"),
    ("", "unique = set(names)\nif path in unique:\n    return len(unique)"),
    ("", "unique = set(names)\nother = {n.strip() for n in unique}"),
    ("", "total = sum(len(n) for n in set(names))\nworst = max(set(names))"),
    ("", "for number in {1, 2, 3}:\n    await ctx.step(print, number)"),
    ("", "for number in set(range(9)):\n    await ctx.step(print, number)"),
    ("", "for name in names:\n    await ctx.step(print, name)"),
    ("", "for key in {'a': 1}:\n    await ctx.step(print, key)"),
    ("import asyncio", "tasks = {asyncio.create_task(ctx.step(len, n)) for n in names}\nfor t in tasks:\n    await t"),
    (
        "import asyncio",
        "tasks = set()\ntask = asyncio.create_task(ctx.sleep(1))\ntasks.add(task)\nfor t in tasks:\n    await t",
    ),
    (
        "import asyncio",
        "todo = {asyncio.ensure_future(ctx.sleep(1))}\ndone, todo = await asyncio.wait(todo)\n"
        "for t in done:\n    await t",
    ),
    ("import asyncio", "for f in asyncio.as_completed([ctx.step(len, n) for n in names]):\n    await f"),
    ("import asyncio", "async with asyncio.timeout(3):\n    await asyncio.wait_for(ctx.sleep(1), 2)"),
    ("import asyncio", "await asyncio.gather(ctx.sleep(1), asyncio.sleep(1))\nq = asyncio.Queue()"),
    ("", "def hash(x):\n    return 1\nkey = hash(path)"),
    ("", "id = path\nkey = id"),
    ("def open(x):\n    return x", "file = open(path)"),
    ("import os", "name = os.path.join(path, 'a')\nbase = os.path.basename(name)"),
    ("from pathlib import Path", "name = (Path(path) / 'a').with_suffix('.txt').name"),
    ("", "text = path.open()\nready = path.exists()"),
    ("import httpx", "url = httpx.URL(path)"),
    ("import requests", "try:\n    await ctx.step(requests.get, path)\nexcept requests.RequestException:\n    pass"),
    ("import subprocess", "raise subprocess.SubprocessError('x')"),
    ("LIMIT = 3", "global LIMIT\nreturn LIMIT"),
    ("", "count = 0\ndef bump():\n    nonlocal count\n    count += 1\nbump()"),
]


@pytest.mark.parametrize(("imports", "statements"), FINE)
def test_leaves_the_right_way_alone(imports: str, statements: str) -> None:
    assert lint(body(statements, imports)) == []


def test_a_finding_says_what_which_and_what_now() -> None:
    [finding] = lint("import time\n\n@app.process\nasync def digest(ctx):\n    x = 'ä'; return time.time()\n")
    assert finding == Finding(
        path="jobs.py",
        line=5,
        column=21,
        code="LASH001",
        message="`time.time()` in the body of `digest` reads the wall clock, which shows another time on replay.",
        advice="Use ctx.now().",
    )
    assert str(finding).startswith("jobs.py:5:21: LASH001 `time.time()`")


def test_time_sleep_is_answered_with_ctx_sleep() -> None:
    [finding] = lint(body("time.sleep(1)", "import time"))
    assert finding.advice == "Use await ctx.sleep(...)."


def test_every_code_has_a_case() -> None:
    assert {code for code, _, _ in FOUND} | {"LASH000"} == set(RULES)


@pytest.mark.parametrize(
    "decorator",
    ["@app.process", "@app.process(name='x', version=2)", "@lash.process", "@jobs.process()", "@process", "@p"],
)
def test_every_way_to_declare_a_process_is_seen(decorator: str) -> None:
    imports = "import time, lash\nfrom lash import process, process as p\n"
    assert codes(f"{imports}\n{decorator}\nasync def digest(ctx):\n    return time.time()\n") == ["LASH001"]


def test_other_functions_are_not_bodies() -> None:
    source = """
        import time

        @app.command
        def a():
            return time.time()

        def b(ctx):
            time.sleep(1)
    """
    assert lint(source) == []


def test_bodies_inside_functions_and_classes_are_seen() -> None:
    source = """
        import time

        def build(app):
            @app.process
            async def digest(ctx):
                return time.time()

        class Jobs:
            @app.process
            async def other(ctx):
                return time.time()
    """
    assert codes(source) == ["LASH001", "LASH001"]


def test_helpers_the_body_calls_are_followed_and_named() -> None:
    source = """
        import time, lash

        @app.process
        async def digest(ctx):
            return await first(ctx)

        async def first(ctx):
            return await second(ctx, 3)

        async def second(context: lash.Context, n):
            return time.time()

        def unused(ctx):
            return time.time()
    """
    [finding] = lint(source)
    assert finding.line == 12
    assert "`time.time()` in `second`, called from the body of `digest`," in finding.message


def test_a_plain_helper_called_in_the_body_runs_in_the_body() -> None:
    source = """
        import time

        def stamp():
            return time.time()

        @app.process
        async def digest(ctx):
            return stamp()
    """
    assert codes(source) == ["LASH001"]


def test_a_helper_that_only_a_step_performs_is_not_followed() -> None:
    source = """
        import time

        def stamp(ctx):
            return time.time()

        @app.process
        async def digest(ctx):
            return await ctx.step(stamp, 1)
    """
    assert codes(source) == []


def test_a_helper_shared_by_two_bodies_is_reported_once_and_recursion_ends() -> None:
    source = """
        import time

        def helper(ctx):
            helper(ctx)
            return time.time()

        @app.process
        async def one(ctx):
            return helper(ctx)

        @app.process
        async def two(ctx):
            return await one(ctx), helper(ctx)
    """
    assert codes(source) == ["LASH001"]


def test_arguments_of_a_step_are_evaluated_in_the_body() -> None:
    assert codes(body("await ctx.step(print, time.time(), at=time.time())", "import time")) == ["LASH001", "LASH001"]


def test_a_nested_function_called_in_the_body_is_body_code() -> None:
    assert codes(body("def look():\n    return time.time()\nlook()", "import time")) == ["LASH001"]


def test_a_nested_function_both_called_and_stepped_is_body_code() -> None:
    statements = "def look():\n    return time.time()\nawait ctx.step(look)\nlook()"
    assert codes(body(statements, "import time")) == ["LASH001"]


def test_a_context_under_another_name_is_known() -> None:
    source = """
        import time

        @app.process
        async def digest(c, n):
            await c.step(lambda: time.time())
            await n.step(lambda: time.time())
    """
    assert [finding.line for finding in lint(source)] == [7]


def test_an_ignore_comment_silences_its_line_only() -> None:
    statements = "a = time.time()  # lash: ignore\nb = time.time()\nc = '# lash: ignore'; d = time.time()"
    assert [finding.line for finding in lint(body(statements, "import time"))] == [5, 6]


def test_an_ignore_comment_with_codes_silences_only_those() -> None:
    statements = """
        a = hash(time.time())  # lash: ignore[LASH001]
        b = hash(time.time())  # lash: ignore[LASH001, LASH004]
        c = time.time()  # lash: ignore[LASH003]
    """
    assert codes(body(statements, "import time")) == ["LASH004", "LASH001"]


def test_an_ignore_comment_reaches_a_call_of_several_lines() -> None:
    assert codes(body("a = requests.get(\n    path,\n)  # lash: ignore", "import requests")) == []


@pytest.mark.parametrize("source", ["def broken(:\n", "x = 1\n  y = 2\n", "a\0b", "((" * 300 + "))" * 300, "x = '\n"])
def test_source_that_cannot_be_read_is_a_finding(source: str) -> None:
    found = lint_source(source, "jobs.py")
    assert [finding.code for finding in found] == ["LASH000"]
    assert found[0].path == "jobs.py"
    assert found[0].line >= 1


def test_a_file_is_read_by_its_own_encoding(tmp_path: Path) -> None:
    file = tmp_path / "jobs.py"
    source = "# coding: latin-1\nimport time\n@app.process\nasync def f(ctx):\n    return 'ä', time.time()\n"
    file.write_bytes(source.encode("latin-1"))
    [finding] = lint_file(file)
    assert (finding.path, finding.line, finding.column) == (str(file), 5, 17)


@pytest.mark.parametrize("data", [b"x = '\xff'\n", b"# coding: no-such\n", b"def (:\n", None])
def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "jobs.py"
    if data is not None:
        file.write_bytes(data)
    assert [finding.code for finding in lint_file(file)] == ["LASH000"]


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    assert lint(f"open({str(mark)!r}, 'w')\n@app.process\nasync def f(ctx):\n    return 1\n") == []
    assert not mark.exists()
