"""The page on which a person shows an access token once; a cookie shows it from then on.

The cookie is out of reach of scripts, is sent by pages of this server alone, and ends with the browser.
"""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ppacer.api.access import COOKIE, NO_SUCH_TOKEN, NO_TOKEN, Permission
from ppacer.api.door import Door
from ppacer.api.problems import RequestError
from ppacer.api.route import Route
from ppacer.ui.environment import render

FORM_BYTES_MAX = 4096
SEE_OTHER = 303


def login_routes(door: Door) -> list[Route]:
    """The form, what it sends, and the way out; anybody may come here."""

    def form(request: Request) -> Response:
        """Asks for an access token."""
        return _page("")

    async def login(request: Request) -> Response:
        """Takes the token of the form, and remembers it in a cookie."""
        secret = _field(await request.body(), "token")
        if await door.tokens.find(secret) is None:
            return _page(NO_SUCH_TOKEN, 401)
        answer = RedirectResponse("/", SEE_OTHER)
        is_https = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=is_https, path="/")
        return answer

    async def logout(request: Request) -> Response:
        """Forgets the token of this browser."""
        answer = RedirectResponse("/login", SEE_OTHER)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return answer

    return [
        Route("GET", "/login", form, Permission.PUBLIC),
        Route("POST", "/login", login, Permission.PUBLIC),
        Route("POST", "/logout", logout, Permission.PUBLIC),
    ]


def entrance(request: Request, error: RequestError) -> Response:
    """What a page shows to who has no token that counts; one that does not is forgotten by the browser."""
    page = _page("" if error.detail == NO_TOKEN else error.detail, 401)
    page.headers.update(error.headers or {})
    if COOKIE in request.cookies:
        page.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return page


def _page(trouble: str, status: int = 200) -> HTMLResponse:
    html = render("login.html", trouble=trouble)
    return HTMLResponse(html, status, headers={"cache-control": "no-store"})


def _field(body: bytes, name: str) -> str:
    """A field of a form; nothing when it is no form, or none that we have made."""
    if len(body) > FORM_BYTES_MAX:
        return ""
    fields = parse_qs(body.decode("ascii", "replace"))
    return fields.get(name, [""])[0].strip()
