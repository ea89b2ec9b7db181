"""A connection that is closed when it keeps the server waiting for a request: uvicorn would wait for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 9.0  # from the connection, or the first byte of a further request, to the end of its header


class Connection(HttpToolsProtocol):
    """One client, who has so long to say what it wants, however many bytes it sends meanwhile."""

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
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        self.transport.close()
