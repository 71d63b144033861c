"""What a name in a source file means: which import it came from, and what kind of thing it holds.

The rule of this file: guess only where the source says so. A name that is bound twice, passed in, or comes from
elsewhere means nothing in particular, and nothing is then found against it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["set", "path", "task", "context", "step"]
FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
ScopeNode: TypeAlias = FunctionNode | ast.ClassDef

BUILTINS: Final = frozenset(dir(builtins))
SET_METHODS: Final = frozenset("union intersection difference symmetric_difference copy".split())
PATH_STEPS: Final = frozenset("joinpath with_name with_suffix with_stem relative_to resolve absolute".split())
PATH_CLASSES: Final = frozenset({"pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath"})
PATH_MAKERS: Final = PATH_CLASSES | {"pathlib.Path.cwd", "pathlib.Path.home"}
ATTRIBUTE_KINDS: Final[dict[tuple[Kind | None, str], Kind]] = {
    ("path", "parent"): "path",
    ("context", "step"): "step",
}
SET_MAKERS: Final = frozenset({"builtins.set", "builtins.frozenset"})
SET_TYPES: Final = frozenset("set frozenset Set FrozenSet AbstractSet MutableSet".split())
TASK_MAKERS: Final = frozenset({"create_task", "ensure_future"})
TASK_TYPES: Final = frozenset({"Task", "Future"})
NUMBER_TYPES: Final = frozenset({"int", "float", "bool"})


def own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """Every node below ``root`` that runs in the same scope; a nested function or class stands as one node."""
    for child in ast.iter_child_nodes(root):
        yield child
        if not isinstance(child, ScopeNode):
            yield from own_nodes(child)


def nodes_of(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node of the statements of one scope, the statements included."""
    for statement in body:
        yield statement
        if not isinstance(statement, ScopeNode):
            yield from own_nodes(statement)


def parameters(node: FunctionNode) -> list[ast.arg]:
    """Every parameter in order, ``*args`` and ``**kwargs`` last."""
    spec = node.args
    extra = [arg for arg in (spec.vararg, spec.kwarg) if arg is not None]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *extra]


def last_name(node: ast.expr | None) -> str:
    """``Context`` of ``lash.Context``, ``"Context"``, ``Context[int]``; empty when there is none."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.split("[")[0].split(".")[-1].strip()
    return ""


class Scope:
    """The names of one module, class or function, inside ``parent``. ``kinds`` grows as statements are walked."""

    def __init__(self, node: ast.Module | FunctionNode, parent: Scope | None = None) -> None:
        self.node = node
        self.parent = parent
        self.imports: dict[str, str] = {}
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.bound: set[str] = set()
        self.kinds: dict[str, Kind] = {}
        if isinstance(node, FunctionNode):
            self.enter_parameters(node)
        passed: set[str] = set()
        body: Sequence[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else node.body
        for child in nodes_of(body):
            self.enter(child, passed)
        self.reassigned = self.bound & passed
        self.bound -= passed
        self.task_sets = self.find_task_sets(list(nodes_of(body)))

    def enter_parameters(self, node: FunctionNode) -> None:
        for arg in parameters(node):
            self.bound.add(arg.arg)
            is_context = arg.arg == "ctx" or last_name(arg.annotation) == "Context"
            self.learn(arg.arg, "context" if is_context else self.kind_of_annotation(arg.annotation))

    def enter(self, node: ast.AST, passed: set[str]) -> None:
        """Take in what ``node`` binds; ``passed`` collects names declared global or nonlocal."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                self.imports[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.imports[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.functions[node.name] = node
            self.bound.add(node.name)
        elif isinstance(node, ast.ClassDef):
            self.bound.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            self.bound.add(node.name)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            passed.update(node.names)

    def find_task_sets(self, nodes: Sequence[ast.AST]) -> set[str]:
        """Names ``n`` where every ``n.add(...)`` adds a task: tasks hash by creation order, so their sets are fine."""
        for node in nodes:
            if isinstance(node, ast.Assign) and self.is_task(node.value):
                for target in node.targets:
                    self.learn(last_name(target) if isinstance(target, ast.Name) else "", "task")
        added: dict[str, list[bool]] = {}
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add":
                if isinstance(node.func.value, ast.Name) and node.args:
                    added.setdefault(node.func.value.id, []).append(self.is_task(node.args[0]))
        return {name for name, tasks in added.items() if all(tasks)}

    # Names ---------------------------------------------------------------------------------------------------------

    def chain(self) -> Iterator[Scope]:
        """This scope, then every one around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def meaning(self, name: str) -> str | None:
        """The canonical dotted name behind a bare name; None for anything this file made itself."""
        for scope in self.chain():
            if name in scope.imports:
                return scope.imports[name]
            if name in scope.bound:
                return None
        return f"builtins.{name}" if name in BUILTINS else None

    def dotted(self, node: ast.AST) -> str | None:
        """The canonical dotted name of ``a`` or ``a.b.c``; None when its root means nothing in particular."""
        if isinstance(node, ast.Name):
            return self.meaning(node.id)
        if isinstance(node, ast.Attribute):
            root = self.dotted(node.value)
            return None if root is None else f"{root}.{node.attr}"
        return None

    def function(self, name: str) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, Scope] | None:
        """The function of this file that ``name`` means here, with the scope it is defined in."""
        for scope in self.chain():
            if name in scope.functions:
                return scope.functions[name], scope
            if name in scope.bound or name in scope.imports:
                return None
        return None

    def is_step_only(self, name: str) -> bool:
        """Whether the function ``name`` of this scope is used, and only as what a step is to call."""
        handed = used = 0
        for node in ast.walk(self.node):
            if isinstance(node, ast.Name) and node.id == name:
                used += 1
            elif isinstance(node, ast.Call) and last_name(node.func) == "step" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Call) and last_name(first.func) == "partial" and first.args:
                    first = first.args[0]
                handed += isinstance(first, ast.Name) and first.id == name
        return 0 < handed == used

    # Kinds ---------------------------------------------------------------------------------------------------------

    def learn(self, name: str, kind: Kind | None) -> None:
        if kind is None:
            self.kinds.pop(name, None)
        elif name:
            self.kinds[name] = kind

    def learn_assignments(self, root: ast.AST) -> None:
        """Take the kinds of names assigned anywhere in this scope: for scopes around a body, which run before it."""
        for node in own_nodes(root):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.learn(target.id, self.kind(node.value))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.learn(node.target.id, self.kind_of_annotation(node.annotation))

    def kind_of_name(self, name: str) -> Kind | None:
        for scope in self.chain():
            if name in scope.kinds:
                return scope.kinds[name]
            if name in scope.bound or name in scope.imports:
                return None
        return None

    def kind(self, node: ast.AST) -> Kind | None:
        """What the value of an expression is, as far as the source shows."""
        if isinstance(node, ast.Name):
            return self.kind_of_name(node.id)
        if isinstance(node, ast.NamedExpr):
            return self.kind(node.value)
        if isinstance(node, ast.Set):
            return None if all(self.is_stable(item) for item in node.elts) else "set"
        if isinstance(node, ast.SetComp):
            return None if self.is_stable(node.elt) else "set"
        if isinstance(node, ast.IfExp):
            return self.kind(node.body) or self.kind(node.orelse)
        if isinstance(node, ast.BoolOp):
            return next((kind for kind in map(self.kind, node.values) if kind is not None), None)
        if isinstance(node, ast.BinOp):
            return self.kind_of_operation(node)
        if isinstance(node, ast.Attribute):
            return ATTRIBUTE_KINDS.get((self.kind(node.value), node.attr))
        if isinstance(node, ast.Call):
            return self.kind_of_call(node)
        return None

    def kind_of_operation(self, node: ast.BinOp) -> Kind | None:
        left = self.kind(node.left)
        if isinstance(node.op, ast.Div):
            return "path" if left == "path" else None
        if isinstance(node.op, (ast.BitOr, ast.BitAnd, ast.BitXor)):
            return "set" if "set" in (left, self.kind(node.right)) else None
        return "set" if isinstance(node.op, ast.Sub) and left == "set" else None

    def kind_of_call(self, node: ast.Call) -> Kind | None:
        if self.is_task(node):
            return "task"
        name = self.dotted(node.func)
        if name in PATH_MAKERS:
            return "path"
        if name in SET_MAKERS:
            return None if node.args and self.is_stable_source(node.args[0]) else "set"
        if isinstance(node.func, ast.Attribute):
            owner = self.kind(node.func.value)
            if owner == "set" and node.func.attr in SET_METHODS:
                return "set"
            if owner == "path" and node.func.attr in PATH_STEPS:
                return "path"
        return None

    def is_task(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return self.kinds.get(node.id) == "task"
        return isinstance(node, ast.Call) and last_name(node.func) in TASK_MAKERS

    def is_stable(self, node: ast.AST) -> bool:
        """Members whose hash is the same in every run: numbers, and tasks of the body loop."""
        if isinstance(node, ast.UnaryOp):
            return self.is_stable(node.operand)
        if isinstance(node, ast.Constant):
            return isinstance(node.value, (int, float))
        return self.is_task(node)

    def is_stable_source(self, node: ast.AST) -> bool:
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return all(self.is_stable(item) for item in node.elts)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
            return self.is_stable(node.elt)
        return isinstance(node, ast.Call) and self.dotted(node.func) == "builtins.range"

    def kind_of_annotation(self, node: ast.expr | None) -> Kind | None:
        if node is None:
            return None
        if isinstance(node, ast.BinOp):
            return self.kind_of_annotation(node.left) or self.kind_of_annotation(node.right)
        if self.dotted(node) in PATH_CLASSES:
            return "path"
        if last_name(node) not in SET_TYPES:
            return None
        member = last_name(node.slice) if isinstance(node, ast.Subscript) else ""
        return None if member in TASK_TYPES | NUMBER_TYPES else "set"
