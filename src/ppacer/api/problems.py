"""Errors as problem details (RFC 9457): a sentence for people, a stable code for programs."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.wire import ERRORS, Problem
from ppacer.errors import PpacerError


class RequestError(Exception):
    """A request that cannot be understood, or is not allowed; its answer."""

    def __init__(self, detail: str, status: int = 400, code: str = "bad_request") -> None:
        super().__init__(detail)
        self.detail, self.status, self.code = detail, status, code


_TITLES = {400: "Bad request", 403: "Forbidden", 404: "Not found", 405: "Method not allowed"}
_TITLES |= {
    408: "Too slow",
    409: "Conflict",
    413: "Too large",
    421: "Misdirected request",
    422: "Not possible",
    500: "Error",
    503: "Unavailable",
}


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error answer."""
    body = Problem(detail, code, _TITLES.get(status, "Error"), status)
    return Response(
        msgspec.json.encode(body),
        status,
        media_type="application/problem+json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def of_error(request: Request, error: Exception) -> Response:
    """The answer for one of our errors; anything else is a bug and says nothing of itself."""
    if isinstance(error, RequestError):
        headers = {"connection": "close"} if error.status == 408 else None  # the rest of it may never come
        return problem(error.status, error.code, error.detail, headers)
    for kind, status, code in ERRORS:
        if isinstance(error, kind):
            return problem(status, code, str(error))
    return problem(
        500, "error", str(error) if isinstance(error, PpacerError) else "an unexpected error; see the log"
    )
