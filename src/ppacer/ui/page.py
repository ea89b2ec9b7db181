"""A page: one declaration, from which come the route of the whole document and that of its live stream.

How to write one: a module `ui/NAME.py` with a function `show(door, now, …)` that returns what the template
shows, a template that fills the blocks `title` and `main` of `{% extends layout %}`, and a `Page` in
`pages.PAGES`. The arguments behind `now` are the parameters of path and query; no SQL here.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ppacer.api.access import PERMISSIONS, Access, Caller, Permission
from ppacer.api.door import Door
from ppacer.api.parameters import Parameter
from ppacer.api.problems import RequestError, status_of
from ppacer.api.route import Route
from ppacer.ui.environment import render
from ppacer.ui.live import Live, View, live_path, own_path
from ppacer.ui.login import SEE_OTHER, entrance
from ppacer.ui.notices import forget_notice, notice_of

Values = Mapping[str, Any]
SEEN = "seen"  # the parameter of a stream that says of which moment the page is


@dataclass(frozen=True, slots=True)
class Page:
    """What is at `path`, and which subjects of news change it (see `api.door`).

    `tab`: its word in the navigation, if it has a place there. `watches` is given what `show` is given.
    `permission`: of the document and of its stream. `refreshes`: whether it is loaded again and again where
    there are no scripts; not if that would wipe out what is being filled in, or lose the place in a log.
    `leads`: the path of another page, if what is asked is meant for that one.
    """

    path: str
    template: str
    show: Callable[..., Values]
    watches: Callable[..., Collection[Hashable]]
    query: Sequence[Parameter] = ()
    tab: str | None = None
    permission: Permission = Permission.VIEW
    refreshes: bool = True
    leads: Callable[..., str | None] = lambda door, **question: None


class Pages:
    """All pages over one door."""

    def __init__(self, door: Door, pages: Sequence[Page]) -> None:
        self._door, self._pages = door, pages
        self._live = Live(door)
        self._tabs = [(page.tab, page.path, page.permission) for page in pages if page.tab is not None]

    def routes(self) -> list[Route]:
        """Two for each page: the document, and the stream of its changes."""
        return [route for page in self._pages for route in (self._document(page), self._stream(page))]

    def _document(self, page: Page) -> Route:
        def document(request: Request, **question: Any) -> Response:
            if (there := page.leads(self._door, **question)) is not None:
                return RedirectResponse(there, SEE_OTHER)
            moment = self._door.moment  # before anything is read: what comes meanwhile is told once more
            html = self._render(page, "base.html", request, question, live=_live_url(request, moment))
            return forget_notice(HTMLResponse(html, headers={"cache-control": "no-store"}), request)

        _describe(document, page, "The page")
        return Route(
            "GET", page.path, document, page.permission, query=page.query, entrance=entrance,
            trouble=self.trouble,
        )  # fmt: skip

    def _stream(self, page: Page) -> Route:
        async def stream(request: Request, **question: Any) -> Response:
            seen = request.headers.get("last-event-id") or request.query_params.get(SEEN, "")
            key = (page.path, str(request.path_params), str(question), may(request, Permission.COMMAND))
            view = View(
                key,
                page.watches(**question),
                lambda: self._render(page, "live.html", request, question),
                lambda: is_allowed(request),
            )
            return self._live.answer(view, seen)

        _describe(stream, page, "Changes of the page")
        return Route("GET", live_path(page.path), stream, page.permission, query=page.query)

    def _render(
        self, page: Page, layout: str, request: Request, question: dict[str, Any], live: str | None = None
    ) -> str:
        now = self._door.clock.now().utc
        values = page.show(self._door, now, **question)
        frame = {**self._frame(request, layout, live), "refreshes": page.refreshes}
        return render(page.template, **frame, **{**values, "now": now})

    def trouble(self, request: Request, error: Exception) -> HTMLResponse:
        """The page that says what is wrong, and that the way back is open."""
        status = status_of(error)
        return self.response(request, "trouble.html", {"error": str(error), "status": status}, status)

    def response(self, request: Request, template: str, values: Values, status: int) -> HTMLResponse:
        """A page that is shown once, and is not live."""
        frame = self._frame(request, "base.html", None)
        html = render(template, **frame, **{**values, "now": self._door.clock.now().utc})
        return HTMLResponse(html, status, headers={"cache-control": "no-store"})

    def _frame(self, request: Request, layout: str, live: str | None) -> dict[str, Any]:
        """What every page shows around what is its own."""
        caller = request.scope["caller"]
        path, question = own_path(request.url.path), _question(request)
        return {
            "layout": layout,
            "live": live,
            "path": path,
            "here": f"{path}?{question}" if question else path,
            "tabs": [(tab, at) for tab, at, needed in self._tabs if may(request, needed)],
            "scheduler": self._door.scheduler.state,
            "trouble": self._door.trouble,
            "caller": caller.name,
            "may_command": may(request, Permission.COMMAND),
            "notice": notice_of(request),
        }


def may(request: Request, permission: Permission) -> bool:
    """Whether who looks at a page has this permission."""
    return permission in PERMISSIONS[request.scope["caller"].role]


async def is_allowed(request: Request) -> bool:
    """Whether who has opened a stream still is who he was: a token may be revoked, or its time be over."""
    access: Access = request.app.state.access
    opened_by: Caller = request.scope["caller"]
    try:
        return await access.caller(request.headers) == opened_by
    except RequestError:
        return False


def _describe(endpoint: Any, page: Page, what: str) -> None:
    endpoint.__name__ = f"{page.template.removesuffix('.html')}_{endpoint.__name__}"
    endpoint.__doc__ = f"{what} {page.path}."


def _live_url(request: Request, moment: str) -> str:
    question = _question(request)
    return f"{live_path(request.url.path)}?{question}{'&' if question else ''}{SEEN}={moment}"


def _question(request: Request) -> str:
    """What is asked for behind the path, without what only a stream is told."""
    return urlencode([(name, value) for name, value in request.query_params.multi_items() if name != SEEN])
