"""Notifications by HTTP POST: Slack, Discord, Mattermost and whatever else accepts JSON."""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ppacer.clock import to_text
from ppacer.errors import ConfigError
from ppacer.notify.bounded import Line, check_timeout, reason, within
from ppacer.notify.message import MsgData, NotifyError
from ppacer.notify.template import VALUE_MAX, render, shortened

CONTENT_MAX = 2_000  # Discord refuses more; Slack and Mattermost take `text`, of which 16,000 is fine
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"  # what is encoded stays encoded
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")


def default_payload(text: str, data: MsgData) -> dict[str, Any]:
    """`text` is read by Slack, Mattermost and Rocket.Chat, `content` by Discord, the facts by programs.

    `allowed_mentions` keeps an `@everyone` in an error message from waking everyone on Discord.
    """
    return {
        "text": shortened(text, VALUE_MAX),
        "content": shortened(text, CONTENT_MAX),
        "allowed_mentions": {"parse": []},
        "dag_id": data.dag_id,
        "exec_ts": to_text(data.exec_ts),
        "task_id": data.task_id,
        "retry": data.retry,
        "error": None if data.task_run_error is None else shortened(data.task_run_error, VALUE_MAX),
    }


class WebhookSender:
    """POSTs JSON to `url`; any 2xx is success, everything else a NotifyError.

    `payload(text, data)` returns the JSON value to send; services that refuse unknown fields need their own:
    `lambda text, data: {"text": text}` for Google Chat, `{"chat_id": 42, "text": text[:4096]}` for Telegram.
    A user and password in the URL become an Authorization header. The whole conversation takes `timeout` at
    most, name lookup included; redirects are not followed; certificates are verified (a CA of your own:
    SSL_CERT_FILE). Of the URL only the host is ever shown: the path of a webhook is its password.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=10),
        payload: Callable[[str, MsgData], Any] = default_payload,
    ) -> None:
        self.host, self._port, self._tls, self._target, login = _address(url)
        own = {"Content-Type": "application/json", "User-Agent": "ppacer", **login}
        given = _check_headers(headers or {})
        replaced = {name.lower() for name in given}
        self._headers = {name: value for name, value in own.items() if name.lower() not in replaced} | given
        self.timeout = check_timeout(timeout)
        self.payload = payload

    def __repr__(self) -> str:
        return f"WebhookSender({'https' if self._tls else 'http'}://{self.host}/…)"

    def send(self, template: str, data: MsgData) -> None:
        body = _json(self.payload(render(template, data), data))
        status, problem = 0, None
        try:
            status = within(self.timeout, lambda line: self._post(line, body))
        except Exception as error:
            problem = reason(error, self.timeout)
        # Raised outside of `except`: the library's error must not travel along as context, it holds the URL.
        if problem is not None:
            raise NotifyError(f"the webhook at {self.host} was not reached: {problem}")
        if not 200 <= status < 300:
            raise NotifyError(f"the webhook at {self.host} answered {_status_in_words(status)}", status)

    def _post(self, line: Line, body: bytes) -> int:
        """The status of the answer, whose body is not read: it may hold what we sent, secrets included."""
        import ssl

        # A single connection and not a pool manager: that one would retry, and logs paths at DEBUG.
        from urllib3.connection import HTTPConnection, HTTPSConnection

        seconds = self.timeout.total_seconds()
        connection: HTTPConnection
        if self._tls:
            context = ssl.create_default_context()
            connection = HTTPSConnection(self.host, self._port, timeout=seconds, ssl_context=context)
        else:
            connection = HTTPConnection(self.host, self._port, timeout=seconds)
        try:
            connection.connect()
            line.hold(connection.sock)
            connection.request("POST", self._target, body, self._headers, preload_content=False)
            return int(connection.getresponse().status)
        finally:
            connection.close()


def _address(url: str) -> tuple[str, int | None, bool, str, dict[str, str]]:
    """Host, port, TLS, request target and login of a URL; no error shows the URL itself."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except (ValueError, TypeError, AttributeError):
        raise ConfigError("the URL of a webhook is not valid") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("the URL of a webhook must begin with http:// or https:// and a host name")
    if _UNSEEN.search(url):
        raise ConfigError(f"the URL of the webhook at {host} contains a space or a control character")
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_URL_SAFE)
    login = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return host, port, parts.scheme == "https", target, login


def _check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers; ConfigError, with names and no values, when one cannot be sent."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            raise ConfigError(f"a webhook cannot have a header named {name!r}")
        if not isinstance(value, str) or not value.isprintable() or not value.isascii():
            raise ConfigError(f"the value of header {name!r} of a webhook must be printable ASCII text")
    return dict(headers)


def _json(value: Any) -> bytes:
    import json

    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError) as error:
        problem = type(error).__name__
    raise NotifyError(f"the payload of a webhook is not a JSON value ({problem})")


def _status_in_words(status: int) -> str:
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
    return words + ("; redirects are not followed, use the final URL" if 300 <= status < 400 else "")
