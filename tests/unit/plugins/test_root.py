"""No path, link or race leads out of the root, and what is refused says why."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from lash.abc.plugin import Plugin
from lash.errors import InvalidAgent, ToolFailed
from lash.plugins.files import Files
from lash.plugins.patch import Patch
from lash.plugins.root import Root, create, open_file
from lash.plugins.search import Search
from lash.plugins.shell import Shell
from tests.unit.plugins.calls import call, refused, text_of


@pytest.fixture
def lines(root: Path, outside: Path) -> Path:
    """A root with files, and with links of every kind."""
    (root / "a.txt").write_text("alpha\n")
    (root / "deep").mkdir()
    (root / "deep" / "b.txt").write_text("beta\n")
    (root / "in_file").symlink_to("deep/b.txt")
    (root / "in_folder").symlink_to("deep")
    (root / "in_absolute").symlink_to(root / "deep" / "b.txt")
    (root / "deep" / "up").symlink_to("../a.txt")
    (root / "out_file").symlink_to("../outside/secret.txt")
    (root / "out_folder").symlink_to(outside)
    (root / "out_by_chain").symlink_to("deep/chain")
    (root / "deep" / "chain").symlink_to("../out_folder/secret.txt")
    (root / "circle").symlink_to("circle")
    (root / "dangling").symlink_to("../outside/new.txt")
    return root


def read(root: Path, path: str) -> str:
    with Root(root).spot(path) as spot, os.fdopen(open_file(spot)) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.txt", "alpha\n"), ("./a.txt", "alpha\n"), ("deep//b.txt", "beta\n"), ("deep/../a.txt", "alpha\n"),
        ("in_file", "beta\n"), ("in_folder/b.txt", "beta\n"), ("in_absolute", "beta\n"), ("in_folder/up", "alpha\n"),
        ("in_folder/../a.txt", "alpha\n"),
    ],
)  # fmt: skip
def test_paths_and_links_within_are_followed(lines: Path, path: str, text: str) -> None:
    assert read(lines, path) == text


def test_an_absolute_path_within_is_taken_and_a_root_may_be_a_link_itself(lines: Path) -> None:
    alias = lines.parent / "alias"
    alias.symlink_to(lines)
    assert read(lines, str(lines / "a.txt")) == "alpha\n"
    assert read(alias, str(alias / "a.txt")) == "alpha\n"
    assert read(alias, str(lines / "deep" / "b.txt")) == "beta\n"


OUTSIDE = [
    "..", "../outside/secret.txt", "deep/../../outside/secret.txt", "/etc/hostname", "out_file",
    "out_folder/secret.txt", "out_by_chain", "in_folder/../../outside/secret.txt", "dangling",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_leads_out_is_refused(lines: Path, path: str) -> None:
    with refused("outside_root", path, "leads out"):
        read(lines, path)


def test_a_sibling_whose_name_begins_alike_is_outside(lines: Path) -> None:
    beside = lines.parent / "root2"
    beside.mkdir()
    (beside / "x").write_text("x")
    with refused("outside_root"):
        read(lines, str(beside / "x"))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "invalid_path"), ("  ", "invalid_path"), ("a\0b", "invalid_path"), ("x/" * 3000, "invalid_path"),
        ("n" * 300, "invalid_path"), ("missing", "not_found"), ("missing/a", "not_found"), ("a.txt/b", "not_a_folder"),
        ("circle", "link"), ("deep", "not_a_file"), (".", "not_a_file"),
    ],
)  # fmt: skip
def test_what_is_no_file_is_refused(lines: Path, path: str, code: str) -> None:
    with refused(code):
        read(lines, path)


def test_a_pipe_does_not_hold_anybody_up(lines: Path) -> None:
    os.mkfifo(lines / "pipe")
    with refused("not_a_file", "neither a file"):
        read(lines, "pipe")


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_tool_reaches_what_lies_outside(lines: Path, outside: Path, path: str) -> None:
    before = {each.name: each.read_bytes() for each in outside.iterdir()}
    folder = path.removesuffix("/secret.txt")
    patches = [
        f"*** Update File: {path}\n-secret\n+mine",
        f"*** Delete File: ../outside/{path}",
        f"*** Add File: {folder}/new.txt\n+x",
        f"*** Update File: a.txt\n*** Move to: {folder}/moved.txt",
    ]
    calls: list[tuple[Plugin, str, dict[str, object]]] = [
        (Files(lines), "read_file", {"path": path}),
        (Files(lines), "write_file", {"path": path, "content": "mine"}),
        (Files(lines), "list_dir", {"path": folder}),
        (Files(lines), "glob", {"path": folder, "pattern": "*"}),
        (Search(lines), "grep", {"path": path, "pattern": "."}),
        (Shell(lines), "exec_command", {"path": folder, "command": "pwd"}),
    ]
    for each in patches:
        calls.append((Patch(lines), "apply_patch", {"patch": f"*** Begin Patch\n{each}\n*** End Patch"}))
    for plugin, name, arguments in calls:
        try:
            output = text_of(call(plugin, name, **arguments))
        except ToolFailed as error:
            output = str(error)
        assert "secret\n" not in output.replace("secret.txt", ""), (name, output)
        assert str(outside) not in output, (name, output)
    assert {each.name: each.read_bytes() for each in outside.iterdir()} == before
    assert (lines / "a.txt").read_text() == "alpha\n"


def test_looking_around_does_not_follow_links(lines: Path) -> None:
    assert "secret.txt" not in text_of(call(Files(lines), "glob", pattern="**"))
    listing = text_of(call(Files(lines), "list_dir"))
    assert "out_folder -> " in listing
    assert "\n    secret.txt" not in listing
    assert text_of(call(Search(lines), "grep", pattern="secret")) == "[no line matches]"


def test_a_link_put_there_at_the_last_moment_is_not_followed(lines: Path, outside: Path) -> None:
    """The name is looked at, then swapped for a link that leads out, then opened."""
    with refused("link"), Root(lines).spot("a.txt") as spot:
        (lines / "a.txt").unlink()
        (lines / "a.txt").symlink_to(outside / "secret.txt")
        open_file(spot)
    with refused("exists"), Root(lines).spot("fresh.txt") as spot:
        (lines / "fresh.txt").symlink_to(outside / "fresh.txt")
        create(spot, b"x")
    assert not (outside / "fresh.txt").exists()


def test_no_race_leads_out(lines: Path, outside: Path) -> None:
    """A folder on the way is swapped for a link that leads out, all the time, while it is read."""
    (outside / "b.txt").write_text("stolen\n")
    stop = threading.Event()

    def swap() -> None:
        (lines / "bad").symlink_to(outside)
        while not stop.is_set():
            os.rename(lines / "deep", lines / "good")
            os.rename(lines / "bad", lines / "deep")
            os.rename(lines / "deep", lines / "bad")
            os.rename(lines / "good", lines / "deep")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[str] = set()
    try:
        for _ in range(2_000):
            try:
                seen.add(read(lines, "deep/b.txt"))
            except ToolFailed as error:
                seen.add(error.code)
    finally:
        stop.set()
        swapper.join()
    assert "stolen\n" not in seen
    assert seen <= {"beta\n", "not_found", "outside_root", "not_a_folder", "link"}
    assert "beta\n" in seen


def test_a_root_that_is_no_folder_is_refused_when_the_agent_is_made(root: Path) -> None:
    (root / "file").write_text("x")
    for missing in (root / "missing", root / "file"):
        for plugin in (Files, Search, Patch, Shell):
            with pytest.raises(InvalidAgent, match=missing.name):
                plugin(missing)


@pytest.mark.parametrize("path", ["", "  ", 3, None, b"project", "a\0b", ["project"]])
@pytest.mark.parametrize("plugin", [Files, Search, Patch, Shell])
def test_what_is_no_path_is_refused_and_not_taken_for_the_current_folder(plugin: Any, path: object) -> None:
    with pytest.raises(InvalidAgent) as caught:
        plugin(path)
    assert repr(path) in str(caught.value)


def test_no_descriptor_is_left_open(lines: Path) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))

    call(Files(lines), "list_dir")
    call(Search(lines), "grep", pattern="a")
    before = open_now()
    for path in ("a.txt", "deep", "missing", "circle", "out_file", "in_folder/b.txt"):
        for name, arguments in (("read_file", {}), ("list_dir", {}), ("glob", {"pattern": "**"})):
            try:
                call(Files(lines), name, path=path, **arguments)
            except ToolFailed:
                pass
        for plugin, name, arguments in (
            (Search(lines), "grep", {"pattern": "a"}),
            (Shell(lines), "exec_command", {"command": "true"}),
        ):
            try:
                call(plugin, name, path=path, **arguments)
            except ToolFailed:
                pass
    assert open_now() == before
