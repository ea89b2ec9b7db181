"""Who may ask, and who may change anything: known hosts, and no page of another site."""

import socket
from collections.abc import Callable

import pytest
from starlette.datastructures import Headers

from api.live import Answer, Live, is_problem, parsed
from ppacer.api.guard import Guard
from ppacer.app.admission import hosts_of
from ppacer.config import Settings

CSP = {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"}
CSP |= {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"}


def status_for(live: Live, host: str) -> int:
    """The status of a GET with this Host header, byte for byte."""
    request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return parsed(live.raw(request.encode("latin-1"))).status


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9321",
        "127.0.0.1:1",
        "localhost",
        "LOCALHOST:9321",
        "LocalHost",
        "[::1]",
        "[::1]:9321",
    ],
)
def test_this_machine_is_answered_whatever_the_port_and_the_case(shared: Live, host: str) -> None:
    assert status_for(shared, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "evil.example:9321",
        "127.0.0.1.nip.io",  # names that resolve to this machine: DNS rebinding
        "localhost.evil.example",
        "localtest.me:9321",
        "127.0.0.2",
        "0.0.0.0",
        "localhost.",
        "2130706433",  # 127.0.0.1 as one number
        "0x7f.0.0.1",
        "[::]:9321",
        "[::ffff:127.0.0.1]",
    ],
)
def test_a_foreign_host_name_is_not_answered(shared: Live, host: str) -> None:
    assert status_for(shared, host) == 421


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        ":9321",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:123456",
        "user@127.0.0.1",
        "evil.example/@localhost",
        "localhost/../x",
        "localhost?x",
        "localhost#x",
        "localhost,evil.example",
        "local host",
        "[::1",
        "::1",
        "[127.0.0.1]x",
        "[v1.x]",
        "lócalhost",
        "http://localhost",
        "x" * 5000 + "@localhost",
    ],
)
def test_what_is_no_host_name_is_refused(shared: Live, host: str) -> None:
    assert status_for(shared, host) == 400


def test_a_request_without_a_host_or_with_two_is_refused(shared: Live) -> None:
    for hosts in ("", "Host: 127.0.0.1\r\nHost: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n"):
        for version in ("1.0", "1.1"):
            data = shared.raw(f"GET / HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n".encode())
            assert is_problem(parsed(data), 400, "bad_host"), data


def test_the_refusal_of_a_host_says_what_to_do(shared: Live) -> None:
    answer = shared.get("/", Host="ppacer.example")
    assert is_problem(answer, 421, "unknown_host")
    assert "'ppacer.example'" in answer.json["detail"]
    assert "PPACER_ALLOWED_HOSTS=ppacer.example" in answer.json["detail"]
    assert 'allowed_hosts = ["ppacer.example"]' in answer.json["detail"]


def test_a_foreign_host_gets_nothing_from_any_path_by_any_method(shared: Live) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/static/app.css"),
        ("GET", "/api/v1/dags"),
        ("HEAD", "/healthz"),
    ):
        assert shared.ask(method, path, headers={"Host": "evil.example"}).status == 421
    assert shared.post("/api/v1/dags/etl/trigger", Host="evil.example").status == 421


def test_allowed_hosts_are_answered_too(live: Callable[..., Live]) -> None:
    program = live(allowed_hosts=("Ppacer.Example", "10.0.0.7:80", "[fe80::7]", "fe80::8"))
    for host in (
        "ppacer.example:9321",
        "PPACER.EXAMPLE",
        "10.0.0.7",
        "[fe80::7]:9321",
        "[fe80::8]",
        "localhost",
    ):
        assert status_for(program, host) == 200, host
    assert status_for(program, "example") == 421


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_listens_on_all_addresses_answers_to_each_of_them(host: str) -> None:
    guard = Guard(_nobody, hosts_of(Settings(host=host)))

    def status(name: str) -> int:
        refusal = guard.refusal("GET", Headers({"host": name}), 0)
        return 200 if refusal is None else refusal.status_code

    for name in ("192.0.2.7:9321", "[fe80::7]:9321", "127.0.0.1", f"{socket.gethostname()}:9321"):
        assert status(name) == 200, name
    for name in ("evil.example", "192.0.2.7.nip.io", "0.0.0.0:9321", "[::]", "2130706433", "1.2.3"):
        assert status(name) == 421, name


def test_a_wildcard_among_the_allowed_hosts_opens_nothing() -> None:
    guard = Guard(_nobody, hosts_of(Settings(allowed_hosts=("0.0.0.0",))))
    refusal = guard.refusal("GET", Headers({"host": "192.0.2.7"}), 0)
    assert refusal is not None
    assert refusal.status_code == 421


async def _nobody(*_: object) -> None:
    raise AssertionError("nothing is asked for")


# -- changes ------------------------------------------------------

COMMANDS = [
    "/api/v1/dags/etl/trigger",
    "/api/v1/dags/etl/pause",
    "/api/v1/dags/etl/unpause",
    "/api/v1/runs/1/cancel",
    "/api/v1/runs/1/restart",
]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1"},  # another port is another origin
        {"Origin": "http://localhost:{port}"},  # another name too
        {"Origin": "http://{host}.evil.example"},
        {"Origin": "http://evil.example/http://{host}"},
        {"Origin": "http://user@{host}"},
        {"Origin": "http://{host}/"},
        {"Origin": "ftp://{host}"},
        {"Origin": "{host}"},
        {"Origin": "http://["},  # not even a URL
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "CROSS-SITE"},
        {"Sec-Fetch-Site": "anything"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    ],
    ids=str,
)
def test_another_site_changes_nothing(shared: Live, headers: dict[str, str]) -> None:
    filled = {name: value.format(host=shared.host, port=shared.port) for name, value in headers.items()}
    before = shared.rows()
    for path in COMMANDS:
        answer = shared.ask("POST", path, headers=filled)
        assert is_problem(answer, 403, "cross_origin"), (path, answer)
    assert shared.rows() == before


def test_one_wrong_header_among_right_ones_is_enough_to_refuse(shared: Live) -> None:
    own = f"http://{shared.host}"
    for pair in ((own, "http://evil.example"), ("http://evil.example", own), (own, "null")):
        lines = "".join(f"Origin: {origin}\r\n" for origin in pair)
        request = (
            f"POST /api/v1/dags/etl/pause HTTP/1.1\r\nHost: {shared.host}\r\n{lines}Content-Length: 0\r\n\r\n"
        )
        assert shared.raw(request.encode(), until=lambda data: b"}" in data).startswith(b"HTTP/1.1 403")


def test_a_form_of_another_site_changes_nothing(shared: Live) -> None:
    """The request that a page of another site can make without asking: a form whose text is JSON."""
    before = shared.rows()
    answer = shared.ask(
        "POST",
        "/api/v1/dags/etl/trigger",
        '{"params": {"country": "="}}',
        {"Origin": "https://evil.example", "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"},
    )
    assert answer.status == 403
    assert shared.rows() == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://{host}"},
        {"Origin": "HTTP://{host}"},
        {"Origin": "https://{host}"},
        {"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "localhost:1234", "Origin": "http://localhost:1234"},  # a forwarded port
    ],
    ids=str,
)
def test_programs_and_our_own_pages_may_change_things(shared: Live, headers: dict[str, str]) -> None:
    filled = {name: value.format(host=shared.host) for name, value in headers.items()}
    assert shared.ask("POST", "/api/v1/dags/etl/unpause", headers=filled).status == 200


def test_reading_is_allowed_from_a_link_on_another_site(shared: Live) -> None:
    headers = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = shared.ask("GET", "/", headers=headers)
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


def test_no_preflight_is_answered(shared: Live) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = shared.ask("OPTIONS", "/api/v1/dags/etl/trigger", headers=headers)
    assert answer.status == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


# -- headers ------------------------------------------------------


def is_hardened(answer: Answer) -> bool:
    """Whether the answer has the headers that keep a browser from doing anything with it."""
    headers = answer.headers
    return (
        headers["x-content-type-options"] == "nosniff"
        and headers["x-frame-options"] == "DENY"
        and headers["referrer-policy"] == "same-origin"
        and headers["cross-origin-resource-policy"] == "same-origin"
        and set(headers["content-security-policy"].split("; ")) >= CSP
        and "unsafe" not in headers["content-security-policy"]
        and "server" not in headers
    )


def test_every_answer_is_hardened(shared: Live) -> None:
    run_id = shared.run("failing")
    answers = [
        shared.get("/"),
        shared.get("/static/app.css"),
        shared.get("/healthz"),
        shared.get("/api/v1/dags"),
        shared.get(f"/api/v1/runs/{run_id}/logs"),
        shared.get("/nothing/here"),
        shared.get("/api/v1/dags/unknown"),
        shared.get("/", Host="evil.example"),
        shared.get("/api/v1/runs?limit=x"),
        shared.ask("HEAD", "/"),
        shared.ask("DELETE", "/api/v1/dags"),
        shared.post("/api/v1/dags/etl/trigger", "{"),
        shared.post("/api/v1/dags/etl/trigger", Origin="null"),
        shared.post(f"/api/v1/runs/{run_id}/cancel"),
        parsed(shared.raw(b"nonsense\r\n\r\n")),  # no request at all: the parser answers
    ]
    assert len({answer.status for answer in answers}) >= 7
    assert [answer for answer in answers if not is_hardened(answer)] == []


def test_what_may_change_is_not_cached(shared: Live) -> None:
    for path in ("/", "/healthz", "/api/v1/runs", "/api/v1/dags/unknown", "/nothing"):
        assert shared.get(path).headers["cache-control"] == "no-store", path
