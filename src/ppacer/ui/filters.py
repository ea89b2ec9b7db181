"""How values are shown: times, durations, sizes, ids that may break, schedules in words."""

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup, escape

from ppacer.api.why import about
from ppacer.store.views import DagView
from ppacer.tasklog.plain import plain
from ppacer.ui.shapes import shape
from ppacer.ui.words import schedule_in_words

PARAMS_CHARS_MAX = 500
# As `why.when` has it, and behind it `(in 20s)` or `(for 4s)`.
DISTANCE = re.compile(
    r"\b(2[0-9]{3}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]) UTC \((in|for) ([0-9][0-9a-z.]*)\)"
)
SEPARATOR = re.compile(r"(?<=[._])")


def breakable(id: str) -> Markup:
    """An id that may be broken behind its separators, rather than anywhere."""
    return Markup("<wbr>").join(SEPARATOR.split(id))


def code(words: str) -> Markup:
    """A sentence in which what stands between backticks is code, and distances go on."""
    parts = words.split("`")
    if len(parts) % 2 == 0:  # one of them belongs to the text
        return _ticking(words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else _ticking(part) for at, part in enumerate(parts)
    )


def _ticking(words: str) -> Markup:
    """The sentences of `why` speak of one moment: the script of the pages lets their distances go on.

    An instant without a distance may stand in what a task has said, and is left as it is.
    """
    *parts, rest = DISTANCE.split(words)
    found = [
        escape(before) + _distance(at, word, span)
        for before, at, word, span in zip(*(parts[part::4] for part in range(4)), strict=True)
    ]
    return Markup("").join([*found, escape(rest)])


def _distance(at: str, word: str, span: str) -> Markup:
    iso = f"{at.replace(' ', 'T')}+00:00"
    show = Markup('<time datetime="{}" data-show="{}" title="{} UTC">{}</time>').format
    time = show(iso, "clock", at, f"{at} UTC")
    if word == "in":
        return time + " (" + show(iso, "ago", at, f"in {span}") + ")"
    return time + " (for " + show(iso, "since", at, span) + ")"


def exactly(at: datetime, zone: str = "UTC") -> str:
    """An instant to the second, in UTC, and before that on the clock of a zone of its own."""
    there = "" if zone == "UTC" else f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S} {zone} · "
    return f"{there}{at:%Y-%m-%d %H:%M:%S} UTC"


def milliseconds(at: datetime) -> str:
    """The time of an instant to the millisecond."""
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def tried(retry: int) -> str:
    """The name of an attempt: `first attempt`, `retry 2`."""
    return f"retry {retry}" if retry else "first attempt"


def moment(at: datetime, now: datetime) -> str:
    """The time of an instant of today, else its day too."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def relative(at: datetime, now: datetime) -> str:
    """`in 3h`, `5s ago`: one unit is enough to see, the title has the rest."""
    distance = abs(at - now)
    for unit, seconds in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count = distance // timedelta(seconds=seconds)
        if count:
            return f"in {count}{unit}" if at > now else f"{count}{unit} ago"
    return "now"


def size(bytes: int) -> str:
    """`512 B`, `1.5 KiB`, `20 MiB`."""
    value, unit = float(bytes), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def spent(seconds: float) -> str:
    """A time of a processor: `320ms`."""
    return about(timedelta(seconds=seconds))


def plural(count: int, noun: str, nouns: str = "") -> str:
    """`1 run`, `2 runs`, `10,000 runs`; `nouns` where it is more than an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {nouns or noun + 's'}"


def spoken(state: str) -> str:
    """A state as it is said: `UPSTREAM FAILED`."""
    return state.replace("_", " ")


def params(values: dict[str, Any]) -> str:
    """The parameters of a run on one line: `country=PL, rows=3`."""
    words = (f"{name}={value if isinstance(value, str) else json(value)}" for name, value in values.items())
    text = ", ".join(words)
    return text if len(text) <= PARAMS_CHARS_MAX else f"{text[:PARAMS_CHARS_MAX]}…"


def asked_for(details: dict[str, Any]) -> str:
    """What was asked for besides what has a place of its own, on one line; parameters as those of a run."""
    rest = {name: value for name, value in details.items() if name not in ("dag_id", "run_id", "params")}
    given = details.get("params")
    rest |= given if isinstance(given, dict) else {"params": given}
    return params({name: value for name, value in rest.items() if value not in (None, {}, [])})


def json(value: Any) -> str:
    """A value as JSON, on one line."""
    return msgspec.json.encode(value).decode()


def next_run(dag: DagView, now: datetime) -> tuple[str, str]:
    """The state of a dag's schedule with why it is so, or else when it runs next, in words."""
    if dag.disabled_reason is not None:
        return "disabled", ""  # pages have the reason
    if dag.paused_at is not None:
        return "paused", "its points are skipped" if dag.schedule else ""
    if dag.next_at is None:
        return "", "no more points" if dag.schedule else ""
    if dag.next_at > now:
        return "", relative(dag.next_at, now)
    if dag.running < dag.max_active_runs:
        return "", "now"
    return "waits for room", f"{plural(dag.running, 'run')} of at most {dag.max_active_runs} running"


FILTERS = (
    about, asked_for, breakable, code, exactly, json, milliseconds, moment, next_run, params, plain, plural,
    relative, schedule_in_words, shape, size, spent, tried,
)  # fmt: skip
