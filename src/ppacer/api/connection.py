"""A connection that is closed when it keeps the server waiting for a request: uvicorn would wait for ever."""

import asyncio
import os
import resource
from contextlib import suppress
from functools import partial
from io import FileIO
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from ppacer.api.direct import Direct

HEADER_SECONDS = 9.0  # from the connection, or the first byte of a further request, to the end of its header
SILENT_MAX = 100  # connections of one address that have not sent a whole header; of more the oldest is closed
HURRY_SECONDS = 1.0  # that it still has: time to read what lies in its buffer, on a busy machine too
OTHER_FILES = 256  # that the program may have open besides its connections
SECOND_NAMES = OTHER_FILES // 4  # of connections that an answer is awaited on; of more the loop writes it
CONNECTIONS = range(100, 10_001)  # that a server takes, however many files it may open


class Connection(HttpToolsProtocol):
    """One client, who has so long to say what it wants, however many bytes it sends meanwhile."""

    silent: ClassVar["Silent"]  # of its server
    direct: ClassVar["Direct"]
    _deadline: asyncio.TimerHandle | None = None
    _held: RequestResponseCycle | None = None  # a request of which it is not known yet which way it goes

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A part of a request, perhaps a further one; uvicorn stops its keep-alive timer at any byte."""
        super().data_received(data)
        self._begin()
        if not self._is_at_work() and self.timeout_keep_alive_task is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """The header is whole. For the body see `Guard`."""
        self._forget()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer is whole. Of requests that came together the next one begins."""
        super().on_response_complete()
        self._begin()

    # -- the short way ---------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """What uvicorn does at the end of a header: here most bodies are there in a moment."""
        if app is self.app and self.direct.may_take(cycle.scope):
            self._held = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self) -> None:
        """Begins the request that is held, if there is one."""
        cycle, self._held = self._held, None
        if cycle is None:
            return
        if cycle.more_body or not self.direct.take(cycle.scope, bytes(cycle.body), partial(Outgoing, cycle)):
            super()._start_asgi_task(cycle, self.app)

    # -- the time it has -------------------------------------------------------------------------------------

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


class Outgoing:
    """The answer to one request, in one piece: `send` it from any thread, then `end` it in that of the loop.

    The thread that has an answer sends it by itself. The loop would first have to get hold of the
    interpreter, which this thread lets go of only when it has nothing more to do.
    """

    _files: ClassVar[WeakSet[FileIO]] = WeakSet()

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._file: FileIO | None = None  # a second name of the socket: nobody closes it under who writes
        if len(self._files) < SECOND_NAMES and not cycle.transport.get_write_buffer_size():
            with suppress(OSError):  # the client is gone, or there are no more files
                self._file = FileIO(os.dup(cycle.transport.get_extra_info("socket").fileno()), "w")
                self._files.add(self._file)

    def send(self, response: Response) -> bytes:
        """Sends as much as the client takes at once; the rest is for `end`."""
        cycle = self._cycle
        lines = [b"%s: %s\r\n" % line for line in chain(cycle.default_headers, response.raw_headers)]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        data = b"".join((STATUS_LINE[response.status_code], *lines, b"\r\n", response.body))
        sent: int | None = None
        if self._file is not None and not cycle.transport.is_closing():
            with suppress(OSError):  # the client is gone
                sent = self._file.write(data)
        return data[sent or 0 :]

    def end(self, rest: bytes) -> None:
        """Writes the rest, and ends the cycle as its own `send` would."""
        cycle = self._cycle
        self.close()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        if rest:
            cycle.transport.write(rest)
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def close(self) -> None:
        """Lets go of the socket."""
        if self._file is not None:
            self._file.close()
            self._files.discard(self._file)


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


def connections(direct: "Direct") -> type[Connection]:
    """The connections of one server, which are counted together."""

    class Own(Connection):
        silent = Silent()

    Own.direct = direct

    return Own


def connections_max() -> int:
    """How many there may be at once, so that files remain for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS[-1]
    return min(max(CONNECTIONS[0], files - OTHER_FILES), CONNECTIONS[-1])
