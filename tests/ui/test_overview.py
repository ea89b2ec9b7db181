"""The overview: what needs a look comes first."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.dags import LONG_AGO, NASTY, etl, failing, held, hold, nothing
from api.live import Gate, Live, until
from ppacer import Dag
from ppacer.clock import to_text
from ppacer.errors import StoreUnavailable
from ppacer.schedule import Cron, Fixed
from ppacer.ui.filters import relative
from ui.markup import Element
from ui.test_pages import page

Make = Callable[..., Live]


def section(tree: Element, id: str) -> Element:
    """A part of the page."""
    return tree.one("section", **{"aria-labelledby": id})


def test_a_first_start_teaches_the_next_step(live: Make) -> None:
    tree = page(live())
    assert "No dags yet." in tree.one("main").text
    assert "ppacer serve dags.py" in tree.one("main").text
    assert "No run has ended yet." in tree.text
    assert "Nothing is running." in tree.text
    assert tree.one("head").one("title").text == "Overview · ppacer"
    assert not tree.all("section", **{"aria-labelledby": "attention"})


def test_what_failed_last_and_what_is_disabled_needs_attention(shared: Live) -> None:
    run_id = shared.run("failing")
    items = section(page(shared), "attention").all("li")
    by_name = {item.one("a").text: item for item in items}
    assert f"run {run_id}, fail: ppacer.errors.DagError: it failed: {NASTY}" in by_name["failing"].text
    assert by_name["failing"].one("a")["href"] == f"/runs/{run_id}"
    assert by_name["broken"].one("a")["href"] == "/dags/broken"
    assert "FAILED" in by_name["failing"].text
    assert NASTY in by_name["broken"].text
    assert page(shared).one("head").one("title").text.startswith(f"{len(items)} to look at · ppacer")


def test_a_dag_that_has_succeeded_since_needs_none(live: Make) -> None:
    with Dag("mended") as mended:
        nothing()
    program = live(mended, failing())
    program.run("mended")
    assert "Nothing needs attention" in page(program).text
    program.run("failing")
    assert "Nothing needs attention" not in page(program).text


def test_runs_are_shown_while_they_run_and_when_they_have_ended(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    tree = page(program)
    assert [row.one("a")["href"] for row in section(tree, "running").one("tbody").all("tr")] == [
        f"/runs/{run_id}"
    ]
    assert not section(tree, "ended").all("table")
    gate.open()
    program.ended(run_id)
    tree = page(program)
    assert not section(tree, "running").all("table")
    assert "SUCCESS" in section(tree, "ended").one("tbody").text
    assert "1 run · 100 % succeeded" in section(tree, "day").text


def test_the_latest_end_comes_first_and_not_the_newest_run(live: Make, gate: Gate) -> None:
    program = live(held(), etl(), failing())
    first = program.trigger("held")
    until(gate.arrived.is_set)
    ended = [program.run("failing"), program.run("etl")]
    gate.open()
    program.ended(first)
    rows = section(page(program), "ended").one("tbody").all("tr")
    assert [row.one("a")["href"] for row in rows] == [f"/runs/{run}" for run in (first, *ended[::-1])]


def test_a_dag_that_failed_needs_attention_until_another_run_of_it_has_ended(live: Make, gate: Gate) -> None:
    program = live(held(), failing())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    long_ago, now = (to_text(datetime.now(UTC) - timedelta(days=days)) for days in (2, 0))
    failed = program.run("failing")
    gate.open()
    program.ended(run_id)
    gate.shut()
    again = program.trigger("held")
    until(lambda: "running" in page(program).one("tr", id=f"running-{again}").text.lower())
    write(program, "UPDATE dagruns SET Status = 'FAILED', EndedAt = ? WHERE RunId = ?", (now, run_id))
    write(program, "UPDATE dagruns SET EndedAt = ? WHERE RunId = ?", (long_ago, failed))
    assert [words.split()[1] for words in needs(program)] == ["held", "failing"], "the latest end first"
    gate.open()
    program.ended(again)
    assert [words.split()[1] for words in needs(program)] == ["failing"]


def test_drained_executors_need_attention_while_tasks_wait_for_them(live: Make) -> None:
    program = live(etl())
    until(lambda: program.get("/api/v1/executors").json["executors"])
    program.post("/api/v1/executors/local/drain")
    assert needs(program) == [], "nobody waits"
    run_id = program.trigger("etl")
    until(lambda: needs(program))
    assert "executor local is drained, 1 task waits" in needs(program)[0]
    [item] = section(page(program), "attention").all("li")
    assert item.one("a")["href"] == "/executors"
    program.post("/api/v1/executors/local/undrain")
    program.ended(run_id)
    assert needs(program) == []


def test_tasks_whose_label_no_executor_carries_need_attention_with_the_reason(live: Make) -> None:
    with Dag("train") as train:
        for id, labels in (("fit", ["gpu"]), ("store", ["disk"]), ("tune", ["gpu"])):
            nothing.with_options(id=id, labels=labels)()
    program = live(train, etl())
    until(lambda: program.get("/api/v1/executors").json["executors"])
    program.ended(program.trigger("etl"))
    assert needs(program) == []
    run_id = program.trigger("train")
    until(lambda: needs(program))
    none = "none that is up does"
    assert [words.removeprefix("○ ") for words in needs(program)] == [
        f"not taken 2 tasks wait for an executor that carries gpu: {none}",
        f"not taken 1 task waits for an executor that carries disk: {none}",
    ]
    row = page(program).one("tr", id=f"running-{run_id}").text
    assert f"fit and tune wait for an executor that carries gpu: {none}" in row
    assert f"store waits for an executor that carries disk: {none}" in row
    of_run = page(program, f"/runs/{run_id}").text
    assert of_run.count("an executor that carries disk; local, the only one, does not") == 2, "top and row"


def write(program: Live, *statement: Any) -> None:
    """Writes into the database of a program."""
    with closing(sqlite3.connect(program.db, timeout=60)) as connection, connection:
        assert connection.execute(*statement).rowcount == 1


def needs(program: Live) -> list[str]:
    """What needs attention, in words."""
    return [
        item.text for item in page(program).all("li") if item.parent and "attention" in item.parent.classes
    ]


def test_a_run_that_takes_far_longer_than_usual_needs_attention(live: Make, gate: Gate) -> None:
    program = live(held())
    gate.open()
    usual = [program.run("held") for _ in range(3)]
    gate.shut()
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    hour_ago = to_text(datetime.now(UTC) - timedelta(hours=1))
    write(program, "UPDATE dagruns SET StartedAt = ? WHERE RunId = ?", (hour_ago, run_id))
    assert f"run {run_id} usually takes" in needs(program)[0]
    assert "slow" in needs(program)[0]
    write(program, "UPDATE dagruns SET StartedAt = ? WHERE RunId = ?", (hour_ago, usual[0]))
    assert len(needs(program)) == 1, "the median of three"
    write(program, "UPDATE dagruns SET StartedAt = ? WHERE RunId = ?", (hour_ago, usual[1]))
    assert needs(program) == [], "an hour is usual"


def test_a_late_point_says_that_it_waits_for_room(live: Make, gate: Gate) -> None:
    with Dag("narrow", schedule=Fixed(LONG_AGO, timedelta(seconds=1)), max_active_runs=1) as narrow:
        hold()
    program = live(narrow)
    until(gate.arrived.is_set)
    assert needs(program) == []
    long_ago = to_text(datetime.now(UTC) - timedelta(minutes=5))
    write(program, "UPDATE dags SET NextScheduleAt = ?", (long_ago,))
    [words] = needs(program)
    assert "late narrow waits for room, 1 run being its max_active_runs; was due 5m ago" in words


def test_an_executor_that_was_lost_leads_to_executors(live: Make) -> None:
    program = live(etl())
    until(lambda: program.get("/api/v1/executors").json["executors"])
    write(
        program,
        "UPDATE executors SET GoneAt = ?, GoneReason = 'its lease ended'",
        (to_text(datetime.now(UTC)),),
    )
    assert "executor local its lease ended" in needs(program)[0]
    assert page(program).one("ul", class_="attention").one("a")["href"] == "/executors"


def test_an_executor_that_has_said_goodbye_needs_no_attention(live: Make) -> None:
    program = live(etl())
    program.post("/api/v1/executors/two/hello", {"name": "two", "identity": "i", "life": "x", "slots": 1})
    program.post("/api/v1/executors/two/goodbye", {"life": "x"})
    gone = "SELECT GoneAt FROM executors WHERE Name = 'two' AND GoneAt IS NOT NULL"
    with closing(sqlite3.connect(program.db, timeout=60)) as connection:
        until(lambda: connection.execute(gone).fetchone())
    assert needs(program) == []


def test_an_executor_that_was_lost_is_told_among_thousands(live: Make) -> None:
    program = live(etl())
    until(lambda: program.get("/api/v1/executors").json["executors"])
    add = """
        WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 1001)
        INSERT INTO executors (Name, StartedAt, Host, Pid, Version, Protocol, Slots, Labels, Runners,
            DagVersions, HeartbeatAt, GoneAt, GoneReason, Identity)
        SELECT printf('e%04d', n), StartedAt, Host, Pid, Version, Protocol, Slots, Labels, Runners,
            DagVersions, HeartbeatAt, ?, CASE n WHEN 1001 THEN 'its lease ended' ELSE 'it has stopped' END, n
        FROM executors, many WHERE Name = 'local'"""
    with closing(sqlite3.connect(program.db, timeout=60)) as connection, connection:
        connection.execute(add, (to_text(datetime.now(UTC)),))
    [words] = needs(program)
    assert "executor e1001 its lease ended" in words
    write(program, "UPDATE executors SET GoneAt = ? WHERE Name = 'e1001'", (to_text(LONG_AGO),))
    assert needs(program) == []


class Failing(Cron):
    """A schedule of a user who has built upon Cron: it gives one point, and raises at the next."""

    def next(self, current: datetime, previous: datetime | None = None) -> datetime | None:
        if current > datetime.now(UTC):
            raise RuntimeError("no calendar for that")
        return super().next(current, previous)


def test_a_schedule_that_raises_does_not_hide_a_page(live: Make) -> None:
    with Dag("raising", schedule=Failing("0 * * * *", tz="Europe/Warsaw")) as raising:
        nothing()
    program = live(raising)
    [lane] = section(page(program), "next").one("tbody").all("tr")
    assert len(lane.all("rect", class_="point")) == 1
    assert "1 ahead" in program.get("/schedules").text
    tree = page(program, "/dags/raising/schedule")
    assert len(tree.one("table", **{"aria-labelledby": "coming"}).one("tbody").all("tr")) == 1


def test_of_more_dags_than_are_looked_at_it_says_more_than(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hourly(number: int) -> Dag:
        with Dag(f"dag_{number:02}", schedule=Cron("0 * * * *")) as dag:
            nothing()
        return dag

    program = live(*map(hourly, range(15)))
    assert section(page(program), "next").one("p").text == "and 3 more"
    monkeypatch.setattr("ppacer.ui.overview.DAGS_MAX", 14)
    assert section(page(program), "next").one("p").text == "and more than 2 more"


def test_the_points_of_the_next_hours_stand_on_an_axis(live: Make) -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)
    with Dag("twice", schedule=Fixed(soon, timedelta(hours=3))) as twice:
        nothing()
    with Dag("often", schedule=Fixed(LONG_AGO, timedelta(seconds=100))) as often:
        nothing()
    with Dag("far", schedule=Cron("0 0 1 1 *")) as far:
        nothing()
    lanes = {
        row.one("th").text: row
        for row in section(page(live(twice, often, far)), "next").one("tbody").all("tr")
    }
    assert set(lanes) == {"often", "twice"}
    points = [float(point["x"]) for point in lanes["twice"].all("rect", class_="point")]
    assert points == pytest.approx([1000 / 3, 2500 / 3], abs=20)
    assert len(lanes["often"].all("rect", class_="band")) == 1


def test_a_database_that_cannot_be_read_is_told_on_the_page(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("scheduler.db <b>is locked</b> by another program")

    monkeypatch.setattr("ppacer.store.reads.Reads.runs", refuses)
    tree = page(shared, "/", 503)
    assert "scheduler.db <b>is locked</b> by another program" in tree.one("main").text


def test_a_paused_dag_has_no_points(live: Make) -> None:
    program = live(etl())
    program.post("/api/v1/dags/etl/pause")
    assert "etl" not in section(page(program), "next").text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (0.4, "now"),
        (5, "in 5s"),
        (-5, "5s ago"),
        (90, "in 1m"),
        (-7200, "2h ago"),
        (86400 * 400, "in 1y"),
    ],
)
def test_a_moment_is_told_in_one_unit(seconds: float, words: str) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert relative(now + timedelta(seconds=seconds), now) == words
    assert re.fullmatch(r"now|in \d+[a-z]|\d+[a-z] ago", words)
