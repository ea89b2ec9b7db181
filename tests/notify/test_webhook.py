import http
import json
import logging
import socket
import threading
import traceback
from datetime import timedelta
from typing import Any

import pytest

from notify.servers import WAIT, Certificate, Dripper, HttpServer, server_context
from ppacer.errors import ConfigError
from ppacer.notify import MsgData, NotifyError, WebhookSender
from ppacer.notify.webhook import CONTENT_MAX

SECRETS = ("T0KEN", "hunter2", "s3cret", "QUERY")


def failure_of(sender: WebhookSender, data: MsgData) -> NotifyError:
    """The error of sending, of which no part shows a secret."""
    with pytest.raises(NotifyError) as caught:
        sender.send("{dag_id} failed", data)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(sender)
    assert not [secret for secret in SECRETS if secret in shown]
    assert caught.value.__context__ is None
    return caught.value


def secretive(port: int, **options: Any) -> WebhookSender:
    url = f"http://user:hunter2@127.0.0.1:{port}/services/T0KEN?key=QUERY"
    return WebhookSender(url, headers={"X-Key": "s3cret"}, **options)


def test_the_message_arrives_as_json(http_server: HttpServer, data: MsgData) -> None:
    WebhookSender(http_server.url + "/hook?a=b%20c&d=é").send("{dag_id} failed: {task_run_error}", data)
    (request,) = http_server.requests
    assert (request.method, request.target) == ("POST", "/hook?a=b%20c&d=%C3%A9")
    assert request.headers["Content-Type"] == "application/json"
    text = "etl failed: ValueError: zażółć gęślą jaźń 🦆"
    assert json.loads(request.body) == {
        "text": text,
        "content": text,
        "allowed_mentions": {"parse": []},
        "dag_id": "etl",
        "exec_ts": "2024-03-11T12:00:00.000000Z",
        "task_id": "load",
        "retry": 2,
        "error": "ValueError: zażółć gęślą jaźń 🦆",
    }


def test_headers_and_login_are_sent_and_may_replace_ours(http_server: HttpServer, data: MsgData) -> None:
    url = f"http://us%40er:pass@127.0.0.1:{http_server.port}"
    WebhookSender(url, headers={"content-type": "application/x-thing", "X-Key": "k"}).send("x", data)
    (request,) = http_server.requests
    assert request.target == "/"
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["content-type"] == "application/x-thing"
    assert headers["x-key"] == "k"
    assert headers["authorization"] == "Basic dXNAZXI6cGFzcw=="


def test_the_payload_can_be_shaped(http_server: HttpServer, data: MsgData) -> None:
    sender = WebhookSender(http_server.url, payload=lambda text, data: {"chat_id": data.retry, "text": text})
    sender.send("{dag_id}", data)
    assert json.loads(http_server.requests[0].body) == {"chat_id": 2, "text": "etl"}


def test_a_payload_that_is_not_json_is_refused(http_server: HttpServer, data: MsgData) -> None:
    for value in (object(), float("nan"), {"a": {1}}):
        with pytest.raises(NotifyError, match="not a JSON value"):
            WebhookSender(http_server.url, payload=lambda text, data, v=value: v).send("x", data)  # type: ignore[misc]
    assert http_server.requests == []


def test_a_gigantic_error_stays_within_what_services_take(http_server: HttpServer, data: MsgData) -> None:
    big = MsgData("etl", data.exec_ts, task_run_error="y" * 5_000_000)
    WebhookSender(http_server.url).send("{task_run_error}{task_run_error}", big)
    body = json.loads(http_server.requests[0].body)
    assert len(body["content"]) == CONTENT_MAX
    assert len(http_server.requests[0].body) < 100_000


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_2xx_is_success(http_server: HttpServer, data: MsgData, status: int) -> None:
    http_server.status = status
    WebhookSender(http_server.url).send("x", data)


@pytest.mark.parametrize("status", [302, 308, 400, 404, 429, 500, 503, 799])
def test_any_other_status_is_a_failure_that_names_it(
    http_server: HttpServer, data: MsgData, status: int
) -> None:
    http_server.status = status
    http_server.answer_headers = {"Location": http_server.url + "/elsewhere"}
    http_server.answer = b"cannot POST /services/T0KEN"
    error = failure_of(secretive(http_server.port), data)
    assert error.status == status
    phrase = http.HTTPStatus(status).phrase if status != 799 else ""
    assert f"the webhook at 127.0.0.1 answered {status} {phrase}".strip() in str(error)
    assert len(http_server.requests) == 1, "neither retried nor redirected"
    assert ("redirects are not followed" in str(error)) == (status in (302, 308))


def test_nobody_there_is_a_failure_in_words(data: MsgData) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = failure_of(secretive(closed.getsockname()[1]), data)
    assert str(error) == "the webhook at 127.0.0.1 was not reached: connection refused"


def test_an_unknown_host_is_a_failure_in_words(data: MsgData) -> None:
    error = failure_of(WebhookSender("http://ppacer.invalid/T0KEN"), data)
    assert "ppacer.invalid was not reached: its name cannot be resolved" in str(error)


@pytest.mark.parametrize(
    "opening",
    [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["status", "headers", "continue"],
)
def test_a_server_that_drips_is_cut_off_at_the_timeout(opening: bytes, data: MsgData) -> None:
    with Dripper(opening) as server:
        error = failure_of(secretive(server.port, timeout=timedelta(milliseconds=300)), data)
        assert str(error) == "the webhook at 127.0.0.1 was not reached: it did not answer within 300ms"
        assert server.gone.get(timeout=WAIT) == "client gone"


def test_a_server_that_drips_over_tls_is_cut_off_at_the_timeout(trusted: Certificate, data: MsgData) -> None:
    tls = server_context(trusted.cert, trusted.key)
    with Dripper(prepare=lambda sock: tls.wrap_socket(sock, server_side=True)) as server:
        sender = WebhookSender(f"https://127.0.0.1:{server.port}/T0KEN", timeout=timedelta(milliseconds=500))
        assert "did not answer within 500ms" in str(failure_of(sender, data))
        assert server.gone.get(timeout=WAIT) == "client gone"


def test_a_server_that_never_answers_is_cut_off_at_the_timeout(data: MsgData) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        error = failure_of(secretive(silent.getsockname()[1], timeout=timedelta(milliseconds=200)), data)
    assert "did not answer within 200ms" in str(error)


def test_no_thread_is_left_behind(data: MsgData) -> None:
    with Dripper() as server, pytest.raises(NotifyError):
        secretive(server.port, timeout=timedelta(milliseconds=100)).send("x", data)
    for thread in threading.enumerate():
        if thread.name == "ppacer-notify":
            thread.join(WAIT)
            assert not thread.is_alive()


def test_an_answer_that_is_not_http_is_a_failure(data: MsgData) -> None:
    with Dripper(b"SSH-2.0-OpenSSH_9.2\r\n" + b"\r\n" * 10) as server:
        error = failure_of(secretive(server.port), data)
    assert "the conversation broke off" in str(error)


def test_nothing_secret_is_logged(
    http_server: HttpServer, data: MsgData, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        secretive(http_server.port).send("x", data)
    assert len(http_server.requests) == 1
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_https_works_with_a_trusted_certificate(trusted: Certificate, data: MsgData) -> None:
    with HttpServer(server_context(trusted.cert, trusted.key)) as server:
        WebhookSender(server.url + "/T0KEN").send("x", data)
        assert len(server.requests) == 1


def test_https_refuses_a_certificate_nobody_vouches_for(certificate: Certificate, data: MsgData) -> None:
    with HttpServer(server_context(certificate.cert, certificate.key)) as server:
        error = failure_of(WebhookSender(server.url + "/T0KEN"), data)
        assert "its certificate is not trusted (self-signed certificate)" in str(error)
        assert server.requests == []


def test_https_refuses_a_certificate_of_another_name(trusted: Certificate, data: MsgData) -> None:
    with HttpServer(server_context(trusted.cert, trusted.key)) as server:
        error = failure_of(WebhookSender(f"https://127.0.0.2:{server.port}/T0KEN"), data)
    assert "not reached" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "T0KEN",
        "ftp://host/T0KEN",
        "https:///T0KEN",
        "http://host:99999/T0KEN",
        "http://[::1/T0KEN",
        "http://host/T0KEN\r\nX: y",
        "http://host/ T0KEN",
        None,
        b"http://host/T0KEN",
    ],
)
def test_an_impossible_url_is_refused_without_showing_it(url: Any) -> None:
    with pytest.raises(ConfigError) as error:
        WebhookSender(url)
    assert "T0KEN" not in "".join(traceback.format_exception(error.value)).partition("Error: ")[2]


@pytest.mark.parametrize(
    "headers",
    [{"X-Key": "s3cret\r\nX: y"}, {"X-Key": "s3cret é"}, {"X Key": "v"}, {"": "v"}, {"X-Key": 5}],
)
def test_an_impossible_header_is_refused_without_its_value(headers: Any) -> None:
    with pytest.raises(ConfigError) as error:
        WebhookSender("http://host", headers=headers)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), timedelta(days=1), 10])
def test_an_impossible_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        WebhookSender("http://host", timeout=timeout)


def test_the_repr_shows_the_host_only() -> None:
    assert repr(WebhookSender("https://u:hunter2@hooks.example.com/T0KEN?key=QUERY")) == (
        "WebhookSender(https://hooks.example.com/…)"
    )
