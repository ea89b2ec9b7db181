"""Whatever is sent: an answer below 500 with a sentence, nothing changed, and the next request is served."""

import json
from typing import Any

import pytest

from api.live import Live, is_problem, parsed

TRIGGER = "/api/v1/dags/etl/trigger"
LIMIT = 2 * 1024 * 1024


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    """The body of a trigger whose parameter goes so deep."""
    return '{"params": {"more": ' + opening * depth + "1" + closing * depth + "}}"


# -- bodies ------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{]",
        b" ",
        b"hello",
        b"'{}'",
        b"{}{}",
        b"\x00",
        b"\xff\xfe",
        b'{"params": {"country": "\xff"}}',
        b'{"params": {"country": "\\ud800"}}',
        b'{"params": {"rows": NaN}}',
        b'{"params": {"rows": 01}}',
        b"params=x&y=z",
        nested(65).encode(),
        nested(65, '{"a": ', "}").encode(),
        nested(900).encode(),
        nested(100_000).encode(),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_body_that_is_not_json_is_refused(shared: Live, body: bytes) -> None:
    before = shared.rows()
    answer = shared.ask("POST", TRIGGER, body)
    assert is_problem(answer, 400, "bad_request"), answer
    assert shared.rows() == before


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        "null",
        "1",
        {"params": None},
        {"params": []},
        {"params": "country=PL"},
        {"parms": {}},
        {"params": {}, "exec_ts": "2026-01-01"},
        {"params": {}, "exec_ts": "2026-01-01T00:00:00"},
        {"params": {}, "exec_ts": "0001-01-01T00:00:00+01:00"},
        {"params": {}, "exec_ts": 1767225600},
        {"params": {"country": 1}},
        {"params": {"country": None}},
        {"params": {"rows": "3"}},
        {"params": {"rows": 3.5}},
        {"params": {"rows": True}},
        {"params": {"Country": "PL"}},
        {"params": {"": ""}},
        {"params": {"__class__": "x"}},
        '{"params": {"rows": 1e999}}',
        '{"params": {"rows": ' + "9" * 5000 + "}}",
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_body_that_does_not_fit_is_refused(shared: Live, body: Any) -> None:
    before = shared.rows()
    text = json.dumps(body) if body == "text" else body
    assert is_problem(shared.post(TRIGGER, text), 422, "not_possible")
    assert shared.rows() == before


@pytest.mark.parametrize(
    "path",
    ["/api/v1/dags/etl/pause", "/api/v1/runs/1/cancel", "/api/v1/runs/1/restart", "/api/v1/dags/etl/unpause"],
)
def test_a_command_without_parameters_takes_none(shared: Live, path: str) -> None:
    before = shared.rows()
    assert is_problem(shared.post(path, {"force": True}), 422, "not_possible")
    assert is_problem(shared.post(path, "{"), 400, "bad_request")
    assert shared.rows() == before


def test_a_body_may_be_left_out_or_be_an_empty_object(shared: Live) -> None:
    bodies: list[Any] = [None, "", "{}", {"params": {}}]
    for body in bodies:
        answer = shared.post(TRIGGER, body)
        assert answer.status == 201
        shared.ended(answer.json["run_id"])
        assert shared.post("/api/v1/dags/etl/unpause", body if body in (None, "") else {}).status == 200


def test_parameters_as_deep_as_allowed_can_be_stored_and_shown(shared: Live) -> None:
    answer = shared.post(TRIGGER, nested(61))
    assert answer.status == 201
    assert shared.ended(answer.json["run_id"])["run"]["params"]["more"][0][0]
    assert shared.get("/api/v1/runs").status == 200
    assert shared.get("/").status == 200


def test_unusual_values_come_back_as_they_were(shared: Live) -> None:
    country = 'zażółć \U0001f600 \x00 \u2028 </script> " \\ ' + "x" * 100_000
    run_id = shared.trigger("etl", country=country, more={"big": 10**40, "small": -1e-300, "": [None, {}]})
    params = shared.ended(run_id)["run"]["params"]
    assert params == {
        "country": country,
        "rows": 3,
        "more": {"big": 10**40, "small": -1e-300, "": [None, {}]},
    }
    assert shared.get("/api/v1/runs").status == 200
    assert shared.get("/").status == 200


def test_a_body_as_large_as_allowed_is_read(shared: Live) -> None:
    body = "{" + " " * (LIMIT - 2) + "}"
    assert shared.post("/api/v1/dags/etl/unpause", body).status == 200


def test_a_body_that_is_said_to_be_too_large_is_not_even_read(shared: Live) -> None:
    for length in (LIMIT + 1, 10**12, 10**18):
        request = f"POST {TRIGGER} HTTP/1.1\r\nHost: {shared.host}\r\nContent-Length: {length}\r\n\r\n"
        received = shared.raw(request.encode(), until=lambda data: data.endswith(b"}"))
        assert is_problem(parsed(received), 413, "body_too_large")


def test_a_body_in_chunks_is_refused_once_it_is_too_large(shared: Live) -> None:
    before = shared.rows()
    start = f"POST {TRIGGER} HTTP/1.1\r\nHost: {shared.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    received = shared.raw(start + chunk * (LIMIT // 65536 + 1), until=lambda data: data.endswith(b"}"))
    assert is_problem(parsed(received), 413, "body_too_large")
    assert shared.rows() == before


def test_a_body_in_chunks_is_read(shared: Live) -> None:
    start = f"POST {TRIGGER} HTTP/1.1\r\nHost: {shared.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    received = shared.raw(start + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", until=lambda data: data.endswith(b"}"))
    assert parsed(received).status == 201
    shared.ended(parsed(received).json["run_id"])


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 1e3",
        "Content-Length: x",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Bad Header: x",
        "No-Colon",
        " leading: space",
    ],
)
def test_a_request_whose_end_is_unclear_is_refused(shared: Live, lines: str) -> None:
    before = shared.rows()
    request = f"POST {TRIGGER} HTTP/1.1\r\nHost: {shared.host}\r\n{lines}\r\n\r\n0\r\n\r\n"
    received = shared.raw(request.encode(), until=lambda data: b"\r\n\r\n" in data)
    assert 400 <= parsed(received + b" " * 99).status < 500
    assert shared.rows() == before


# -- paths ------------------------------------------------------


@pytest.mark.parametrize(
    "id",
    [
        "unknown",
        "..",
        ".",
        "%2e%2e",
        "%2E%2E%2Fetc%2Fpasswd",
        "etl%00",
        "%00",
        "%0d%0aSet-Cookie:x=1",
        "z%C4%85b",
        "%FF%FE",
        "%ED%A0%80",
        "%",
        "%zz",
        "ETL",
        "etl%20",
        "'; DROP TABLE dags; --".replace(" ", "%20"),
        "<script>alert(1)</script>",
        "{{7*7}}",
        "x" * 201,
        "x" * 10_000,
        "%F0%9F%98%80" * 500,
    ],
    ids=lambda id: id[:30],
)
def test_an_unknown_id_is_not_found_wherever_it_stands(shared: Live, id: str) -> None:
    before = shared.rows()
    for path in (f"dags/{id}", f"dags/{id}/points", f"dags/{id}/why", f"dags/{id}/tasks/x/sources"):
        assert is_problem(shared.get(f"/api/v1/{path}"), 404, "not_found"), path
    for path in (f"dags/etl/tasks/{id}/sources", f"runs/{id}", f"runs/{id}/logs", f"runs/{id}/why"):
        assert is_problem(shared.get(f"/api/v1/{path}"), 404, "not_found"), path
    for path in (f"dags/{id}/trigger", f"dags/{id}/pause", f"dags/{id}/unpause", f"runs/{id}/cancel"):
        answer = shared.post(f"/api/v1/{path}")
        assert is_problem(answer, 404, "not_found"), path
        assert len(answer.body) < 1_000
    assert shared.rows() == before


@pytest.mark.parametrize(
    "id",
    [
        "0",
        "999999",
        "-1",
        "1.0",
        "1e3",
        "+1",
        "9" * 18,
        "9" * 19,
        "9" * 40,
        "9" * 5000,
        "%C2%B2",
        "%D9%A1",
        "0x1",
    ],
)
def test_a_run_that_is_not_there_is_not_found(shared: Live, id: str) -> None:
    """Also one whose number no database can hold: it must not reach the scheduler's thread."""
    for path in ("", "/logs", "/why", "/tasks/x/why", "/tasks/x/result"):
        assert is_problem(shared.get(f"/api/v1/runs/{id}{path}"), 404, "not_found"), path
    for path in ("/cancel", "/restart"):
        assert is_problem(shared.post(f"/api/v1/runs/{id}{path}"), 404, "not_found"), path
    assert shared.get("/healthz").status == 200
    assert shared.program.is_alive()


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "//",
        "//evil.example/api",
        "/api/v1/dags/",  # one path per thing: no redirects
        "/API/v1/dags",
        "/api/v2/dags",
        "/static/",
        "/static/../app.css",
        "/static/..%2f..%2fpages.py",
        "/static/%2e%2e/pages.py",
        "/static/app.css%00",
        "/[x",
        "/%00",
        "/%0d%0aX-Evil:1",
        "/" + "x" * 10_000,
        "/" + "a/" * 5_000,
        "/?" + "x" * 60_000,
    ],
    ids=lambda target: target[:30],
)
def test_a_path_that_is_not_there_is_not_found(shared: Live, target: str) -> None:
    answer = shared.get(target)
    if target.startswith("/?"):
        assert answer.status == 200
        return
    assert is_problem(answer, 404, "not_found")
    assert "x-evil" not in answer.headers
    assert len(answer.body) < 1_000


@pytest.mark.parametrize(
    "line",
    [
        b"GET /z\xc4\x85b HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET nothing HTTP/1.1",
        b"GET http://evil.example/ HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET / HTTX/1.1",
        b"GET /",
        b"GET  HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT localhost:80 HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"get / HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0",
        b"\x00" * 100,
        b"A" * 100_000,
    ],
    ids=lambda line: repr(line[:30]),
)
def test_a_strange_first_line_does_not_break_the_server(shared: Live, line: bytes) -> None:
    head = line + b"\r\nHost: " + shared.host.encode() + b"\r\nConnection: close\r\n\r\n"
    received = shared.raw(head)
    assert received == b"" or parsed(received).status < 500
    assert shared.get("/healthz").status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "POST", "PROPFIND"])
def test_a_method_that_a_path_does_not_have_is_named_with_those_it_has(shared: Live, method: str) -> None:
    for path in (
        "/",
        "/healthz",
        "/api/v1/dags",
        "/api/v1/dags/etl",
        "/api/v1/runs/1/logs",
        "/static/app.css",
    ):
        answer = shared.ask(method, path)
        assert is_problem(answer, 405, "method_not_allowed"), path
        assert {word.strip() for word in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_nothing_is_changed_by_reading(shared: Live) -> None:
    before = shared.rows()
    for path in (TRIGGER, "/api/v1/dags/etl/pause", "/api/v1/runs/1/cancel"):
        for method in ("GET", "HEAD"):
            answer = shared.ask(method, path)
            assert answer.status == 405
            assert answer.headers["allow"] == "POST"
    assert shared.rows() == before


def test_head_is_get_without_its_body(shared: Live) -> None:
    run_id = shared.run("etl")
    for path in (
        "/healthz",
        "/api/v1/dags/etl",
        f"/api/v1/runs/{run_id}/logs",
        "/static/app.css",
        "/nothing",
    ):
        head, get = shared.ask("HEAD", path), shared.get(path)
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
        assert head.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=-1",
        "limit=1.5",
        "limit=",
        "limit=%C2%B2",
        "limit=" + "9" * 5000,
        "before=x",
        "before=" + "9" * 19,
        "status=GOOD",
        "status=",
        "status=FAILED&status=%00",
        "dag_id=%00",
    ],
    ids=lambda query: query[:30],
)
def test_a_question_that_makes_no_sense_is_refused(shared: Live, query: str) -> None:
    assert is_problem(shared.get(f"/api/v1/runs?{query}"), 400, "bad_request")


@pytest.mark.parametrize(
    "query",
    [
        "level=LOUD",
        "level=%00",
        "retry=x",
        "retry=-1",
        "after=x",
        "tail=x",
        "wait=x",
        "wait=-1",
        "wait=1e9",
        "text=" + "x" * 1001,
        "task_id=%00",
    ],
    ids=lambda query: query[:30],
)
def test_a_question_for_logs_that_makes_no_sense_is_refused(shared: Live, query: str) -> None:
    run_id = shared.run("etl")
    assert is_problem(shared.get(f"/api/v1/runs/{run_id}/logs?{query}"), 400, "bad_request")


def test_hostile_filters_find_nothing(shared: Live) -> None:
    for text in ("' OR 1=1 --", "%", "_", "\\", "\ud7ff\U0001f600", '"', "é" * 300):
        from urllib.parse import quote

        assert shared.get(f"/api/v1/dags?tag={quote(text)}").json == {"dags": [], "next": None}
        assert shared.get(f"/api/v1/runs?dag_id={quote(text)}").json == {"runs": [], "next": None}
    assert shared.get("/api/v1/dags?tag=%FF%FE").status == 200
    assert shared.get("/api/v1/dags?after=%ED%A0%80").status == 200


def test_many_requests_may_follow_each_other_on_one_connection(shared: Live) -> None:
    """Errors included: a refused request does not leave its body behind as the next one."""
    with_body = (
        f"POST {TRIGGER} HTTP/1.1\r\nHost: {shared.host}\r\nOrigin: null\r\nContent-Length: 4\r\n\r\nGET "
    )
    plain = f"GET /healthz HTTP/1.1\r\nHost: {shared.host}\r\n\r\n"
    last = f"GET /healthz HTTP/1.1\r\nHost: {shared.host}\r\nConnection: close\r\n\r\n"
    received = shared.raw((with_body + plain + plain + last).encode())
    assert received.count(b"HTTP/1.1 403 ") == 1
    assert received.count(b"HTTP/1.1 200 ") == 3


def test_an_upgrade_to_something_else_is_ignored(shared: Live) -> None:
    lines = f"Host: {shared.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    request = f"GET /healthz HTTP/1.1\r\n{lines}\r\n\r\n"
    assert shared.raw(request.encode(), until=lambda data: data.endswith(b"}")).startswith(b"HTTP/1.1 200")
