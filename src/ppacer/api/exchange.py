"""One connection of a client: a request leaves in one piece, its answer is read by httptools.

urllib3 makes the connection, with names, timeouts and TLS. It does not make the request: below it, headers
are read as those of an e-mail, which took 0.6 ms of an executor's time for each request; now it is 0.1 ms.
"""

from contextlib import suppress
from typing import NamedTuple

import httptools
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url

READ_MAX = 64 * 1024  # bytes
CONNECT_SECONDS = 5.0
BROKEN = "the connection broke"


class Reply(NamedTuple):
    """An answer: its status, and its body."""

    status: int
    body: bytes


class Exchange:
    """A connection to the scheduler at `url`, used again and again, by one thread at a time.

    It raises the exceptions of urllib3: ConnectTimeoutError or SSLError as long as nothing was sent, then
    ProtocolError or TimeoutError.
    """

    def __init__(self, url: Url) -> None:
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        host = (url.host or "").strip("[]")
        self._connection = kind(host, url.port or kind.default_port, timeout=CONNECT_SECONDS)

    def ask(self, request: bytes, wait: float) -> Reply:
        """Sends a whole request; its answer may take `wait` seconds."""
        if not self._connection.is_connected:  # never was, or the server has closed it meanwhile
            self.close()
            self._connect()
        try:
            return self._exchange(request, wait)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection; the next request makes another one."""
        self._connection.close()

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except OSError as error:  # a certificate that is not right, or no TLS at all
            self.close()
            raise exceptions.SSLError(str(error)) from error

    def _exchange(self, request: bytes, wait: float) -> Reply:
        sock = self._connection.sock
        sock.settimeout(wait)
        try:
            with suppress(ConnectionError):  # it may have answered all the same, before it has read all
                sock.sendall(request)
            incoming = _Incoming()
            while not incoming.is_whole:
                incoming.feed(sock.recv(READ_MAX))
        except TimeoutError as error:
            raise exceptions.TimeoutError("no answer in time") from error
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise exceptions.ProtocolError(BROKEN) from error
        if incoming.is_last:
            self.close()
        return Reply(incoming.parser.get_status_code(), bytes(incoming.body))


class _Incoming:
    """An answer on its way; the parser calls the methods `on_…`."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.is_whole = self.is_last = False  # last: the connection is not to be used again
        self._has_length = self._has_body = False

    def feed(self, data: bytes) -> None:
        """Takes what has come; nothing is the end, for which some answers wait."""
        if data:
            self.parser.feed_data(data)
        elif self._has_body and not self._has_length:
            self.is_whole = self.is_last = True
        else:
            raise exceptions.ProtocolError(BROKEN)

    def on_message_begin(self) -> None:
        self._has_length = self._has_body = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._has_body = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_whole = self.parser.get_status_code() >= 200  # "100 Continue" comes before it
        self.is_last = not self.parser.should_keep_alive()
