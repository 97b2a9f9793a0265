"""From the errors of pydantic to sentences that say what is wrong and what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, time
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fwx.config_problems import KeyPath, Problem, did_you_mean
from fwx.config_source import Source

_WRONG_TYPE = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "tuple_type": "an array",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_TOML_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "an array"),
    (dict, "a table"),
)


def form_problems(error: ValidationError, model: type[BaseModel], source: Source, root: KeyPath = ()) -> list[Problem]:
    """Make the problems of *error*, which validating the table at *root* of *source* against *model* raised."""
    found = []
    for details in error.errors(include_url=False):
        if _follows_from_another(details):
            continue
        path, field, owner = _resolve(model, details["loc"])
        if details["type"].startswith("union_tag"):
            path = (*path, "kind")
        elif field is None:
            path = _written_part(source.data, (*root, *path))[len(root) :]
        found.append(source.problem((*root, *path), _sentence(details, path, field, owner)))
    return found


def _follows_from_another(details: ErrorDetails) -> bool:
    """An array whose items are all wrong is reported as too short as well."""
    return details["type"] == "too_short" and bool(details["input"])


def _resolve(model: type[BaseModel], location: KeyPath) -> tuple[KeyPath, FieldInfo | None, type[BaseModel] | None]:
    """Walk *location* from *model*: the path as the file spells it, its field, and the table class it belongs to.

    Within a union the location names the member as well, which is no key of the file.
    """
    path: list[str | int] = []
    field: FieldInfo | None = None
    owner: type[BaseModel] | None = None
    candidates: tuple[type[BaseModel], ...] = (model,)
    for part in location:
        if isinstance(part, int):
            path.append(part)
        elif len(candidates) > 1:
            candidates = tuple(one for one in candidates if part == one.__name__ or part in _tags(one))
        else:
            path.append(part)
            owner = candidates[0] if candidates else None
            field = keys_of(owner).get(part) if owner is not None else None
            candidates = tuple(_table_classes(field.annotation)) if field is not None else ()
    return tuple(path), field, owner


def _written_part(data: object, path: KeyPath) -> KeyPath:
    """Cut from *path* what is no part of *data*: pydantic appends names of types where a value may have several."""
    for length, part in enumerate(path):
        match data, part:
            case Mapping(), str() if part in data:
                data = data[part]
            case list(), int() if part < len(data):
                data = data[part]
            case _:
                return path[:length]
    return path


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The kinds that a table class stands for, where it has a key ``kind``."""
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind is not None else ()


def keys_of(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the fields of *model* by the names that a file spells."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def type_name(annotation: object) -> str:
    """Return a type as it reads in Python source, without what ``Annotated`` says besides."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(type_name, arguments))
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(type_name, arguments))}]"
    if annotation is NoneType or annotation is ...:
        return "None" if annotation is NoneType else "..."
    if isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _table_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _table_classes(argument)


def _sentence(details: ErrorDetails, path: KeyPath, field: FieldInfo | None, owner: type[BaseModel] | None) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(str(path[-1]), owner)
    expected = _expected(details, field)
    fault = _fault(details, expected)
    return f"{fault}; expected {expected}{_near_choice(details)}" if expected else fault


def _unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    known = keys_of(owner) if owner is not None else {}
    tags = _tags(owner) if owner is not None else ()
    place = f" where kind is {tags[0]!r}" if len(tags) == 1 else ""
    hint = did_you_mean(key, known) or (f"; expected one of {', '.join(known)}" if known else "; expected none")
    return f"unknown key {key!r}{place}{hint}"


def _expected(details: ErrorDetails, field: FieldInfo | None) -> str | None:
    """The description of the key, or the kinds of a listener, whose errors stand at the listener itself."""
    if details["type"].startswith("union_tag"):
        return "'proxy', 'transparent' or 'publish'"
    if field is None or field.description is not None:
        return None if field is None else field.description
    return type_name(field.annotation) if details["type"] == "missing" else None


def _near_choice(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "literal_error":
            choices, value = context["expected"], details["input"]
        case "union_tag_invalid":
            choices, value = context["expected_tags"], context["tag"]
        case _:
            return ""
    return did_you_mean(value, choices.split("'")[1::2]) if isinstance(value, str) else ""


def _fault(details: ErrorDetails, expected: str | None) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    shown = _shown(value)
    match kind:
        case "missing" | "union_tag_not_found":
            return "is missing"
        case "value_error":
            return str(context["error"]) if value is None else f"{shown} {context['error']}"
        case "literal_error" if expected is not None:
            return f"{shown} is not known"
        case "union_tag_invalid":
            return f"{context['tag']!r} is not known"
        case "too_short" if not value:
            return "is empty"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "finite_number" if expected is not None:
            return f"{shown} is out of range"
        case "tuple_type" if expected is not None and expected.startswith("tables [["):
            return f"is {_toml_type(value)}, not an array of tables"
    if kind in _WRONG_TYPE:
        return f"{shown} is {_toml_type(value)}, not {_WRONG_TYPE[kind]}"
    return f"{shown}: {details['msg']}".replace(": Input should be", " does not fit; expected to be")


def _toml_type(value: object) -> str:
    return next((name for kind, name in _TOML_TYPES if isinstance(value, kind)), "a date or time")


def _shown(value: object) -> str:
    """Return *value* as TOML spells it, as far as a message needs it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, date | time) else repr(value)
