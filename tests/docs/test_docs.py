"""The Python code on every page runs, in the order of the page, from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import fresh_url

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_on_the_page_runs(page: Path, tmp_path: Path) -> None:
    code = "\n\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    script = tmp_path / "page.py"
    script.write_text(code, encoding="utf-8")
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    if "DATABASE_URL" in code:
        environment["DATABASE_URL"] = fresh_url()
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_some_pages_have_code() -> None:
    assert {"README.md", "docs/quickstart.md"} <= {name_of(page) for page in WITH_CODE}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name_of(page)} links to {target}, which is not there"


NAMED = re.compile(r"`((?:test_|[a-z]+_[a-z]+_)[a-z0-9_]+)`")
FUNCTION = re.compile(r"^(?:async )?def (\w+)\(", re.MULTILINE)


def test_every_test_that_a_guarantee_names_exists() -> None:
    """The page names a test for each promise; a promise whose test has gone must not stay on the page."""
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src/lash/testing/conformance").rglob("*.py")]
    known = {name for source in sources for name in FUNCTION.findall(source.read_text(encoding="utf-8"))}
    page = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    named = set(NAMED.findall(page)) - {"process_recovery_failed"}
    assert len(named) > 30
    assert named - known == set()
