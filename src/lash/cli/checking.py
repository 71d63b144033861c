"""``lash check``: can the target be imported, are its names good, and is its code the same on every replay.

The lint of process bodies is in ``lint.py`` and imports nothing; a target that cannot be imported is linted all the
same, as far as its file is known.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lash.cli import exits, output as out
from lash.cli.apps import load_app
from lash.cli.lint import Finding, lint_file
from lash.cli.target import TargetBroken, TargetWithoutRuntime, parse_target
from lash.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Problem:
    """What ``lash check`` found, beside the lint's findings."""

    code: str
    message: str


def check(target: str, versions: bool, as_json: bool) -> int:
    """Can it be imported, are its names good, and is its code the same on every replay."""
    found = parse_target(target)
    problems: list[Problem] = []
    files: list[Path] = [] if found.path is None else [found.path]
    names: list[str] = []
    try:
        app = load_app(target, None)
    except (TargetBroken, TargetWithoutRuntime) as error:
        problems.append(Problem(error.code, error.message))
    else:
        files = source_files(app)
        names = sorted({process.name for process in app.registered})
        problems += problems_of(app, target, versions)
    findings = [finding for path in files for finding in lint_file(path)]
    if as_json:
        out.print_json(
            {
                "ok": not problems and not findings,
                "processes": names,
                "files": [str(path) for path in files],
                "problems": [asdict(problem) for problem in problems],
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        say_check(names, files, problems, findings)
    return exits.FAILED if problems or findings else exits.OK


def source_files(app: Runtime) -> list[Path]:
    """The files the registered processes were written in, each once."""
    files: dict[Path, None] = {}
    for process in app.registered:
        try:
            name = inspect.getsourcefile(inspect.unwrap(process.function))
        except TypeError:
            name = None
        if name is not None and Path(name).is_file():
            files[Path(name).resolve()] = None
    return list(files)


def problems_of(app: Runtime, target: str, versions: bool) -> list[Problem]:
    if not app.registered and not list(app.agents):
        return [Problem("nothing_registered", f"{target} registers no process. Use @app.process or app.include(...).")]
    problems: list[Problem] = []
    for process in app.registered:
        try:
            _ = process.signature
        except Exception as error:  # noqa: BLE001  # pydantic's many ways to refuse an annotation
            words = f"Process {process.name!r} has an annotation that cannot be used: {error}"
            problems.append(Problem("bad_annotation", words))
        if versions and not process.version:
            words = f"Process {process.name!r} has no version: once its code changes, what runs under it is blocked."
            problems.append(Problem("unversioned", words))
    return problems


def say_check(
    names: Sequence[str], files: Sequence[Path], problems: Sequence[Problem], findings: Sequence[Finding]
) -> None:
    for problem in problems:
        out.say(f"{problem.code}: {problem.message}", "red")
    for finding in findings:
        out.say(f"{finding.path}:{finding.line}:{finding.column}: {finding.code} {finding.message}", "yellow")
        out.say(f"  → {finding.advice}")
    number = len(problems) + len(findings)
    looked = f"{out.count_of(len(names), 'process', 'processes')} in {out.count_of(len(files), 'file')}"
    if number:
        out.say(f"{out.count_of(number, 'problem')} found in {looked}.")
    else:
        out.say(f"{looked}: nothing found.")
