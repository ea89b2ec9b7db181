"""What stands in paths and queries: each parameter reads its text, and describes itself for OpenAPI.

Ids that are none are not looked up: neither database nor hint has to cope with them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from starlette.datastructures import QueryParams

from ppacer.api.problems import RequestError
from ppacer.choices import LEVELS
from ppacer.clock import utc
from ppacer.dag.check import ID_GRAMMAR, shown
from ppacer.engine import RunStatus
from ppacer.errors import NotFoundError
from ppacer.protocol import LOCAL
from ppacer.store.views import PAGE_MAX

WAIT_SECONDS_MAX = 30.0
WHOLE_MAX = 10**18 - 1  # fits 64 bits with their sign

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of a path or a query; `read` makes its value of the text, or raises."""

    name: str
    about: str
    read: Callable[[str], Any]
    schema: Schema
    default: Any = None
    repeated: bool = False
    required: bool = False

    def of(self, query: QueryParams) -> Any:
        """The value in a query."""
        if self.repeated:
            return [self.read(text) for text in query.getlist(self.name)]
        text = query.get(self.name)
        if text is None and self.required:
            raise RequestError(f"the parameter {self.name} is missing")
        return self.default if text is None else self.read(text)


def whole(name: str, about: str, default: int | None = None) -> Parameter:
    """A whole number."""
    return Parameter(name, about, lambda text: _whole(name, text), _WHOLE, default)


def limit(default: int, name: str = "limit") -> Parameter:
    """How many of something are wanted."""
    return _count(name, f"How many at most; {default:,} when not given, {PAGE_MAX:,} are the most.", default)


def tail() -> Parameter:
    """How many of the last ones are wanted."""
    return _count("tail", f"Only the last ones, so many; {PAGE_MAX:,} are the most.", None)


def _count(name: str, about: str, default: int | None) -> Parameter:
    """A page has one row at least."""
    return Parameter(name, about, lambda text: max(1, min(_whole(name, text), PAGE_MAX)), _WHOLE, default)


def text(name: str, about: str) -> Parameter:
    """Any text."""

    def read(value: str) -> str:
        if "\0" in value:
            raise RequestError(f"{name} may not contain NUL")
        return value

    return Parameter(name, about, read, {"type": "string", "pattern": "^[^\\x00]*$"})


def one_of(name: str, about: str, words: Collection[str], *, repeated: bool = False) -> Parameter:
    """One of these words, in upper or lower case."""
    schema = {"type": "string", "enum": [*words]}
    return Parameter(name, about, lambda text: _word(name, text, words), schema, repeated=repeated)


def choice(name: str, about: str, words: Collection[str], default: str | None = None) -> Parameter:
    """One of these words in a form, in which an empty one says nothing."""
    schema = {"type": "string", "enum": ["", *words]}
    return Parameter(name, about, lambda text: _word(name, text, words) if text else default, schema, default)


def instant(name: str, about: str, *, required: bool = False) -> Parameter:
    """A time as ISO 8601 writes it, or a day, with or without a time zone."""
    return Parameter(name, about, lambda text: read_instant(name, text), _TEXT, required=required)


def moment(name: str, about: str, zone: tzinfo | None = None) -> Parameter:
    """The same in a form, in which an empty one says nothing; in UTC if a zone is given for what has none."""
    return Parameter(name, about, lambda text: _moment(name, text, zone) if text else None, _TEXT)


def read_instant(name: str, text: str) -> datetime:
    """The time that a text means. Raises RequestError."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        example = "a time such as 2026-01-31T03:00:00Z, or a day such as 2026-01-31"
        raise RequestError(f"{name} must be {example}, not {shown(text)}") from None


def _moment(name: str, text: str, zone: tzinfo | None) -> datetime:
    at = read_instant(name, text)
    if zone is None:
        return at
    try:
        return utc(at if at.tzinfo else at.replace(tzinfo=zone))
    except OverflowError:  # the first and the last hours of the calendar
        raise RequestError(f"{name} {shown(text)} has no time in UTC") from None


def wait(about: str) -> Parameter:
    """How many seconds the answer may be waited for."""

    def read(text: str) -> float:
        return min(float(_whole("wait", text)), WAIT_SECONDS_MAX)

    return Parameter("wait", f"{about} {WAIT_SECONDS_MAX:g} at most.", read, _WHOLE, 0.0)


def _whole(name: str, text: str) -> int:
    if not _is_number(text):
        raise RequestError(f"{name} must be a whole number, not {shown(text)}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _word(name: str, text: str, words: Collection[str]) -> str:
    """That of the words which is meant: a member of the enumeration, if they are one."""
    for word in words:
        if word.upper() == text.upper():
            return word
    raise RequestError(f"{name} is one of {', '.join(words)}, not {shown(text)}")


def _id(kind: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not ID_GRAMMAR.fullmatch(text):
            raise NotFoundError(f"there is no {kind} {shown(text)}")
        return text

    return read


def _number_of(kind: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _is_number(text):
            raise NotFoundError(f"there is no {kind} {shown(text)}; the number of a {kind} is meant")
        return int(text)

    return read


_WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": WHOLE_MAX}
_TEXT: Schema = {"type": "string"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[A-Za-z0-9_.-]+$"}


def _executor(name: str) -> str:
    if name == LOCAL or not ID_GRAMMAR.fullmatch(name):
        raise NotFoundError(f"{shown(name)} is no name for an executor")
    return name


IN_PATH = {
    parameter.name: parameter
    for parameter in (
        Parameter("dag_id", "The id of a dag.", _id("dag"), _ID),
        Parameter("task_id", "The id of a task.", _id("task"), _ID),
        Parameter("executor", "The name of an executor.", _executor, _ID),
        Parameter("executor_name", "The name of an executor.", _id("executor"), _ID),
        Parameter("name", "The name of a token.", _id("token"), _ID),
        Parameter("run_id", "The number of a run.", _number_of("run"), _WHOLE),
        Parameter("backfill_id", "The number of a backfill.", _number_of("backfill"), _WHOLE),
        Parameter("retry", "The number of an attempt; the first one is 0.", _number_of("attempt"), _WHOLE),
    )
}

STATUS = one_of(
    "status", "Only runs with one of these states; may be given several times.", [*RunStatus], repeated=True
)
LEVEL = choice("level", "Only records of this level or above.", LEVELS)
