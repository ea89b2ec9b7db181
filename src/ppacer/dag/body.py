"""The code of a task: what is stored of it, and the hash that tells whether it changed."""

import dataclasses
import json
from functools import lru_cache, partial
from pathlib import PurePath
from typing import Any

import msgspec

from ppacer.dag.fingerprint import digest
from ppacer.dag.function import BoundTask
from ppacer.dag.source import code_of, source_of
from ppacer.dag.task import Task


class TaskBody(msgspec.Struct, frozen=True):
    """What is kept of a task's code: the name of its type, its source text and the hash of both."""

    type_name: str
    source: str
    hash: str


def body_of(task: Task) -> TaskBody:
    """Name, source and hash of a task's code; the hash also covers the constants it was made with."""
    if isinstance(task, BoundTask):
        name, source, code_hash = _code(code_of(task.function.fn), None)
        made_with: Any = (dict(task.arguments), _partial_arguments(task.function.fn))
    else:
        name, source, code_hash = _code(type(task), code_of(task.execute))
        made_with = _attributes(task)
    return TaskBody(name, source, digest(code_hash, made_with))


@lru_cache(maxsize=4096)  # 10,000 tasks of one class are hashed once
def _code(code: Any, execute: Any) -> tuple[str, str, str]:
    """Of a class also its `execute`, where that is written in a base class or given to the object."""
    name, source = str(getattr(code, "__name__", "")), source_of(code)
    if execute is not None and not str(getattr(execute, "__qualname__", "")).startswith(
        f"{code.__qualname__}."
    ):
        source = "\n\n".join(text for text in (source, source_of(execute)) if text)
    return name, source, digest(name, source)


def _partial_arguments(fn: Any) -> list[str]:
    """What functools.partial has filled in, as far as it is JSON."""
    found = []
    while isinstance(fn, partial):
        found += [_as_json([fn.args, fn.keywords]) or ""]
        fn = fn.func
    return found


def _attributes(task: Any) -> dict[str, str]:
    """What makes one task of a class differ from another: its public attributes, as far as they are JSON.

    The command of a Bash task is a part of its code. Fields with `repr=False` stay out: they may be secret.
    """
    if dataclasses.is_dataclass(task):
        names = [field.name for field in dataclasses.fields(task) if field.repr]
    else:
        names = list(getattr(task, "__dict__", ()))
    texts = {name: _as_json(getattr(task, name, None)) for name in names if not name.startswith("_")}
    return {name: text for name, text in texts.items() if text is not None}


def _as_json(value: Any) -> str | None:
    """JSON text, None for what is no plain value: a connection, a lock, a time of start."""
    try:
        return json.dumps(value, sort_keys=True, default=_path)
    except (TypeError, ValueError, RecursionError):
        return None


def _path(value: Any) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError
