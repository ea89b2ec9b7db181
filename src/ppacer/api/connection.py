"""A connection that is closed when it keeps the server waiting for a request: uvicorn would wait for ever."""

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 9.0  # from the connection, or the first byte of a further request, to the end of its header
SILENT_MAX = 100  # connections of one address that have not sent a whole header; of more the oldest is closed
HURRY_SECONDS = 1.0  # that it still has: time to read what lies in its buffer, on a busy machine too
OTHER_FILES = 256  # that the program may have open besides its connections
CONNECTIONS = range(100, 10_001)  # that a server takes, however many files it may open


class Connection(HttpToolsProtocol):
    """One client, who has so long to say what it wants, however many bytes it sends meanwhile."""

    silent: ClassVar["Silent"]  # of its server
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A part of a request, perhaps a further one; uvicorn stops its keep-alive timer at any byte."""
        super().data_received(data)
        if not self._is_at_work() and self.timeout_keep_alive_task is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """The header is whole. For the body see `Guard`."""
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._forget()
        super().connection_lost(exc)

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._end)
            self.silent.add(self)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self.silent.remove(self)

    def hurry(self) -> None:
        """It has little time left: many connections at once may all be honest, and about to speak."""
        self._forget()
        self._deadline = self.loop.call_later(HURRY_SECONDS, self._end)

    def _end(self) -> None:
        self._forget()
        self.transport.close()


class Silent:
    """The connections that have something to say yet, oldest first, by the address of the client.

    One client that opens them and says nothing shall not take what all others need.
    """

    def __init__(self) -> None:
        self._of: dict[str, dict[Connection, None]] = {}

    def add(self, connection: Connection) -> None:
        """One more; where they are too many of its client, the oldest leaves."""
        mine = self._of.setdefault(_address(connection), {})
        mine[connection] = None
        if len(mine) > SILENT_MAX:
            next(iter(mine)).hurry()

    def remove(self, connection: Connection) -> None:
        """It has spoken, or is gone, or leaves."""
        mine = self._of.get(_address(connection), {})
        mine.pop(connection, None)
        if not mine:
            self._of.pop(_address(connection), None)


def _address(connection: Connection) -> str:
    return connection.client[0] if connection.client else ""


def connections() -> type[Connection]:
    """The connections of one server, which are counted together."""

    class Own(Connection):
        silent = Silent()

    return Own


def connections_max() -> int:
    """How many there may be at once, so that files remain for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS[-1]
    return min(max(CONNECTIONS[0], files - OTHER_FILES), CONNECTIONS[-1])
