"""The table of all pages, and the routes of everything that people see."""

from starlette.requests import Request
from starlette.responses import HTMLResponse

from ppacer.api.door import Door
from ppacer.api.route import Route
from ppacer.store.views import DagView
from ppacer.ui import attempt, dags, run
from ppacer.ui.actions import Actions
from ppacer.ui.login import login_routes
from ppacer.ui.logs import log_routes
from ppacer.ui.overview import overview
from ppacer.ui.page import Pages
from ppacer.ui.static import static_routes


def pages(door: Door) -> list[Route]:
    """The routes of all pages, of their streams and forms, and of what they are made with."""
    every = Pages(door, [overview(), dags.PAGE, dags.TRIGGER, run.PAGE, attempt.TASK, attempt.PAGE])

    def ask_again(request: Request, dag: DagView, form: dict[str, str], error: str) -> HTMLResponse:
        return every.response(request, "trigger.html", dags.trigger_values(dag, form, error), 422)

    actions = Actions(door, every.trouble, ask_again)
    return [
        *static_routes(), *login_routes(door), *every.routes(), *actions.routes(),
        *log_routes(door, every.trouble),
    ]  # fmt: skip
