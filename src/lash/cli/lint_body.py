"""One walk through the code of one function that runs in a process body.

The rule of this file: code that a step performs is not the body's. What is handed to ``ctx.step`` by reference, by
name or as a lambda is left alone; what is evaluated on the way there is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lash.cli import lint_rules as rules
from lash.cli.lint_names import FunctionNode, Scope, own_nodes


@dataclass(frozen=True, slots=True)
class Hit:
    """Something found: where, under which code, and the words that stand for it in the message."""

    node: ast.AST
    code: str
    what: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    """A function of the same file that the walked one calls by name."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    scope: Scope


class BodyWalk(ast.NodeVisitor):
    """Walks one function; ``hits`` and ``called`` hold what came up. Nested functions are walked with it."""

    def __init__(self, node: FunctionNode, outer: Scope, *, is_process: bool = False) -> None:
        self.hits: list[Hit] = []
        self.called: list[Called] = []
        self.quiet: set[ast.AST] = set()
        self.outside = set(outer.chain())
        self.scope = outer
        self.walk_function(node, is_process=is_process)

    def hit(self, node: ast.AST, code: str, what: str, name: str = "") -> None:
        self.hits.append(Hit(node, code, what, name))

    # Scopes --------------------------------------------------------------------------------------------------------

    def walk_function(self, node: FunctionNode, *, is_process: bool = False) -> None:
        outer, self.scope = self.scope, Scope(node, self.scope)
        positional = [*node.args.posonlyargs, *node.args.args]
        if is_process and positional and "context" not in self.scope.kinds.values():
            self.scope.learn(positional[0].arg, "context")
        for statement in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self.visit(statement)
        self.scope = outer

    def visit_defaults(self, node: FunctionNode) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)

    def nested(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.visit_defaults(node)
        if not self.scope.is_step_only(node.name):
            self.walk_function(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.nested(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.nested(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_defaults(node)
        self.walk_function(node)

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            if name in self.scope.reassigned:
                self.hit(node, rules.GLOBALS, f"Assigning the global `{name}`")

    # Kinds ---------------------------------------------------------------------------------------------------------

    def bind(self, target: ast.expr, value: ast.expr | None) -> None:
        """``target = value`` as far as kinds go; None for a value that the source does not show."""
        if isinstance(target, ast.Name):
            kind = None if value is None else self.scope.kind(value)
            self.scope.learn(target.id, None if kind == "set" and target.id in self.scope.task_sets else kind)
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = list(value.elts) if isinstance(value, (ast.Tuple, ast.List)) else []
            paired: Sequence[ast.expr | None] = values if len(values) == len(target.elts) else [None] * len(target.elts)
            for item, part in zip(target.elts, paired, strict=True):
                self.bind(item, part)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, None)
        else:
            self.visit(target)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                self.order(node.value, "Unpacking")
            self.bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        if isinstance(node.target, ast.Name):
            told = self.scope.kind_of_annotation(node.annotation)
            guess = None if node.value is None else self.scope.kind(node.value)
            self.scope.learn(node.target.id, told if guess in (None, "set") else guess)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.bind(node.target, node.value)

    # Order ---------------------------------------------------------------------------------------------------------

    def order(self, node: ast.expr, how: str) -> None:
        """``node`` is gone through in its own order here."""
        if self.scope.kind(node) == "set":
            self.hit(node, rules.SET_ORDER, f"{how} {quoted(node)}")

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.order(node.iter, "Iterating over")
        self.bind(node.target, None)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_comprehension_of(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        unseen = node in self.quiet or isinstance(node, ast.SetComp)
        if not unseen or any(isinstance(child, ast.Await) for child in own_nodes(node)):
            for part in node.generators:
                self.order(part.iter, "Iterating over")
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self.visit_comprehension_of(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self.visit_comprehension_of(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self.visit_comprehension_of(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self.visit_comprehension_of(node)

    def visit_Set(self, node: ast.Set) -> None:
        for item in node.elts:
            self.visit(item.value if isinstance(item, ast.Starred) else item)

    def visit_Starred(self, node: ast.Starred) -> None:
        self.order(node.value, "Spreading")
        self.visit(node.value)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self.order(node.value, "Iterating over")
        self.visit(node.value)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self.order(node.value, "Formatting")
        self.generic_visit(node)

    # Mentions and calls --------------------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        self.mention(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not self.mention(node):
            self.visit(node.value)

    def mention(self, node: ast.Name | ast.Attribute) -> bool:
        name = self.scope.dotted(node)
        code = None if name is None else rules.READS.get(name)
        if name is None or code is None:
            return False
        self.hit(node, code, f"`{shown(name)}`", name)
        return True

    def visit_Call(self, node: ast.Call) -> None:
        name = self.scope.dotted(node.func)
        if self.scope.kind(node.func) == "step":
            self.visit_step(node)
            return
        self.judge_call(node, name)
        self.judge_order(node, name)
        if isinstance(node.func, ast.Name) and (found := self.scope.function(node.func.id)) is not None:
            if found[1] in self.outside:
                self.called.append(Called(*found))
        self.generic_visit(node)

    def visit_step(self, node: ast.Call) -> None:
        """``ctx.step(what, *args)``: only what is evaluated here belongs to the body."""
        for index, arg in enumerate(node.args):
            if index == 0:
                self.visit_handed(arg)
            else:
                self.visit(arg)
        for keyword in node.keywords:
            self.visit(keyword.value)

    def visit_handed(self, node: ast.expr) -> None:
        if isinstance(node, ast.Lambda):
            self.visit_defaults(node)
        elif isinstance(node, ast.Call) and self.scope.dotted(node.func) == "functools.partial":
            self.visit_step(node)
        elif not isinstance(node, (ast.Name, ast.Attribute)):
            self.visit(node)

    def judge_call(self, node: ast.Call, name: str | None) -> None:
        if name is not None:
            code = rules.code_of_call(name, len(node.args) + len(node.keywords))
            if code is not None:
                self.found(node, code, f"`{shown(name)}()`", name)
                return
        if isinstance(node.func, ast.Attribute):
            method = node.func.attr
            code = rules.METHODS.get(method)
            if code is None and self.scope.kind(node.func.value) == "path":
                code = rules.PATH_METHODS.get(method)
            if code is not None:
                self.found(node, code, f"`.{method}()`", method)
            elif method == "pop" and not node.args and self.scope.kind(node.func.value) == "set":
                self.hit(node, rules.SET_ORDER, f"Taking any member of {quoted(node.func.value)}")

    def found(self, node: ast.Call, code: str, what: str, name: str) -> None:
        sorted_here = code == rules.LISTING and node in self.quiet
        self.hit(node, rules.SURROUNDINGS if sorted_here else code, what, name)

    def judge_order(self, node: ast.Call, name: str | None) -> None:
        if name in rules.ORDER_HIDDEN:
            self.quiet.update(self.unordered(node.args))
        elif name == "asyncio.as_completed":
            for arg in node.args[:1]:
                if self.scope.kind(arg) == "set":
                    self.hit(arg, rules.COMPLETION, f"`asyncio.as_completed()` over {quoted(arg)}")
        elif node not in self.quiet and shows_order(node, name):
            for arg in node.args:
                self.order(arg, f"`{shown(name) if name else 'join'}()` of")

    def unordered(self, args: Sequence[ast.expr]) -> Iterator[ast.expr]:
        """The arguments whose own order vanishes in the call around them, through ``list(...)`` and the like."""
        for arg in args:
            yield arg
            if isinstance(arg, ast.Call) and self.scope.dotted(arg.func) in rules.ORDER_KEPT | rules.ORDER_HIDDEN:
                yield from self.unordered(arg.args)


def shows_order(node: ast.Call, name: str | None) -> bool:
    if name is not None:
        return name in rules.ORDER_SHOWN or name.startswith("itertools.")
    return isinstance(node.func, ast.Attribute) and node.func.attr in {"join", "extend"}


def shown(name: str) -> str:
    return name.removeprefix("builtins.")


def quoted(node: ast.AST) -> str:
    """The source of a short expression, or what it is."""
    text = ast.unparse(node)
    return f"`{text}`" if len(text) <= 40 and "\n" not in text else "a set"
