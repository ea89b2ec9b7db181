"""Forms for the parameters of a dag, made from their JSON schema, and what was filled in as values. Pure.

What a form can say in one field it asks for in one; a list or an object is written as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ppacer.errors import ParamsError

NULL = "null"
BOOLEANS = {"true": True, "false": False}
INPUTS = {"string": "text", "integer": "number", "number": "number"}
FORMATS = {"date": "date", "time": "text", "date-time": "text", "email": "email"}


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter. `kind`: choice, json, or the type of an input; `default` as it stands in the form.

    `is_made`: its default is made for each run, and nobody knows it here.
    """

    name: str
    kind: str
    default: str
    is_required: bool
    words: str = ""
    options: tuple[str, ...] = ()
    step: str = "any"
    type: str = "string"
    takes_null: bool = False
    is_made: bool = False

    @property
    def key(self) -> str:
        """The name of the field in the form: no parameter is taken for what is ours."""
        return f"param.{self.name}"

    @property
    def id(self) -> str:
        """The id of the element."""
        return f"param-{self.name}"


def fields_of(schema: dict[str, Any] | None) -> list[Field]:
    """The fields for a schema of parameters, in its order."""
    if schema is None:
        return []
    defs = schema.get("$defs", {})
    whole = _resolved(schema, defs)
    required = whole.get("required", [])
    return [
        _field(name, _resolved(one, defs), name in required)
        for name, one in whole.get("properties", {}).items()
    ]


def _resolved(schema: dict[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    found = defs.get(schema.get("$ref", "").rpartition("/")[2], {})
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def _field(name: str, schema: dict[str, Any], is_required: bool) -> Field:
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != NULL]
    takes_null = len(options) < len(schema.get("anyOf", [schema]))
    only = options[0] if len(options) == 1 else {}
    choices = only.get("enum", ())
    is_choice = bool(choices) and all(isinstance(one, str) for one in choices)
    type = "string" if is_choice else str(only.get("type", "json"))
    words = str(schema.get("description", only.get("description", "")))
    default = "" if "default" not in schema else _shown(schema["default"], type)
    is_made = "default" not in schema and not is_required  # by a function, which only the run calls
    is_null = takes_null and "default" in schema and schema["default"] is None
    if is_choice or type == "boolean":
        every = (*(choices or BOOLEANS), *[NULL] * takes_null)
        every = ("", *every) if is_made else every
        default = NULL if is_null else default or ("false" if is_required and type == "boolean" else "")
        return Field(name, "choice", default, is_required, words, every, "any", type, takes_null, is_made)
    if type not in INPUTS:
        return Field(name, "json", default, is_required, words or "JSON", (), "any", "json", is_null, is_made)
    kind = FORMATS.get(only.get("format", ""), INPUTS[type])
    step = "1" if type == "integer" else "any"
    return Field(name, kind, default, is_required, words, (), step, type, takes_null and not is_made, is_made)


def _shown(value: Any, type: str) -> str:
    if isinstance(value, str) and type == "string":
        return value
    return "" if value is None and type != "json" else msgspec.json.encode(value).decode()


def filled(fields: list[Field], form: Mapping[str, str]) -> dict[str, Any]:
    """The values of a form that was sent; an empty field is left to its default. Raises ParamsError."""
    found: dict[str, Any] = {}
    for field in fields:
        text = form.get(field.key)
        if text is None:
            continue
        if text == "" and (field.kind == "choice" or field.type != "string" or field.default == ""):
            if field.takes_null and field.default == "" and field.kind != "choice":
                found[field.name] = None
            continue
        found[field.name] = _value(field, text)
    return found


def _value(field: Field, text: str) -> Any:
    if field.takes_null and field.kind == "choice" and text == NULL:
        return None
    if field.type == "string":
        return text
    if field.type == "boolean" and text in BOOLEANS:
        return BOOLEANS[text]
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        raise ParamsError(
            f"parameter {field.name!r} does not fit: {text[:100]!r} is not {_words(field)}"
        ) from error


def _words(field: Field) -> str:
    return {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(
        field.type, "JSON; text needs quotes"
    )
