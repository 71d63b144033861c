"""House rules that a reader of one file would not notice broken: what is never called, what is public, what is quick.

Nothing is unpickled and nothing imported by a name found in data (DESIGN section 8); tests do not sleep (section 11);
exported names are promised, so they stand here as a list; a worker's start decides recovery time, so importing lash
is cheap.
"""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": ""}
"""As users have it, with byte code: where it may not be written, lash would be compiled at every start."""

# The public API. Adding a name is a promise, removing one a breaking change: edit this list in the same commit.
PUBLIC = """
    Runtime Context StepContext Handle Process Call process current Retry Terminal
    Failure Status Event ProcessRecord Report
    LashError UsageError InvalidArguments InvalidValue InvalidName ProcessUnknown ProcessPruned ProcessConflict
    ProcessEnded EventConflict NotRegistered AlreadyRegistered NotAuthorised NotInProcess NotInStep RuntimeNotOpen
    BadUrl WiringError DurableStoreRequired StoreTooNew NotADatabase InfrastructureError StoreUnavailable LeaseLost
    Diverged VersionMissing NotCompleted StepFailed ProcessFailed ProcessCancelled ProcessAbandoned
    Agent Session Turn Finished Stopped TurnLimits Answer HistoryEntry SessionInfo SessionUsage Usage ModelSettings
    ModelInfo Price Provider RateLimit Message Media Text user
    tool Tool ToolContext ToolOutput ToolFailed Finish Fail SwitchFrame Switched
    Plugin TurnView Abort Compact Deny ToolAnswer ReplaceArguments Say Notify
    TurnEvent TextDelta ReasoningDelta Reset ModelFinished ToolStarted ToolFinished PluginEvent Retrying Committed
    Gap
    InvalidAgent AgentUnknown SessionUnknown SessionDeleted SessionConflict InputConflict NodeUnknown TurnUnknown
    BadCursor AttachmentMissing ModelUnavailable ProviderError
""".split()

# What `import lash` must not load: it costs every worker's start.
NOT_LOADED = "typer click rich pydantic sqlite3 asyncpg hypothesis pytest httpx".split()
IMPORT_EXTRA_MS_MAX = 150
IMPORT_EXTRA_ASYNCIOS_MAX = 2
IMPORT_RUNS = 5

FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "imp"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
IMPORTS_BY_NAME = {
    "src/lash/cli/target.py",  # TARGET on the command line names the user's own module
    "src/lash/__init__.py",  # its lazy names, from a table in the file itself
}
SLEEP_MARK = "# sleeps:"


def forbidden_in(source: str, name: str) -> list[str]:
    """Uses of what turns data into code, in one source file; importing by a literal name is no such thing."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source, name)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = {module.split(".")[0] for module in modules_of(node)}
            found += [f"{name}:{node.lineno}: {module}" for module in sorted(modules & FORBIDDEN_MODULES)]
        elif isinstance(node, ast.Call):
            called = called_name(node)
            plain = isinstance(node.func, ast.Name)
            literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
            if plain and called in FORBIDDEN_CALLS:
                found.append(f"{name}:{node.lineno}: {called}()")
            elif called == "import_module" and not literal and name not in IMPORTS_BY_NAME:
                found.append(f"{name}:{node.lineno}: import_module() of a name found at run time")
    return found


def modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if node.level == 0 else []


def called_name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def sleeps_in(source: str, name: str) -> list[str]:
    """Calls of ``time.sleep``, but for lines that say why: ``# sleeps: <reason>``."""
    lines = source.splitlines()
    tree = ast.parse(source, name)
    bare = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
        if alias.name == "sleep"
    }
    return [
        f"{name}:{node.lineno}: time.sleep(); wait for what you wait for, or say why with {SLEEP_MARK!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (ast.unparse(node.func) == "time.sleep" or (isinstance(node.func, ast.Name) and node.func.id in bare))
        and SLEEP_MARK not in lines[node.lineno - 1]
    ]


def test_data_never_becomes_code() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    named = [(path.read_text("utf-8"), path.relative_to(ROOT).as_posix()) for path in files]
    assert [fault for source, name in named for fault in forbidden_in(source, name)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import cloudpickle.compat",
        "def f(x):\n    return eval(x)",
        "exec('x = 1')",
        "__import__(name)",
        "import importlib\nimportlib.import_module(row.module)",
        "from importlib import import_module\nimport_module(name)",
    ],
)
def test_planted_code_from_data_is_caught(source: str) -> None:
    assert len(forbidden_in(source, "src/lash/core/a.py")) == 1


@pytest.mark.parametrize(
    "source",
    ["re.compile(x)", "importlib.import_module('lash.web')", "model.eval()", "loop.exec(x)", "from .pickle import x"],
)
def test_lookalikes_are_left_alone(source: str) -> None:
    assert forbidden_in(source, "src/lash/core/a.py") == []


def test_tests_do_not_sleep() -> None:
    """Scripts that tests start as other processes (any file that is no ``test_*.py``) may."""
    files = [*sorted((ROOT / "tests").rglob("test_*.py")), ROOT / "tests" / "conftest.py"]
    named = [(path.read_text("utf-8"), path.relative_to(ROOT).as_posix()) for path in files]
    assert [fault for source, name in named for fault in sleeps_in(source, name)] == []


def test_a_planted_sleep_is_caught() -> None:
    assert len(sleeps_in("import time\ntime.sleep(1)", "a.py")) == 1
    assert len(sleeps_in("from time import sleep as nap\nnap(1)", "a.py")) == 1
    assert sleeps_in("import time\ntime.sleep(1)  # sleeps: the body must block the loop", "a.py") == []
    assert sleeps_in("import asyncio\nasyncio.sleep(1)\nctx.sleep(1)", "a.py") == []


def test_public_names_are_the_promised_ones() -> None:
    import lash

    assert sorted(lash.__all__) == sorted(PUBLIC)
    assert [name for name in PUBLIC if not hasattr(lash, name)] == []


def test_importing_lash_loads_nothing_heavy() -> None:
    code = f"import lash, sys; print([name for name in {NOT_LOADED!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_importing_lash_is_quick() -> None:
    """At most 150 ms, or on a slower machine two more times asyncio, above an interpreter that has asyncio.

    Measured in CPU time, which a busy machine does not stretch.
    """
    for statement in ("import asyncio", "import lash"):
        cpu_ms(statement)  # writes the byte code, warms the disk
    pairs = [(cpu_ms("import asyncio"), cpu_ms("import lash")) for _ in range(IMPORT_RUNS)]
    extra = statistics.median(lash - asyncio for asyncio, lash in pairs)
    bound = max(IMPORT_EXTRA_MS_MAX, IMPORT_EXTRA_ASYNCIOS_MAX * statistics.median(asyncio for asyncio, _ in pairs))
    assert extra <= bound, f"importing lash costs {extra:.0f} ms more than asyncio; the bound is {bound:.0f} ms"


def cpu_ms(statement: str) -> float:
    """CPU time, user and system, of a fresh interpreter that runs one statement."""
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", statement], ENVIRONMENT)
    _, status, usage = os.wait4(child, 0)
    assert status == 0, f"{statement} failed"
    return (usage.ru_utime + usage.ru_stime) * 1_000
