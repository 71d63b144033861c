"""Everything stored is one JSON document of UTF-8 bytes, and what is written can be read back equal.

Nothing is pickled and nothing is imported by a name found in data (DESIGN section 8). A value that JSON cannot hold is
refused before it is written, with the path of the trouble where it is known: NaN and infinities, lone surrogates,
unknown types, cycles, too deep, too large. The standard library writes plain data; pydantic is asked only for what is
more than that, because importing it would double the time a fresh worker needs to take over (docs/adr/0003).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import TypeAlias, cast

from lash.errors import InvalidValue
from lash.limits import DEPTH_MAX, VALUE_BYTES_MAX

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Container: TypeAlias = "list[object] | dict[str, object]"

NULL = b"null"


def encode(value: object, what: str = "value") -> bytes:
    """``value`` as JSON bytes. ``what`` names it in the error.

    Raises ``InvalidValue`` where the value has no JSON form or is larger than ``VALUE_BYTES_MAX``.
    """
    data = dump(value, what)
    return data if len(data) <= DEPTH_MAX else checked(data, what)  # too short to be too deep


ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
SCAN: Callable[[str, int], tuple[object, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # not in typeshed
IN_C: Callable[..., Callable[[object, int], Sequence[str]]] | None = getattr(json.encoder, "c_make_encoder", None)
QUOTE: Callable[[str], str] = json.encoder.encode_basestring


def text_of_json(value: object) -> str:
    """``ENCODER.encode`` without its detours. The containers on the way down are noted anew for each value, since one
    that contains itself must be found at once, not at the limit of recursion with all before it encoded that often."""
    if IN_C is None:
        return ENCODER.encode(value)
    return "".join(IN_C({}, ENCODER.default, QUOTE, None, ":", ",", False, False, False)(value, 0))


def dump(value: object, what: str) -> bytes:
    try:
        if type(value) is str:
            return QUOTE(value).encode()
        try:
            return text_of_json(value).encode()
        except TypeError:
            return text_of_json(to_plain(value)).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise refusal(
            what,
            f"of type {type(value).__qualname__} has no JSON form: {reason_of(error)}",
            "Pass plain data, a dataclass or a pydantic model, without NaN, infinities or lone surrogates",
        ) from None


def refusal(what: str, problem: str, advice: str, **facts: object) -> InvalidValue:
    """Its ``problem`` is kept apart, for those who have other advice."""
    return InvalidValue(f"The {what} {problem}. {advice}.", what=what, problem=problem, **facts)


def to_plain(value: object) -> object:
    """Models, dataclasses, datetimes, sets, bytes … as plain data. Raises ``ValueError`` for what has no such form."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def checked(data: bytes, what: str) -> bytes:
    """``data`` itself, once it is known to be small and shallow enough to be read back."""
    if len(data) > VALUE_BYTES_MAX:
        raise refusal(
            what,
            f"is {len(data)} bytes of JSON; the limit is {VALUE_BYTES_MAX}",
            "Store it elsewhere and pass a reference",
            value_bytes=len(data),
            value_bytes_max=VALUE_BYTES_MAX,
        )
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX and depth(decode(data)) > DEPTH_MAX:
        raise refusal(what, f"is nested deeper than {DEPTH_MAX} levels", "Flatten it", depth_max=DEPTH_MAX)
    return data


def depth(value: object) -> int:
    """Levels of lists and objects in decoded JSON; a scalar has none."""
    level = 0
    layer = [value]
    while containers := [cast(Container, item) for item in layer if isinstance(item, (dict, list))]:
        level += 1
        layer = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return level


def decode(data: bytes) -> object:
    """The plain Python value of stored JSON: None, bool, int, float, str, list, dict."""
    try:
        return SCAN(data.decode(), 0)[0]
    except StopIteration as error:
        raise ValueError(f"no JSON at character {error.value}") from None


def decode_object(data: bytes) -> dict[str, object]:
    """Stored JSON that lash itself wrote as an object."""
    return cast("dict[str, object]", decode(data))


def as_object(value: object) -> dict[str, object]:
    """A decoded JSON object, or an empty one where ``value`` is something else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def reason_of(error: BaseException) -> str:
    text = str(error).removeprefix("Error serializing to JSON: ")
    return text if len(text) < 300 else type(error).__name__


def fingerprint(family: str, *parts: object) -> str:
    """A stable 128-bit hash (32 hex digits) of JSON-like parts, the same in every run and on every store.

    Mappings hash by sorted key and sets by sorted member, so neither insertion order nor hash randomisation shows.
    ``family`` is a versioned prefix such as ``lash.step/1`` that keeps the kinds of hashes apart (spec 18, W-38).
    """
    return digest(family + text_of_json([plain(part) for part in parts]))


def call_fingerprint(family: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """:func:`fingerprint` of a call; the common one, a few scalars, takes a short cut with its own prefix."""
    if not kwargs and QUICK.issuperset(map(type, args)):
        return digest(f"{family}:{args!r}")
    return fingerprint(family, args, kwargs)


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def type_name(value: object) -> str:
    kind = type(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"


SCALARS = frozenset({type(None), bool, int, str})
QUICK = SCALARS | {float}


def plain(value: object) -> object:
    """``value`` with every mapping and set in one order. What has no JSON form stands as its type's name."""
    kind = type(value)
    if kind is str:
        return safe_text(cast(str, value))
    if kind in SCALARS:
        return value
    if kind is float:
        return repr(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        pairs = [(str(plain(key)), plain(item)) for key, item in items]
        return dict(sorted(pairs, key=lambda pair: pair[0]))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, (set, frozenset)):
        return sorted(ENCODER.encode(plain(item)) for item in cast("Set[object]", value))
    try:
        if is_dataclass(value) and not isinstance(value, type):
            return plain({item.name: getattr(value, item.name, None) for item in fields(value)})
        if callable(model_dump := getattr(kind, "model_dump", None)):
            return plain(model_dump(value))  # of a pydantic model: the sets in it are still sets
        return plain(to_plain(value))
    except (ValueError, TypeError, RecursionError):
        return type_name(value)


def safe_text(text: str) -> str:
    """Fit for every store: lone surrogates are spelled out, and so is the one character PostgreSQL does not keep."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
