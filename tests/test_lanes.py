"""Nothing is skipped silently: with CI set, a test that did not run fails its lane, and a lane joins by existing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import lanes

CONFTEST = Path(__file__).with_name("conftest.py")

PLANTED = {
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='no')\ndef test_a(): ...\n",
    "test_module.py": "import pytest\npytest.importorskip('no_such_module_here')\n",
    "test_xfail.py": "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\n",
    "test_fine.py": "def test_b(): ...\n",
}


def run(folder: Path, ci: str, *options: str) -> tuple[int, str]:
    """Exit code and output of pytest on the planted files, with our conftest."""
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, source in PLANTED.items():
        (folder / name).write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    env = {**os.environ, "CI": ci}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["alone", "parallel"])
def test_planted_skips_fail_under_ci_and_are_named(tmp_path: Path, options: list[str]) -> None:
    code, output = run(tmp_path, "true", *options)
    assert code == 1
    assert "3 tests did not run" in output
    assert all(name in output for name in PLANTED if name != "test_fine.py")


def test_without_ci_a_skip_is_allowed(tmp_path: Path) -> None:
    assert run(tmp_path, "")[0] == 0


def test_lanes_are_what_lies_on_disk(tmp_path: Path) -> None:
    for name in ("zoo/test_z.py", "crash/deep/test_c.py", "unit/test_u.py", "data/readme.py", "test_top.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert lanes.lane_names(tmp_path) == ["house", "unit", "crash", "zoo"]


def test_counts_come_from_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert lanes.counts_of(report) == (0, 0)
    report.write_text('<testsuites><testsuite tests="5" skipped="2"/><testsuite tests="1"/></testsuites>')
    assert lanes.counts_of(report) == (6, 2)
