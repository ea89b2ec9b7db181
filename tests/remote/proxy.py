"""A proxy that misbehaves: 500s, resets, garbage, answers that get lost, bodies that are too large for it."""

import random
import socket
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy(ThreadingHTTPServer):
    """Forwards requests to a port, and spoils so many of them; `seed` decides which, and how.

    One with a body of more than `body_max` bytes is refused, as nginx does.
    """

    daemon_threads = True

    def __init__(self, port: int, seed: int, share: float, body_max: int = 1_000_000) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.share, self.body_max = port, share, body_max
        self.rng = random.Random(seed)
        self.spoiled: dict[str, int] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """An executor that hangs up, as one does that is killed, is no trouble of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it comes

    def fate(self) -> str:
        """What becomes of the next request."""
        kinds = ["500", "503", "reset", "garbage", "lost answer"]
        kind = self.rng.choice(kinds) if self.rng.random() < self.share else ""
        self.spoiled[kind] = self.spoiled.get(kind, 0) + 1
        return kind


class Handler(BaseHTTPRequestHandler):
    """One connection of an executor."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if len(body) > self.server.body_max:
            self._answer(413, b"<html>Request Entity Too Large</html>")
            return
        kind = self.server.fate()
        if kind == "reset":
            self._reset()
            return
        if kind in ("500", "503"):
            self._answer(int(kind), b"<html>upstream is away</html>")
            return
        status, data = self._forward(body)
        if kind == "lost answer":  # what was asked has happened
            self._reset()
        elif kind == "garbage":
            self._answer(200, b"\x00garbage")
        else:
            self._answer(status, data)

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        upstream = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            upstream.request("POST", self.path, body, {"content-type": "application/json"})
            answer = upstream.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b""
        finally:
            upstream.close()

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Says nothing."""
