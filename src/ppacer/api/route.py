"""The route: one declaration of who may come, what is read of a request, and what it is answered with.

The OpenAPI document and the tests are made of the same declaration, so that neither can tell another story.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import msgspec
from starlette import routing
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ppacer.api.access import Permission
from ppacer.api.parameters import IN_PATH, Parameter
from ppacer.api.problems import CODES, RequestError
from ppacer.errors import DagError, PpacerError
from ppacer.scheduler import Origin

BIG = 256 * 1024  # bytes of a body, or of an answer, for which another thread takes its time
DEPTH_MAX = 64  # of a body: what goes deeper than any reader can follow could be stored, but not shown
TOO_DEEP = f"the request body is nested too deeply; parameters have at most {DEPTH_MAX} levels"
KEY = re.compile(r"[!-~]{1,200}")
T = TypeVar("T")


class Route(routing.Route):
    """One method of one path. The endpoint is given the request, and by name what is declared here.

    `answer` is the type of what it returns, unless it makes a whole Response. Endpoints that are no
    coroutines run in worker threads. For pages: `entrance` answers who has to log in, `trouble` makes the
    answer of an error of ours.
    """

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        permission: Permission,
        *,
        query: Sequence[Parameter] = (),
        body: Any = None,
        answer: Any = None,
        status: int = 200,
        problems: Sequence[str] = (),
        entrance: Callable[[Request, RequestError], Response] | None = None,
        trouble: Callable[[Request, Exception], Response] | None = None,
    ) -> None:
        if not isinstance(permission, Permission):
            raise TypeError(f"the route {path} needs a Permission, not {permission!r}")
        assert set(problems) <= CODES.keys(), (path, problems)
        super().__init__(path, self._respond, methods=[method], name=endpoint.__name__)
        self.method, self.permission, self.does = method, permission, endpoint
        self.in_path = [IN_PATH[name] for name in self.param_convertors]
        self.query, self.body, self.answer, self.status, self.problems = query, body, answer, status, problems
        self._entrance, self._trouble = entrance, trouble
        self._call = endpoint if iscoroutinefunction(endpoint) else partial(_in_thread, endpoint, status)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Here every request is judged, before anything of it but its header is read."""
        if self.permission is not Permission.PUBLIC:
            try:
                await scope["app"].state.access.judge(scope, self.permission)
            except RequestError as error:
                await self._turn_away(error, scope, receive, send)
                return
        await super().handle(scope, receive, send)

    async def _turn_away(self, error: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
        """A person is shown where to log in, or what his token lacks; that he wanted too much is noted."""
        request = Request(scope)
        if error.status == 403 and self.method != "GET" and self.permission is not Permission.EXECUTE:
            scope["app"].state.forbidden(self.name, origin_of(request), scope["path_params"])
        if error.status == 401 and self._entrance is not None:
            await self._entrance(request, error)(scope, receive, send)
        elif error.status == 403 and self._trouble is not None:
            await self._trouble(request, error)(scope, receive, send)
        else:
            raise error

    async def _respond(self, request: Request) -> Response:
        if self._trouble is None:
            return await self._answer(request)
        try:
            return await self._answer(request)
        except (PpacerError, RequestError) as error:
            return self._trouble(request, error)

    async def _answer(self, request: Request) -> Response:
        found = request.path_params
        arguments = {one.name: one.read(found[one.name]) for one in self.in_path}
        for one in self.query:
            arguments[one.name] = one.of(request.query_params)
        if self.body is not None:
            arguments["body"] = await read_body(request, self.body)
        value = await self._call(request, **arguments)
        return value if isinstance(value, Response) else answer(value, self.status)


def origin_of(request: Request) -> Origin:
    """Who asks, for the audit, and the key with which the same command may be asked for again."""
    key = request.headers.get("idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        raise RequestError("an Idempotency-Key has 1 to 200 visible characters of ASCII")
    return Origin(request.scope["caller"].name, request.client.host if request.client else None, key)


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """A JSON answer."""
    return Response(
        msgspec.json.encode(value),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store", **headers},
    )


async def _in_thread(
    endpoint: Callable[..., Any], code: int, request: Request, /, **arguments: Any
) -> Response:
    """The whole answer is made there: a large one takes its time."""

    def make() -> Response:
        value = endpoint(request, **arguments)
        return value if isinstance(value, Response) else answer(value, code)

    return await in_thread(make)


async def read_body(request: Request, kind: type[T]) -> T:
    """The JSON body; an empty one counts as an empty object."""
    data = await request.body()
    try:
        read = partial(msgspec.json.decode, data or b"{}", type=kind)
        value: T = await in_thread(read) if len(data) > BIG else read()
    except msgspec.ValidationError as error:
        raise DagError(f"the request does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the request body is not JSON: {error}") from error
    except RecursionError as error:
        raise RequestError(TOO_DEEP) from error
    return value


async def gone(request: Request) -> None:
    """Returns when the client has gone away, or sends without end."""
    with suppress(RequestError):
        while (await request.receive())["type"] != "http.disconnect":
            pass


def check_depth(value: Any) -> None:
    """Raises RequestError for a value of more than DEPTH_MAX levels."""
    values = [value]
    for _ in range(DEPTH_MAX):
        nested = [value for value in values if isinstance(value, dict | list)]
        values = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
        if not values:
            return
    raise RequestError(TOO_DEEP)
