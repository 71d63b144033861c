"""The registered process functions of one app: a row names its code, and this is where the name is looked up.

Names are unique per version. Several versions of one name may stand side by side, so that what runs under the old
code can run to its end; ``start`` uses the newest registered one.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from lash.core.ids import check_name
from lash.core.process import Recovery
from lash.core.schedule import Duration, duration_ms
from lash.errors import AlreadyRegistered, InvalidArguments, NotRegistered
from lash.limits import ATTEMPTS_MAX
from lash.runtime.shapes import Signature

if TYPE_CHECKING:
    from lash.runtime.context import Context

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A process function with its arguments, for ``start_many``; made by :meth:`Process.call`."""

    process: Process[..., T]
    args: tuple[object, ...]
    kwargs: dict[str, object]
    id: str | None = None
    delay: Duration | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0

    def options(
        self,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        tags: tuple[str, ...] | list[str] = (),
        priority: int = 0,
    ) -> Call[T]:
        """The same call with the keyword options of ``start``."""
        return replace(self, id=id, delay=delay, tags=tuple(tags), priority=priority)


@dataclass(frozen=True, eq=False)
class Process(Generic[P, T]):
    """A process function and its contract. Calling it calls the function, for unit tests."""

    function: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]
    name: str
    version: str = ""
    recovery: Recovery = "rerun"
    attempts_max: int = ATTEMPTS_MAX
    timeout_ms: int | None = None
    __wrapped__: Callable[..., object] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "__wrapped__", self.function)
        object.__setattr__(self, "__doc__", self.function.__doc__)
        object.__setattr__(self, "__name__", self.name)

    def __call__(self, ctx: Context, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self.function(ctx, *args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """These arguments for this function, type-checked; nothing is started."""
        return Call(self, args, kwargs)

    @cached_property
    def signature(self) -> Signature:
        return Signature(self.function, skip=1)

    @cached_property
    def code_hash(self) -> str:
        """Fingerprint of the code and its version, so that a blocked row knows other code when it sees it."""
        return code_digest(self.function.__code__, self.version)


def code_digest(code: CodeType, version: str = "") -> str:
    digest = hashlib.blake2b(version.encode(), digest_size=8)
    add_code(digest.update, code)
    return digest.hexdigest()


def add_code(update: Callable[[bytes], object], code: CodeType) -> None:
    update(code.co_code)
    update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            add_code(update, constant)
        elif not isinstance(constant, frozenset):  # whose order changes from run to run
            update(repr(constant).encode())


def make_process(
    function: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]],
    name: str | None = None,
    version: str = "",
    recovery: Recovery = "rerun",
    attempts_max: int = ATTEMPTS_MAX,
    timeout: Duration | None = None,
) -> Process[P, T]:
    """A checked ``Process``. Raises ``InvalidArguments`` or ``InvalidName``."""
    if isinstance(function, Process):
        raise InvalidArguments(f"{function.name!r} is a process already; use app.include(...) to register it.")
    if not inspect.iscoroutinefunction(function):
        raise InvalidArguments(f"A process must be an `async def` function; {function!r} is none.")
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise InvalidArguments(
            f"Process {function.__qualname__!r} must take the context first: (ctx: lash.Context, ...)."
        )
    if recovery not in ("rerun", "once"):
        raise InvalidArguments(f"recovery must be 'rerun' or 'once', not {recovery!r}.")
    if not isinstance(attempts_max, int) or attempts_max < 1:
        raise InvalidArguments(f"attempts_max must be 1 or more, not {attempts_max!r}.")
    timeout_ms = None if timeout is None else duration_ms(timeout, "timeout")
    label = check_name(function.__name__ if name is None else name, "process name")
    return Process(function, label, version, recovery, attempts_max, timeout_ms)


class Registry:
    """What one app has registered."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], Process[..., Any]] = {}
        self._newest: dict[str, Process[..., Any]] = {}

    def __iter__(self) -> Any:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, process: Process[..., Any]) -> None:
        key = (process.name, process.version)
        known = self._by_key.get(key)
        if known is process:
            return
        if known is not None:
            raise AlreadyRegistered(
                f"Two functions are registered as {process.name!r} version {process.version!r}: "
                f"{where(known)} and {where(process)}. Give one another name= or version=.",
                name=process.name,
                version=process.version,
            )
        self._by_key[key] = process
        self._newest[process.name] = process

    def include(self, items: tuple[object, ...]) -> int:
        """Register each process given, and each found in a module given. Returns how many."""
        found = 0
        for item in items:
            members: list[object] = list(vars(item).values()) if isinstance(item, ModuleType) else [item]
            processes = [cast("Process[..., Any]", member) for member in members if isinstance(member, Process)]
            if not processes:
                raise InvalidArguments(
                    f"{item!r} holds no process. Pass functions decorated with @lash.process, or a module of them."
                )
            for process in processes:
                self.add(process)
            found += len(processes)
        return found

    def named(self, name: str) -> Process[..., Any]:
        """The newest version of a name. Raises ``NotRegistered``."""
        process = self._newest.get(name)
        if process is None:
            known = ", ".join(sorted(self._newest)) or "none"
            raise NotRegistered(
                f"No process is registered as {name!r}. Registered: {known}. Nothing was written.", name=name
            )
        return process

    def exact(self, name: str, version: str) -> Process[..., Any] | None:
        return self._by_key.get((name, version))

    def of(self, item: Process[..., T] | Callable[..., object] | str) -> Process[..., T]:
        """The registered process that ``item`` means: itself, its name, or the function it was made from."""
        if isinstance(item, str):
            return self.named(item)
        if isinstance(item, Process):
            if self._by_key.get((item.name, item.version)) is not item:
                raise NotRegistered(
                    f"Process {item.name!r} is not registered on this runtime. Use @app.process or app.include(...). "
                    "Nothing was written.",
                    name=item.name,
                )
            return cast("Process[..., T]", item)
        raise NotRegistered(f"{item!r} is no process. Decorate it with @app.process. Nothing was written.")


def where(process: Process[..., Any]) -> str:
    code = process.function.__code__
    return f"{process.function.__module__}.{process.function.__qualname__} (line {code.co_firstlineno})"


@overload
def process(function: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /) -> Process[P, T]: ...


@overload
def process(
    *,
    name: str | None = None,
    version: str = "",
    recovery: Recovery = "rerun",
    attempts_max: int = ATTEMPTS_MAX,
    timeout: Duration | None = None,
) -> Callable[[Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]], Process[P, T]]: ...


def process(function: Any = None, /, **options: Any) -> Any:
    """Make a process without registering it; a library offers such, an app takes them with ``app.include``."""
    if function is not None:
        return make_process(function)

    def decorate(inner: Callable[..., Any]) -> Process[..., Any]:
        return make_process(inner, **options)

    return decorate
