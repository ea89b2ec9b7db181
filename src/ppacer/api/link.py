"""The link to a scheduler over HTTP, for commands and executors: one request, its answer or our error.

Nothing is repeated here: what was sent once may have been carried out. Only of several schedulers, one of
which leads, the next one is asked when one cannot be reached or stands by. Connections are kept, one for each
thread that asks at the same time.
"""

import logging
import os
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3 import exceptions

from ppacer.api.wire import ERRORS, Problem
from ppacer.errors import CommandError, ConfigError, PpacerError, SchedulerUnavailable

log = logging.getLogger("ppacer.api")

CONNECT_SECONDS = 5.0
CONNECTIONS_MAX = 8  # that are kept; more can be open at once
TOKEN = "PPACER_TOKEN"
T = TypeVar("T")


class BrokenConnection(SchedulerUnavailable):
    """The request was sent, and nobody knows what became of it."""


class Elsewhere(SchedulerUnavailable):
    """This scheduler has certainly not done what was asked: another one can be asked."""


BROKEN = (exceptions.ProtocolError, exceptions.ReadTimeoutError)


class Link:
    """The schedulers at one or more URLs, separated by commas: the one that leads is asked.

    `token` is what they know us by, from PPACER_TOKEN unless it is given.
    """

    def __init__(self, urls: str, token: str | None = None) -> None:
        self._places = [Place(url, token or os.environ.get(TOKEN)) for url in urls.split(",")]
        self._at = 0  # where it was answered last

    @property
    def url(self) -> str:
        """The scheduler that is asked now."""
        return self._places[self._at].url

    def close(self) -> None:
        """Closes the connections."""
        for place in self._places:
            place.close()

    def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: bytes | None,
        wait: float,
        more: Mapping[str, str] | None = None,
    ) -> T:
        """The answer, which may take `wait` seconds; `more` headers are sent.

        Raises SchedulerUnavailable when there is none (BrokenConnection when the request was sent), else what
        the scheduler says.
        """
        for left in reversed(range(len(self._places))):
            at = self._at
            try:
                return self._places[at].ask(method, path, kind, body, wait, more)
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
        self._prefix = urlsplit(self.url).path.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._pool = urllib3.connection_from_url(self.url, maxsize=CONNECTIONS_MAX, retries=False)

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: bytes | None,
        wait: float,
        more: Mapping[str, str] | None = None,
    ) -> T:
        """See `Link.ask`; raises Elsewhere when it was certainly not done."""
        try:
            answer = self._pool.urlopen(
                method,
                self._prefix + path,
                body=body,
                headers={**self._headers, **more} if more else self._headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=wait),
                redirect=False,
            )
        except exceptions.ConnectTimeoutError as error:  # so are refused connections and unknown names
            raise Elsewhere(f"no scheduler answers at {self.url}: {_reason(error)}") from error
        except exceptions.HTTPError as error:
            kind_of = BrokenConnection if isinstance(error, BROKEN) else SchedulerUnavailable
            raise kind_of(f"no scheduler answers at {self.url}: {_reason(error)}") from error
        if answer.status >= 300:
            raise self._refusal(answer.status, answer.data)
        try:
            return msgspec.json.decode(answer.data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandError(
                f"{self.url} does not answer as this version of ppacer expects: {error}"
            ) from error

    def _refusal(self, status: int, body: bytes) -> PpacerError:
        """What the scheduler says in its error answer, as the error that it was there."""
        try:
            problem = msgspec.json.decode(body, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return SchedulerUnavailable(f"{self.url} answers with status {status}, but not as a ppacer does")
        if problem.code == "unknown_host":
            return ConfigError(f"{self.url}: {problem.detail} (option allowed_hosts of the scheduler)")
        kind = _ERRORS.get(problem.code, CommandError)
        return (Elsewhere if kind is SchedulerUnavailable else kind)(problem.detail)


# A bad request is no wrong option, whatever it was there.
_ERRORS = {kind.code: kind for kind, _ in ERRORS if kind is not ConfigError}


def checked_url(text: str) -> str:
    """The URL of a scheduler; `localhost:9321` is understood. Raises ConfigError."""
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
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
        case exceptions.ReadTimeoutError():
            return "no answer in time; a command may still be carried out"
        case exceptions.ProtocolError():
            return "the connection broke"
    return str(error)
