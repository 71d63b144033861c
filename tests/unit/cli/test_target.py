"""TARGET: the right Runtime is found however it is named, and every wrong one is a typed error that says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import lash
from lash.cli.target import (
    Target,
    TargetBroken,
    TargetMissing,
    TargetWithoutRuntime,
    load_target,
    parse_target,
    source_folder,
)
from tests.unit.cli.kit import Cli

APP = """
    import lash
    {name} = lash.Runtime("sqlite:///{name}.db")
"""


def names_of(app: object) -> str:
    assert isinstance(app, lash.Runtime)
    return app.url


@pytest.mark.parametrize("text", ["jobs", "jobs:app", "jobs.py", "jobs.py:app", "./jobs.py", "./jobs.py:app"])
def test_a_file_and_a_module_name_the_same_app(cli: Cli, text: str) -> None:
    assert names_of(load_target(text)) == "sqlite:///jobs.db"


def test_an_absolute_path_needs_no_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert names_of(load_target(str(cli.target))) == "sqlite:///jobs.db"


def test_the_only_runtime_is_taken_whatever_it_is_called(cli: Cli) -> None:
    cli.write("other.py", APP.format(name="jobs_runtime"))
    assert names_of(load_target("other.py")) == "sqlite:///jobs_runtime.db"


def test_one_runtime_under_two_names_is_one(cli: Cli) -> None:
    cli.write("other.py", APP.format(name="one") + "    two = one\n")
    assert names_of(load_target("other.py")) == "sqlite:///one.db"


def test_app_is_preferred_among_several(cli: Cli) -> None:
    cli.write("other.py", APP.format(name="one") + APP.format(name="app"))
    assert names_of(load_target("other")) == "sqlite:///app.db"
    assert names_of(load_target("other:one")) == "sqlite:///one.db"


def test_an_attribute_of_an_object_is_reached(cli: Cli) -> None:
    cli.write("other.py", APP.format(name="one") + "    class Box: inner = one\n")
    assert names_of(load_target("other:Box.inner")) == "sqlite:///one.db"


def test_relative_imports_of_a_file_inside_a_package_work(cli: Cli) -> None:
    for name in ("shop/__init__.py", "shop/jobs/__init__.py", "shop/jobs/helper.py"):
        cli.write(name, "")
    cli.write("shop/jobs/work.py", "from . import helper\n" + "import lash\napp = lash.Runtime('sqlite:///in.db')\n")
    assert names_of(load_target("shop/jobs/work.py")) == "sqlite:///in.db"
    assert load_target("shop/jobs/work.py") is load_target("shop.jobs.work:app")


def test_a_file_beside_the_target_can_be_imported(cli: Cli) -> None:
    cli.write("sub/beside.py", "URL = 'sqlite:///beside.db'\n")
    cli.write("sub/work.py", "import lash, beside\napp = lash.Runtime(beside.URL)\n")
    assert names_of(load_target("sub/work.py")) == "sqlite:///beside.db"


def test_a_file_named_like_a_module_of_python_does_not_replace_it(cli: Cli) -> None:
    import json

    cli.write("json.py", APP.format(name="app"))
    assert names_of(load_target("./json.py")) == "sqlite:///app.db"
    assert sys.modules["json"] is json


def test_what_a_target_prints_does_not_reach_stdout(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.write("loud.py", "print('hello')\n" + "import lash\napp = lash.Runtime('sqlite:///loud.db')\n")
    load_target("loud.py")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


MISSING = [
    ("nothing.py", "There is no file nothing.py"),
    ("job.py", "Did you mean jobs.py?"),
    ("no_such_module:app", "There is no module 'no_such_module'"),
    ("jobs.nothing:app", "There is no module 'jobs.nothing'"),
    ("a b", "neither a module name nor a file"),
    (".", "neither a module name nor a file"),
    (":app", "is no target"),
    ("jobs:", "is no target"),
    ("", "is no target"),
    ("folder/", "is a folder"),
]


@pytest.mark.parametrize(("text", "words"), MISSING)
def test_a_target_that_is_not_there(cli: Cli, text: str, words: str) -> None:
    (cli.folder / "folder").mkdir()
    with pytest.raises(TargetMissing) as caught:
        load_target(text)
    assert words in str(caught.value)


BROKEN = [
    ("import lash\napp = lash.Runtime(\n", "SyntaxError", "app = lash.Runtime("),
    ("def inner():\n    return {}['key']\ninner()\n", "KeyError: 'key'", "in inner"),
    ("import no_such_module\n", "ModuleNotFoundError", "import no_such_module"),
    ("raise SystemExit(3)\n", "SystemExit: 3", "raise SystemExit(3)"),
    ("import lash\napp = lash.Runtime('nonsense')\n", "BadUrl", "bad_url"),
    ("import lash\napp = lash.Runtime('sqlite:///x.db', concurrency=0)\n", "InvalidArguments", "invalid_arguments"),
]


@pytest.mark.parametrize(("source", "what", "where"), BROKEN)
def test_a_target_that_cannot_be_imported_shows_the_users_own_lines(
    cli: Cli, source: str, what: str, where: str
) -> None:
    cli.write("broken.py", source)
    for text in ("broken.py", "broken:app"):
        with pytest.raises(TargetBroken) as caught:
            load_target(text)
        assert what in str(caught.value)
        assert where in str(caught.value)
        assert "importlib" not in str(caught.value)
        assert "lash/cli" not in str(caught.value)


def test_a_broken_target_can_be_mended_and_loaded_again(cli: Cli) -> None:
    cli.write("broken.py", "1 / 0\n")
    with pytest.raises(TargetBroken):
        load_target("broken.py")
    cli.write("broken.py", APP.format(name="app"))
    assert names_of(load_target("broken.py")) == "sqlite:///app.db"


WITHOUT = [
    ("x = 1\n", "it", "holds no Runtime"),
    ("x = 1\n", "it:app", "there is no 'app'"),
    (APP.format(name="one") + APP.format(name="two"), "it", "holds several Runtimes: one, two"),
    (APP.format(name="one"), "it:two", "Runtimes there: one"),
    ("def app(): ...\n", "it:app", "is of type function, not a lash.Runtime"),
    ("app = 'sqlite:///x.db'\n", "it:app", "is of type str, not a lash.Runtime"),
]


@pytest.mark.parametrize(("source", "text", "words"), WITHOUT)
def test_a_module_without_the_runtime(cli: Cli, source: str, text: str, words: str) -> None:
    cli.write("it.py", source)
    with pytest.raises(TargetWithoutRuntime) as caught:
        load_target(text)
    assert words in str(caught.value)


def test_a_target_is_taken_apart(cli: Cli) -> None:
    assert parse_target("jobs.py:app") == Target("jobs.py:app", cli.target.resolve(), "", "app")
    assert parse_target("shop.jobs") == Target("shop.jobs", None, "shop.jobs", None)


def test_the_folder_to_watch_is_known_without_importing_anything(cli: Cli) -> None:
    cli.write("boom/__init__.py", "raise RuntimeError('imported')")
    cli.write("boom/inner/__init__.py", "")
    cli.write("boom/inner/work.py", "raise RuntimeError('imported')")
    here = Path(cli.folder).resolve()
    assert source_folder(parse_target("jobs.py")) == here
    assert source_folder(parse_target("jobs:app")) == here
    assert source_folder(parse_target("boom.inner.work:app")) == here / "boom"
    assert source_folder(parse_target("boom/inner/work.py")) == here / "boom"
    with pytest.raises(TargetMissing):
        source_folder(parse_target("no_such_module:app"))
