"""The static look at process bodies behind ``lash check``: what would run differently when a body is replayed.

The rule of this file: findings are values, made from source text alone. Nothing is imported or run, and a file that
cannot be read is a finding too, never a traceback. ``# lash: ignore`` on a line silences it, ``# lash:
ignore[LASH003]`` only that code.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Final, NamedTuple, TypeAlias

from lash.cli.lint_body import BodyWalk, Hit
from lash.cli.lint_names import Scope, own_nodes
from lash.cli.lint_rules import RULES, UNREADABLE, advice_for

FunctionDef: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Ignored: TypeAlias = dict[int, frozenset[str]]

IGNORE: Final = re.compile(r"#\s*lash:\s*ignore(?:\[(?P<codes>[^\]]*)\])?")
PARSE_ERRORS: Final = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change. ``line`` and ``column`` count from 1; ``advice`` says what to write instead."""

    path: str
    line: int
    column: int
    code: str
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.message} {self.advice}"


class Body(NamedTuple):
    """A function that runs in the body of ``process``: the decorated one, or a helper it calls."""

    node: FunctionDef
    scope: Scope
    process: str


def lint_file(path: str | PathLike[str]) -> list[Finding]:
    """Findings in one Python file, in source order."""
    name = fspath(path)
    try:
        with tokenize.open(name) as file:
            source = file.read()
    except OSError as error:
        return [unreadable(name, error.strerror or str(error))]
    except (SyntaxError, ValueError) as error:
        return [unreadable(name, str(error))]
    return lint_source(source, name)


def lint_source(source: str, filename: str = "<source>") -> list[Finding]:
    """Findings in the process bodies of ``source``, and in the functions of the same file that they call."""
    try:
        tree = ast.parse(source, filename)
        ignored = ignored_lines(source)
        lines = io.StringIO(source, newline=None).readlines()
        found = {finding_of(hit, body, filename, lines) for hit, body in hits_in(tree) if not is_ignored(hit, ignored)}
    except SyntaxError as error:
        return [unreadable(filename, error.msg, error.lineno or 1, error.offset or 1)]
    except PARSE_ERRORS as error:
        return [unreadable(filename, str(error) or "it is nested too deeply")]
    return sorted(found, key=lambda finding: (finding.line, finding.column, finding.code))


def hits_in(tree: ast.Module) -> Iterator[tuple[Hit, Body]]:
    """Every hit, with the body it belongs to; a helper counts for the first body that calls it."""
    bodies = deque(process_bodies(tree, Scope(tree)))
    seen = {body.node for body in bodies}
    processes = set(seen)
    while bodies:
        body = bodies.popleft()
        walk = BodyWalk(body.node, body.scope, is_process=body.node in processes)
        for hit in walk.hits:
            yield hit, body
        for called in walk.called:
            if called.node not in seen:
                seen.add(called.node)
                bodies.append(Body(called.node, called.scope, body.process))


def process_bodies(root: ast.AST, scope: Scope) -> Iterator[Body]:
    """Functions decorated as processes, at any depth below ``root``."""
    scope.learn_assignments(root)
    for node in own_nodes(root):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any(is_process(decorator, scope) for decorator in node.decorator_list):
                yield Body(node, scope, node.name)
            yield from process_bodies(node, Scope(node, scope))
        elif isinstance(node, ast.ClassDef):
            yield from process_bodies(node, scope)


def is_process(decorator: ast.expr, scope: Scope) -> bool:
    """``@app.process``, ``@app.process(...)``, ``@lash.process`` and ``@process`` imported from lash."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(target, ast.Attribute):
        return target.attr == "process"
    return scope.dotted(target) == "lash.process"


def finding_of(hit: Hit, body: Body, filename: str, lines: list[str]) -> Finding:
    where = f"in the body of `{body.process}`"
    if body.node.name != body.process:
        where = f"in `{body.node.name}`, called from the body of `{body.process}`,"
    line, offset = position(hit.node)
    before = lines[line - 1].encode()[:offset].decode(errors="replace")
    return Finding(
        path=filename,
        line=line,
        column=len(before) + 1,
        code=hit.code,
        message=f"{hit.what} {where} {RULES[hit.code].why}.",
        advice=advice_for(hit.code, hit.name),
    )


def unreadable(path: str, reason: str, line: int = 1, column: int = 1) -> Finding:
    rule = RULES[UNREADABLE]
    return Finding(path, line, column, UNREADABLE, f"The file {rule.why}: {reason}.", rule.advice)


def position(node: ast.AST) -> tuple[int, int]:
    """Line from 1 and byte offset from 0 of any node that has a place."""
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0)


def ignored_lines(source: str) -> Ignored:
    """Line → codes silenced on it; an empty set stands for all codes. Only comments count, not strings."""
    ignored: Ignored = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match = IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if match is not None:
            codes = (match["codes"] or "").replace(",", " ").split()
            ignored[token.start[0]] = frozenset(codes)
    return ignored


def is_ignored(hit: Hit, ignored: Ignored) -> bool:
    """Whether a line that ``hit`` covers carries a comment that silences it."""
    first, _ = position(hit.node)
    last = getattr(hit.node, "end_lineno", None) or first
    return any(line in ignored and (not ignored[line] or hit.code in ignored[line]) for line in range(first, last + 1))
