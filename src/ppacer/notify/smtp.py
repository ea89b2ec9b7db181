"""Notifications by e-mail."""

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from ppacer.clock import SystemClock, to_text
from ppacer.errors import ConfigError
from ppacer.notify.bounded import Line, check_timeout, reason, within
from ppacer.notify.message import MsgData, NotifyError
from ppacer.notify.senders import logger
from ppacer.notify.template import render, shortened, subject_of

if TYPE_CHECKING:
    from email.message import EmailMessage

Security = Literal["starttls", "tls", "none"]
PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SPEC = r"[^\s<>@,;:\"\x00-\x1f\x7f-\x9f]+"
_NAME = r"\"[^\"\\\x00-\x1f\x7f-\x9f]*\"\s*|[^\"<>@,;:\\\x00-\x1f\x7f-\x9f]*"
_ADDRESS = re.compile(rf"(?:{_NAME})<({_SPEC}@{_SPEC})>|({_SPEC}@{_SPEC})")


class EmailSender:
    """Sends plain text mail; the first line of the rendered template is the subject.

    `sender` and `recipients` are written `ops@example.com` or `Ops <ops@example.com>`. `security`: "starttls"
    (port 587; without STARTTLS on the server nothing is sent), "tls" (port 465) or "none" (port 25), always
    with the certificate verified (a CA of your own: SSL_CERT_FILE). The whole conversation takes `timeout` at
    most. When the server refuses some recipients and takes others, the mail counts as delivered and a warning
    is logged, because a retry would send it twice to those who have it.
    """

    def __init__(
        self,
        host: str,
        *,
        sender: str,
        recipients: str | Sequence[str],
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        security: Security = "starttls",
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        if security not in get_args(Security):
            raise ConfigError(f"security of an EmailSender is {security!r}; it must be starttls, tls or none")
        if (username is None) != (password is None):
            raise ConfigError("an EmailSender needs username and password together, or neither")
        if not f"{username}{password}".isascii():
            raise ConfigError("username and password of an EmailSender must be ASCII; smtplib sends no other")
        if not host or re.search(r"[\s\x00-\x1f/@]", host):
            raise ConfigError(f"host of an EmailSender is {host!r}; it must be a name or an address")
        self.host, self.port, self.security = host, PORTS[security] if port is None else port, security
        if not 1 <= self.port <= 65_535:
            raise ConfigError(f"port of an EmailSender is {port!r}; it must be 1 to 65535")
        self.sender = sender
        self.recipients = [recipients] if isinstance(recipients, str) else list(recipients)
        if not self.recipients:
            raise ConfigError("an EmailSender needs at least one recipient")
        self._from, *self._to = [_bare(address) for address in (sender, *self.recipients)]
        self._username, self._password = username, password
        self.timeout = check_timeout(timeout)

    def __repr__(self) -> str:
        return f"EmailSender({self.host}:{self.port}, {self.security}, to {', '.join(self.recipients)})"

    def send(self, template: str, data: MsgData) -> None:
        message = self._message(render(template, data), data)
        problem, status = None, None
        refused: dict[str, tuple[int, bytes]] = {}
        try:
            refused = within(self.timeout, lambda line: self._deliver(line, message))
        except Exception as error:
            problem, status = self._problem(error)
        # Raised outside of `except`: smtplib's error must not travel along as context, it quotes the server.
        if problem is not None:
            place = f"the mail server {self.host}:{self.port}"
            raise NotifyError(f"{place} did not take the message: {problem}", status)
        for address, (code, words) in refused.items():
            logger.warning("mail server %s refused recipient %s: %s", self.host, address, _said(code, words))

    def _message(self, text: str, data: MsgData) -> "EmailMessage":
        from email import policy
        from email.message import EmailMessage

        message = EmailMessage(policy.SMTP)
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Subject"] = subject_of(text)
        message["Date"] = SystemClock().now().utc
        # The same for every try: a server whose answer was lost can tell that it has the message already.
        facts = "\0".join([*self._to, to_text(data.exec_ts), str(data.task_id), str(data.retry), text])
        digest = hashlib.sha256(facts.encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{digest}@{self._from.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
        message.set_content(text, cte="quoted-printable")  # NUL and long lines are fine in it, too
        return message

    def _deliver(self, line: Line, message: "EmailMessage") -> dict[str, tuple[int, bytes]]:
        """Talks to the server; the recipients it refused, when it took the message for others."""
        import contextlib
        import smtplib
        import ssl

        seconds = self.timeout.total_seconds()
        base: type[smtplib.SMTP] = smtplib.SMTP_SSL if self.security == "tls" else smtplib.SMTP

        class Client(base):  # type: ignore[valid-type,misc]  # chosen at run time
            def getreply(self) -> Any:
                line.hold(self.sock)  # before each wait for the server: it may be a new one, after STARTTLS
                return super().getreply()

        options = {"context": ssl.create_default_context()} if self.security == "tls" else {}
        client: smtplib.SMTP = Client(self.host, self.port, timeout=seconds, **options)
        try:
            if self.security == "starttls":
                client.starttls(context=ssl.create_default_context())
            if self._username is not None and self._password is not None:
                client.login(self._username, self._password)
            refused = client.send_message(message, self._from, self._to)
            with contextlib.suppress(OSError):  # it has the message; how it says goodbye does not matter
                client.quit()
            return refused
        finally:
            client.close()

    def _problem(self, error: Exception) -> tuple[str, int | None]:
        """A sentence, and the server's code if it gave one; never what was said when logging in."""
        import smtplib

        match error:
            case smtplib.SMTPAuthenticationError():
                return f"it refused the login ({error.smtp_code})", error.smtp_code
            case smtplib.SMTPRecipientsRefused():
                replies = [f"{address}: {_said(*reply)}" for address, reply in error.recipients.items()]
                status = next(iter(error.recipients.values()))[0]
                return f"it refused every recipient ({'; '.join(replies)})", status
            case smtplib.SMTPResponseException():
                return f"it said {_said(error.smtp_code, error.smtp_error)}", error.smtp_code
            case smtplib.SMTPNotSupportedError():  # the sentences of this one are fixed texts of smtplib
                return str(error), None
            case smtplib.SMTPServerDisconnected() if error.__context__ is None:
                return "it closed the connection", None
        return reason(error, self.timeout), None


def _bare(address: str) -> str:
    """`ops@example.com` out of `Ops <ops@example.com>`; ConfigError when it is no address."""
    found = _ADDRESS.fullmatch(address.strip()) if isinstance(address, str) else None
    if found is None:
        raise ConfigError(f"{address!r} is no mail address; write ops@example.com or Ops <ops@example.com>")
    return found[1] or found[2]


def _said(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return shortened(f"{code} {' '.join(text.split())}", 300)
