"""Files are read and written in portions, and every cut says what is missing and how to go on."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from lash.core.message import Media, Text
from lash.errors import ToolFailed
from lash.plugins.files import Files
from lash.plugins.search import Search
from lash.testing.tools import tool_context
from tests.unit.plugins.calls import call, refused, text_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def read(root: Path, path: str, **arguments: object) -> str:
    return text_of(call(Files(root), "read_file", path=path, **arguments))


# read_file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_shown_with_the_numbers_of_its_lines(root: Path) -> None:
    (root / "a.txt").write_text("one\n\nthree")
    output = call(Files(root), "read_file", path="a.txt")
    assert text_of(output) == "1\tone\n2\t\n3\tthree\n[end of the file, 3 lines]"
    assert output.value == {"path": "a.txt", "first": 1, "last": 3, "complete": True}


def test_a_part_says_how_to_go_on(root: Path) -> None:
    (root / "a.txt").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    assert read(root, "a.txt", offset=3, limit=2) == "3\tline 3\n4\tline 4\n[more lines follow: go on with offset=5]"
    assert read(root, "a.txt", offset=9, limit=2) == "9\tline 9\n10\tline 10\n[end of the file, 10 lines]"


def test_no_more_than_2000_lines_are_shown(root: Path) -> None:
    (root / "a.txt").write_text("x\n" * 3_000)
    rows = read(root, "a.txt", limit=100_000).splitlines()
    assert rows[-2:] == ["2000\tx", "[more lines follow: go on with offset=2001]"]


def test_no_more_than_50_kilobytes_are_shown_and_nothing_is_lost_between_two_parts(root: Path) -> None:
    (root / "a.txt").write_text("".join(f"{n:01000}\n" for n in range(200)))
    seen: list[str] = []
    offset = 1
    while True:
        text = read(root, "a.txt", offset=offset)
        assert len(text.encode()) < 52_000
        *rows, note = text.splitlines()
        seen += [row.split("\t")[1] for row in rows]
        if "end of the file" in note:
            break
        offset = int(note.rstrip("]").split("=")[1])
    assert seen == [f"{n:01000}" for n in range(200)]


@pytest.mark.parametrize("letter", ["x", "ü", "語", "🦊"])
def test_a_long_line_is_cut_between_characters(root: Path, letter: str) -> None:
    (root / "a.txt").write_text(f"first\n{letter * 20_000}\nlast\n", "utf-8")
    first, long, last, _ = read(root, "a.txt").splitlines()
    size = 20_000 * len(letter.encode()) + 1
    assert (first, last) == ("1\tfirst", "3\tlast")
    assert long == f"2\t{letter * 2_000}… [the line is cut: it has {size} bytes]"


def test_an_empty_file_says_so(root: Path) -> None:
    (root / "a.txt").write_text("")
    assert read(root, "a.txt") == "[the file is empty]"


def test_a_line_that_is_not_there_is_refused(root: Path) -> None:
    (root / "a.txt").write_text("one\ntwo\n")
    with refused("invalid_tool_args", "has 2 lines", "no line 3"):
        read(root, "a.txt", offset=3)
    for wrong in ({"offset": 0}, {"limit": 0}, {"limit": -1}):
        with refused("invalid_tool_args", "count from 1"):
            read(root, "a.txt", **wrong)


def test_line_ends_and_marks_of_other_systems_are_not_shown(root: Path) -> None:
    (root / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert read(root, "a.txt") == "1\tone\n2\ttwo\n[end of the file, 2 lines]"


@pytest.mark.parametrize("data", [b"\x7fELF\x02\x01\x00\x00", b"abc\x00def", b"\xff\xfea\x00", b"caf\xe9 au lait"])
def test_a_binary_file_is_refused(root: Path, data: bytes) -> None:
    (root / "a.bin").write_bytes(data)
    with refused("binary_file", "'a.bin'", f"{len(data)} bytes"):
        read(root, "a.bin")


def test_bytes_that_are_no_text_far_down_are_shown_as_such(root: Path) -> None:
    (root / "a.txt").write_bytes(b"line\n" * 2_000 + b"caf\xe9 \x00!\n")
    assert "caf\ufffd \\x00!" in read(root, "a.txt", offset=2_001)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"), (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"), (b"GIF89a\x01\x00", "image/gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"), (b"BM\x46\x00\x00\x00\x00\x00", "image/bmp"),
        (b"%PDF-1.7\n%\xe2\xe3\n", "application/pdf"),
    ],
)  # fmt: skip
def test_an_image_is_attached_whatever_it_is_called(root: Path, data: bytes, media_type: str) -> None:
    (root / "picture.dat").write_bytes(data)
    ctx = tool_context()
    output = call(Files(root), "read_file", ctx, path="picture.dat")
    text, media = output.content
    assert isinstance(text, Text)
    assert isinstance(media, Media)
    assert (media.media_type, media.size_bytes, media.label) == (media_type, len(data), "picture.dat")
    assert ctx.blobs == {media.ref: data}
    assert media_type in text.text


def test_a_text_that_begins_like_a_bitmap_is_a_text(root: Path) -> None:
    (root / "a.txt").write_text("BMW\n")
    assert read(root, "a.txt").startswith("1\tBMW\n")


def test_an_image_that_is_too_large_is_refused(root: Path) -> None:
    with (root / "a.png").open("wb") as file:
        file.write(PNG)
        file.truncate(32 * 1024 * 1024 + 1)
    with refused("too_large", "33554432"):
        read(root, "a.png")


# write_file --------------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_its_folders(root: Path) -> None:
    output = call(Files(root), "write_file", path="new/deep/a.txt", content="one\ntwo")
    assert text_of(output) == "created new/deep/a.txt: 2 lines, 7 bytes"
    assert (root / "new/deep/a.txt").read_text() == "one\ntwo"
    assert text_of(call(Files(root), "write_file", path="new/deep/a.txt", content="")) == (
        "replaced new/deep/a.txt: 0 lines, 0 bytes"
    )
    assert os.listdir(root / "new" / "deep") == ["a.txt"]  # nothing is left beside it


def test_a_replaced_file_keeps_its_permissions_and_its_place_behind_a_link(root: Path) -> None:
    (root / "run.sh").write_text("old")
    (root / "run.sh").chmod(0o750)
    (root / "link").symlink_to("run.sh")
    call(Files(root), "write_file", path="link", content="new")
    assert (root / "link").is_symlink()
    assert (root / "run.sh").read_text() == "new"
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o750


def test_what_cannot_be_written_is_refused_and_nothing_is_left(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "file").write_text("x")
    with refused("not_a_file", "'folder'"):
        call(Files(root), "write_file", path="folder", content="x")
    with refused("not_a_folder", "'file/a'"):
        call(Files(root), "write_file", path="file/a", content="x")
    with refused("too_large", "8388608"):
        call(Files(root), "write_file", path="big", content="x" * (8 * 1024 * 1024 + 1))
    assert sorted(os.listdir(root)) == ["file", "folder"]


def test_read_only_files_cannot_be_written(root: Path) -> None:
    assert [tool.name for tool in Files(root, read_only=True).tools()] == ["read_file", "list_dir", "glob"]
    assert [(tool.name, tool.effect, tool.serial) for tool in Files(root).tools()] == [
        ("read_file", "pure", False), ("list_dir", "pure", False), ("glob", "pure", False),
        ("write_file", "once", True),
    ]  # fmt: skip


# list_dir ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_drawn_with_its_folders(root: Path) -> None:
    for path in ("b/c/d/e.txt", "a.txt", ".hidden", "node_modules/x.js", "b/z.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    (root / "empty").mkdir()
    (root / "link").symlink_to("b/z.txt")
    listing = [
        "./", "  .hidden", "  a.txt", "  b/", "    c/", "      d/", "    z.txt", "  empty/", "  link -> b/z.txt",
        "  node_modules/ [not shown]",
    ]  # fmt: skip
    assert text_of(call(Files(root), "list_dir")).splitlines() == listing
    assert text_of(call(Files(root), "list_dir", depth=9)).splitlines() == listing
    assert text_of(call(Files(root), "list_dir", path="b", depth=1)).splitlines() == ["b/", "  c/", "  z.txt"]
    assert text_of(call(Files(root), "list_dir", path="b/c")).splitlines() == ["b/c/", "  d/", "    e.txt"]


def test_a_large_folder_does_not_hide_the_others_and_500_names_are_all(root: Path) -> None:
    for folder, count in (("a", 1_000), ("b", 3)):
        (root / folder).mkdir()
        for number in range(count):
            (root / folder / f"{number:04}").touch()
    output = call(Files(root), "list_dir")
    rows = text_of(output).splitlines()
    assert rows[:3] == ["./", "  a/", "    0000"]
    assert "    [502 more]" in rows
    assert "  b/ [3 more]" in rows
    assert rows[-1].startswith("[stopped at 500 names")
    assert output.value == {"entries": 500, "complete": False}


def test_only_a_folder_is_listed(root: Path) -> None:
    (root / "a.txt").write_text("x")
    with refused("not_a_folder", "'a.txt'"):
        call(Files(root), "list_dir", path="a.txt")
    with refused("not_found", "'nowhere'"):
        call(Files(root), "list_dir", path="nowhere")
    with refused("invalid_tool_args"):
        call(Files(root), "list_dir", depth=0)


def test_names_that_are_no_text_are_spelled_out(root: Path) -> None:
    try:
        os.mkdir(os.fsencode(root) + b"/caf\xe9")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert text_of(call(Files(root), "list_dir")).splitlines() == ["./", '  "caf\\udce9/"']


def test_links_say_what_is_behind_them(root: Path, outside: Path) -> None:
    (root / "deep").mkdir()
    (root / "deep" / "a.txt").touch()
    targets = {
        "absolute": str(outside), "broken": "deep/none", "circle": "circle", "file": "deep/a.txt", "folder": "deep",
        "out": "../outside/new", "through": "deep/a.txt/b", "up": "folder/..", "z": "b [leads to nothing]",
    }  # fmt: skip
    for name, target in targets.items():
        (root / name).symlink_to(target)
    (root / "deep" / "up").symlink_to("../file")
    assert text_of(call(Files(root), "list_dir")).splitlines() == [
        "./",
        f"  absolute -> {outside} [leads out of the root]",
        "  broken -> deep/none [leads to nothing]",
        "  circle -> circle [leads in a circle]",
        "  deep/",
        "    a.txt",
        "    up -> ../file",
        "  file -> deep/a.txt",
        "  folder -> deep/",
        "  out -> ../outside/new [leads out of the root]",
        "  through -> deep/a.txt/b [leads to nothing]",
        "  up -> folder/../",
        '  z -> "b [leads to nothing]" [leads to nothing]',
    ]
    assert text_of(call(Files(root), "list_dir", path="folder")).splitlines() == ["deep/", "  a.txt", "  up -> ../file"]


NAMES = (
    "a\nb.txt", "\x1b[31mred", "\u202egnp.exe", " blank", "blank ", '"quoted"', "a -> b", "a [not shown]", "[9 more]",
    "a\\nb.txt", "é.txt", "[id].tsx", "C:\\x",
)  # fmt: skip


def test_no_name_is_taken_for_another_or_for_more_than_one(root: Path) -> None:
    for name in NAMES:
        (root / name).touch()
    rows = text_of(call(Files(root), "list_dir")).split("\n")[1:]
    assert [row for row in rows if not row.startswith("  ") or not row.isprintable()] == []
    read_back = [json.loads(row) if row.strip().startswith('"') else row[2:] for row in rows]
    assert read_back == sorted(NAMES)
    assert [row for row in rows if not row.startswith('  "')] == ["  C:\\x", "  [id].tsx", "  a\\nb.txt", "  é.txt"]
    found = text_of(call(Files(root), "glob", pattern="a?b.txt")).split("\n")
    assert found == ['"a\\nb.txt"', "[1 file]"]
    (root / "a\nb.txt").write_text("hit")
    assert text_of(call(Search(root), "grep", pattern="hit")).split("\n") == ['"a\\nb.txt":1:hit', "[1 line matches]"]
    assert read(root, json.loads(found[0])).startswith("1\thit")


# glob --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(root: Path) -> Path:
    for path in ("a.py", "b.txt", "src/c.py", "src/deep/d.py", "src/deep/e.ts", "src/[x].py", ".git/f.py", ".dot/g.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    return root


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", [".dot/g.py", "a.py", "src/[x].py", "src/c.py", "src/deep/d.py"]),
        ("./*.py", ["a.py"]),
        ("src/*.py", ["src/[x].py", "src/c.py"]),
        ("src/**/*.py", ["src/[x].py", "src/c.py", "src/deep/d.py"]),
        ("**/deep/*", ["src/deep/d.py", "src/deep/e.ts"]),
        ("src/**", ["src/[x].py", "src/c.py", "src/deep/d.py", "src/deep/e.ts"]),
        ("**/*.{ts,txt}", ["b.txt", "src/deep/e.ts"]),
        ("{a,b}.{py,txt}", ["a.py", "b.txt"]),
        ("src/?.py", ["src/c.py"]),
        ("src/[[]x].py", ["src/[x].py"]),
        ("[ab].*", ["a.py", "b.txt"]),
        ("A.py", []),
    ],
)
def test_a_pattern_finds_these(tree: Path, pattern: str, found: list[str]) -> None:
    assert call(Files(tree), "glob", pattern=pattern).value == found


def test_found_files_are_told_from_the_root(tree: Path) -> None:
    output = call(Files(tree), "glob", pattern="deep/*.py", path="src")
    assert text_of(output) == "src/deep/d.py\n[1 file]"
    assert text_of(call(Files(tree), "glob", pattern="*.rs")) == "[no file matches]"


def test_no_more_than_100_files_are_told(root: Path) -> None:
    for number in range(101):
        (root / f"{number:03}").touch()
    output = call(Files(root), "glob", pattern="*")
    assert output.value == [f"{number:03}" for number in range(100)]
    assert "there are more" in text_of(output)
    (root / "000").unlink()
    assert text_of(call(Files(root), "glob", pattern="*")).endswith("[100 files]")


@pytest.mark.parametrize("pattern", ["", " ", "/etc/*", "../*", "a/../b", "{a,b}" * 7])
def test_a_pattern_that_means_nothing_is_refused(tree: Path, pattern: str) -> None:
    with refused("invalid_tool_args", "pattern"):
        call(Files(tree), "glob", pattern=pattern)


def test_a_malicious_pattern_takes_no_time(root: Path) -> None:
    (root / ("a" * 200)).touch()
    assert call(Files(root), "glob", pattern="*a" * 60 + "b").value == []
    (root / "/".join("a" * 60)).mkdir(parents=True)
    (root / "/".join("a" * 60) / "x").touch()
    assert call(Files(root), "glob", pattern="**/a/" * 60 + "b").value == []


def test_a_cancelled_search_stops(tree: Path) -> None:
    ctx = tool_context()
    ctx.cancel()
    with pytest.raises(ToolFailed, match="cancelled"):
        call(Files(tree), "glob", ctx, pattern="*")
