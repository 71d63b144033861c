"""Runs the lanes that depend on the interpreter on every other supported Python of this machine.

The rule of this file: a Python that is not there is said, not failed; one that is there and fails is a failure. The
body loop promises the same replay on each supported version, and this is where that is tried.

    python tools/other_pythons.py            set up what is not there yet, then run the lanes
    python tools/other_pythons.py --set-up   only set up
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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


def set_up(version: str, python: str) -> str | None:
    """Install into .venvs/<version>; what went wrong, or None."""
    return attempt(["sh", "tools/venv.sh", folder_of(version), "test", python])[1]


def run_lanes(version: str) -> bool:
    """Prints one line, and everything when it fails. One Python at a time: the lanes fill the machine."""
    began = time.monotonic()
    lanes = [lane for lane in LANES if (ROOT / lane).is_dir()]
    command = [f"{folder_of(version)}/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", *lanes]
    output, trouble = attempt(command)
    if trouble is not None:
        return failed(version, trouble)
    summary = output.strip().splitlines()[-1].strip("= ")
    print(f"python {version}  ok     {summary} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def attempt(command: list[str]) -> tuple[str, str | None]:
    """What it printed; and what to tell when it failed or took too long."""
    try:
        done = run(command, SECONDS_MAX)
    except subprocess.TimeoutExpired as error:
        return "", f"{' '.join(command)}\n{error.output or ''}\nStopped after {SECONDS_MAX} s."
    return done.stdout, None if done.returncode == 0 else f"{' '.join(command)}\n{done.stdout}"


def failed(version: str, trouble: str) -> bool:
    print(f"python {version}  FAILED: {trouble}", flush=True)
    return False


def folder_of(version: str) -> str:
    return f".venvs/{version}"


def main(arguments: list[str]) -> int:
    found = others()
    if not found:
        print("No other supported Python on this machine: only this one was tried.")
        return 0
    began = time.monotonic()
    with ThreadPoolExecutor(len(found)) as beside:
        troubles = dict(zip(found, beside.map(set_up, found.keys(), found.values()), strict=True))
    print(f"pythons {', '.join(found)} set up in {time.monotonic() - began:.1f} s", flush=True)
    good = True
    for version, trouble in troubles.items():
        if trouble is not None:
            good = failed(version, trouble)
        elif "--set-up" not in arguments:
            good = run_lanes(version) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
