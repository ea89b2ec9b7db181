"""Errors as problem details (RFC 9457): a sentence for people, a stable code for programs."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.wire import ERRORS, Problem
from ppacer.errors import PpacerError


class RequestError(Exception):
    """A request that cannot be understood, or is not allowed; its answer."""

    def __init__(
        self,
        detail: str,
        status: int = 400,
        code: str = "bad_request",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.status, self.code, self.headers = detail, status, code, headers


CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "the request cannot be understood: a parameter, the body"),
    "bad_host": (400, "the header Host is missing, double or malformed"),
    "unauthorized": (401, "there is no token, or one that is unknown, revoked or expired"),
    "forbidden": (403, "the role of the token may not do this"),
    "cross_origin": (403, "a page of another site wants to change something"),
    "not_found": (404, "there is no such dag, run, task or path"),
    "method_not_allowed": (405, "the path exists, but not with this method"),
    "request_timeout": (408, "the body of the request was not whole in time"),
    "conflict": (409, "what is there does not allow it: the run has ended, the name is taken"),
    "unknown_executor": (409, "the executor has to say hello first, perhaps once more"),
    "executor_refused": (409, "the name of the executor is taken, or its version does not fit"),
    "body_too_large": (413, "the body of the request is too large"),
    "unknown_host": (421, "the server does not answer to this host name"),
    "not_possible": (422, "the request is understood, but what it asks for does not fit"),
    "key_reused": (422, "the Idempotency-Key belongs to another command"),
    "schedule_failed": (422, "the schedule of the dag raised an error"),
    "error": (500, "a bug: the log of the scheduler says more"),
    "unavailable": (503, "the scheduler starts, stops or waits for its database"),
    "no_answer": (503, "the command has not been answered in time; it may still be carried out"),
    "database_unavailable": (503, "the database cannot be read now"),
}
"""Status and meaning of each code; codes are stable, sentences are not."""

_TITLES = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found"}
_TITLES |= {
    405: "Method not allowed",
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


def status_of(error: Exception) -> int:
    """The status of the answer for one of our errors."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in ERRORS if isinstance(error, kind)), 500)


def of_error(request: Request, error: Exception) -> Response:
    """The answer for one of our errors; anything else is a bug and says nothing of itself."""
    if isinstance(error, RequestError):
        # After a body that was too slow the rest of it may never come.
        headers = {"connection": "close"} if error.status == 408 else error.headers
        return problem(error.status, error.code, error.detail, headers)
    for kind, status in ERRORS:
        if isinstance(error, kind):
            return problem(status, kind.code, str(error))
    return problem(
        500, "error", str(error) if isinstance(error, PpacerError) else "an unexpected error; see the log"
    )
