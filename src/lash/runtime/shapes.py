"""A type annotation decides how a value is checked, written and read back; plain JSON types need no help.

pydantic does the work, but importing it costs a quarter of the time a fresh worker has to take over, so it is loaded
only for the first annotation that is more than plain JSON.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast, get_args, get_origin

from lash.core import codec
from lash.core.outcome import text_of
from lash.errors import InvalidArguments, InvalidValue, LashError

SCALARS = frozenset({str, int, float, bool, type(None)})
UNIONS = (typing.Union, types.UnionType)
UNTYPED = (inspect.Parameter.empty, Any, object)


class Shape:
    """Anything goes, as long as it is JSON."""

    def check(self, value: object) -> object:
        """``value`` as the annotation wants it. Raises ``ValueError`` where it does not fit."""
        return value

    def encode(self, value: object, what: str) -> bytes:
        return codec.encode(value, what)

    def decode(self, data: bytes) -> object:
        return codec.decode(data)

    def revive(self, value: object) -> object:
        """The typed value of plain JSON."""
        return value


class PlainShape(Shape):
    """A type whose values are their own JSON: checked by ``isinstance``-like rules, pydantic asked only in doubt."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.scalar = annotation if annotation in SCALARS else None

    def check(self, value: object) -> object:
        if fits(value, self.annotation):
            return value
        if self.annotation is float and type(value) is int:
            return float(value)
        return rich(self.annotation).check(value)

    def revive(self, value: object) -> object:
        return self.check(value)

    def decode(self, data: bytes) -> object:
        value = codec.decode(data)
        return value if type(value) is self.scalar else self.check(value)


class RichShape(Shape):
    def __init__(self, annotation: Any) -> None:
        from pydantic import TypeAdapter

        self.adapter: Any = TypeAdapter(annotation)

    def check(self, value: object) -> object:
        return self.adapter.validate_python(value)

    def encode(self, value: object, what: str) -> bytes:
        try:
            return codec.checked(self.adapter.dump_json(value, warnings="error"), what)
        except InvalidValue:
            raise
        except (ValueError, TypeError, RecursionError):
            return codec.encode(value, what)  # not what was annotated, but it may still be JSON

    def decode(self, data: bytes) -> object:
        return self.adapter.validate_json(data)

    def revive(self, value: object) -> object:
        return self.adapter.validate_json(codec.dump(value, "value"))


ANY = Shape()


def decoded(shape: Shape, data: bytes, what: str) -> Any:
    """The typed value of stored JSON. Raises ``InvalidValue`` where it is not what the annotation says."""
    try:
        return shape.decode(data)
    except LashError:
        raise
    except Exception as error:  # noqa: BLE001  # a validator of the user's may raise anything
        raise InvalidValue(f"The {what} does not fit its annotation: {short(error)}", what=what) from None


@lru_cache(maxsize=4_096)
def rich(annotation: Any) -> RichShape:
    return RichShape(annotation)


def shape_of(annotation: Any) -> Shape:
    """The shape of an annotation, as ``typing.get_type_hints`` gives it."""
    if annotation in UNTYPED:
        return ANY
    if annotation is None or is_plain(annotation):
        return PlainShape(annotation)
    return rich(annotation)


def is_plain(annotation: Any) -> bool:
    if annotation in UNTYPED or annotation in SCALARS or annotation in (list, dict):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list or origin in UNIONS:
        return all(is_plain(item) for item in arguments)
    return origin is dict and arguments[0] is str and is_plain(arguments[1])


def fits(value: object, annotation: Any) -> bool:
    """Whether ``value`` is exactly of a plain annotation; False means only that pydantic must decide."""
    if annotation in UNTYPED:
        return True
    if annotation is None:
        return value is None
    if annotation in SCALARS or annotation in (list, dict):
        return type(value) is annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        return any(fits(value, item) for item in arguments)
    if origin is list:
        return type(value) is list and all(fits(item, arguments[0]) for item in cast("list[object]", value))
    if origin is dict and type(value) is dict:
        items = cast("dict[object, object]", value).items()
        return all(type(key) is str and fits(item, arguments[1]) for key, item in items)
    return False


class Signature:
    """The parameters of a function after ``skip`` leading ones, and its result."""

    def __init__(self, function: Callable[..., object], skip: int) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except (NameError, TypeError):
            hints = {}  # names only a type checker can see: such parameters are taken as they come
        whole = inspect.signature(function)
        parameters = list(whole.parameters.values())[skip:]
        self._bare = inspect.Signature(parameters)
        self._shapes = {item.name: shape_of(hints.get(item.name, inspect.Parameter.empty)) for item in parameters}
        self._variadic = {item.name: item.kind for item in parameters}
        self._plain = [
            (item.name, self._shapes[item.name])
            for item in parameters
            if item.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        ]
        self._all_plain = len(self._plain) == len(parameters)
        self.result = shape_of(hints.get("return", inspect.Parameter.empty))

    def encode(self, args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
        """The arguments as JSON ``[[…], {…}]``, checked against the annotations first.

        Raises ``InvalidArguments`` or ``InvalidValue``.
        """
        positional, keyword = self._map(args, kwargs, self._checked, "fit")
        return codec.encode([positional, keyword], f"arguments of {self.name}")

    def decode(self, data: bytes) -> tuple[list[object], dict[str, object]]:
        """The typed arguments of stored JSON. Raises ``InvalidArguments`` where they fit no more."""
        document = codec.decode(data)
        if not isinstance(document, list) or len(pair := cast("list[object]", document)) != 2:
            raise InvalidArguments(f"The stored arguments of {self.name} are no [list, object] pair.")
        positional = tuple(cast("list[object]", pair[0])) if isinstance(pair[0], list) else ()
        return self._map(positional, codec.as_object(pair[1]), self._revived, "fit any more")

    def _map(
        self, args: tuple[object, ...], kwargs: dict[str, object], change: Callable[[Shape, object], object], verb: str
    ) -> tuple[list[object], dict[str, object]]:
        if self._all_plain and not kwargs and len(args) == len(self._plain):  # the commonest call needs no binding
            given = zip(self._plain, args, strict=True)
            return [self._fit(name, partial(change, shape, value), verb) for (name, shape), value in given], {}
        try:
            bound = self._bare.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(
                f"The arguments do not {verb} {self.name}{self._bare}: {error}. Nothing was written.",
                function=self.name,
            ) from None
        for name, value in bound.arguments.items():
            bound.arguments[name] = self._fit(name, partial(self._each, name, value, change), verb)
        return list(bound.args), bound.kwargs

    def _fit(self, name: str, change: Callable[[], object], verb: str) -> object:
        try:
            return change()
        except LashError:
            raise
        except Exception as error:  # noqa: BLE001  # a validator of the user's may raise anything
            raise InvalidArguments(
                f"Argument {name!r} does not {verb} {self.name}{self._bare}: {short(error)}. Nothing was written.",
                function=self.name,
                argument=name,
            ) from None

    def _each(self, name: str, value: object, change: Callable[[Shape, object], object]) -> object:
        shape = self._shapes[name]
        kind = self._variadic[name]
        if kind is inspect.Parameter.VAR_POSITIONAL and isinstance(value, tuple):
            return tuple(change(shape, item) for item in cast("tuple[object, ...]", value))
        if kind is inspect.Parameter.VAR_KEYWORD and isinstance(value, dict):
            return {key: change(shape, item) for key, item in cast("dict[str, object]", value).items()}
        return change(shape, value)

    @staticmethod
    def _revived(shape: Shape, value: object) -> object:
        return shape.revive(value)

    @staticmethod
    def _checked(shape: Shape, value: object) -> object:
        checked = shape.check(value)
        try:
            checked = in_order(checked)
        except RecursionError:
            pass  # too deep or a circle: encoding says so
        if isinstance(shape, RichShape):
            return codec.decode(shape.encode(checked, "argument"))
        return checked


def in_order(value: object) -> object:
    """``value`` with its sets as sorted lists: in two Python processes, one set of strings has two orders, and a start
    repeated in the other one must be the same start."""
    kind = type(value)
    if kind is set or kind is frozenset:
        members = [in_order(item) for item in cast("set[object]", value)]
        return sorted(members, key=partial(codec.fingerprint, "lash.set/1"))
    if kind is list or kind is tuple:
        return [in_order(item) for item in cast("list[object]", value)]
    if kind is dict:
        return {key: in_order(item) for key, item in cast("dict[object, object]", value).items()}
    return value


def short(error: Exception) -> str:
    """One line of a pydantic error, or the error's own text."""
    errors: Any = getattr(error, "errors", None)
    if not callable(errors):
        return f"{type(error).__name__}: {text_of(error, str)}"
    details = cast("list[dict[str, Any]]", errors(include_url=False))
    return "; ".join(": ".join([*(str(part) for part in item["loc"]), str(item["msg"])]) for item in details[:3])


def result_shape(function: Callable[..., object]) -> Shape:
    """The shape of what ``function`` returns; untyped when it says nothing."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return ANY
    return shape_of(hints.get("return", inspect.Parameter.empty))
