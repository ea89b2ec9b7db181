"""Values that travel between tasks: JSON, refused when not exact, converted to what the receiver declares."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from numbers import Integral, Rational, Real
from pathlib import PurePath
from typing import Any, Literal

import msgspec

from ppacer.errors import ResultError

RESULT_BYTES_MAX = 1024 * 1024  # a result is a message between tasks, not a data set: those go to files


def to_builtins(value: Any, order: Literal["deterministic"] | None = None) -> Any:
    """`value` as plain JSON values; dataclasses, dates, paths, UUIDs … become what stands for them."""
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain, order=order)
    except Exception as error:  # a property of the user's object may raise anything
        raise ResultError(
            f"a value of type {type(value).__name__} cannot be passed between tasks: {error}"
        ) from error


def constant(value: Any) -> Any:
    """`to_builtins` for a fingerprint: what has no order of its own gets one, the same in every process."""
    if isinstance(value, set | frozenset):
        return sorted(map(constant, value), key=dumps)
    plain = to_builtins(value, order="deterministic")
    dumps(plain)
    return plain


def dumps(builtins: Any) -> str:
    """Compact JSON text of plain values; NaN and infinity are refused: JSON has no word for them."""
    try:
        return json.dumps(builtins, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise ResultError(f"the value is not JSON: {error}") from error


def encode(value: Any, bytes_max: int = RESULT_BYTES_MAX, what: str = "the result") -> str | None:
    """The JSON of a task's return value; None for None. ResultError for what is not JSON or too large."""
    if value is None:
        return None
    text = dumps(to_builtins(value))
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise ResultError(f"{what} holds text that is no Unicode (a lone surrogate): {error}") from error
    if size > bytes_max:
        raise ResultError(
            f"{what} has {size:,} bytes and the limit is {bytes_max:,}; "
            "write large data to a file or a table and pass on where it is"
        )
    return text


def decode(text: str) -> Any:
    """The plain values of `encode`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"a result of {len(text):,} characters cannot be read back: {error}") from error


def convert(value: Any, annotation: Any, what: str) -> Any:
    """`value` as the declared type; a type that msgspec does not know leaves the plain values as they are."""
    try:
        converted = as_type(value, annotation)
        return spelled_out(converted) if _holds_dataclass(annotation) else converted
    except TypeError:  # not an annotation that it can convert to
        return value
    except Exception as error:  # a ValidationError, or whatever the user's own __post_init__ raises
        if isinstance(error, msgspec.ValidationError) and _is_foreign(annotation):
            return value
        raise ResultError(f"{what} does not fit its annotation: {error}") from error


def as_type(value: Any, annotation: Any) -> Any:
    """msgspec.convert with our paths and keys; raises whatever it raises."""
    return msgspec.convert(value, annotation, str_keys=True, dec_hook=_from_plain)


def spelled_out(value: Any) -> Any:
    """The same objects, with the defaults of dataclasses in them.

    msgspec leaves those in the class, where its own encoder does not look: passed on, they would be gone.
    """
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, list | tuple | set | frozenset):
            todo += one
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, msgspec.Struct):
            todo += [getattr(one, name) for name in one.__struct_fields__]
        elif dataclasses.is_dataclass(one):
            names = [field.name for field in dataclasses.fields(one) if hasattr(one, field.name)]
            found = {name: getattr(one, name) for name in names}
            if hasattr(one, "__dict__"):
                vars(one).update(found)
            todo += found.values()
    return value


def _plain(value: Any) -> Any:
    """What msgspec does not know: paths, kinds of str, int and float (numpy's too), deques, ranges."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Rational):
        return float(value)
    if isinstance(value, Sequence):
        return list(value)
    advice = "; make it a list" if isinstance(value, Iterable) else ""
    raise TypeError(f"JSON has no form for the type {type(value).__name__}{advice}")


def _from_plain(kind: type, value: Any) -> Any:
    """What stands for a path becomes one; everything else msgspec judges itself."""
    return kind(value) if isinstance(value, str) and issubclass(kind, PurePath) else value


def _is_foreign(annotation: Any) -> bool:
    """Whether the annotation holds a class of which msgspec knows only the name, however deep."""
    classes = [info.cls for info in _types_in(annotation) if type(info).__name__ == "CustomType"]
    return not all(issubclass(cls, PurePath) for cls in classes)


def _holds_dataclass(annotation: Any) -> bool:
    if isinstance(annotation, type) and annotation in _SIMPLE:
        return False
    try:
        return _cached_holds_dataclass(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return _cached_holds_dataclass.__wrapped__(annotation)


@lru_cache(maxsize=1024)
def _cached_holds_dataclass(annotation: Any) -> bool:
    return any(type(info).__name__ == "DataclassType" for info in _types_in(annotation))


_SIMPLE = frozenset({str, int, float, bool, list, dict, type(None), object})


def _types_in(annotation: Any) -> Iterator[Any]:
    """What msgspec knows of the annotation and of all types inside it."""
    from msgspec import inspect  # an import of some weight, needed for few annotations

    seen: set[int] = set()
    todo: list[Any] = [inspect.type_info(annotation)]
    while todo:
        info = todo.pop()
        if isinstance(info, tuple):
            todo += info
        elif (
            isinstance(info, inspect.Type | inspect.Field) and id(info) not in seen
        ):  # a type may hold itself
            seen.add(id(info))
            todo += [getattr(info, name) for name in info.__struct_fields__]
            yield info
