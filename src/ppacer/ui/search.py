"""The search of the top bar: a number leads to the run, anything else finds dags."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.parameters import text
from ppacer.api.route import Route
from ppacer.ui.beside import whys
from ppacer.ui.login import SEE_OTHER, entrance
from ppacer.ui.numbers import number_in, run_by_number
from ppacer.ui.page import Pages
from ppacer.ui.words import zone_of

DAGS_MAX = 100


def search_route(door: Door, pages: Pages) -> Route:
    """The route of `/search?q=`."""

    def search(request: Request, q: str | None) -> Response:
        wanted = (q or "").strip()
        if (there := run_by_number(door, wanted)) is not None:
            return RedirectResponse(there, SEE_OTHER)
        return pages.response(request, "search.html", _found(door, wanted, number_in(wanted)), 200)

    search.__doc__ = "What is found by a text: the run of a number, or dags."
    return Route(
        "GET", "/search", search, Permission.VIEW, query=(text("q", "What is searched for."),),
        entrance=entrance, trouble=pages.trouble,
    )  # fmt: skip


def _found(door: Door, wanted: str, run_id: int | None) -> dict[str, Any]:
    dags = door.reads.dags(text=wanted, limit=DAGS_MAX + 1) if wanted else []
    now, found = door.clock.now().utc, dags[:DAGS_MAX]
    return {
        "q": wanted,
        "run_id": run_id,
        "dags": found,
        "zones": {dag.dag_id: zone_of(dag.schedule) for dag in found},
        "whys": whys(door, [dag.latest for dag in found], now),
        "has_more": len(dags) > DAGS_MAX,
    }
