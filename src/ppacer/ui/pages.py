"""One plain page: the dags and the latest runs. Server-rendered, autoescaped, no script."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.route import Route
from ppacer.api.why import about
from ppacer.errors import StoreError
from ppacer.store.views import DagView, RunView
from ppacer.version import VERSION

if TYPE_CHECKING:
    from jinja2 import Environment

DAGS_MAX = 200
RUNS_MAX = 50
REFRESH_SECONDS = 5
PARAMS_CHARS_MAX = 500
SEPARATOR = re.compile(r"(?<=[._])")


def pages(door: Door) -> list[Route]:
    """The routes of all pages and of their style sheet."""

    def overview(request: Request) -> Response:
        """GET /. Where the database cannot be read, the page says so, and is tried again by itself."""
        dags: list[DagView] = []
        runs: list[RunView] = []
        trouble, status = door.trouble, 200
        try:
            dags, runs = door.reads.dags(limit=DAGS_MAX + 1), door.reads.runs(limit=RUNS_MAX)
        except StoreError as error:
            trouble, status = str(error), 503
        page = _environment().get_template("overview.html")
        html = page.render(
            dags=dags[:DAGS_MAX],
            has_more=len(dags) > DAGS_MAX,
            runs=runs,
            facts=_facts(dags[:DAGS_MAX], len(dags) > DAGS_MAX),
            failed=_failed(dags),
            is_readable=status == 200,
            scheduler=door.scheduler.state,
            trouble=trouble,
            now=door.clock.now().utc,
            version=VERSION,
            refresh=REFRESH_SECONDS,
        )
        return HTMLResponse(html, status, headers={"cache-control": "no-store"})

    return [
        Route("GET", "/", overview, Permission.VIEW),
        Route("GET", "/static/app.css", _style, Permission.PUBLIC),
    ]


def _style(request: Request) -> Response:
    """The style sheet of all pages."""
    return Response(_css(), media_type="text/css", headers={"cache-control": "max-age=300"})


@cache
def _css() -> str:
    return files("ppacer.ui").joinpath("static/app.css").read_text("utf-8")


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


def _failed(dags: Sequence[DagView]) -> int:
    """How many dags need a look: their latest run failed, or their schedule did."""
    return sum(dag.disabled_reason is not None or _state(dag) == "FAILED" for dag in dags)


def _state(dag: DagView) -> str | None:
    return None if dag.latest is None else dag.latest.status


def _facts(dags: Sequence[DagView], has_more: bool) -> list[str]:
    """What stands in one line above everything: `9 dags`, `2 runs running` …; what is zero is left out."""
    running, waiting = sum(dag.running for dag in dags), sum(dag.waiting for dag in dags)
    counts = [
        (len(dags), "dag" if len(dags) == 1 else "dags"),
        (running, "run running" if running == 1 else "runs running"),
        (waiting, "waiting for room"),
        (sum(_state(dag) == "FAILED" for dag in dags), "failed last"),
        (sum(dag.disabled_reason is not None for dag in dags), "disabled"),
        (sum(dag.paused_at is not None for dag in dags), "paused"),
    ]
    facts = [f"{count} {words}" for count, words in counts if count]
    return [f"first {facts[0]}", *facts[1:]] if has_more else facts


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
