"""Templates of notifications: texts in the manner of `str.format`, which cannot reach into objects.

Fields: `{dag_id}`, `{exec_ts}`, `{task_id}`, `{retry}`, `{task_run_error}`, `{runtime_info}` (a line
`key: value` each) and `{runtime_info[key]}`. What is not there is shown as nothing. A format may follow a
colon: `{exec_ts:%d.%m.%Y %H:%M}`, `{task_run_error:.500}`. `{{` and `}}` are braces.
"""

import re
from datetime import datetime
from functools import lru_cache
from string import Formatter
from typing import NamedTuple

from ppacer.clock import to_text
from ppacer.errors import ConfigError
from ppacer.notify.message import MsgData

DEFAULT_FAILURE_TEMPLATE = """\
ppacer: task {task_id} of dag {dag_id} failed

Run: {exec_ts}
Retry: {retry}

{task_run_error}

{runtime_info}
"""
DEFAULT_RETRY_TEMPLATE = """\
ppacer: task {task_id} of dag {dag_id} failed and will be retried

Run: {exec_ts}
Retry: {retry}

{task_run_error}

{runtime_info}
"""
FIELDS = ("dag_id", "exec_ts", "task_id", "retry", "task_run_error", "runtime_info")
VALUE_MAX = 16_000  # characters of one value: a traceback fits, a printed gigabyte does not
SUBJECT_MAX = 200

_FIELD = re.compile(r"(?P<name>[a-z_]+)(?:\[(?P<key>[^\[\]]+)\])?")
_WIDE = re.compile(r"\d{5,}")  # `{dag_id:1000000000}` would be a gigabyte
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class _Part(NamedTuple):
    """Literal text, followed by the field `name` (None at the end of the template)."""

    literal: str
    name: str | None
    key: str | None = None
    spec: str = ""


def render(template: str, data: MsgData) -> str:
    """The text of the notification, valid Unicode, values cut in the middle at `VALUE_MAX` characters.

    ConfigError when the template is not valid, as from `check_template`.
    """
    text = "".join(part.literal + _shown(part, data) for part in _parts(template))
    return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates come from odd file names


def check_template(template: str) -> None:
    """ConfigError, naming the field or the brace, when `render` would refuse this template."""
    if not isinstance(template, str) or not template.strip():
        raise ConfigError(f"a template of a notification must be a text, and not empty: {template!r}")
    _parts(template)


def subject_of(text: str) -> str:
    """The first line of a rendered text that is not empty, without control characters, at most 200 long."""
    line = next((clean for line in text.splitlines() if (clean := _CONTROL.sub(" ", line).strip())), "ppacer")
    return line if len(line) <= SUBJECT_MAX else line[: SUBJECT_MAX - 1] + "…"


def shortened(text: str, length_max: int) -> str:
    """At most `length_max` characters; both ends stay, because a traceback says the most in its last line."""
    if len(text) <= length_max:
        return text
    mark = "\n[…]\n"
    tail = (length_max - len(mark)) * 2 // 3
    return text[: length_max - len(mark) - tail] + mark + text[-tail:]


@lru_cache(maxsize=1024)
def _parts(template: str) -> tuple[_Part, ...]:
    try:
        return tuple(_part(*parsed) for parsed in Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"{_quoted(template)} is not valid: {error} (write {{{{ and }}}} for braces)"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{_quoted(template)} is not valid: {error}") from None


def _part(literal: str, field: str | None, spec: str | None, conversion: str | None) -> _Part:
    if field is None:
        return _Part(literal, None)
    found = _FIELD.fullmatch(field)
    if found is None or found["name"] not in FIELDS or (found["key"] and found["name"] != "runtime_info"):
        raise ConfigError(f"there is no field {{{field}}}, but {', '.join(FIELDS)}, runtime_info[key]")
    if conversion:
        raise ConfigError(f"{{{field}!{conversion}}} is not possible; write {{{field}}}")
    part = _Part(literal, found["name"], found["key"], spec or "")
    if "{" in part.spec or _WIDE.search(part.spec):
        raise ConfigError(f"the format {part.spec!r} of {{{field}}} is too wide or nested")
    try:
        _shown(part, _SAMPLE)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the format {part.spec!r} of {{{field}}} does not fit: {error}") from error
    return part


def _shown(part: _Part, data: MsgData) -> str:
    if part.name is None:
        return ""
    value = getattr(data, part.name)
    if part.name == "runtime_info":
        info = data.runtime_info
        value = str(info.get(part.key, "")) if part.key else "\n".join(f"{k}: {v}" for k, v in info.items())
    if value is None:
        return ""
    if isinstance(value, datetime) and not part.spec:
        return to_text(value).replace(".000000Z", "Z")
    if isinstance(value, str):
        value = shortened(value, VALUE_MAX)
    return format(value, part.spec)


def _quoted(template: str) -> str:
    return f"the template {template if len(template) <= 80 else template[:79] + '…'!r}"


_SAMPLE = MsgData("dag", datetime.fromisoformat("2024-03-11T12:00:00Z"), "task", 0, "error", {})
