"""The search of the top bar: a number leads to the run, anything else finds dags."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.parameters import text
from ppacer.api.route import Route
from ppacer.store.store import RUN_ID_MAX
from ppacer.ui.beside import whys
from ppacer.ui.login import SEE_OTHER, entrance
from ppacer.ui.page import Pages
from ppacer.ui.words import zone_of

DAGS_MAX = 100
NUMBER = re.compile(r"#?([0-9]{1,18})")


def search_route(door: Door, pages: Pages) -> Route:
    """The route of `/search?q=`."""

    def search(request: Request, q: str | None) -> Response:
        wanted = (q or "").strip()
        run_id = _number(wanted)
        if run_id is not None and door.reads.runs_of([run_id]):
            return RedirectResponse(f"/runs/{run_id}", SEE_OTHER)
        return pages.response(request, "search.html", _found(door, wanted, run_id), 200)

    search.__doc__ = "What is found by a text: the run of a number, or dags."
    return Route(
        "GET", "/search", search, Permission.VIEW, query=(text("q", "What is searched for."),),
        entrance=entrance, trouble=pages.trouble,
    )  # fmt: skip


def _number(wanted: str) -> int | None:
    found = NUMBER.fullmatch(wanted)
    return int(found[1]) if found and int(found[1]) <= RUN_ID_MAX else None


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
