"""The declared parameters of a dag, and the validation of what a trigger gives."""

import dataclasses
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePath
from typing import Any, get_type_hints

import msgspec

from ppacer.dag import values
from ppacer.dag.check import shown
from ppacer.errors import DagError, ParamsError

_AT_FIELD = re.compile(r"(?P<text>.*) - at (`key` in )?`\$\.(?P<field>.+)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_EXAMPLES = {"date": "2026-01-31", "datetime": "2026-01-31T03:00:00Z", "time": "03:00:00Z"}

CHOICES_MAX = 20  # that are named

_class = type


class Params:
    """A dataclass or msgspec struct, with or without defaults; or nothing at all."""

    __slots__ = ("_type",)

    def __init__(self, type: type | None) -> None:
        if type is not None:
            _check(type)
        self._type = type

    @property
    def type(self) -> type | None:
        """The class that the user declared."""
        return self._type

    @property
    def names(self) -> list[str]:
        """The names of the parameters, in the order of their declaration."""
        return [] if self._type is None else list(_names(self._type).values())

    def schema(self) -> dict[str, Any] | None:
        """JSON schema of the parameters, for forms and for the dag's fingerprint."""
        schema: dict[str, Any] | None = None if self._type is None else json.loads(_schema(self._type))
        return schema

    def validate(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of a run as plain values: the given ones checked, the others by default.

        An instance of the declared type is taken as well. Raises ParamsError, naming the field.
        """
        if self._type is not None and isinstance(given, self._type):
            given = _to_plain(given)
        if not isinstance(given, Mapping):
            raise ParamsError(f"parameters are names with values, not {shown(given)}")
        known = self.names
        unknown = [name for name in given if name not in known]
        if unknown and not known:
            raise ParamsError(f"this dag takes no parameters, but got {', '.join(map(str, unknown))}")
        if unknown:
            raise ParamsError(f"unknown parameter {unknown[0]!r}; this dag takes {', '.join(known)}")
        if self._type is None:
            return {}
        value = _convert(_to_plain(dict(given)), self._type)
        names = _names(self._type)
        fields = {outer: getattr(value, inner) for inner, outer in names.items() if hasattr(value, inner)}
        plain: dict[str, Any] = _to_plain(fields)
        _convert(plain, self._type)  # once more: defaults are taken without a look at their type
        return plain

    def load(self, plain: dict[str, Any]) -> Any:
        """What tasks read as `ctx.run.params`: an instance of the declared type, or the plain dict.

        Raises ValueError when the type has changed since the run began.
        """
        try:
            return plain if self._type is None else _convert(plain, self._type)
        except ParamsError as error:
            raise ValueError(str(error)) from error


def _check(type: object) -> None:
    if not isinstance(type, _class):
        kind = _class(type)
        known = dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct)
        advice = f"write params={kind.__name__}" if known else "declare a dataclass or a msgspec.Struct"
        raise ParamsError(f"params={shown(type)} is not a class; {advice}")
    struct = issubclass(type, msgspec.Struct)
    if not struct and not dataclasses.is_dataclass(type):
        raise ParamsError(f"params={type.__name__} must be a dataclass or a msgspec.Struct")
    if issubclass(type, msgspec.Struct) and type.__struct_config__.array_like:
        raise ParamsError(f"params={type.__name__} cannot be array_like: parameters have names")
    try:
        _schema(type)
    except Exception as error:  # unknown names in annotations, types that JSON cannot have
        raise ParamsError(f"params={type.__name__} has a field that JSON cannot have: {error}") from error


def _to_plain(value: Any) -> Any:
    try:
        return values.decode(values.encode(value, what="their JSON text") or "{}")
    except DagError as error:
        raise ParamsError(f"parameters do not fit: {error}") from error


def _convert(plain: Any, type: type) -> Any:
    try:
        return values.spelled_out(values.as_type(plain, type))
    except Exception as error:  # a ValidationError, or whatever the user's own __post_init__ raises
        raise ParamsError(_sentence(str(error) or repr(error), type)) from error


def _sentence(text: str, type: type) -> str:
    if (missing := _MISSING.fullmatch(text)) is not None:
        return f"parameter {missing['field']!r} is missing and has no default"
    if (found := _AT_FIELD.fullmatch(text)) is not None:
        return f"parameter {found['field']!r} does not fit: {found['text']}{_advice(found, type)}"
    return f"parameters do not fit: {text}"


def _advice(found: re.Match[str], type: type) -> str:
    """What would fit, where that is easily said."""
    example = _EXAMPLES.get(found["text"].removeprefix("Invalid RFC3339 encoded "))
    if example is not None:
        return f"; it is written like {example}"
    choices = _choices(type, found["field"]) if found["text"].startswith("Invalid enum value") else []
    if not choices:
        return ""
    words = ", ".join("null" if one is None else repr(one) for one in choices[:CHOICES_MAX])
    return f"; it is one of {words}{' …' if len(choices) > CHOICES_MAX else ''}"


def _choices(type: type, field: str) -> list[Any]:
    """All values that a field takes, if its schema names them."""
    whole = json.loads(_schema(type))
    defs = whole.get("$defs", {})

    def resolved(schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = defs.get(schema.get("$ref", "").rpartition("/")[2], schema)
        return found

    one = resolved(whole).get("properties", {}).get(field, {})
    parts = [resolved(part) for part in one.get("anyOf", [one])]
    if any("enum" not in part and part.get("type") != "null" for part in parts):
        return []
    return [value for part in parts for value in part.get("enum", [None])]


@lru_cache(maxsize=1024)  # many dags share one class of parameters
def _names(type: type) -> dict[str, str]:
    """The fields, with the names by which the outside knows them."""
    if issubclass(type, msgspec.Struct):
        return dict(zip(type.__struct_fields__, type.__struct_encode_fields__, strict=True))
    fields = dataclasses.fields(type)  # type: ignore[arg-type]  # _check saw to it
    return {field.name: field.name for field in fields}


@lru_cache(maxsize=1024)
def _schema(type: type) -> str:
    try:
        schema = msgspec.json.schema(type, schema_hook=_path_schema)
    except TypeError:  # a default that msgspec cannot write, such as a path
        schema = msgspec.json.schema(_with_plain_defaults(type), schema_hook=_path_schema)
    return values.dumps(_settled(schema))


def _path_schema(kind: _class) -> dict[str, Any]:
    if issubclass(kind, PurePath):
        return {"type": "string", "format": "path"}
    raise NotImplementedError


def _with_plain_defaults(type: _class) -> _class:
    """A class with the same schema, whose defaults are what our JSON has for them."""
    from msgspec import inspect  # an import of some weight, needed for few classes

    hints = get_type_hints(type, include_extras=True)
    fields: list[tuple[str, Any, Any]] = []
    for field in inspect.type_info(type).fields:  # type: ignore[attr-defined]  # that of a class with fields
        given: dict[str, Any] = {"default_factory": field.default_factory}
        if field.default is not msgspec.NODEFAULT:
            given = {"default": values.to_builtins(field.default)}
        fields.append((field.name, hints[field.name], msgspec.field(name=field.encode_name, **given)))
    return msgspec.defstruct(type.__name__, fields, kw_only=True, namespace={"__doc__": type.__doc__})


def _settled(schema: Any) -> Any:
    """Defaults that are sets, in one order: theirs differs in every process."""
    if isinstance(schema, list):
        return [_settled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("uniqueItems") and isinstance(schema.get("default"), list):
        schema = schema | {"default": sorted(schema["default"], key=values.dumps)}
    return {key: _settled(item) for key, item in schema.items()}
