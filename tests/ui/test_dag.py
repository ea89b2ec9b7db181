"""The pages of a dag: its head, grid, graph, schedule, code and settings."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from api.dags import LONG_AGO, NASTY, after_failure, etl, failing, held, nothing
from api.live import Gate, Live, until
from ppacer import Dag, TaskContext, task
from ppacer.schedule import Cron, Fixed
from ui.markup import Element
from ui.test_dags import states
from ui.test_pages import page

Make = Callable[..., Live]
PATHS = ("", "/graph", "/schedule", "/code", "/settings", "/backfill")


def rows(tree: Element) -> dict[str, list[Element]]:
    """The squares of each task, oldest run first."""
    return {
        line["id"].removeprefix("task-"): line.all("a", class_="square")
        for line in tree.one("table", class_="grid").one("tbody").all("tr")
    }


def facts(tree: Element) -> dict[str, str]:
    """What a list of facts says."""
    return {one.one("dt").text: one.one("dd").text for one in tree.one("dl", class_="facts").all("div")}


def lines(tree: Element, label: str) -> list[Element]:
    """The rows of a table by what names it."""
    return tree.one("table", **{"aria-labelledby": label}).one("tbody").all("tr")


# -- the head ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_every_page_of_a_dag_has_its_head_and_leads_to_the_others(shared: Live, path: str) -> None:
    tree = page(shared, f"/dags/etl{path}")
    assert tree.one("h1").text == "etl"
    assert "every day at 03:15, UTC" in tree.one("p", class_="sub").text
    assert tree.one("button", role="switch")["aria-checked"] == "true"
    links = tree.one("nav", class_="sections").all("a")
    assert [link["href"] for link in links if "aria-current" in link.attributes] == [f"/dags/etl{path}"]
    assert {f"/dags/etl{one}" for one in PATHS} <= {link["href"] for link in links}
    assert tree.one("a", href="/dags/etl/trigger")["aria-label"] == "Trigger etl with parameters"


def test_what_is_not_well_is_said_in_words_and_what_is_well_is_not(live: Make) -> None:
    program = live(etl())
    assert not page(program, "/dags/etl").all("p", class_="why")
    program.post("/api/v1/dags/etl/pause")
    assert "is paused since" in page(program, "/dags/etl/code").one("p", class_="why").text


def test_a_disabled_dag_says_why(shared: Live) -> None:
    assert NASTY in page(shared, "/dags/broken/schedule").one("p", class_="why").text


@pytest.mark.parametrize("path", PATHS)
def test_a_dag_that_is_not_there_is_told(shared: Live, path: str) -> None:
    assert "no dag 'nothing'" in page(shared, f"/dags/nothing{path}", 404).one("main").text


@pytest.mark.parametrize("path", PATHS)
def test_a_dag_without_tasks_and_runs_has_every_page(live: Make, path: str) -> None:
    with Dag("bare") as bare:
        pass
    assert page(live(bare), f"/dags/bare{path}").one("main").text


# -- the grid ----------------------------------------------------------------------------------------------


def test_the_grid_is_tasks_and_runs_newest_at_the_right(live: Make) -> None:
    program = live(failing())
    first, second = program.run("failing"), program.run("failing")
    tree = page(program, "/dags/failing")
    squares = rows(tree)
    assert set(squares) == {"fail", "after_failure", "nothing"}
    assert [one.classes for one in squares["fail"]] == [{"square", "FAILED"}] * 2
    assert squares["after_failure"][1].classes == {"square", "UPSTREAM_FAILED"}
    assert squares["fail"][0]["href"] == f"/runs/{first}/tasks/fail/0"
    assert squares["nothing"][1]["aria-label"].startswith(f"nothing in run {second}: SUCCESS, ")
    bars = tree.one("table", class_="grid").one("thead").all("a", class_="bar-of")
    assert [bar["href"] for bar in bars] == [f"/runs/{first}", f"/runs/{second}"]
    assert f"run {second}: FAILED" in bars[1].text
    assert f"it failed: {NASTY}" in tree.one("span", class_="error").text


def test_one_square_is_reached_by_tab_and_the_others_by_arrows(live: Make) -> None:
    program = live(etl())
    for _ in range(3):
        program.run("etl")
    every = [square for squares in rows(page(program, "/dags/etl")).values() for square in squares]
    assert sorted(square["tabindex"] for square in every) == ["-1"] * 5 + ["0"]
    assert rows(page(program, "/dags/etl"))["extract"][-1]["tabindex"] == "0"


def test_a_running_task_and_one_that_waits_are_told_apart(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    squares = rows(page(program, "/dags/held"))
    assert (squares["hold"][0].classes, squares["after"][0].classes) == (
        {"square", "RUNNING"},
        {"square", "NO_STATUS"},
    )
    assert squares["after"][0]["href"] == f"/runs/{run_id}"
    assert squares["after"][0]["aria-label"].endswith("; its run: hold is running")
    assert "; " not in squares["hold"][0]["aria-label"]
    gate.open()
    program.ended(run_id)


def test_older_runs_are_on_the_next_page(live: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.ui.dag_grid.RUNS_MAX", 2)
    program = live(etl())
    numbers = [program.run("etl") for _ in range(3)]
    tree = page(program, "/dags/etl")
    [older] = [link["href"] for link in tree.all("a") if link.text == "Older runs"]
    assert older == f"/dags/etl?before={numbers[1]}"
    old = page(program, older)
    assert [square["href"] for square in rows(old)["load"]] == [f"/runs/{numbers[0]}/tasks/load/0"]
    assert "Older runs" not in old.text
    assert [link["href"] for link in old.all("a") if link.text == "Newest runs"] == ["/dags/etl"]


def wide(count: int) -> Dag:
    with Dag("wide") as dag:
        for number in range(count):
            nothing.with_options(id=f"part_{number:03}")()
    return dag


def test_a_hundred_tasks_are_a_page_and_some_can_be_looked_for(live: Make) -> None:
    program = live(wide(130))
    program.run("wide")
    tree = page(program, "/dags/wide")
    assert len(rows(tree)) == 100
    assert "1 to 100 of 130 tasks" in tree.text
    [after] = [link["href"] for link in tree.all("a") if link.text == "those after"]
    assert [*rows(page(program, after))] == [f"part_{number:03}" for number in range(100, 130)]
    assert [*rows(page(program, "/dags/wide?text=T_12"))] == [f"part_{number}" for number in range(120, 130)]
    assert "No task fits" in page(program, "/dags/wide?text=other").text


def test_a_dag_that_never_ran_teaches_how_to_start_it(live: Make) -> None:
    assert "ppacer trigger etl" in page(live(etl()), "/dags/etl").one("p", class_="empty").text


def test_a_restarted_run_shows_what_is_to_run_again(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    program.post(f"/api/v1/runs/{run_id}/cancel")
    gate.open()
    program.ended(run_id)
    assert rows(page(program, "/dags/held"))["after"][0].classes == {"square", "CANCELLED"}


def test_the_grid_has_the_first_line_of_an_error(live: Make) -> None:
    @task(timeout=timedelta(seconds=1))
    def slow() -> None:
        raise ValueError("what happened\nand what else")

    with Dag("lines") as dag:
        slow()
    program = live(dag)
    program.run("lines")
    error = page(program, "/dags/lines").one("span", class_="error")
    assert (error.text, error["title"]) == ("ValueError: what happened",) * 2


# -- the graph ---------------------------------------------------------------------------------------------


def test_the_graph_has_the_states_of_the_latest_run(live: Make) -> None:
    program = live(failing())
    tree = page(program, "/dags/failing/graph")
    assert {node["href"] for node in tree.all("a", class_="NO_STATUS")} == {
        f"/dags/failing/code?task={id}" for id in ("fail", "after_failure", "nothing")
    }
    run_id = program.run("failing")
    tree = page(program, "/dags/failing/graph")
    assert tree.one("a", class_="FAILED")["href"] == f"/runs/{run_id}/tasks/fail/0"
    assert len(tree.all("path", class_="edge")) == 1
    assert states(tree.one("p", class_="legend")) == ["FAILED", "UPSTREAM FAILED", "SUCCESS"]


def test_many_tasks_alike_share_a_box_and_the_page_says_so(live: Make) -> None:
    assert "share a box" in page(live(wide(130)), "/dags/wide/graph").text


# -- the schedule ------------------------------------------------------------------------------------------


def test_coming_points_stand_on_the_clock_of_their_zone(live: Make) -> None:
    with Dag("early", schedule=Cron("30 2 * * *", tz="Europe/Warsaw")) as early:
        nothing()
    tree = page(live(early), "/dags/early/schedule")
    points = [line.one("th").text for line in lines(tree, "coming")]
    assert len(points) == 20
    assert all(" 02:30 " in point or " 03:00 " in point for point in points)
    [change] = [heading.text for heading in tree.all("h3")]
    assert change.startswith("Clocks change on Sun")
    assert "from 02:00 to 03:00" in change or "from 03:00 to 02:00" in change
    notes = " ".join(line.one("td").text for line in lines(tree, "clocks"))
    assert "clocks go from 02:00 to 03:00" in notes or "comes twice, this is the first time" in notes


@pytest.mark.parametrize("expression", ["* * * * *", "*/7 * * * *", "*/15 * * * *", "20 * * * *"])
def test_what_comes_often_shows_what_the_next_change_of_the_clocks_does(live: Make, expression: str) -> None:
    with Dag("often", schedule=Cron(expression, tz="Europe/Warsaw")) as often:
        nothing()
    tree = page(live(often), "/dags/often/schedule")
    notes = " ".join(line.one("td").text for line in lines(tree, "clocks"))
    assert "at this moment" in notes or "clocks have changed" in notes or "this is the first time" in notes
    assert "No point lies near it" not in tree.text


def test_nothing_is_said_of_points_near_a_change_that_were_not_looked_at(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.ui.dag_schedule.AROUND_MAX", 3)
    with Dag("often", schedule=Cron(tz="Europe/Warsaw")) as often:
        nothing()
    monkeypatch.setattr("ppacer.ui.dag_schedule.CLOSE", timedelta(hours=2))
    tree = page(live(often), "/dags/often/schedule")
    assert tree.one("h3", id="clocks").text
    assert "No point lies near it" not in tree.text


def test_skipped_points_are_one_row_that_says_why(live: Make) -> None:
    often = Fixed(LONG_AGO, timedelta(milliseconds=20))
    with Dag("often", schedule=often, max_active_runs=1) as dag:
        nothing()
    program = live(dag)
    until(lambda: program.get("/api/v1/dags/often").json["latest"])
    program.post("/api/v1/dags/often/pause")
    begun = datetime.now(UTC)
    until(lambda: datetime.now(UTC) - begun > timedelta(milliseconds=300))
    program.post("/api/v1/dags/often/unpause")
    program.post("/api/v1/dags/often/pause")
    tree = page(program, "/dags/often/schedule")
    skipped = [line for line in lines(tree, "past") if "SKIPPED" in line.classes]
    assert len(skipped) == 1
    assert "The dag was paused or disabled." in skipped[0].text
    assert "points" in skipped[0].text
    assert "While the dag is paused, these are skipped." in tree.text
    regular = next(line for line in lines(tree, "past") if "REGULAR" in line.classes)
    assert "on time" in regular.text
    assert regular.one("a")["href"].startswith("/runs/")


def test_a_schedule_of_the_users_own_is_not_asked_for_more_than_its_next_point(shared: Live) -> None:
    tree = page(shared, "/dags/hostile/schedule")
    assert len(lines(tree, "coming")) == 1
    assert "ppacer next hostile" in tree.text


def test_older_points_are_on_the_next_page(live: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.ui.dag_schedule.PAST_MAX", 2)
    program = live(etl())
    numbers = [program.run("etl") for _ in range(3)]
    tree = page(program, "/dags/etl/schedule")
    [older] = [link["href"] for link in tree.all("a") if link.text == "Next page"]
    [line] = lines(page(program, older), "past")
    assert line.one("a")["href"] == f"/runs/{numbers[0]}"
    assert "by hand" in line.text


@pytest.mark.parametrize("before", ["2020-01-01", "0001-01-01T00:00:00%2B14:00", "x", "2020-01-01T00:00:00Z"])
def test_any_bound_of_points_is_answered(shared: Live, before: str) -> None:
    assert shared.get(f"/dags/etl/schedule?before={before}").status in (200, 400, 422)


def test_a_dag_without_a_schedule_is_told_how_to_get_one(shared: Live) -> None:
    assert 'schedule=Cron("15 3 * * *")' in page(shared, "/dags/held/schedule").text


# -- the code ----------------------------------------------------------------------------------------------


def twice(number: int) -> Dag:
    """A dag in two versions."""
    if number == 1:

        @task
        def work(ctx: TaskContext) -> int:
            return 1

    else:

        @task
        def work(ctx: TaskContext) -> int:
            return 1 + 1  # <b>more</b>

    with Dag("twice") as dag:
        result = work()
        if number == 1:
            after_failure.with_options(id="old")(result)
    return dag


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A program whose dag was another one before; each version has run once."""
    folder = tmp_path_factory.mktemp("changed")
    with Live(folder, twice(1)) as before:
        before.run("twice")
    with Live(folder, twice(2)) as after:
        after.run("twice")
        yield after


def code(tree: Element, kind: str) -> list[str]:
    return [line.one("code").text for line in tree.all("div", class_="line") if kind in line.classes]


def test_the_newest_code_of_the_first_task_is_shown_with_numbers(changed: Live) -> None:
    tree = page(changed, "/dags/twice/code")
    assert code(tree, "same")[-1] == "return 1 + 1 # <b>more</b>"
    assert [line["data-n"] for line in tree.all("span", class_="no")] == ["1", "2", "3"]
    assert [option.text for option in tree.all("option")] == ["work"]


def test_an_older_version_and_what_has_changed_since_can_be_seen(changed: Live) -> None:
    assert code(page(changed, "/dags/twice/code?task=work&version=0"), "same")[-1] == "return 1"
    links = page(changed, "/dags/twice/code?task=work").one("nav", class_="versions").all("a")
    [changes] = [link["href"] for link in links if link.text == "changes"]
    tree = page(changed, changes)
    assert code(tree, "removed") == ["return 1"]
    assert code(tree, "added") == ["return 1 + 1 # <b>more</b>"]


def test_a_task_that_is_gone_keeps_its_code(changed: Live) -> None:
    assert "not in the dag any more" in page(changed, "/dags/twice/code?task=old").text


@pytest.mark.parametrize("query", ["task=none", "task=work&version=7", "task=work&base=7"])
def test_code_that_is_not_there_is_told(changed: Live, query: str) -> None:
    page(changed, f"/dags/twice/code?{query}", 404)


def test_the_grid_tells_versions_and_tasks_that_are_gone_apart(changed: Live) -> None:
    tree = page(changed, "/dags/twice")
    assert [len(squares) for squares in rows(tree).values()] == [2, 1]
    assert "gone" in tree.one("tr", id="task-old").one("th").text
    assert len(tree.all("th", class_="new")) == 1


def test_a_square_is_reached_by_tab_also_when_the_newest_run_lacks_the_first_task(changed: Live) -> None:
    squares = rows(page(changed, "/dags/twice?text=old"))
    assert [[square["tabindex"] for square in line] for line in squares.values()] == [["0"]]


# -- the settings ------------------------------------------------------------------------------------------


@dataclass
class Params:
    """What can be asked for."""

    name: str
    count: int = 3
    maybe: str | None = None


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    options: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30), "retry_backoff": 2.0}
    with Dag("set", params=Params, catch_up=timedelta(hours=5), max_active_runs=7, tags=[NASTY]) as dag:
        nothing.with_options(id="again", timeout=None, runner="thread", labels=["gpu"], **options)()
        nothing.with_options(id="once", at_most_once=True, timeout=timedelta(minutes=2))()
    with Live(tmp_path_factory.mktemp("configured"), dag) as program:
        yield program


def test_settings_are_in_words(configured: Live) -> None:
    tree = page(configured, "/dags/set/settings")
    found = facts(tree)
    assert (found["Catch-up"], found["Runs at once"]) == ("missed points of the last 5h run", "7")
    assert found["Tags"] == NASTY
    cells = {line.one("th").text: [cell.text for cell in line.all("td")] for line in lines(tree, "tasks")}
    assert cells["again"] == [
        "nothing", "thread", "none", "3, after 30s, each time × 2, at most 1d", "label gpu"
    ]  # fmt: skip
    assert cells["once"][1:] == ["default", "2m", "none", "at most once"]


def test_parameters_are_a_table(configured: Live) -> None:
    cells = [
        [line.one("th").text, *(cell.text for cell in line.all("td"))]
        for line in lines(page(configured, "/dags/set/settings"), "params")
    ]
    assert cells == [
        ["name", "string", "required"], ["count", "integer", "3"], ["maybe", "string or null", "null"]
    ]  # fmt: skip


def test_versions_lead_to_what_they_have_changed(changed: Live) -> None:
    newest, oldest = lines(page(changed, "/dags/twice/settings"), "versions")
    assert "current" in newest.text
    assert [link["href"] for link in newest.all("a")] == ["/dags/twice/code?task=work&version=1&base=0"]
    assert [link.text for link in oldest.all("a")] == ["old", "work"]


def test_of_many_changed_tasks_the_first_are_named_and_the_others_counted(live: Make) -> None:
    program = live(wide(10))
    [line] = lines(page(program, "/dags/wide/settings"), "versions")
    assert [link.text for link in line.all("a")] == [f"part_{number:03}" for number in range(8)]
    assert "and 2 more" in line.text


def test_tasks_of_versions_that_are_not_shown_do_not_hide_those_of_others(live: Make) -> None:
    program = live(wide(1))
    add = """
        WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 2000)
        INSERT INTO dagtasks
        SELECT DagId, 'a' || n, 0, InsertTs, PosDepth, PosWidth, Version, TaskTypeName, TaskConfig,
            TaskBodyHash, TaskBodySource, Parents, 'gone', Revision
        FROM dagtasks, many WHERE TaskId = 'part_000'"""
    with closing(sqlite3.connect(program.db, timeout=60)) as connection, connection:
        connection.execute(add)
    [line] = lines(page(program, "/dags/wide/settings"), "versions")
    assert [link.text for link in line.all("a")] == ["part_000"]


def test_many_tasks_are_paged(live: Make) -> None:
    program = live(wide(130))
    tree = page(program, "/dags/wide/settings")
    assert len(lines(tree, "tasks")) == 100
    [after] = [link["href"] for link in tree.all("a") if link.text == "Next page"]
    assert len(lines(page(program, after), "tasks")) == 30


@pytest.mark.parametrize("after", ["x", "1", "1.", ".1", "-1.2", "1" * 30 + ".1", "٣.1"])
def test_a_place_that_is_none_is_told(shared: Live, after: str) -> None:
    page(shared, f"/dags/etl/settings?after={quote(after)}", 400)
