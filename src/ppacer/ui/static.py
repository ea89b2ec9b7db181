"""Style sheet and scripts. Their URLs name their content, so a browser asks once and never shows an old one.

htmx is no part of the repository: `hatch_build.py` places it in what is installed. Where that could not be
done, pages have no scripts of it, and look again by themselves.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Permission
from ppacer.api.problems import RequestError
from ppacer.api.route import Route

KINDS = {
    "app.css": "text/css",
    "app.js": "text/javascript",
    "htmx.js": "text/javascript",
    "log.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"


def static_routes() -> list[Route]:
    """A route for each file."""
    return [Route("GET", f"/static/{name}", _serve, Permission.PUBLIC) for name in KINDS]


def _serve(request: Request) -> Response:
    """A file of the pages."""
    name = request.url.path.removeprefix("/static/")
    content = _content(name)
    if content is None:
        raise RequestError(f"{name} was not installed", 404, "not_found")
    is_current = request.url.query == _version(content)
    headers = {"cache-control": FOR_EVER if is_current else "no-cache"}
    return Response(content, media_type=KINDS[name], headers=headers)


@cache
def asset(name: str) -> str:
    """The URL of a file; empty when it was not installed."""
    content = _content(name)
    return "" if content is None else f"/static/{name}?{_version(content)}"


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def _content(name: str) -> bytes | None:
    ours = files("ppacer.ui").joinpath("static", name)
    if ours.is_file():
        return ours.read_bytes()
    placed = _placed(name)  # of an editable install the package is elsewhere
    return placed.read_bytes() if placed is not None and placed.is_file() else None


def _placed(name: str) -> Path | None:
    try:
        return Path(str(distribution("ppacer").locate_file(f"ppacer/ui/static/{name}")))
    except PackageNotFoundError:
        return None
