"""Errors as problem details (RFC 9457): a sentence for people, a stable code for programs."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ppacer.errors import (
    ConflictError,
    DagError,
    NotFoundError,
    PpacerError,
    SchedulerUnavailable,
    StoreUnavailable,
)


class Problem(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"


_TITLES = {400: "Bad request", 403: "Forbidden", 404: "Not found", 405: "Method not allowed", 409: "Conflict"}
_TITLES |= {413: "Too large", 421: "Misdirected request", 422: "Not possible", 500: "Error", 503: "Unavailable"}

_CODES: list[tuple[type[PpacerError], int, str]] = [
    (NotFoundError, 404, "not_found"),
    (ConflictError, 409, "conflict"),
    (SchedulerUnavailable, 503, "unavailable"),
    (StoreUnavailable, 503, "database_unavailable"),
    (DagError, 422, "not_possible"),
]


def problem(status: int, code: str, detail: str) -> Response:
    """An error answer."""
    body = Problem(_TITLES.get(status, "Error"), status, detail, code)
    return Response(msgspec.json.encode(body), status, media_type="application/problem+json")


def of_error(request: Request, error: Exception) -> Response:
    """The answer for one of our errors; anything else is a bug and says nothing of itself."""
    for kind, status, code in _CODES:
        if isinstance(error, kind):
            return problem(status, code, str(error))
    return problem(500, "error", str(error) if isinstance(error, PpacerError) else "an unexpected error; see the log")
