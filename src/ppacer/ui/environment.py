"""The templates of the pages, and how values are shown in them; a value that is not given is an error."""

import re
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup

from ppacer.api.why import about
from ppacer.store.views import DagView, RunView

if TYPE_CHECKING:
    from jinja2 import Environment

PARAMS_CHARS_MAX = 500
SEPARATOR = re.compile(r"(?<=[._])")


def render(template: str, **values: Any) -> str:
    """A page."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a tenth of the time to start, for later

    environment = Environment(
        loader=PackageLoader("ppacer.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (_breakable, _exactly, _moment, _next, _params, _relative, _took)
    environment.filters |= {function.__name__.lstrip("_"): function for function in filters}
    return environment


def _next(dag: DagView, now: datetime) -> tuple[str, str]:
    """The state of a dag's schedule, and when it runs next, in words; one of them may be empty."""
    if dag.disabled_reason is not None:
        return "disabled", ""
    if dag.paused_at is not None:
        return "paused", ""
    if dag.next_at is None:
        return "", "no more points" if dag.schedule else ""
    if dag.next_at > now:
        return "", _relative(dag.next_at, now)
    return ("waits for room", "") if dag.running >= dag.max_active_runs else ("", "now")


def _breakable(id: str) -> Markup:
    """An id that may be broken behind its separators, rather than anywhere."""
    return Markup("<wbr>").join(SEPARATOR.split(id))


def _exactly(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _moment(at: datetime, now: datetime) -> str:
    """The time of an instant of today, else its day too."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def _relative(at: datetime, now: datetime) -> str:
    """`in 3h`, `5s ago`: one unit is enough to see, the title has the rest."""
    distance = abs(at - now)
    for unit, seconds in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count = distance // timedelta(seconds=seconds)
        if count:
            return f"in {count}{unit}" if at > now else f"{count}{unit} ago"
    return "now"


def _took(run: RunView, now: datetime) -> str:
    return "" if run.started_at is None else about((run.ended_at or now) - run.started_at)


def _params(params: dict[str, Any]) -> str:
    """The parameters of a run on one line: `country=PL, rows=3`."""
    words = (f"{name}={value if isinstance(value, str) else _json(value)}" for name, value in params.items())
    text = ", ".join(words)
    return text if len(text) <= PARAMS_CHARS_MAX else f"{text[:PARAMS_CHARS_MAX]}…"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
