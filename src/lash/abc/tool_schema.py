"""From a function's signature and docstring to a JSON schema, and from a model's JSON text to its arguments.

pydantic does the work and is imported only here and only when a tool is made. Everything that does not fit is said at
once, with the place, what was expected and what came, because a model corrects what it is told.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from lash.core.outcome import text_of
from lash.errors import InvalidAgent, ToolFailed

ContextKind: TypeAlias = Literal["tool", "body"]
SECTION: Final = re.compile(r"^(args|arguments|parameters|params)\s*:\s*$", re.IGNORECASE)
OTHER_SECTION: Final = re.compile(r"^(returns?|raises?|yields?|examples?|notes?)\s*:\s*$", re.IGNORECASE)
FIELD: Final = re.compile(r"^\s*:param\s+(?:[^:\s]+\s+)?(\w+)\s*:\s*(.*)$")
OTHER_FIELD: Final = re.compile(r"^\s*:\w+[^:]*:")
ITEM: Final = re.compile(r"^(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
SHOWN_CHARS: Final = 80


class Arguments:
    """The arguments of one tool. ``model`` reads them; without one (``whole``) only the required names are checked."""

    def __init__(
        self, schema: Mapping[str, object], context: ContextKind | None, model: Any = None, whole: bool = False
    ) -> None:
        self.schema = schema
        self.context = context
        self.whole = whole
        self._model = model

    def parse(self, text: str) -> dict[str, Any]:
        if not text.strip():
            return self.parse_object({})
        try:
            plain: object = json.loads(text, parse_constant=no_number)
        except (ValueError, RecursionError) as error:
            raise invalid(f"The arguments are no valid JSON: {error}. Send one JSON object.") from None
        if not isinstance(plain, dict):
            raise invalid(f"The arguments must be a JSON object, not {shown(plain)}.")
        return self.parse_object(cast("dict[str, Any]", plain))

    def parse_object(self, plain: dict[str, Any]) -> dict[str, Any]:
        if self._model is None:
            required = cast("Sequence[str]", self.schema.get("required", ()))
            if missing := [name for name in required if name not in plain]:
                raise invalid(f"arguments: missing {', '.join(missing)}.")
            return plain
        from pydantic import ValidationError

        try:
            read = self._model.model_validate_json(json.dumps(plain))
        except ValidationError as error:
            raise invalid(problems(error, self.schema)) from None
        return {name: getattr(read, field) for field, name in self._model.lash_names.items()}


def no_number(word: str) -> object:
    raise ValueError(f"{word} is no JSON number")


def invalid(message: str) -> ToolFailed:
    return ToolFailed(message, code="invalid_tool_args", failure_class="invalid_request")


def problems(error: Any, schema: Mapping[str, object]) -> str:
    """All that does not fit, a line each."""
    lines: list[str] = []
    for item in error.errors(include_url=False):
        place = "arguments" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = ", ".join(cast("Mapping[str, object]", schema.get("properties", {}))) or "none"
            told = f"argument (arguments: {known})" if len(item["loc"]) == 1 else "field"
            lines.append(f"{place}: there is no such {told}")
        elif item["type"] == "missing":
            lines.append(f"{place}: is missing")
        else:
            lines.append(f"{place}: {str(item['msg'])[:1].lower()}{str(item['msg'])[1:]}, got {shown(item['input'])}")
    return "\n".join(lines)


def shown(value: object) -> str:
    text = text_of(value, lambda item: json.dumps(item, ensure_ascii=False, default=repr))
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def takes_self(function: Callable[..., Any], name: str) -> bool:
    """Whether it is a method that has no object yet. Raises ``InvalidAgent`` for one of the class itself."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False  # arguments_of says so
    if first is not None and first.name == "cls" and first.annotation is first.empty:
        raise InvalidAgent(
            f"Tool {name!r} is a class method. Make it a static method, or decorate it outside the class."
        )
    return first is not None and first.name == "self"


def arguments_of(function: Callable[..., Any], name: str, documented: Mapping[str, str], skip: int = 0) -> Arguments:
    """The schema of a function's parameters behind the first ``skip``. Raises ``InvalidAgent``."""
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidAgent(
            f"The types of tool {name!r} cannot be looked up: {error}. They must be names of its module, "
            "imported there and not only under TYPE_CHECKING."
        ) from None
    except (TypeError, ValueError) as error:
        raise InvalidAgent(f"The signature of tool {name!r} cannot be read: {error}") from None
    parameters = list(signature.parameters.values())[skip:]
    context = context_kind(hints.get(parameters[0].name)) if parameters else None
    if context and parameters[0].kind not in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
        raise misplaced(name)
    fields: dict[str, Any] = {}
    for parameter in parameters[1:] if context else parameters:
        fields[parameter.name] = field_of(parameter, hints, name, documented)
    return Arguments(*schema_of(name, fields, context))


def context_kind(annotation: object) -> ContextKind | None:
    kind = getattr(annotation, "lash_context", None)
    return kind if kind in ("tool", "body") else None


def misplaced(name: str) -> InvalidAgent:
    return InvalidAgent(
        f"Tool {name!r}: the context must be its first parameter, and only one, annotated with nothing else: "
        f"(ctx: lash.ToolContext, ...)."
    )


NOT_BY_NAME: Final = {
    inspect.Parameter.POSITIONAL_ONLY: "stands before a '/'. A model passes arguments by name: take the '/' out",
    inspect.Parameter.VAR_POSITIONAL: "is written with a '*'. A model passes each argument by its name: take a list",
    inspect.Parameter.VAR_KEYWORD: "is written with '**'. A model is told each name: write them down, or take a dict",
}


def field_of(parameter: inspect.Parameter, hints: Mapping[str, Any], name: str, documented: Mapping[str, str]) -> Any:
    """(annotation, pydantic field) of one parameter."""
    from pydantic import Field
    from pydantic.fields import FieldInfo

    annotation = hints.get(parameter.name)
    if any(context_kind(each) for each in (annotation, *typing.get_args(annotation))):
        raise misplaced(name)
    if parameter.kind in NOT_BY_NAME:
        raise InvalidAgent(f"Tool {name!r}: parameter {parameter.name!r} {NOT_BY_NAME[parameter.kind]}.")
    if parameter.name not in hints:
        advice = " as lash.ToolContext" if parameter.name in ("ctx", "context") else ""
        raise InvalidAgent(f"Tool {name!r}: parameter {parameter.name!r} has no type. Annotate it{advice}.")
    if isinstance(parameter.default, FieldInfo):
        raise InvalidAgent(
            f"Tool {name!r}: parameter {parameter.name!r} has a Field as its default, which is what the function would "
            "be given. Write Annotated[type, Field(...)], and the default behind it."
        )
    options: dict[str, Any] = {}
    if parameter.name in documented:
        options["description"] = documented[parameter.name]
    if parameter.default is not inspect.Parameter.empty:
        options["default"] = parameter.default
    return annotation, Field(**options)


def schema_of(
    name: str, fields: Mapping[str, Any], context: ContextKind | None
) -> tuple[Mapping[str, object], ContextKind | None, Any]:
    from pydantic import BaseModel, ConfigDict, Field, create_model
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import PydanticJsonSchemaWarning

    safe: dict[str, Any] = {}
    names: dict[str, str] = {}
    for parameter, (annotation, field) in fields.items():
        taken = parameter.startswith(("_", "model_")) or hasattr(BaseModel, parameter) or parameter == "lash_names"
        inner = f"argument_{parameter}" if taken else parameter
        names[inner] = parameter
        safe[inner] = (annotation, field if inner == parameter else aliased(Field, field, parameter))
    try:
        made: Any = create_model(name, __config__=ConfigDict(extra="forbid"), **safe)
        with warnings.catch_warnings():  # a default without JSON form is simply not shown to the model
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
            schema = cast("dict[str, object]", made.model_json_schema())
    except (PydanticUserError, TypeError, ValueError) as error:
        culprit = next((each for each, item in fields.items() if not has_schema(item[0])), None)
        where = f"parameter {culprit!r} of type {fields[culprit][0]!r}" if culprit else "its parameters"
        raise InvalidAgent(f"Tool {name!r}: {where} cannot be told to a model: {str(error).splitlines()[0]}") from None
    made.lash_names = names
    without_titles(schema)
    schema.setdefault("properties", {})
    return schema, context, made


def aliased(make: Any, field: Any, name: str) -> Any:
    options: dict[str, Any] = {"alias": name, "description": field.description}
    if not field.is_required():
        options["default"] = field.default
    return make(**options)


def has_schema(annotation: Any) -> bool:
    from pydantic import TypeAdapter

    try:
        adapter: Any = TypeAdapter(annotation)
        adapter.json_schema()
    except Exception:  # noqa: BLE001  # whatever it is, the type is the one to be named
        return False
    return True


def without_titles(schema: object) -> None:
    """Titles repeat the names, and models pay for them."""
    if isinstance(schema, list):
        for item in cast("list[object]", schema):
            without_titles(item)
    elif isinstance(schema, dict):
        plain = cast("dict[str, object]", schema)
        if isinstance(plain.get("title"), str):
            del plain["title"]
        for key, item in plain.items():
            for inner in cast("dict[str, object]", item).values() if key in ("properties", "$defs") else (item,):
                without_titles(inner)


def described(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's text and what it says of each parameter, in the Google style or as ``:param name:`` fields.

    What stands deeper than the line that names a parameter goes on with it; other sections and fields are left out.
    """
    text: list[str] = []
    found: dict[str, str] = {}
    section = ""
    """``args`` within the parameters, ``other`` within what is left out, ``field`` behind a ``:field:``."""
    last, depth = "", 0
    for line in doc.splitlines():
        indent = len(line) - len(line.lstrip())
        if match := FIELD.match(line):
            section, last = "field", match[1]
            found[last] = match[2].strip()
        elif OTHER_FIELD.match(line):
            section, last = "field", ""
        elif SECTION.match(line):
            section, last, depth = "args", "", 0
        elif OTHER_SECTION.match(line):
            section, last = "other", ""
        elif section and (indent or not line.strip()):
            item = ITEM.match(line.strip()) if section == "args" and indent <= (depth or indent) else None
            if item:
                last, depth = item[1].lstrip("*"), indent
                found[last] = item[2].strip()
            elif last:
                found[last] = f"{found[last]} {line.strip()}".strip()
        else:
            section = ""
            text.append(line)
    return "\n".join(text).strip(), found
