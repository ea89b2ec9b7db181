"""The ASGI application, and the thread that serves it."""

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ppacer.api.access import Access, Permission
from ppacer.api.connection import connections, connections_max
from ppacer.api.direct import Direct
from ppacer.api.door import Door
from ppacer.api.executors import executor_routes
from ppacer.api.guard import HEADERS, Guard
from ppacer.api.openapi import openapi_route
from ppacer.api.problems import RequestError, of_error, problem
from ppacer.api.route import Route
from ppacer.api.routes import routes
from ppacer.errors import ConfigError, PpacerError

log = logging.getLogger("ppacer.api")

Lost: TypeAlias = Callable[[Request, Exception], Response]

GRACE_SECONDS = 1  # for requests at work when the server ends; long polls are answered at once
END_SECONDS = 4  # for the rest: then the program ends in any case


class App(NamedTuple):
    """The two ways of a request: the usual one, and the short one of what executors say most."""

    usual: Guard
    direct: Direct


def make_app(
    door: Door,
    hosts: Iterable[str],
    pages: Sequence[Route] = (),
    *,
    needs_token: bool = False,
    lost: Lost | None = None,
) -> App:
    """The whole application: JSON routes, `pages`, and the guard in front of both.

    `lost` makes the page for a browser that asks for what is not there.
    """
    every = [*executor_routes(door), *routes(door), *pages]
    for route in every:
        if not isinstance(route, Route):
            raise TypeError(f"{route!r} has no permission, so nobody may be let in")
    every.append(openapi_route(every))
    app = Starlette(
        routes=every,
        exception_handlers={
            PpacerError: of_error,
            RequestError: of_error,
            405: _other_methods,
            Exception: of_error,
        },
    )
    app.router.redirect_slashes = False  # one path per thing
    app.router.default = partial(_elsewhere, lost)
    app.state.access = Access(door.tokens, needs_token)
    app.state.forbidden = door.forbidden
    guard = Guard(app, hosts)
    return App(guard, Direct(door, guard, app.state.access))


async def _elsewhere(lost: Lost | None, scope: Scope, receive: Receive, send: Send) -> None:
    """What no route is there for is told to those who may look around."""
    await scope["app"].state.access.judge(scope, Permission.VIEW)
    error = RequestError(f"there is nothing at {scope['path'][:200]}", 404, "not_found")
    request = Request(scope)
    if lost is None or "text/html" not in request.headers.get("accept", ""):
        raise error
    await lost(request, error)(scope, receive, send)


def _other_methods(request: Request, error: Any) -> Response:
    allowed = error.headers["Allow"]
    detail = f"{request.method} is not possible here, only {allowed}"
    return problem(405, "method_not_allowed", detail, {"allow": allowed})


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; taken before anything else is started, so that a used port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Its connections inherit it; asyncio does it only where the number of the protocol was named.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        hint = "; is another ppacer running? choose another port with --port" if in_use else ""
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}{hint}") from error
    return listener


class Server:
    """Serves the application in a thread of its own until `close`; `end_waits` answers all long polls."""

    def __init__(self, app: App, listener: socket.socket, end_waits: Callable[[], None]) -> None:
        self._listener = listener
        self._end_waits = end_waits
        config = uvicorn.Config(
            app.usual,
            http=connections(app.direct),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=list(HEADERS),
            timeout_keep_alive=15,
            timeout_graceful_shutdown=GRACE_SECONDS,
            limit_concurrency=connections_max(),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="ppacer-http", daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except Exception:
            log.exception("the HTTP server has ended")

    def is_alive(self) -> bool:
        """False when it serves nobody any more."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Ends every connection and the thread."""
        self._end_waits()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(GRACE_SECONDS + END_SECONDS)
        self._listener.close()
