"""TARGET names the user's own module and the Runtime in it: ``module:app`` or ``path/to/file.py[:app]``.

This is the one place where a name given from outside is imported: it is a command line, typed by whoever may run code
here anyway, and never data. Every way it can go wrong is a typed error that says what to type instead.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Final

from lash.errors import LashError, UsageError
from lash.runtime.runtime import Runtime

ATTRIBUTE: Final = "app"
FRAMES_SHOWN: Final = 4
"""Of the user's own traceback: enough to find the line, too few to bury it."""


class TargetMissing(UsageError):
    code = "target_missing"


class TargetBroken(UsageError):
    """The module was found, and importing it failed."""

    code = "target_broken"


class TargetWithoutRuntime(UsageError):
    code = "target_without_runtime"


@dataclass(frozen=True, slots=True)
class Target:
    """What was typed, taken apart. Exactly one of ``path`` and ``module`` is set."""

    text: str
    path: Path | None
    module: str
    attribute: str | None
    """None: ``app``, or the only Runtime there is."""


def parse_target(text: str) -> Target:
    """Raises ``TargetMissing`` for text that names nothing, and for a file that is not there."""
    left, colon, attribute = text.rpartition(":")
    if not colon:
        left, attribute = text, ""
    if (colon and not attribute) or not left:
        raise TargetMissing(f"{text!r} is no target. Write module:app or path/to/file.py:app.", target=text)
    if left.endswith(".py") or "/" in left or "\\" in left or Path(left).is_file():
        path = Path(left).expanduser()
        if path.is_dir():
            raise TargetMissing(f"{left} is a folder. Name the file in it: {left.rstrip('/')}/app.py:app.", target=text)
        if not path.is_file():
            raise TargetMissing(f"There is no file {left}.{hint_for(path)}", target=text)
        return Target(text, path.resolve(), "", attribute or None)
    if not all(part.isidentifier() for part in left.split(".")):
        raise TargetMissing(
            f"{left!r} is neither a module name nor a file. Write module:app or path/to/file.py:app.", target=text
        )
    return Target(text, None, left, attribute or None)


def hint_for(path: Path) -> str:
    with contextlib.suppress(OSError):
        there = [item.name for item in path.parent.glob("*.py")]
        if close := get_close_matches(path.name, there, 1):
            return f" Did you mean {path.parent / close[0]}?"
    return f" Files are looked for from {Path.cwd()}."


def load_target(text: str) -> Runtime:
    """The Runtime that ``text`` names; its module is imported, with the current folder on ``sys.path``.

    What the module prints goes to stderr. Raises ``TargetMissing``, ``TargetBroken``, ``TargetWithoutRuntime``.
    """
    target = parse_target(text)
    add_to_path(str(Path.cwd()))
    with contextlib.redirect_stdout(sys.stderr):
        module = import_file(target) if target.path is not None else import_named(target)
    return runtime_in(module, target)


def source_folder(target: Target) -> Path:
    """The folder whose files ``lash dev`` watches. Nothing is imported."""
    if target.path is not None:
        _, root = dotted_name(target.path)
        top = target.path.relative_to(root).parts[0]
        return root / top if (root / top).is_dir() else target.path.parent
    add_to_path(str(Path.cwd()))
    top = target.module.split(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise not_found(target, top)
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin or ".").resolve().parent


# Importing ---------------------------------------------------------------------------------------------------------


def import_named(target: Target) -> ModuleType:
    with failing_as_broken(target):
        try:
            return importlib.import_module(target.module)
        except ModuleNotFoundError as error:
            if error.name and (target.module == error.name or target.module.startswith(error.name + ".")):
                raise not_found(target, error.name) from None
            raise


def not_found(target: Target, name: str) -> TargetMissing:
    return TargetMissing(
        f"There is no module {name!r}. Modules are looked for from {Path.cwd()} and among what is installed for "
        f"{sys.executable}.",
        target=target.text,
    )


def import_file(target: Target) -> ModuleType:
    """A file inside a package is imported under its dotted name, so that its relative imports work."""
    assert target.path is not None
    name, root = dotted_name(target.path)
    add_to_path(str(root))
    with failing_as_broken(target):
        if "." in name:
            return importlib.import_module(name)
        known = sys.modules.get(name)
        if known is not None and getattr(known, "__file__", None) == str(target.path):
            return known
        label = name if known is None else f"lash_target_{name}"
        spec = importlib.util.spec_from_file_location(label, target.path)
        if spec is None or spec.loader is None:
            raise TargetMissing(f"{target.path} is no Python file. Name one that ends in .py.", target=target.text)
        module = importlib.util.module_from_spec(spec)
        sys.modules[label] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[label]
            raise
        return module


def dotted_name(path: Path) -> tuple[str, Path]:
    """The name a file is imported under, and the folder that name begins in."""
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) or path.stem, folder


def add_to_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


@contextlib.contextmanager
def failing_as_broken(target: Target) -> Generator[None]:
    """Whatever the user's module raises becomes ``TargetBroken``, with the end of its traceback."""
    try:
        yield
    except (KeyboardInterrupt, TargetMissing):
        raise
    except BaseException as error:  # noqa: BLE001  # sys.exit() while importing is a broken target too
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        code = f" ({error.code})" if isinstance(error, LashError) else ""
        raise TargetBroken(
            f"{target.text} cannot be imported: {what}{code}\n{short_traceback(error)}".rstrip(),
            target=target.text,
            exception=type(error).__name__,
        ) from None


def short_traceback(error: BaseException) -> str:
    """The last frames of the user's own code; for a syntax error, the line itself."""
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)[:-1]).rstrip()
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return "".join(traceback.format_list(own[-FRAMES_SHOWN:])).rstrip()


def is_own(filename: str) -> bool:
    """Not ours, and not the machinery of import."""
    if filename.startswith("<frozen importlib") or "/importlib/" in filename:
        return False
    return not filename.startswith(str(Path(__file__).resolve().parent.parent))


# Finding the Runtime -----------------------------------------------------------------------------------------------


def runtime_in(module: ModuleType, target: Target) -> Runtime:
    found = {name: value for name, value in vars(module).items() if isinstance(value, Runtime)}
    if target.attribute is not None:
        return named_runtime(module, target.attribute, target, found)
    if ATTRIBUTE in found:
        return found[ATTRIBUTE]
    distinct = {id(value): value for value in found.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    where = target.path or target.module
    if not found:
        raise TargetWithoutRuntime(
            f"{where} holds no Runtime. Write `app = lash.Runtime(...)` at its top level.", target=target.text
        )
    names = ", ".join(sorted(found))
    raise TargetWithoutRuntime(
        f"{where} holds several Runtimes: {names}. Say which: {target.text}:NAME", target=target.text
    )


def named_runtime(module: ModuleType, attribute: str, target: Target, found: dict[str, Runtime]) -> Runtime:
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            known = f" Runtimes there: {', '.join(sorted(found))}." if found else " It holds no Runtime."
            raise TargetWithoutRuntime(f"{target.text}: there is no {attribute!r}.{known}", target=target.text)
        value = getattr(value, part)
    if isinstance(value, Runtime):
        return value
    hint = " Call it where the module is imported, and name the result." if callable(value) else ""
    raise TargetWithoutRuntime(
        f"{target.text} is of type {type(value).__name__}, not a lash.Runtime.{hint}", target=target.text
    )
