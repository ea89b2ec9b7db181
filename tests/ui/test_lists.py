"""The pages that are lists of everything: runs, schedules, executors, the audit, and the search."""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from api.dags import NASTY, etl, failing, held, hold, nothing
from api.live import PATIENCE, Gate, Live, until
from ppacer import Dag
from ppacer.schedule import Cron, Fixed
from ppacer.store import audits
from ui.markup import Element
from ui.test_actions import send
from ui.test_dags import many, states
from ui.test_pages import page

Make = Callable[..., Live]
SOON = datetime.now(UTC) + timedelta(minutes=30)


def lines(tree: Element, kind: str) -> dict[str, Element]:
    """The rows of all lists whose ids begin with this word."""
    found = {line["id"]: line for table in tree.all("table") for line in table.one("tbody").all("tr")}
    return {id.removeprefix(f"{kind}-"): line for id, line in found.items() if id.startswith(f"{kind}-")}


@pytest.fixture
def ran(live: Make) -> Live:
    """A program with a run of each of three kinds: 1 by PL, 2 failed, 3 by DK."""
    program = live(etl(), failing())
    program.run("etl", country="PL")
    program.run("failing")
    program.run("etl", country=f"DK{NASTY}")
    return program


def test_every_list_says_why_a_run_has_not_ended(live: Make, gate: Gate) -> None:
    with Dag("held", schedule=Cron("0 4 1 1 *", tz="Asia/Tokyo"), max_active_runs=1) as dag:
        hold() >> nothing()
    program = live(dag)
    run_id = program.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    waiting = program.trigger("held")
    why = "hold is running"
    assert lines(page(program, "/runs"), "run")[str(run_id)].one("p", class_="reason").text == why
    assert why in lines(page(program, f"/runs/selected?do=cancel&run={run_id}"), "run")[str(run_id)].text
    room = "waits until another run ends: 1 run of the dag is running, and max_active_runs is 1"
    for path, row in (("/runs", f"run-{waiting}"), ("/", f"running-{waiting}"), ("/dags", "dag-held"),
                      ("/search?q=el", "dag-held")):  # fmt: skip
        assert page(program, path).one("tr", id=row).one("p", class_="reason").text == room
    assert room in page(program, "/dags/held").text
    gate.open()
    program.ended(waiting)
    assert not page(program, "/runs").all("p", class_="reason")


def test_times_of_runs_tell_the_clock_of_the_schedule_too(live: Make) -> None:
    with Dag("tokyo", schedule=Cron("0 4 1 1 *", tz="Asia/Tokyo")) as dag:
        nothing()
    program = live(dag, etl())
    tokyo, utc = program.run("tokyo"), program.run("etl")
    for path in ("/", "/runs", f"/runs/{tokyo}", f"/runs/{tokyo}/tasks/nothing"):
        there = page(program, path).all("time", **{"data-zone-of": "Asia/Tokyo"})
        assert there, path
        assert all(re.fullmatch(r".* Asia/Tokyo · .* UTC", time["title"]) for time in there)
    assert not page(program, f"/runs/{utc}").all("time", **{"data-zone-of": "Asia/Tokyo"})


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("", ["3", "2", "1"]),
        ("dag=etl", ["3", "1"]),
        ("dag=nothing", []),
        ("status=FAILED", ["2"]),
        ("status=failed&status=success&dag=etl", ["3", "1"]),
        ("text=FAIL", ["2"]),
        ("text=dk", ["3"]),
        ("text=%25", []),
        (f"text={quote('<script>')}", ["3"]),
        ("trigger=manual", ["3", "2", "1"]),
        ("trigger=schedule", []),
        ("last=1h", ["3", "2", "1"]),
        ("until=2020-01-01T00:00", []),
        ("since=2020-01-01T00:00&before=2", ["1"]),
        ("since=2199-01-01", []),
        ("since=2199-01-01&last=1h", []),
        ("since=2020-01-01&last=1h", ["3", "2", "1"]),
    ],
)
def test_runs_are_found_by_what_is_asked(ran: Live, question: str, found: list[str]) -> None:
    tree = page(ran, f"/runs?{question}")
    assert list(lines(tree, "run")) == found
    assert bool(found) != ("No run fits." in tree.text)


def test_the_slowest_are_a_part_of_those_that_fit(ran: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "slowest are shown" not in page(ran, "/runs?sort=slowest").text
    monkeypatch.setattr("ppacer.ui.runs.RUNS_MAX", 2)
    assert "Not more than the 2 slowest are shown" in page(ran, "/runs?sort=slowest").text


@pytest.mark.parametrize(
    "question",
    [
        "trigger=x",
        "last=2h",
        "since=x",
        "since=9999-99-99",
        "until=0001-01-01T00:00%2B01:00",
        "sort=x",
        "before=-1",
    ],
)
def test_what_cannot_be_asked_is_told(shared: Live, question: str) -> None:
    page(shared, f"/runs?{question}", 400)


def test_the_slowest_run_comes_first_when_asked_for(ran: Live) -> None:
    seconds = {}
    for run_id in (1, 2, 3):
        run = ran.get(f"/api/v1/runs/{run_id}").json["run"]
        begun, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at"))
        seconds[str(run_id)] = ended - begun
    slowest = list(lines(page(ran, "/runs?sort=slowest"), "run"))
    assert [seconds[run_id] for run_id in slowest] == sorted(seconds.values(), reverse=True)


def test_filters_stay_in_every_link_and_in_the_form(ran: Live) -> None:
    tree = page(ran, f"/runs?dag=etl&text={quote(NASTY)}&last=7d&status=SUCCESS")
    for link in tree.one("nav", **{"aria-label": "State"}).all("a"):
        asked = parse_qs(urlsplit(link["href"]).query)
        assert (asked["dag"], asked["text"], asked["last"]) == (["etl"], [NASTY], ["7d"])
        assert ("SUCCESS" in asked.get("status", [])) == (link.text != "SUCCESS")
    form = tree.one("form", class_="filters")
    assert form.one("input", name="text")["value"] == NASTY
    assert [one["value"] for one in form.all("option") if "selected" in one.attributes] == ["7d"]
    assert {one["value"] for one in form.all("input", type="hidden")} == {"etl", "SUCCESS"}


def test_pages_of_runs_lose_none(live: Make) -> None:
    program = live(etl())
    for _ in range(101):
        program.trigger("etl", rows=0)
    until(lambda: not program.get("/api/v1/runs?status=RUNNING&status=SCHEDULED").json["runs"])
    for question in ("", "?text=etl"):
        path: str | None = f"/runs{question}"
        found: list[str] = []
        while path is not None:
            tree = page(program, path)
            found += lines(tree, "run")
            path = next((link["href"] for link in tree.all("a", rel="next")), None)
        assert found == [str(number) for number in range(101, 0, -1)]


def has_restarted(program: Live, run_id: int) -> bool:
    return bool(program.ended(run_id)["run"]["restarts"])


def test_selected_runs_are_restarted_after_it_was_said_how_many(ran: Live) -> None:
    second = ran.run("failing")
    tree = page(ran, f"/runs/selected?do=restart&run=1&run=2&run={second}&run=999")
    form = tree.one("form", method="post")
    assert "2 runs of 1 dag will go on" in form.text
    assert "1 of the 3 selected stay as they are: they have not failed" in form.text
    assert form.one("button").text == "Restart 2 runs"
    answer = send(ran, form["action"], None, runs=form.one("input", name="runs")["value"])
    assert answer.headers["location"] == "/runs"
    for run_id in (2, second):
        until(partial(has_restarted, ran, run_id))
    commands = [(row["command"], row["run_id"]) for row in ran.get("/api/v1/audit").json["audit"]]
    assert {("restart", 2), ("restart", second)} <= set(commands)


def test_selected_runs_are_cancelled_and_one_that_ended_meanwhile_stops_none(live: Make, gate: Gate) -> None:
    program = live(held(), etl(), grace=PATIENCE)
    ended, running = program.run("etl"), program.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    assert "Cancel 1 run" in page(program, f"/runs/selected?do=cancel&run={ended}&run={running}").text
    answer = send(program, "/runs/cancel", {"HX-Request": "true"}, runs=f"{ended} {running} 999")
    assert answer.text.startswith("1 run is being cancelled. 2 refused: ")
    gate.open()
    assert program.ended(running)["run"]["status"] == "CANCELLED"


@pytest.mark.parametrize("numbers", ["", "x", "1;2", "-1", "9" * 30])
def test_numbers_that_are_none_change_nothing(shared: Live, numbers: str) -> None:
    assert send(shared, "/runs/cancel", None, runs=numbers).status == 400


def test_nothing_selected_says_what_to_do(shared: Live) -> None:
    assert "tick some" in page(shared, "/runs/selected?do=cancel").one("main").text


# -- schedules -------------------------------------------------------------------------------------------


def test_a_lane_has_the_points_ahead_and_the_runs_behind(live: Make) -> None:
    with Dag("twice", schedule=Fixed(SOON, timedelta(hours=10))) as twice:
        nothing()
    with Dag("dense", schedule=Cron("* * * * *")) as dense:
        nothing()
    with Dag("never") as never:
        nothing()
    program = live(twice, dense, never)
    run_id = program.run("twice")
    every = lines(page(program, "/schedules"), "dag")
    assert list(every) == ["dense", "twice"]
    lane = every["twice"].one("svg")
    assert lane["aria-label"] == "1 run behind, 3 ahead"
    assert lane.one("path", class_="point")["d"].count("M") == 3
    mark, here = lane.one("rect", class_="mark"), lane.one("line", class_="here")
    assert float(mark["x"]) == pytest.approx(float(here["x1"]), abs=2)
    assert [link["href"] for link in lane.all("a")] == [f"/runs/{run_id}"]
    assert len(every["dense"].all("rect", class_="band")) == 1
    assert not every["dense"].all("path", class_="point")
    short = lines(page(program, "/schedules?span=6h"), "dag")["twice"].one("svg")
    assert short["aria-label"] == "1 run behind, 1 ahead"


def test_a_paused_and_a_disabled_dag_have_nothing_ahead(shared: Live, live: Make) -> None:
    program = live(etl())
    program.post("/api/v1/dags/etl/pause")
    paused = lines(page(program, "/schedules"), "dag")["etl"]
    assert (states(paused), paused.one("svg")["aria-label"]) == (["paused"], "0 runs behind, none ahead")
    broken = lines(page(shared, "/schedules"), "dag")["broken"]
    assert states(broken) == ["disabled"]
    assert NASTY in broken.one("p", class_="reason").text


def test_the_ticks_of_the_axis_divide_it_evenly(shared: Live) -> None:
    for span, step in (("6h", 1), ("24h", 4), ("7d", 24)):
        ticks = page(shared, f"/schedules?span={span}").one("span", class_="ticks").all("time")
        times = [datetime.fromisoformat(tick["datetime"]) for tick in ticks]
        assert {later - one for one, later in itertools.pairwise(times)} == {timedelta(hours=step)}
        assert times[0] < datetime.now(UTC) < times[-1] + timedelta(hours=step)


# -- executors, audit, search ----------------------------------------------------------------------------


def test_an_executor_shows_its_slots_and_what_it_runs(live: Make, gate: Gate) -> None:
    program = live(held(), slots=5)
    program.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    until(lambda: "1 of 5" in page(program, "/executors").text)
    tree = page(program, "/executors")
    assert "1 up, 1 task running on 5 slots" in tree.one("h1").text
    line = lines(tree, "executor")["local"]
    assert states(line) == ["UP"]
    assert float(line.one("rect", class_="used")["width"]) * 5 == float(
        line.one("rect", class_="room")["width"]
    )


def test_an_executor_is_drained_and_undrained_by_a_button(live: Make) -> None:
    program = live(etl())
    until(lambda: lines(page(program, "/executors"), "executor"))
    for state, button in (("UP", "Drain"), ("DRAINING", "Undrain"), ("UP", "Drain")):
        line = lines(page(program, "/executors"), "executor")["local"]
        assert states(line) == [state]
        assert ("it can be stopped" in line.text) == (state == "DRAINING")
        form = line.one("form")
        assert form.one("button").text == button
        assert send(program, form["action"]).headers["location"] == "/executors"


def test_what_the_audit_has_no_index_for_is_looked_for_in_steps(
    ran: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three triggers, then five pauses."""
    for _ in range(5):
        ran.post("/api/v1/dags/etl/pause")
    monkeypatch.setattr(audits, "LOOKED_MAX", 2)
    path: str | None = "/audit?command=trigger"
    found, pages = list[str](), 0
    while path is not None:
        tree = page(ran, path)
        found += lines(tree, "audit")
        pages += 1
        if pages == 1:
            assert "None of these 2 commands fits." in tree.text
        path = next((link["href"] for link in tree.all("a", rel="next")), None)
    assert found == ["3", "2", "1"]
    assert pages == 4
    assert len(lines(page(ran, "/audit"), "audit")) == 8
    assert list(lines(page(ran, "/audit?run=1&command=trigger"), "audit")) == ["1"]  # among those of the run


def test_the_audit_tells_who_did_what_and_what_was_refused(live: Make) -> None:
    program = live(etl(), failing())
    run_id = program.run("etl", country=NASTY)
    program.post("/api/v1/dags/failing/pause")
    program.post(f"/api/v1/runs/{run_id}/cancel")
    every = [*lines(page(program, "/audit"), "audit").values()]
    told = [[cell.text for cell in line.all("td")[1:4]] for line in every]
    assert told[0][:2] == ["cancel", f"run {run_id}"]
    assert told[0][2].startswith("conflict")
    assert told[1] == ["pause", "failing", "done"]
    assert told[2] == ["trigger", f"etl run {run_id}", "done"]
    assert NASTY in every[2].all("td")[4].text
    for question, count in (
        ("outcome=refused", 1), ("outcome=done", 2), ("command=pause", 1), ("dag=etl", 1),
        (f"run={run_id}", 2), ("actor=local", 3), ("actor=x", 0),
    ):  # fmt: skip
        assert len(lines(page(program, f"/audit?{question}"), "audit")) == count, question


def test_the_audit_links_to_the_runs_that_there_are(live: Make) -> None:
    program = live(etl())
    run_id = program.run("etl")
    assert program.post("/api/v1/runs/999999/cancel").status == 404
    cells = [line.all("td")[2] for line in lines(page(program, "/audit"), "audit").values()]
    assert [cell.text for cell in cells] == ["run 999999", f"etl run {run_id}"]
    links = [link["href"] for cell in cells for link in cell.all("a")]
    assert links == ["/audit?dag=etl", f"/runs/{run_id}"]


def test_the_search_finds_dags_and_leads_to_runs(live: Make) -> None:
    program = live(etl(), failing(), *many(3))
    run_id = program.run("etl")
    for text in (f"%23{run_id}", str(run_id), f"+{run_id}+"):
        answer = program.get(f"/search?q={text}")
        assert (answer.status, answer.headers["location"]) == (303, f"/runs/{run_id}")
    assert list(lines(page(program, "/search?q=NIGHT"), "dag")) == ["etl"]
    assert list(lines(page(program, "/search?q=d00"), "dag")) == ["d000", "d001", "d002"]
    assert "There is no run 999." in page(program, "/search?q=%23999").text
    page(program, f"/search?q={'9' * 400}")


@pytest.mark.parametrize("text", [NASTY, "", "%", "'; DROP TABLE dags", "\\", "ł" * 1_000])
def test_any_text_may_be_searched_for(shared: Live, text: str) -> None:
    assert text.split() == page(shared, f"/search?q={quote(text)}").one("h1").text.split()[1:]
