"""Runs the lanes that depend on the interpreter on every other supported Python of this machine.

The rule of this file: a Python that is not there is said, not failed; one that is there and fails is a failure. The
body loop promises the same replay on each supported version, and this is where that is tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
LANES = ("tests/simulation", "tests/unit/core", "tests/unit/engines", "tests/unit/runtime", "tests/unit/testing")
SECONDS_MAX = 600
PROBE = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.version_info.releaselevel)"


def others() -> dict[str, str]:
    """Version → interpreter, for each supported version but the running one."""
    found: dict[str, str] = {}
    for major, minor in SUPPORTED:
        if (major, minor) == sys.version_info[:2]:
            continue
        version = f"{major}.{minor}"
        for path in candidates(version):
            if answers(path, version):
                found[version] = path
                break
    return found


def candidates(version: str) -> list[str]:
    """Where such a Python may be: on the PATH, in uv's store, in pyenv's folder."""
    paths = [shutil.which(f"python{version}")]
    if shutil.which("uv"):
        asked = run(["uv", "python", "find", "--no-python-downloads", "--system", version], 20)
        paths.append(asked.stdout.strip() if asked.returncode == 0 else None)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    paths += [str(path) for path in sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"), reverse=True)]
    return [path for path in paths if path]


def answers(path: str, version: str) -> bool:
    """Whether ``path`` runs, and is a finished CPython of that version (shims may exist without one behind them)."""
    try:
        asked = run([path, "-c", PROBE], 20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and asked.stdout.split() == ["cpython", *version.split("."), "final"]


def run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
    )


def try_one(version: str, python: str) -> bool:
    """Install into .venvs/<version> and run the lanes there; prints one line, and everything when it fails."""
    began = time.monotonic()
    folder = f".venvs/{version}"
    lanes = [lane for lane in LANES if (ROOT / lane).is_dir()]
    steps = [
        ["sh", "tools/venv.sh", folder, "test", python],
        [f"{folder}/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", *lanes],
    ]
    output = ""
    for step in steps:
        try:
            done = run(step, SECONDS_MAX)
            ok, output = done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired as error:
            ok, output = False, f"{error.output or ''}\nStopped after {SECONDS_MAX} s."
        if not ok:
            print(f"python {version}  FAILED: {' '.join(step)}\n{output}", flush=True)
            return False
    summary = output.strip().splitlines()[-1].strip("= ")
    print(f"python {version}  ok     {summary} ({time.monotonic() - began:.1f} s with set-up)", flush=True)
    return True


def main() -> int:
    found = others()
    if not found:
        print("No other supported Python on this machine: only this one was tried.")
        return 0
    results = [try_one(version, python) for version, python in found.items()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
