"""One plain page: the dags and the latest runs. Server-rendered, autoescaped, no script."""

from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from ppacer.api.door import Door
from ppacer.clock import in_words
from ppacer.store.views import RunView
from ppacer.version import VERSION

DAGS_MAX = 200
RUNS_MAX = 50


def pages(door: Door) -> list[BaseRoute]:
    """The routes of all pages and of their style sheet."""

    def overview(request: Request) -> Response:
        dags, runs = door.reads.dags(limit=DAGS_MAX), door.reads.runs(limit=RUNS_MAX)
        return HTMLResponse(
            _environment()
            .get_template("overview.html")
            .render(
                dags=dags,
                runs=runs,
                state=door.scheduler.state,
                trouble=door.scheduler.trouble,
                now=door.clock.now().utc,  # after the reads: nothing has begun later than now
                version=VERSION,
            )
        )

    return [
        Route("/", overview, methods=["GET"]),
        Route("/static/app.css", _style, methods=["GET"]),
    ]


def _style(request: Request) -> Response:
    return Response(_css(), media_type="text/css", headers={"cache-control": "max-age=300"})


@cache
def _css() -> str:
    return files("ppacer.ui").joinpath("static/app.css").read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ppacer.ui"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"when": _when, "relative": _relative, "duration": _duration}
    return environment


def _when(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _relative(at: datetime | None, now: datetime) -> str:
    """`in 3h`, `5s ago`: one unit is enough to see, the title has the rest."""
    if at is None:
        return ""
    words = in_words(_coarse(abs(at - now)))
    return f"in {words}" if at > now else f"{words} ago"


def _coarse(span: timedelta) -> timedelta:
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)):
        if span >= unit:
            return span // unit * unit
    return timedelta(seconds=span // timedelta(seconds=1))


def _duration(run: RunView, now: datetime) -> str:
    if run.started_at is None:
        return ""
    span: Any = (run.ended_at or now) - run.started_at
    return in_words(timedelta(milliseconds=round(span / timedelta(milliseconds=1)))) if span < timedelta(
        seconds=1
    ) else in_words(timedelta(seconds=round(span.total_seconds())))
