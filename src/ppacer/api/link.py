"""The link to a scheduler over HTTP, for commands and executors: one request, its answer or our error.

Nothing is repeated here: what was sent once may have been carried out. Only of several schedulers, one of
which leads, the next one is asked when one cannot be reached or stands by. Connections are kept, one for each
thread that asks at the same time.
"""

import logging
import re
from collections import deque
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from urllib3 import exceptions
from urllib3.util import parse_url

from ppacer.api.exchange import CONNECT_SECONDS, Exchange, Reply
from ppacer.api.wire import ERRORS, Problem
from ppacer.errors import (
    CommandError,
    ConfigError,
    NotAdmittedError,
    NotTakenError,
    PpacerError,
    SchedulerUnavailable,
)

log = logging.getLogger("ppacer.api")

CONNECTIONS_MAX = 8  # that are kept; more can be open at once
T = TypeVar("T")


class BrokenConnection(SchedulerUnavailable):
    """The request was sent, and nobody knows what became of it."""


class Elsewhere(SchedulerUnavailable):
    """This scheduler has certainly not done what was asked: another one can be asked."""


NOT_SENT = (exceptions.ConnectTimeoutError, exceptions.SSLError)
VISIBLE = re.compile("[!-~]+")


class Question(msgspec.Struct, frozen=True):
    """One request, whose answer may take `wait` seconds."""

    method: str
    path: str
    wait: float
    body: bytes | None = None
    headers: dict[str, str] = {}


class Link:
    """The schedulers at one or more URLs, separated by commas: the one that leads is asked.

    `token` is what they know us by, if they want one.
    """

    def __init__(self, urls: str, token: str | None = None) -> None:
        self._places = [Place(url, token) for url in urls.split(",")]
        self._at = 0  # where it was answered last

    @property
    def url(self) -> str:
        """The scheduler that is asked now."""
        return self._places[self._at].url

    def close(self) -> None:
        """Closes the connections."""
        for place in self._places:
            place.close()

    def ask(self, question: Question, kind: type[T]) -> T:
        """The answer.

        Raises SchedulerUnavailable when there is none (BrokenConnection when the request was sent), else what
        the scheduler says.
        """
        for left in reversed(range(len(self._places))):
            at = self._at
            try:
                return self._places[at].ask(question, kind)
            except SchedulerUnavailable as error:
                self._at = (at + 1) % len(self._places)
                if not left or not isinstance(error, Elsewhere):
                    raise
                log.debug("asking the next scheduler: %s", error)
        raise AssertionError("there is at least one scheduler")


class Place:
    """One scheduler."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = checked_url(url)
        self._address = parse_url(self.url)
        self._prefix = (self._address.path or "").rstrip("/")
        self._headers = f"host: {self._address.netloc}\r\ncontent-type: application/json\r\n"
        if token:
            if not VISIBLE.fullmatch(token):
                raise ConfigError("the access token is none: it has a space or the like")
            self._headers += f"authorization: Bearer {token}\r\n"
        self._idle: deque[Exchange] = deque()
        self._is_closed = False

    def close(self) -> None:
        """Closes the connections; those in use after their request."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def ask(self, question: Question, kind: type[T]) -> T:
        """See `Link.ask`; raises Elsewhere when it was certainly not done."""
        try:
            answer = self._exchange(self._request(question), question.wait)
        except NOT_SENT as error:  # so are refused connections and unknown names
            raise Elsewhere(f"no scheduler answers at {self.url}: {_reason(error)}") from error
        except exceptions.HTTPError as error:
            raise BrokenConnection(f"no scheduler answers at {self.url}: {_reason(error)}") from error
        if answer.status >= 300:
            raise self._refusal(answer.status, answer.body)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandError(
                f"{self.url} does not answer as this version of ppacer expects: {error}"
            ) from error

    def _request(self, question: Question) -> bytes:
        """The whole request, as it is sent."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in question.headers.items())
        data = question.body or b""
        first = f"{question.method} {self._prefix}{question.path} HTTP/1.1"
        head = f"{first}\r\n{self._headers}{lines}content-length: {len(data)}"
        return head.encode("ascii") + b"\r\n\r\n" + data

    def _exchange(self, request: bytes, wait: float) -> Reply:
        """Asks on a connection that nobody uses now, or on another one."""
        try:
            exchange = self._idle.pop()
        except IndexError:
            exchange = Exchange(self._address)
        reply = exchange.ask(request, wait)
        if self._is_closed or len(self._idle) >= CONNECTIONS_MAX:
            exchange.close()
        else:
            self._idle.append(exchange)
        return reply

    def _refusal(self, status: int, body: bytes) -> PpacerError:
        """What the scheduler says in its error answer, as the error that it was there."""
        try:
            problem = msgspec.json.decode(body, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            what = NotTakenError if status in FINAL else SchedulerUnavailable
            return what(f"{self.url} answers with status {status}, but not as a ppacer does")
        if problem.code == "unknown_host":
            return ConfigError(f"{self.url}: {problem.detail}")
        kind = _ERRORS.get(problem.code, NotTakenError if status in FINAL else CommandError)
        return (Elsewhere if kind is SchedulerUnavailable else kind)(problem.detail)


# A bad request is no wrong option, whatever it was there.
_ERRORS = {kind.code: kind for kind, _ in ERRORS if kind is not ConfigError}
_ERRORS |= {"unauthorized": NotAdmittedError, "forbidden": NotAdmittedError}
FINAL = (400, 413, 422)
"""These mean what was sent: the same again would be answered in the same way."""


def checked_url(text: str) -> str:
    """The URL of a scheduler; `localhost:9321` is understood. Raises ConfigError."""
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parse_url(url).host) and parts.port != 0
    except ValueError:  # a port that is no number, a host that is no name
        is_right = False
    if not is_right:
        raise ConfigError(f"{text!r} is not the address of a scheduler; it looks like http://127.0.0.1:9321")
    return url.rstrip("/")


def _reason(error: exceptions.HTTPError) -> str:
    match error:
        case exceptions.NameResolutionError():
            return "the name of the host is not known"
        case exceptions.NewConnectionError():
            cause = error.__cause__
            return (cause.strerror if isinstance(cause, OSError) else None) or "no connection"
        case exceptions.ConnectTimeoutError():  # above them: both others are kinds of it
            return f"no connection within {CONNECT_SECONDS:g} s"
        case exceptions.TimeoutError():
            return "no answer in time; a command may still be carried out"
    return str(error)
