"""The page of backfills: nothing is created before it was seen, and each can be looked after."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from api.dags import LONG_AGO, Order, etl, held, nothing, talk
from api.live import Live, until
from ppacer import Dag
from ppacer.schedule import Cron, Fixed
from ui.markup import Element
from ui.test_actions import send
from ui.test_pages import page

Make = Callable[..., Live]
RANGE = "from=2024-01-01T00:00&to=2024-01-11T00:00"


def daily() -> Dag:
    with Dag("daily", schedule=Cron("30 2 * * *", tz="Europe/Warsaw"), params=Order) as dag:
        talk()
    return dag


def started(tree: Element) -> dict[str, str]:
    """The fields of the form that starts it."""
    form = tree.one("form", class_="start")
    fields = {one["name"]: one["value"] for one in form.all("input")}
    return {name: value for name, value in fields.items() if not name.startswith("param.")}


def test_without_a_range_nothing_is_offered(live: Make) -> None:
    tree = page(live(daily()), "/dags/daily/backfill")
    assert "give a range" in tree.one("section", **{"aria-labelledby": "plan"}).text
    assert not tree.all("form", class_="start")


def test_what_would_be_created_is_shown_before_anything_is(live: Make) -> None:
    program = live(daily())
    tree = page(program, f"/dags/daily/backfill?{RANGE}&at_once=2&order=newest")
    plan = tree.one("section", **{"aria-labelledby": "plan"})
    assert "10 runs will be created, 2 at once, newest first." in plan.text
    assert "Mon 2024-01-01 02:30 +01:00" in plan.one("ul").text
    assert not program.get("/api/v1/runs").json["runs"]
    assert tree.one("input", name="from", type="datetime-local")["value"] == "2024-01-01T00:00"


def test_it_is_started_as_it_was_shown_with_parameters(live: Make) -> None:
    program = live(daily())
    fields = started(page(program, f"/dags/daily/backfill?{RANGE}"))
    answer = send(program, "/dags/daily/backfill", None, **fields, **{"param.country": "DK"})
    assert (answer.status, answer.headers["location"]) == (303, "/dags/daily/backfill")
    [one] = program.get("/api/v1/backfills").json["backfills"]
    until(lambda: program.get("/api/v1/backfills/1").json["backfill"]["state"] == "DONE")
    runs = program.get("/api/v1/runs").json["runs"]
    assert len(runs) == one["points"] == 10
    assert {(run["trigger"], run["params"]["country"]) for run in runs} == {("backfill", "DK")}
    link = page(program, f"/runs/{runs[0]['run_id']}").all("dl", class_="facts")[0].one("a")
    assert (link.text, link["href"]) == ("backfill 1", "/dags/daily/backfill#backfill-1")
    tree = page(program, f"/dags/daily/backfill?{RANGE}")
    row = tree.one("tr", id="backfill-1")
    assert "DONE" in row.text
    assert row.all("td")[1].text.startswith("Mon 2024-01-01 00:00 +01:00 – ")
    past = page(program, "/dags/daily/schedule").one("section", **{"aria-labelledby": "past"})
    assert "by backfill 1" in past.text
    assert "by hand" not in past.text
    assert "10 of 10" in row.text
    assert "0 runs will be created" in tree.text
    assert "10 of them have a run already" in tree.text


def test_a_range_in_another_zone_is_offered_on_the_clock_of_the_schedule(live: Make) -> None:
    tree = page(live(daily()), "/dags/daily/backfill?from=2024-01-01T00:00Z")
    assert tree.one("input", name="from", type="datetime-local")["value"] == "2024-01-01T01:00"


@pytest.mark.parametrize("query", ["from=2024-01-01T00:00Z&to=9999-12-31T23:59Z", "from=0001-01-01T00:00Z"])
def test_the_ends_of_the_calendar_are_answered(live: Make, query: str) -> None:
    assert live(daily()).get(f"/dags/daily/backfill?{query}").status in (200, 422)


def test_points_that_have_a_run_are_left_alone(live: Make) -> None:
    program = live(daily())
    program.post("/api/v1/dags/daily/trigger", {"exec_ts": "2024-01-02T01:30:00Z"})
    tree = page(program, f"/dags/daily/backfill?{RANGE}")
    assert "9 runs will be created" in tree.text
    assert "1 of them has a run already, and is left alone" in tree.text


def cancel_of(program: Live) -> list[str]:
    """What a cancel of backfill 1 would do."""
    row = page(program, "/dags/often/backfill").one("tr", id="backfill-1")
    return [item.text for item in row.one("details").all("li")]


def test_a_backfill_is_paused_goes_on_and_is_cancelled(live: Make) -> None:
    with Dag("often", schedule=Fixed(LONG_AGO, timedelta(minutes=1)), max_active_runs=1) as often:
        nothing()
    program = live(often)
    fields = {"from": "2020-01-01T00:00Z", "to": "2020-01-07T00:00Z", "at_once": "1", "order": "oldest"}
    send(program, "/dags/often/backfill", None, **fields)

    def labels() -> set[str]:
        row = page(program, "/dags/often/backfill").one("tr", id="backfill-1")
        return {button["aria-label"].split()[0] for button in row.all("button")}

    assert labels() == {"Pause", "Cancel"}
    send(program, "/backfills/1/pause")
    assert labels() == {"Let", "Cancel"}
    row = page(program, "/dags/often/backfill").one("tr", id="backfill-1")
    assert "is paused since" in row.one("p", class_="reason").text
    begun, points = (int(word) for word in re.findall(r"(\d+) of (\d+)", row.text)[0])
    assert f"{points - begun:,} points it has not come to will get no run of it" in cancel_of(program)
    until(lambda: [words.split()[-1] for words in cancel_of(program)] == ["it", "stay"])
    send(program, "/backfills/1/unpause")
    assert labels() == {"Pause", "Cancel"}
    answer = send(program, "/backfills/1/cancel")
    assert answer.headers["location"] == "/dags/often/backfill"
    until(lambda: not labels())


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=2024-01-02T00:00&to=2024-01-01T00:00", "so it is empty"),
        ("from=2024-01-01T03:00&to=2024-01-01T04:00", "has no points"),
        ("from=2199-01-01T00:00", ""),
    ],
)
def test_a_range_that_cannot_be_is_told_in_the_form(live: Make, query: str, words: str) -> None:
    tree = page(live(daily()), f"/dags/daily/backfill?{query}")
    assert words in tree.one("p", role="alert").text
    assert not tree.all("form", class_="start")


def test_fields_that_do_not_fit_are_refused_in_words(live: Make) -> None:
    program = live(daily())
    good = {"from": "2024-01-01", "to": "", "at_once": "2", "order": "oldest"}
    for bad in ({"at_once": "x"}, {"at_once": "0"}, {"from": ""}, {"from": "soon"}, {"param.rows": "many"}):
        answer = send(program, "/dags/daily/backfill", None, **{**good, **bad})
        assert answer.status in (400, 422), bad
    assert not program.get("/api/v1/backfills").json["backfills"]


def test_a_dag_without_a_schedule_says_what_to_do_instead(live: Make) -> None:
    assert "--exec-ts" in page(live(held()), "/dags/held/backfill").text


def test_an_empty_end_is_now(live: Make) -> None:
    program = live(etl())
    begin = datetime.now(UTC) - timedelta(days=3)
    tree = page(program, f"/dags/etl/backfill?from={begin:%Y-%m-%dT%H:%M}&to=")
    assert "3 runs will be created" in tree.text
