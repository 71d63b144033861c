"""A patch changes exactly what it names, keeps what came before a failure, and says precisely what did not fit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lash.core.tool import ToolOutput
from lash.errors import ToolFailed
from lash.plugins.patch import Patch
from tests.unit.plugins.calls import call, refused, text_of

POEM = "roses\nare\nred\n\nviolets\nare\nblue\n"


@pytest.fixture
def poem(root: Path) -> Path:
    (root / "poem.txt").write_text(POEM)
    return root


def patch(root: Path, body: str) -> ToolOutput:
    return call(Patch(root), "apply_patch", patch=f"*** Begin Patch\n{body}\n*** End Patch\n")


def test_all_four_kinds_of_change(poem: Path) -> None:
    (poem / "old.txt").write_text("x\n")
    (poem / "run.sh").write_text("echo a\n")
    (poem / "run.sh").chmod(0o755)
    output = patch(
        poem,
        "*** Add File: new/notes.txt\n+one\n+\n+ two\n"
        "*** Update File: poem.txt\n@@\n roses\n-are\n+were\n red\n@@\n violets\n-are\n+were\n"
        "*** Update File: run.sh\n*** Move to: bin/run\n-echo a\n+echo b\n"
        "*** Delete File: old.txt",
    )
    assert text_of(output).splitlines() == [
        "added new/notes.txt", "updated poem.txt", "updated run.sh and moved it to bin/run", "deleted old.txt",
    ]  # fmt: skip
    assert (poem / "new/notes.txt").read_text() == "one\n\n two\n"
    assert (poem / "poem.txt").read_text() == POEM.replace("are", "were")
    assert (poem / "bin/run").read_text() == "echo b\n"
    assert stat.S_IMODE((poem / "bin/run").stat().st_mode) == 0o755
    assert sorted(os.listdir(poem)) == ["bin", "new", "poem.txt"]


HUNKS: dict[str, tuple[str, str, str]] = {
    "a line replaced": ("a\nb\nc\n", " a\n-b\n+B\n c", "a\nB\nc\n"),
    "a line added at the top": ("a\nb\n", "+0\n a", "0\na\nb\n"),
    "a line added at the end": ("a\nb\n", " b\n+c", "a\nb\nc\n"),
    "lines without a place go to the end": ("a\nb\n", "+c", "a\nb\nc\n"),
    "lines under a header go behind it": ("a\nb\nc\n", "@@ a\n+x", "a\nx\nb\nc\n"),
    "the first place counts": ("x\nx\n", "-x\n+y", "y\nx\n"),
    "a header picks the place": ("def f\nx\ndef g\nx\n", "@@ def g\n-x\n+y", "def f\nx\ndef g\ny\n"),
    "headers one below the other": (
        "class A\ndef f\nx\nclass B\ndef f\nx\n", "@@ class B\n@@ def f\n-x\n+y",
        "class A\ndef f\nx\nclass B\ndef f\ny\n",
    ),
    "a header of a unified diff": ("def f\nx\n", "@@ -1,2 +1,2 @@ def f\n-x\n+y", "def f\ny\n"),
    "a bare header of a unified diff": ("def f\nx\n", "@@ -1,2 +1,2 @@\n-x\n+y", "def f\ny\n"),
    "the next hunk is further down": ("x\nx\nx\n", "-x\n+1\n@@\n-x\n+2", "1\n2\nx\n"),
    "the end of the file": ("x\ny\nx\n", "-x\n+z\n*** End of File", "x\ny\nz\n"),
    "an empty line without its blank": ("a\n\nb\n", " a\n\n-b\n+c", "a\n\nc\n"),
    "an empty line before the next hunk": ("a\nb\nc\nd\n", "-a\n+A\n\n@@\n-d\n+D\n\n", "A\nb\nc\nD\n"),
    "all lines gone": ("a\nb\n", "-a\n-b", ""),
    "blanks at the end of a line": ("a  \nb\n", " a\n-b\n+c", "a  \nc\n"),
    "another indentation": ("\tif x:\n\t\tgo\n", " if x:\n-    go\n+\t\tstop", "\tif x:\n\t\tstop\n"),
    "other quotes and dashes": (
        "say \u201chi\u201d \u2013 x\nb\n", ' say "hi" - x\n-b\n+c', "say \u201chi\u201d \u2013 x\nc\n",
    ),
    "the exact place before a lenient one": ("  x\nx\n", "-x\n+y", "  x\ny\n"),
    "windows line ends": ("a\r\nb\r\nc\r\n", " a\n-b\n+B\n+D\n c", "a\r\nB\r\nD\r\nc\r\n"),
    "mixed line ends elsewhere stay": ("a\nb\r\nc\r\nd\n", " b\n-c\n+C", "a\nb\r\nC\nd\n"),
    "no end of line at the end": ("a\nb", "-a\n+A", "A\nb"),
    "no end of line, and a line behind it": ("a\nb", " b\n+c", "a\nb\nc"),
    "a carriage return is no end of line": ("a\nb\r", "-a\n+A", "A\nb\r"),
    "an empty file": ("", "+a", "a\n"),
    "git's remark": ("a\n", "-a\n+b\n\\ No newline at end of file", "b\n"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "hunks", "after"), HUNKS.values(), ids=HUNKS)
def test_hunks(root: Path, before: str, hunks: str, after: str) -> None:
    (root / "f").write_bytes(before.encode())
    patch(root, f"*** Update File: f\n{hunks}")
    assert (root / "f").read_bytes() == after.encode()


@pytest.mark.parametrize(
    "text",
    [
        "```\n{}\n```", "apply_patch <<'EOF'\n{}\nEOF", "Here it is:\n\n{}\n\nDone.", "{}",
    ],
)  # fmt: skip
def test_what_stands_around_a_patch_is_passed_over(poem: Path, text: str) -> None:
    body = "*** Begin Patch\n*** Update File: poem.txt\n-red\n+pink\n*** End Patch"
    call(Patch(poem), "apply_patch", patch=text.format(body))
    assert "pink" in (poem / "poem.txt").read_text()


def test_a_patch_with_windows_line_ends_is_the_same_patch(poem: Path) -> None:
    body = "*** Begin Patch\n*** Update File: poem.txt\n roses\n-are\n+were\n*** End Patch\n"
    call(Patch(poem), "apply_patch", patch=body.replace("\n", "\r\n"))
    assert (poem / "poem.txt").read_text() == POEM.replace("are", "were", 1)


def test_lines_that_look_like_marks_can_be_written(root: Path) -> None:
    patch(root, "*** Add File: a\n+*** End Patch\n+*** Add File: b\n+@@")
    assert (root / "a").read_text() == "*** End Patch\n*** Add File: b\n@@\n"
    patch(root, "*** Update File: a\n *** End Patch\n-*** Add File: b\n+c")
    assert (root / "a").read_text() == "*** End Patch\nc\n@@\n"


# Refused before anything is touched --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'*** Begin Patch' is missing"),
        ("--- a/x\n+++ b/x\n", "'*** Begin Patch' is missing"),
        ("*** Begin Patch\n*** Add File: new\n+x", "'*** End Patch' is missing"),
        ("*** Begin Patch\n\n*** End Patch", "changes nothing"),
        ("*** Begin Patch\n*** Add File: new\n+x\n*** Rename File: b\n*** End Patch", "Line 4"),
        ("*** Begin Patch\n*** Add File: new\n+x\n*** Delete File: poem.txt\n-x\n*** End Patch", "Line 5"),
        ("*** Begin Patch\n*** Add File:  \n+x\n*** End Patch", "Line 2 names no file"),
        ("*** Begin Patch\n*** Add File: new\nx\n*** End Patch", "Line 3"),
        ("*** Begin Patch\n*** Add File: new\n+x\n*** Update File: poem.txt\nroses\n*** End Patch", "Line 5"),
        ("*** Begin Patch\n*** Add File: new\n+x\n*** Update File: poem.txt\n roses\n*** End Patch", "no line of it"),
        ("*** Begin Patch\n*** Update File: poem.txt\n*** Move to:\n*** End Patch", "where 'poem.txt' moves"),
        ("*** Begin Patch\n*** Frobnicate\n*** End Patch", "Line 2 is not understood"),
    ],
)
def test_a_patch_that_cannot_be_read_changes_nothing(poem: Path, text: str, says: str) -> None:
    with refused("invalid_patch", says, "Nothing was changed."):
        call(Patch(poem), "apply_patch", patch=text)
    assert os.listdir(poem) == ["poem.txt"]
    assert (poem / "poem.txt").read_text() == POEM


# Refused on the way ------------------------------------------------------------------------------------------------


def test_what_came_before_a_failure_stays_and_is_told(poem: Path) -> None:
    (poem / "last.txt").write_text("x\n")
    with pytest.raises(ToolFailed) as caught:
        patch(
            poem,
            "*** Add File: first.txt\n+x\n"
            "*** Update File: poem.txt\n-roses\n+tulips\n@@\n violets\n-were\n+are\n"
            "*** Delete File: last.txt",
        )
    assert str(caught.value) == (
        "'poem.txt', hunk 2 of 2 (those before it were applied): line 6 of the file is 'are', where the hunk has "
        "'were'. Done before: added first.txt. Not begun: last.txt."
    )
    assert caught.value.raw == {"done": ["added first.txt"], "not_begun": ["last.txt"]}
    assert (poem / "first.txt").exists()
    assert (poem / "last.txt").exists()
    assert (poem / "poem.txt").read_text() == POEM.replace("roses", "tulips")


@pytest.mark.parametrize(
    ("hunks", "says"),
    [
        ("-daisies\n+x", "no line 'daisies' from line 1 on"),
        ("@@ daisies\n-red\n+x", "no line 'daisies' from line 1 on"),
        ("-blue\n+x\n@@\n-red\n+x", "no line 'red' from line 8 on (they stand at line 3; hunks go from top to bottom)"),
        (" blue\n-green\n+x", "line 8 of the file is its end, where the hunk has 'green'"),
        ("-red\n+x\n*** End of File", "stand at line 3, but the file does not end there"),
    ],
)
def test_a_hunk_without_a_place_says_where_it_came_nearest(poem: Path, hunks: str, says: str) -> None:
    with refused("hunk_failed", says, "No other file was changed."):
        patch(poem, f"*** Update File: poem.txt\n{hunks}")


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("*** Add File: poem.txt\n+x", "exists", "'poem.txt': it exists already"),
        ("*** Add File: link\n+x", "exists", "'link'"),
        ("*** Update File: missing\n-x", "not_found", "'missing'"),
        ("*** Update File: folder\n-x", "not_a_file", "'folder' is a folder"),
        ("*** Update File: binary\n-x", "binary_file", "'binary'"),
        ("*** Update File: latin\n-x", "binary_file", "byte 3"),
        ("*** Update File: big\n-x", "too_large", "8388608"),
        ("*** Delete File: missing", "not_found", "'missing'"),
        ("*** Delete File: folder", "not_a_file", "'folder' is a folder"),
        ("*** Update File: poem.txt\n*** Move to: latin", "exists", "'latin'"),
        ("*** Update File: poem.txt\n*** Move to: latin\n-red\n+x", "exists", "'latin'"),
        ("*** Update File: link\n*** Move to: new\n-red", "not_a_file", "'link' is a link"),
        ("*** Add File: poem.txt/x\n+x", "not_a_folder", "'poem.txt/x'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_file_stays(poem: Path, body: str, code: str, says: str) -> None:
    (poem / "link").symlink_to("poem.txt")
    (poem / "folder").mkdir()
    (poem / "binary").write_bytes(b"x\0\n")
    (poem / "latin").write_bytes(b"caf\xe9\n")
    (poem / "big").write_bytes(b"x\n" * (4 * 1024 * 1024 + 1))
    with refused(code, says):
        patch(poem, body)
    assert (poem / "poem.txt").read_text() == POEM
    assert sorted(os.listdir(poem)) == ["big", "binary", "folder", "latin", "link", "poem.txt"]


def test_a_link_is_changed_where_it_leads_and_deleted_where_it_is(poem: Path) -> None:
    (poem / "link").symlink_to("poem.txt")
    patch(poem, "*** Update File: link\n-red\n+pink")
    assert (poem / "link").is_symlink()
    assert "pink" in (poem / "poem.txt").read_text()
    patch(poem, "*** Delete File: link")
    assert os.listdir(poem) == ["poem.txt"]


def test_a_long_report_of_a_failure_still_says_what_failed(root: Path) -> None:
    added = "\n".join(f"*** Add File: {'n' * 100}{number}\n+x" for number in range(60))
    with pytest.raises(ToolFailed) as caught:
        patch(root, f"{added}\n*** Delete File: missing")
    assert len(str(caught.value)) < 4_000
    assert str(caught.value).startswith("'missing'")
    assert "60 files" in str(caught.value)


def test_it_may_happen_once_and_not_beside_another(root: Path) -> None:
    assert [(tool.name, tool.effect, tool.serial) for tool in Patch(root).tools()] == [("apply_patch", "once", True)]
