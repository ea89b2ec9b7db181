"""The ASGI application, and the thread that serves it."""

import logging
import socket
import threading
from collections.abc import Iterable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from ppacer.api.door import Door
from ppacer.api.guard import Guard
from ppacer.api.problems import of_error, problem
from ppacer.api.routes import BadRequest, bad_request, routes
from ppacer.errors import ConfigError, PpacerError

log = logging.getLogger("ppacer.api")


def make_app(door: Door, hosts: Iterable[str], pages: Sequence[BaseRoute] = ()) -> Guard:
    """The whole application: JSON routes, `pages`, and the guard in front of both."""
    app = Starlette(
        routes=[*routes(door), *pages],
        exception_handlers={
            PpacerError: of_error,
            BadRequest: bad_request,
            404: lambda request, error: problem(404, "not_found", f"there is nothing at {request.url.path[:200]}"),
            405: lambda request, error: problem(405, "method_not_allowed", "this path has other methods"),
            Exception: of_error,
        },
    )
    return Guard(app, hosts)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; taken before anything else is started, so that a used port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; is another ppacer running? choose with --port"
        ) from error
    return listener


class Server:
    """Serves the application in a thread of its own until `close`."""

    def __init__(self, app: Guard, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,  # a long poll would hold up the end of the program
            limit_concurrency=500,
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

    def close(self) -> None:
        """Ends every connection and the thread."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._listener.close()
