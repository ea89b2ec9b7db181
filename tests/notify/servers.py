"""Real servers on loopback: HTTP, SMTP, and one that only drips bytes."""

import base64
import contextlib
import http.server
import queue
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

WAIT = 120.0  # seconds until a test gives up on a fact


class Certificate(NamedTuple):
    """A self-signed certificate for localhost and 127.0.0.1."""

    cert: Path
    key: Path


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class HttpServer:
    """Answers every POST with `status` and `answer_headers`, and keeps the requests."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 204
        self.answer_headers: dict[str, str] = {}
        self.answer = b""
        self.requests: list[Request] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._keep()

            def do_GET(self) -> None:
                self._keep()

            def _keep(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append(Request(self.command, self.path, dict(self.headers), body))
                self.send_response(outer.status)
                for name, value in outer.answer_headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
                connection, peer = super().get_request()
                return (tls.wrap_socket(connection, server_side=True) if tls else connection), peer

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> "HttpServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Dripper:
    """Lets `prepare` talk, says `opening`, then `drip` for ever, until the client is gone."""

    def __init__(
        self,
        opening: bytes = b"",
        drip: bytes = b"x",
        prepare: Callable[[socket.socket], socket.socket] = lambda sock: sock,
    ) -> None:
        self.gone = queue.Queue[str]()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), prepare(self.request) as sock:
                    sock.sendall(opening)
                    while not outer._stop.wait(0.02):
                        sock.sendall(drip)
                outer.gone.put("stopped" if outer._stop.is_set() else "client gone")

        self._stop = threading.Event()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> "Dripper":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Mail(NamedTuple):
    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    login: str | None
    was_encrypted: bool

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)


class MailServer:
    """Enough of ESMTP: STARTTLS, AUTH PLAIN and LOGIN, refused recipients, odd answers."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        implicit_tls: bool = False,
        starttls: bool = True,
        login: tuple[str, str] | None = None,
        auth: str = "PLAIN LOGIN",
        refuse: Sequence[str] = (),
        answers: dict[str, str] | None = None,
    ) -> None:
        self.tls, self.implicit_tls, self.login, self.auth = tls, implicit_tls, login, auth
        self.starttls = starttls and tls is not None and not implicit_tls
        self.refuse, self.answers = refuse, answers or {}
        self.mails: list[Mail] = []
        self.lines: list[str] = []
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    _Conversation(outer, self.request).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> "MailServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Conversation:
    def __init__(self, server: MailServer, sock: socket.socket) -> None:
        self.server, self.sock = server, sock
        self.is_encrypted = False
        self.sender, self.recipients = "", list[str]()
        self.login: str | None = None

    def run(self) -> None:
        if self.server.implicit_tls:
            self._encrypt()
        with contextlib.ExitStack() as stack:
            self.stack = stack
            stack.callback(lambda: self.sock.close())  # noqa: PLW0108 - the one at the end
            self.file = stack.enter_context(self.sock.makefile("rb"))
            self._say(self.server.answers.get("banner", "220 test ESMTP"))
            while line := self.file.readline().decode("utf-8").rstrip("\r\n"):
                self.server.lines.append(line)
                if self._answer(line) is False:
                    break

    def _encrypt(self) -> None:
        assert self.server.tls is not None
        self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
        self.is_encrypted = True

    def _say(self, text: str) -> None:
        self.sock.sendall(text.encode() + b"\r\n")

    def _answer(self, line: str) -> bool | None:
        verb, _, rest = line.partition(" ")
        verb = verb.upper()
        if verb in self.server.answers:
            if self.server.answers[verb] == "":
                return False
            self._say(self.server.answers[verb])
            return verb != "QUIT"
        return getattr(self, f"_{verb.lower()}", self._unknown)(rest)

    def _unknown(self, rest: str) -> None:
        self._say("502 unknown")

    def _ehlo(self, rest: str) -> None:
        features = ["test", "8BITMIME", "SMTPUTF8"]
        if self.server.starttls and not self.is_encrypted:
            features.append("STARTTLS")
        if self.server.login:
            features.append(f"AUTH {self.server.auth}")
        self._say("\r\n".join(f"250{' ' if f == features[-1] else '-'}{f}" for f in features))

    def _starttls(self, rest: str) -> None:
        self._say("220 go on")
        self.file.close()
        self._encrypt()
        self.file = self.stack.enter_context(self.sock.makefile("rb"))

    def _auth(self, rest: str) -> None:
        kind, _, first = rest.partition(" ")
        if kind == "PLAIN":
            _, user, password = base64.b64decode(first).decode().split("\0")
        else:
            user = base64.b64decode(first or self._ask("VXNlcm5hbWU6")).decode()
            password = base64.b64decode(self._ask("UGFzc3dvcmQ6")).decode()
        if (user, password) == self.server.login:
            self.login = user
            self._say("235 welcome")
        else:
            self._say(f"535 wrong: {user} {password}")  # a server that repeats what it must not

    def _ask(self, text: str) -> str:
        self._say(f"334 {text}")
        return self.file.readline().decode().strip()

    def _mail(self, rest: str) -> None:
        self.sender = rest.partition("<")[2].partition(">")[0]
        self._say("250 ok")

    def _rcpt(self, rest: str) -> None:
        address = rest.partition("<")[2].partition(">")[0]
        if address in self.server.refuse:
            self._say("550 5.1.1 no such user")
        else:
            self.recipients.append(address)
            self._say("250 ok")

    def _data(self, rest: str) -> None:
        self._say("354 go on")
        raw = b"".join(line[1:] if line.startswith(b".") else line for line in self._data_lines())
        if self.server.answers.get("data end"):
            self._say(self.server.answers["data end"])
            return
        mail = Mail(self.sender, tuple(self.recipients), raw, self.login, self.is_encrypted)
        self.server.mails.append(mail)
        self._say("250 taken")

    def _data_lines(self) -> Iterator[bytes]:
        while (line := self.file.readline()) not in (b".\r\n", b""):
            yield line

    def _rset(self, rest: str) -> None:
        self.recipients = []
        self._say("250 ok")

    def _quit(self, rest: str) -> bool:
        self._say("221 bye")
        return False
