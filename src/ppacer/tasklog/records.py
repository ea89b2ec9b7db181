"""One line of a task's log: the record as it is given, the entry that is stored, the row as it is read.

Every limit on what a task can put into its log stands here.
"""

import math
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from ppacer.choices import LEVELS
from ppacer.clock import from_text, to_text

MESSAGE_BYTES_MAX = 64 * 1024
"""UTF-8 bytes of one message, and of the JSON text of its attributes; what is longer is cut, with a mark."""

ID_BYTES_MAX = 1000
"""Ids are at most 200 characters by their grammar; this only bounds what arrives by mistake."""

ROW_BYTES = 300
"""Memory of one waiting entry without its message and attributes (tuples, time stamp, slot in the queue)."""

DEPTH_MAX = 16
VALUES_MAX = 10_000
"""Nesting and number of values in the attributes of one record; beyond them stands an ellipsis."""

Attempt: TypeAlias = tuple[str, str, str, int]
"""(DagId, ExecTs, TaskId, Retry), as stored."""

Stored: TypeAlias = tuple[str, str, str, int, str, str, str, str | None]
"""The columns of `tasklogs` in their order, without LogId."""

Entry: TypeAlias = tuple[Stored, int]
"""What waits to be written, and roughly how many bytes of memory it takes."""

_LEVEL_OF = {name: name for name in LEVELS} | {"WARN": "WARNING", "FATAL": "CRITICAL", "NOTSET": "DEBUG"}
_INT_MAX = 2**63 - 1


class LogRecord(msgspec.Struct, frozen=True):
    """What a task said at one instant. `exec_ts` and `at` are aware; `level` is one of LEVELS.

    `attributes` are JSON values; anything else in them is stored as its `str()`.
    """

    dag_id: str
    exec_ts: datetime
    task_id: str
    retry: int
    at: datetime
    level: str
    message: str
    attributes: dict[str, Any] | None = None


class LogRow(LogRecord, frozen=True, kw_only=True):
    """A record as it was committed; `log_id` grows with every record, in the order of the commits."""

    log_id: int


def entries_of(records: Iterable[LogRecord]) -> tuple[list[Entry], int]:
    """The records as they will be stored, and the number of those that are no valid records. Never raises."""
    entries: list[Entry] = []
    invalid = 0
    key: tuple[object, ...] | None = None
    attempt: Attempt | None = None
    try:
        for record in records:
            try:
                new = (record.dag_id, record.exec_ts, record.task_id, record.retry)
                if new != key or attempt is None:  # records come in stretches of one attempt
                    attempt, key = _attempt(record), new
                entries.append(_entry(record, attempt))
            except Exception:
                invalid += 1
    except Exception:
        invalid += 1
    return entries, invalid


def row_of(stored: Sequence[Any]) -> LogRow:
    """The row that a reader gets for the columns of `tasklogs`, LogId last."""
    dag_id, exec_ts, task_id, retry, at, level, message, attributes, log_id = stored
    return LogRow(
        dag_id=dag_id,
        exec_ts=_instant(exec_ts),
        task_id=task_id,
        retry=retry,
        at=_instant(at),
        level=level,
        message=message,
        attributes=None if attributes is None else _loads(attributes),
        log_id=log_id,
    )


def storable(text: str, bytes_max: int = MESSAGE_BYTES_MAX) -> str:
    r"""The text as every database can keep it and every terminal can show it.

    NUL becomes `\x00` and a lone surrogate `\udc80`, spelled out (the functions and the shell of SQLite stop
    at NUL, PostgreSQL refuses both). Text longer than `bytes_max` in UTF-8 is cut, and ends with a mark.
    """
    if text.isascii() and len(text) <= bytes_max and "\0" not in text:
        return text
    start = text[:bytes_max].replace("\0", r"\x00").encode("utf-8", "backslashreplace")
    if len(text) <= bytes_max and len(start) <= bytes_max:
        return start.decode()
    mark = f"… [cut: the whole had {len(text)} characters]"
    return start[: bytes_max - len(mark.encode())].decode("utf-8", "ignore") + mark


def _attempt(record: LogRecord) -> Attempt:
    retry = operator.index(record.retry)
    if not 0 <= retry < 2**31:
        raise ValueError(f"retry {retry} is not the number of an attempt")
    dag_id, task_id = storable(record.dag_id, ID_BYTES_MAX), storable(record.task_id, ID_BYTES_MAX)
    return dag_id, to_text(record.exec_ts), task_id, retry


def _entry(record: LogRecord, attempt: Attempt) -> Entry:
    message = storable(record.message)
    attributes = _dumps(record.attributes) if record.attributes else None
    size = ROW_BYTES + sys.getsizeof(message) + (sys.getsizeof(attributes) if attributes else 0)
    level = _LEVEL_OF.get(record.level, "INFO")
    return (*attempt, to_text(record.at), level, message, attributes), size


def _instant(value: str | datetime) -> datetime:
    return from_text(value) if isinstance(value, str) else value


def _dumps(attributes: Mapping[str, Any]) -> str:
    text = msgspec.json.encode(_plain(attributes, [VALUES_MAX])).decode()
    if len(text) * 4 <= MESSAGE_BYTES_MAX or len(text.encode()) <= MESSAGE_BYTES_MAX:
        return text
    # Encoding the start as a JSON string at most doubles it; a quarter thus surely stays within the limit.
    return msgspec.json.encode({"cut": storable(text, MESSAGE_BYTES_MAX // 4)}).decode()


def _loads(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:  # somebody edited the table by hand
        return {"text": text}
    return value if isinstance(value, dict) else {"value": value}


def _plain(value: Any, left: list[int], depth: int = 0) -> Any:
    """The value made of what JSON has; `left` counts down the values still allowed."""
    left[0] -= 1
    if left[0] < 0 or depth > DEPTH_MAX:
        return "…"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(str.__str__(value))
    if isinstance(value, int) and -_INT_MAX <= value <= _INT_MAX:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        return {_key(k): _plain(v, left, depth + 1) for k, v in _first(value.items(), left)}
    if isinstance(value, list | tuple):
        return [_plain(v, left, depth + 1) for v in _first(value, left)]
    return _text(value)


def _first(values: Iterable[Any], left: list[int]) -> Iterable[Any]:
    """The values while any are allowed, and one more, which becomes the ellipsis."""
    for value in values:
        yield value
        if left[0] < 0:
            return


def _key(value: Any) -> str:
    return storable(value if isinstance(value, str) else _text(value), ID_BYTES_MAX)


def _text(value: Any) -> str:
    try:
        return storable(str(value))
    except Exception as error:
        return f"<{type(value).__name__}: str() raised {type(error).__name__}>"
