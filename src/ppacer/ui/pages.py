"""One plain page: the dags and the latest runs. Server-rendered, autoescaped, no script."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.route import Route
from ppacer.errors import StoreError
from ppacer.store.views import DagView, RunView
from ppacer.ui.environment import render
from ppacer.ui.login import entrance, login_routes
from ppacer.version import VERSION

if TYPE_CHECKING:
    pass

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
        html = render(
            "overview.html",
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
        *login_routes(door),
        Route("GET", "/", overview, Permission.VIEW, entrance=entrance),
        Route("GET", "/static/app.css", _style, Permission.PUBLIC),
    ]


def _style(request: Request) -> Response:
    """The style sheet of all pages."""
    return Response(_css(), media_type="text/css", headers={"cache-control": "max-age=300"})


@cache
def _css() -> str:
    return files("ppacer.ui").joinpath("static/app.css").read_text("utf-8")


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
