"""The table of all pages, and the routes of everything that people see."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse

from ppacer.api.door import Door
from ppacer.api.route import Route
from ppacer.store.views import DagView
from ppacer.ui import (
    attempt,
    audit,
    dag_backfill,
    dag_code,
    dag_graph,
    dag_grid,
    dag_schedule,
    dag_settings,
    dags,
    executors,
    run,
    runs,
    schedules,
)
from ppacer.ui.actions import Actions
from ppacer.ui.backfill_actions import BackfillActions
from ppacer.ui.login import login_routes
from ppacer.ui.logs import log_routes
from ppacer.ui.overview import overview
from ppacer.ui.page import Page, Pages
from ppacer.ui.search import search_route
from ppacer.ui.static import static_routes

OF_A_DAG = (
    dag_grid.PAGE,
    dag_graph.PAGE,
    dag_schedule.PAGE,
    dag_code.PAGE,
    dag_settings.PAGE,
    dag_backfill.PAGE,
)
LISTS = (runs.PAGE, runs.SELECTED, schedules.PAGE, executors.PAGE, audit.PAGE)
OF_A_RUN = (run.PAGE, attempt.TASK, attempt.PAGE)


def table() -> list[Page]:
    """Every page there is; those with a tab in the order of the navigation."""
    return [overview(), dags.PAGE, dags.TRIGGER, *OF_A_DAG, *LISTS, *OF_A_RUN]


class Site(NamedTuple):
    """The routes of all pages, of their streams and forms, and of what they are made with.

    `lost`: what a browser is shown that asks for a page which is not there.
    """

    routes: list[Route]
    lost: Callable[[Request, Exception], HTMLResponse]


def site(door: Door) -> Site:
    """Everything that people see."""
    every = Pages(door, table())

    def ask_again(request: Request, dag: DagView, form: dict[str, str], error: str) -> HTMLResponse:
        return every.response(request, "trigger.html", dags.trigger_values(dag, form, error), 422)

    actions = Actions(door, every.trouble, ask_again)
    routes = [
        *static_routes(), *login_routes(door), *every.routes(), *log_routes(door, every.trouble),
        *actions.routes(), *BackfillActions(door, actions.refused).routes(), search_route(door, every),
    ]  # fmt: skip
    return Site(routes, every.trouble)
