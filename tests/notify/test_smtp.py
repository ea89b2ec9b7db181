import logging
import socket
import ssl
import traceback
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify.servers import WAIT, Certificate, Dripper, MailServer, server_context
from ppacer.errors import ConfigError
from ppacer.notify import DEFAULT_FAILURE_TEMPLATE, EmailSender, MsgData, NotifyError, render


def mailer(server: MailServer | Dripper, **options: Any) -> EmailSender:
    given = {"security": "none", "sender": "ppacer <bot@example.com>", "recipients": ["ops@example.com"]}
    return EmailSender("127.0.0.1", port=server.port, **{**given, **options})


def failure_of(sender: EmailSender, data: MsgData) -> NotifyError:
    """The error of sending, of which no part shows the password."""
    with pytest.raises(NotifyError) as caught:
        sender.send("{dag_id} failed", data)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(sender)
    assert "hunter2" not in shown
    assert caught.value.__context__ is None
    return caught.value


def test_the_mail_arrives_with_subject_and_body(data: MsgData) -> None:
    with MailServer() as server:
        mailer(server, recipients=["ops@example.com", "Żółw <zolw@example.com>"]).send(
            DEFAULT_FAILURE_TEMPLATE, data
        )
        (mail,) = server.mails
    assert (mail.sender, mail.recipients) == ("bot@example.com", ("ops@example.com", "zolw@example.com"))
    message = mail.message
    assert message["Subject"] == "ppacer: task load of dag etl failed"
    assert message["From"] == "ppacer <bot@example.com>"
    assert message["To"] == "ops@example.com, Żółw <zolw@example.com>"
    assert message["Date"] is not None
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().replace("\r\n", "\n") == render(DEFAULT_FAILURE_TEMPLATE, data)
    assert mail.raw.isascii(), "every server takes it"


def test_a_second_try_has_the_same_message_id_and_another_message_has_not(data: MsgData) -> None:
    with MailServer() as server:
        for template in ("{dag_id}", "{dag_id}", "{task_id}"):
            mailer(server).send(template, data)
        first, second, other = [mail.message["Message-ID"] for mail in server.mails]
    assert first == second != other
    assert first.endswith("@example.com>")


def test_a_hostile_subject_adds_no_header(data: MsgData) -> None:
    hostile = MsgData(
        "etl", data.exec_ts, task_run_error="a\rBcc: x@evil.example\x00\x85\u2028b\r\nBcc: y\r\n.\r\nend"
    )
    with MailServer() as server:
        mailer(server).send("{task_run_error}", hostile)
        (mail,) = server.mails
    assert mail.recipients == ("ops@example.com",)
    assert mail.message["Bcc"] is None
    assert mail.message["Subject"] == "a"
    assert mail.message.get_content().endswith("end\r\n"), "a lone dot did not end the message"


@settings(max_examples=60)
@given(st.text(st.characters()))
def test_any_text_can_be_sent(text: str) -> None:
    from datetime import UTC, datetime

    facts = MsgData("etl", datetime(2024, 3, 11, tzinfo=UTC), task_run_error=text)
    with MailServer() as server:
        mailer(server).send("{task_run_error}\n{dag_id}", facts)
        (mail,) = server.mails
    assert mail.message["Bcc"] is None
    assert mail.raw.isascii()
    assert b"\0" not in mail.raw
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 998
    sent = render("{task_run_error}", facts)
    assert mail.message.get_content().splitlines()[: len(sent.splitlines())] == sent.splitlines()


def test_starttls_and_login_work(trusted: Certificate, data: MsgData) -> None:
    tls = server_context(trusted.cert, trusted.key)
    with MailServer(tls, login=("bot", "hunter2 \\=")) as server:
        mailer(server, security="starttls", username="bot", password="hunter2 \\=").send("x", data)
        (mail,) = server.mails
    assert (mail.login, mail.was_encrypted) == ("bot", True)


def test_implicit_tls_and_the_older_login_work(trusted: Certificate, data: MsgData) -> None:
    tls = server_context(trusted.cert, trusted.key)
    with MailServer(tls, implicit_tls=True, login=("bot", "hunter2"), auth="LOGIN") as server:
        mailer(server, security="tls", username="bot", password="hunter2").send("x", data)
        (mail,) = server.mails
    assert (mail.login, mail.was_encrypted) == ("bot", True)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_untrusted_certificate_gets_neither_login_nor_mail(
    certificate: Certificate, data: MsgData, security: str
) -> None:
    tls = server_context(certificate.cert, certificate.key)
    with MailServer(tls, implicit_tls=security == "tls", login=("bot", "hunter2")) as server:
        error = failure_of(mailer(server, security=security, username="bot", password="hunter2"), data)
        assert "its certificate is not trusted (self-signed certificate)" in str(error)
        assert server.mails == []
        assert not [line for line in server.lines if line.startswith(("AUTH", "MAIL"))]


def test_a_server_without_starttls_gets_neither_login_nor_mail(data: MsgData) -> None:
    with MailServer(login=("bot", "hunter2")) as server:
        error = failure_of(mailer(server, security="starttls", username="bot", password="hunter2"), data)
        assert "STARTTLS extension not supported" in str(error)
        assert not [line for line in server.lines if line.startswith(("AUTH", "MAIL"))]


def test_a_wrong_password_is_not_repeated_in_the_error(data: MsgData) -> None:
    with MailServer(login=("bot", "other")) as server:
        error = failure_of(mailer(server, username="bot", password="hunter2"), data)
    assert "it refused the login (535)" in str(error)
    assert error.status == 535


def test_a_partly_refused_mail_counts_as_sent_and_is_logged(
    data: MsgData, caplog: pytest.LogCaptureFixture
) -> None:
    with MailServer(refuse=["gone@example.com"]) as server:
        mailer(server, recipients=["gone@example.com", "ops@example.com"]).send("x", data)
        assert [mail.recipients for mail in server.mails] == [("ops@example.com",)]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "refused recipient gone@example.com: 550 5.1.1 no such user" in record.getMessage()


def test_a_mail_that_everybody_is_refused_fails(data: MsgData) -> None:
    with MailServer(refuse=["ops@example.com"]) as server:
        error = failure_of(mailer(server), data)
    assert "it refused every recipient (ops@example.com: 550 5.1.1 no such user)" in str(error)
    assert error.status == 550


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"banner": "554 go away"}, "it said 554 go away"),
        ({"MAIL": "451 greylisted"}, "it said 451 greylisted"),
        ({"data end": "552 too large"}, "it said 552 too large"),
        ({"MAIL": ""}, "it closed the connection"),
        ({"banner": "hello there"}, "did not take the message"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_server(answers: Any, words: str, data: MsgData) -> None:
    with MailServer(answers=answers) as server:
        assert words in str(failure_of(mailer(server), data))


def test_a_rude_goodbye_does_not_undo_a_delivery(data: MsgData) -> None:
    for goodbye in ("500 what?", ""):
        with MailServer(answers={"QUIT": goodbye}) as server:
            mailer(server).send("x", data)
            assert len(server.mails) == 1


def test_nobody_there_is_a_failure_in_words(data: MsgData) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        sender = EmailSender("127.0.0.1", port=port, sender="a@b.example", recipients="c@d.example")
        assert "connection refused" in str(failure_of(sender, data))


def starttls(tls: ssl.SSLContext, sock: socket.socket) -> socket.socket:
    """The server's side of a conversation up to the encrypted one."""
    for said in (b"220 hi\r\n", b"250-hi\r\n250 STARTTLS\r\n", b"220 go on\r\n"):
        sock.sendall(said)
        if not said.endswith(b"go on\r\n"):
            sock.recv(1000)
    return tls.wrap_socket(sock, server_side=True)


@pytest.mark.parametrize(
    ("security", "opening", "drip"),
    [
        ("none", b"", b"2"),
        ("none", b"220 hi\r\n", b"250-x\r\n"),
        ("tls", b"", b"2"),
        ("starttls", b"", b"250-x\r\n"),
    ],
)
def test_a_server_that_drips_is_cut_off_at_the_timeout(
    security: Any, opening: bytes, drip: bytes, data: MsgData, trusted: Certificate
) -> None:
    tls = server_context(trusted.cert, trusted.key)
    prepare: Any = {
        "none": lambda sock: sock,
        "tls": lambda sock: tls.wrap_socket(sock, server_side=True),
        "starttls": lambda sock: starttls(tls, sock),
    }[security]
    with Dripper(opening, drip, prepare) as server:
        half_a_second = timedelta(milliseconds=500)
        error = failure_of(mailer(server, security=security, timeout=half_a_second), data)
        assert server.gone.get(timeout=WAIT) == "client gone"
    assert "it did not answer within 500ms" in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"sender": "nobody"},
        {"sender": "a@b.example\r\nBcc: x@y.example"},
        {"sender": "a@b.example, c@d.example"},
        {"recipients": []},
        {"recipients": ["ops@example.com", "a b@c"]},
        {"recipients": "ops@example.com\nBcc: x@y.example"},
        {"recipients": [None]},
        {"username": "bot"},
        {"password": "hunter2"},
        {"username": "bot", "password": "hunter2 żółć"},
        {"security": "ssl"},
        {"host": ""},
        {"host": "mail.example.com\r\n"},
        {"port": 0},
        {"port": 65_536},
        {"timeout": 5},
    ],
)
def test_an_impossible_option_is_refused(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"host": "mail", "sender": "a@b.example", "recipients": ["c@d.example"]}
    with pytest.raises(ConfigError) as error:
        EmailSender(**{**given, **options})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_from_the_security(security: Any, port: int) -> None:
    sender = EmailSender("mail", sender="a@b.example", recipients="c@d.example", security=security)
    assert (sender.port, sender.recipients) == (port, ["c@d.example"])


def test_the_repr_does_not_show_the_login() -> None:
    sender = EmailSender(
        "mail", sender="a@b.example", recipients="c@d.example", username="u", password="hunter2"
    )
    assert repr(sender) == "EmailSender(mail:587, starttls, to c@d.example)"
