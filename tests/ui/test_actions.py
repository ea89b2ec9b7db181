"""Forms that change something: without scripts, with them, and by whom they may not be sent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Literal
from urllib.parse import urlencode

import pytest

from api.dags import NASTY, etl, failing, held
from api.live import Answer, Gate, Live, is_problem, until
from ppacer import Dag, TaskContext, task
from ui.markup import parse
from ui.test_pages import page

Make = Callable[..., Live]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def send(live: Live, path: str, headers: dict[str, str] | None = None, **fields: str) -> Answer:
    """A form, as a browser sends it."""
    own = {**FORM, "Origin": f"http://{live.host}", "Sec-Fetch-Site": "same-origin", **(headers or {})}
    return live.ask("POST", path, urlencode(fields), own)


def test_pause_and_unpause_lead_back_and_say_what_was_done(live: Make) -> None:
    program = live(etl())
    answer = send(program, "/dags/etl/pause", back="/dags?text=e")
    assert (answer.status, answer.headers["location"]) == (303, "/dags?text=e")
    assert program.get("/api/v1/dags/etl").json["paused_at"]
    cookie = SimpleCookie(answer.headers["set-cookie"])
    [name] = cookie
    shown = program.ask("GET", "/dags", headers={"Cookie": f"{name}={cookie[name].value}"})
    assert parse(shown.text).one("p", class_="notice").text.startswith("etl is paused")
    assert f'{name}="";' in shown.headers["set-cookie"]
    send(program, "/dags/etl/unpause")
    assert not program.get("/api/v1/dags/etl").json["paused_at"]
    commands = [row["command"] for row in program.get("/api/v1/audit").json["audit"]]
    assert commands[:2] == ["unpause", "pause"]


@pytest.mark.parametrize(
    "back", ["//evil.example/", "https://evil.example/", "/\\evil", "javascript:1", "/a\r\nX: y"]
)
def test_no_form_leads_away_from_here(shared: Live, back: str) -> None:
    answer = send(shared, "/dags/empty/trigger", back=back)
    assert answer.status == 303
    assert answer.headers["location"].startswith("/runs/")
    assert "x" not in answer.headers


def test_a_form_that_htmx_sends_is_answered_with_a_sentence(shared: Live) -> None:
    answer = send(shared, "/dags/empty/trigger", {"HX-Request": "true"})
    assert (answer.status, answer.kind) == (200, "text/plain")
    assert answer.text.endswith("of empty was started.")
    refused = send(shared, "/runs/999999/cancel", {"HX-Request": "true"})
    assert (refused.status, refused.kind) == (404, "text/plain")
    assert "no run 999999" in refused.text


def test_a_refused_command_is_told_on_a_page(shared: Live) -> None:
    run_id = shared.run("empty")
    answer = send(shared, f"/runs/{run_id}/cancel")
    assert answer.status == 409
    assert "ended" in parse(answer.text).one("main").text


def test_cancel_and_restart(live: Make, gate: Gate) -> None:
    program = live(held(), failing())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    assert send(program, f"/runs/{run_id}/cancel").headers["location"] == f"/runs/{run_id}"
    gate.open()
    assert program.ended(run_id)["run"]["status"] == "CANCELLED"
    failed = program.run("failing")
    send(program, f"/runs/{failed}/restart")
    until(lambda: program.ended(failed)["run"]["restarts"] == 1)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_site_can_send_no_form(shared: Live, headers: dict[str, str]) -> None:
    assert is_problem(send(shared, "/dags/empty/trigger", headers), 403, "cross_origin")


@dataclass
class Everything:
    """A parameter of each kind."""

    name: str
    count: int = 3
    share: float = 0.5
    sure: bool = False
    maybe: str | None = None
    size: Literal["S", "M"] = "M"
    ids: list[int] = field(default_factory=list)
    word: str = "x"
    flag: bool | None = None
    mode: Literal["fast", "slow"] | None = None
    few: list[str] | None = None
    some: list[int] | None = field(default_factory=lambda: [1])
    often: bool | None = field(default_factory=lambda: True)


@task
def look(ctx: TaskContext) -> Any:
    """Returns its parameters."""
    return str(ctx.run.params)


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Dag("asking", params=Everything) as dag:
        look()
    with Live(tmp_path_factory.mktemp("asking"), dag) as live:
        yield live


def test_a_form_has_a_field_for_each_parameter(asking: Live) -> None:
    form = page(asking, "/dags/asking/trigger").one("main").one("form")
    kinds = {
        element["name"]: element.attributes.get("type", element.name)
        for name in ("input", "select", "textarea")
        for element in form.all(name)
    }
    assert kinds == {
        "param.name": "text", "param.count": "number", "param.share": "number", "param.sure": "select",
        "param.maybe": "text", "param.size": "select", "param.ids": "textarea", "param.word": "text",
        "param.flag": "select", "param.mode": "select", "param.few": "textarea",
        "param.some": "textarea", "param.often": "select",
    }  # fmt: skip
    assert "required" in form.one("input", name="param.name").attributes
    assert form.one("input", name="param.count")["value"] == "3"
    chosen = [one.text for one in form.all("option") if "selected" in one.attributes]
    assert chosen == ["false", "M", "null", "null", ""]


def test_a_form_as_it_is_offered_gives_the_defaults(asking: Live) -> None:
    form = page(asking, "/dags/asking/trigger").one("main").one("form")
    chosen = {one["name"]: one.all("option") for one in form.all("select")}
    fields = {
        name: next(one for one in every if "selected" in one.attributes)["value"]
        for name, every in chosen.items()
    }
    texts = {one["name"]: one.attributes.get("value", "") for one in form.all("input")}
    lists = {one["name"]: one.text for one in form.all("textarea")}
    answer = send(asking, "/dags/asking/trigger", None, **{**fields, **texts, **lists, "param.name": "a"})
    params = asking.get(f"/api/v1{answer.headers['location']}").json["run"]["params"]
    assert params == {
        "name": "a", "count": 3, "share": 0.5, "sure": False, "maybe": None, "size": "M", "ids": [],
        "word": "x", "flag": None, "mode": None, "few": None, "some": [1], "often": True,
    }  # fmt: skip
    rows = page(asking, "/dags/asking/settings").one("table", **{"aria-labelledby": "params"}).all("tr")
    defaults = {row.one("th").text: row.all("td")[1].text for row in rows[1:]}
    assert (defaults["flag"], defaults["mode"], defaults["few"], defaults["word"]) == ("null",) * 3 + ("x",)
    assert {defaults["some"], defaults["often"]} == {"made for each run"}


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"param.name": "a"}, {"name": "a"}),
        ({"param.name": NASTY, "param.count": "7"}, {"name": NASTY, "count": 7}),
        ({"param.name": "a", "param.count": "", "param.share": "1e2"}, {"count": 3, "share": 100.0}),
        ({"param.name": "a", "param.sure": "true", "param.size": "S"}, {"sure": True, "size": "S"}),
        ({"param.name": "a", "param.maybe": "", "param.ids": "[1, 2]"}, {"maybe": None, "ids": [1, 2]}),
        ({"param.name": "a", "param.maybe": "null", "param.word": ""}, {"maybe": "null", "word": ""}),
    ],
)
def test_what_was_filled_in_becomes_the_parameters(
    asking: Live, fields: dict[str, str], params: dict[str, Any]
) -> None:
    answer = send(asking, "/dags/asking/trigger", None, **fields)
    assert answer.status == 303
    run = asking.get(f"/api/v1{answer.headers['location']}").json["run"]
    assert run["trigger"] == "manual"
    assert {**run["params"], **params} == run["params"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "parameter 'name' is missing"),
        (
            {"param.name": "a", "param.count": "x"},
            "parameter 'count' does not fit: 'x' is not a whole number",
        ),
        ({"param.name": "a", "param.count": "1.5"}, "parameter 'count' does not fit"),
        ({"param.name": "a", "param.ids": "[1, "}, "parameter 'ids' does not fit"),
        ({"param.name": "a", "param.size": NASTY}, "parameter 'size' does not fit"),
    ],
)
def test_what_does_not_fit_is_told_in_the_form_as_it_was_filled_in(
    asking: Live, fields: dict[str, str], words: str
) -> None:
    answer = send(asking, "/dags/asking/trigger", None, **fields)
    assert answer.status == 422
    tree = parse(answer.text)
    assert words in tree.one("p", role="alert").text
    assert tree.one("input", name="param.name")["value"] == fields.get("param.name", "")


def test_what_is_no_form_is_refused(asking: Live) -> None:
    many = "&".join(f"a{number}=1" for number in range(2_000))
    for body in (b"param.name=%ff", b"\xff", many.encode()):
        assert asking.ask("POST", "/dags/asking/trigger", body, {**FORM}).status == 400
