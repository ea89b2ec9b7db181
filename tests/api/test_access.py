"""Who may do what: every route with every credential, and how tokens come and go."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from api.dags import talking
from api.live import Answer, Live, is_problem, until
from ppacer.api.access import PERMISSIONS, Permission
from ppacer.api.door import Door
from ppacer.api.executors import executor_routes
from ppacer.api.openapi import openapi_route
from ppacer.api.route import Route
from ppacer.api.routes import routes
from ppacer.api.secret import hash_of, new_id, new_secret
from ppacer.app.alone import obeyed
from ppacer.choices import Role
from ppacer.clock import SystemClock
from ppacer.errors import ConfigError
from ppacer.scheduler import CreateToken, RevokeToken
from ppacer.ui.pages import site

EVERY = [
    openapi_route([]),
    *executor_routes(cast(Door, None)),
    *routes(cast(Door, None)),
    *site(cast(Door, None)).routes,
]
BAD = ("none", "garbage", "revoked", "expired")
CREDENTIALS = (*BAD, *(str(role) for role in Role))
IDS = {
    "dag_id": "talking",
    "task_id": "talk",
    "run_id": "999",
    "retry": "0",
    "executor": "nobody",
    "executor_name": "nobody",
    "name": "nobody",
}
IDS["backfill_id"] = "999"


def made(db: Path, name: str, role: Role, expires: timedelta | None = None) -> str:
    """A token in a database that no scheduler has; its secret."""
    secret = new_secret()
    end = None if expires is None else SystemClock().now().utc + expires
    obeyed(str(db), db, CreateToken(name, role, end, new_id(), hash_of(secret)))
    return secret


@dataclass(frozen=True)
class Guarded:
    """A program that lets nobody in without a token, and the secrets by their names."""

    live: Live
    secrets: dict[str, str | None]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    db = folder / "scheduler.db"
    secrets: dict[str, str | None] = {str(role): made(db, f"a-{role}", role) for role in Role}
    secrets |= {"none": None, "garbage": new_secret(), "revoked": made(db, "gone", Role.ADMIN)}
    secrets["expired"] = made(db, "old", Role.ADMIN, timedelta(hours=1))
    obeyed(str(db), db, RevokeToken("gone"))
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE tokens SET ExpiresAt = '2020-01-01T00:00:00.000000Z' WHERE Name = 'old'")
    with Live(folder, talking(), require_token=True) as live:
        yield Guarded(live, secrets)


def asked(live: Live, route: Route, headers: dict[str, str]) -> Answer:
    """One request for the route, about things that mostly do not exist."""
    return live.ask(route.method, route.path.format_map(IDS), headers={**headers})


def credential(secret: str | None, way: str) -> dict[str, str]:
    if secret is None:
        return {}
    return {"Authorization": f"Bearer {secret}"} if way == "header" else {"Cookie": f"ppacer_token={secret}"}


@pytest.mark.parametrize("way", ["header", "cookie"])
@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("route", EVERY, ids=lambda route: f"{route.method} {route.path}")
def test_each_route_with_each_credential(guarded: Guarded, route: Route, name: str, way: str) -> None:
    answer = asked(guarded.live, route, credential(guarded.secrets[name], way))
    if route.permission is Permission.PUBLIC:
        assert answer.status in (200, 303, 401)  # 401: the form without a token that counts
        assert answer.status != 401 or route.path == "/login"
    elif name in BAD:
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="ppacer"'
        assert answer.kind == "text/html" or is_problem(answer, 401, "unauthorized")
    elif route.permission in PERMISSIONS[Role(name)]:
        assert answer.status not in (401, 403)
    else:
        assert answer.status == 403
        assert answer.kind == "text/html" or is_problem(answer, 403, "forbidden")
        assert f"it needs {' or '.join(r for r in Role if route.permission in PERMISSIONS[r])}" in answer.text
    assert not (secret := guarded.secrets[name]) or secret not in answer.text


@pytest.mark.parametrize("way", ["header", "cookie"])
@pytest.mark.parametrize("route", [r for r in EVERY if r.method != "GET"], ids=lambda route: route.path)
def test_no_credential_helps_another_site(guarded: Guarded, route: Route, way: str) -> None:
    for foreign in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = asked(guarded.live, route, credential(guarded.secrets["admin"], way) | foreign)
        assert is_problem(answer, 403, "cross_origin")


def test_what_is_nowhere_is_told_to_nobody_without_a_token(guarded: Guarded) -> None:
    assert is_problem(guarded.live.get("/nowhere"), 401, "unauthorized")
    viewer = credential(guarded.secrets["viewer"], "header")
    assert is_problem(guarded.live.ask("GET", "/nowhere", headers={**viewer}), 404, "not_found")
    assert is_problem(guarded.live.ask("DELETE", "/api/v1/runs"), 401, "unauthorized")


@pytest.mark.parametrize("text", ["", "Bearer", "Bearer ", "Basic eA==", "Bearer a b", "bearer x", "\xe4"])
def test_a_malformed_credential_is_a_wrong_one(guarded: Guarded, text: str) -> None:
    answer = guarded.live.ask("GET", "/api/v1/dags", headers={"Authorization": text})
    assert is_problem(answer, 401, "unauthorized")


def test_the_header_counts_more_than_the_cookie(guarded: Guarded) -> None:
    headers = credential(guarded.secrets["viewer"], "header") | credential(guarded.secrets["admin"], "cookie")
    assert guarded.live.ask("GET", "/api/v1/tokens", headers={**headers}).status == 403


@pytest.mark.parametrize("foreign", ["a=b c", 'theme={"dark":true}', "[x]=1", "no value", "=", '"'])
def test_cookies_of_others_on_the_same_host_change_nothing(guarded: Guarded, foreign: str) -> None:
    own = credential(guarded.secrets["viewer"], "cookie")["Cookie"]
    for cookies in (f"{foreign}; {own}", f"{own}; {foreign}"):
        assert guarded.live.ask("GET", "/api/v1/dags", headers={"Cookie": cookies}).status == 200


def test_who_wanted_too_much_is_in_the_audit(guarded: Guarded) -> None:
    viewer, admin = (credential(guarded.secrets[name], "header") for name in ("viewer", "admin"))
    guarded.live.ask("POST", "/api/v1/runs/12/cancel", headers={**viewer})
    query = "/api/v1/audit?actor=a-viewer&command=cancel&run_id=12"
    until(lambda: guarded.live.ask("GET", query, headers={**admin}).json["audit"])
    [row] = guarded.live.ask("GET", query, headers={**admin}).json["audit"]
    assert (row["outcome"], row["address"], row["run_id"]) == ("forbidden", "127.0.0.1", 12)


def test_an_id_that_cannot_be_one_is_in_the_details_of_the_audit_alone(guarded: Guarded) -> None:
    """PostgreSQL has no text with a NUL: the transaction of everybody else would fail with it."""
    viewer, admin = (credential(guarded.secrets[name], "header") for name in ("viewer", "admin"))
    assert guarded.live.ask("POST", "/api/v1/dags/a%00b/pause", headers={**viewer}).status == 403
    query = "/api/v1/audit?actor=a-viewer&command=pause&limit=100"

    def rows() -> list[Any]:
        found = guarded.live.ask("GET", query, headers={**admin}).json["audit"]
        return [row for row in found if row["details"] == {"dag_id": "a\0b"}]

    until(rows)
    assert rows()[0]["dag_id"] is None


def test_no_secret_and_no_hash_is_told_or_logged(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    admin = credential(guarded.secrets["admin"], "header")
    told = "".join(
        guarded.live.ask("GET", path, headers={**admin}).text for path in ("/api/v1/tokens", "/api/v1/audit")
    )
    for secret in filter(None, guarded.secrets.values()):
        assert secret not in told + caplog.text
        assert hash_of(secret) not in told + caplog.text


# -- making and revoking -------------------------------------------------------------------------------------


def test_a_token_counts_from_its_making_to_its_end(guarded: Guarded) -> None:
    live, admin = guarded.live, credential(guarded.secrets["admin"], "header")
    answer = live.ask("POST", "/api/v1/tokens", {"name": "ci", "role": "operator"}, {**admin})
    assert answer.status == 201
    assert answer.json["token"]["created_by"] == "a-admin"
    own = credential(answer.json["secret"], "header")
    assert live.ask("GET", "/api/v1/dags", headers={**own}).status == 200
    assert live.ask("POST", "/api/v1/tokens/ci/revoke", headers={**admin}).status == 200
    assert is_problem(live.ask("GET", "/api/v1/dags", headers={**own}), 401, "unauthorized")


def test_the_secret_is_told_once_even_to_the_same_request(guarded: Guarded) -> None:
    headers = {**credential(guarded.secrets["admin"], "header"), "Idempotency-Key": "once"}
    body = {"name": "twice", "role": "viewer"}
    first, again = (guarded.live.ask("POST", "/api/v1/tokens", body, {**headers}).json for _ in range(2))
    assert first["token"] == again["token"]
    assert first["secret"].startswith("ppt_")
    assert again["secret"] is None


# -- the page ------------------------------------------------------------------------------------------------


def test_a_person_logs_in_and_out(guarded: Guarded) -> None:
    live = guarded.live
    assert 'action="/login"' in live.get("/").text
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{live.host}"}
    answer = live.ask("POST", "/login", f"token={guarded.secrets['viewer']}", {**form})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = live.ask("GET", "/dags", headers={"Cookie": cookie.split(";")[0]})
    assert page.status == 200
    assert "talking" in page.text
    out = live.ask("POST", "/logout", headers={**form})
    assert 'ppacer_token="";' in out.headers["set-cookie"]


def test_a_wrong_token_does_not_log_in(guarded: Guarded) -> None:
    for body in ("", "token=", "token=nonsense", "x" * 10_000, "token=%ff"):
        answer = guarded.live.ask("POST", "/login", body)
        assert answer.status == 401
        assert "set-cookie" not in answer.headers


def test_a_cookie_that_counts_no_more_is_forgotten(guarded: Guarded) -> None:
    answer = guarded.live.ask("GET", "/", headers=dict(credential(guarded.secrets["revoked"], "cookie")))
    assert answer.status == 401
    assert 'ppacer_token="";' in answer.headers["set-cookie"]


def test_a_page_and_its_stream_are_for_those_whom_the_api_tells_the_same(guarded: Guarded) -> None:
    needed = {route.path: route.permission for route in EVERY if route.method == "GET"}
    for path in ("/audit", "/live/audit", "/api/v1/audit"):
        assert needed[path] is Permission.ADMIN
        for role in (Role.VIEWER, Role.OPERATOR):
            answer = guarded.live.ask("GET", path, headers=dict(credential(guarded.secrets[role], "cookie")))
            assert answer.status == 403
            assert (answer.kind == "text/html") == (path == "/audit")
            assert f"the role {role}" in answer.text
            assert "it needs admin" in answer.text
    for path in ("/runs", "/live/runs", "/api/v1/runs"):
        assert needed[path] is Permission.VIEW


def test_a_tab_is_shown_to_who_may_open_it(guarded: Guarded) -> None:
    for role, tabs in ((Role.VIEWER, 0), (Role.OPERATOR, 0), (Role.ADMIN, 2)):  # the bar, and the keyboard
        answer = guarded.live.ask("GET", "/", headers=dict(credential(guarded.secrets[role], "cookie")))
        assert answer.text.count('href="/audit"') == tabs
        assert answer.text.count('href="/runs"') >= 2


# -- on this machine -----------------------------------------------------------------------------------------


def test_here_nobody_needs_a_token_but_one_that_is_given_counts(live: Callable[..., Live]) -> None:
    program = live(talking())
    assert program.get("/api/v1/tokens").status == 200
    secret = program.post("/api/v1/tokens", {"name": "v", "role": "viewer"}).json["secret"]
    viewer = {"Authorization": f"Bearer {secret}"}
    assert program.ask("GET", "/api/v1/dags", headers={**viewer}).status == 200
    assert program.ask("GET", "/api/v1/tokens", headers={**viewer}).status == 403
    assert program.ask("GET", "/api/v1/dags", headers={"Authorization": "Bearer x"}).status == 401


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"require_token": True}], ids=repr)
def test_a_start_without_any_token_is_refused_where_one_is_needed(
    live: Callable[..., Live], settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="ppacer token create NAME --role admin") as refusal:
        live(talking(), **settings)
    assert ("--insecure" in str(refusal.value)) == ("require_token" not in settings)  # where that would help


def test_insecure_lets_everybody_in(live: Callable[..., Live]) -> None:
    assert live(talking(), host="0.0.0.0", insecure=True).get("/api/v1/dags").status == 200
