"""The page of a run: what it is, why, its tasks, and what can be done about it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from api.dags import NASTY, held
from api.live import Gate, Live, until
from ppacer import Dag, task
from ppacer.ui.run_tasks import TASKS_MAX
from ui.markup import Element
from ui.test_dags import states
from ui.test_pages import page

Make = Callable[..., Live]


def tasks(tree: Element) -> dict[str, Element]:
    """The rows of the tasks by their ids."""
    return {
        line["id"].removeprefix("task-"): line
        for line in tree.one("table", class_="tasks").one("tbody").all("tr")
    }


def test_a_run_shows_what_it_is_and_each_task(shared: Live) -> None:
    run_id = shared.run("etl", country="DK")
    tree = page(shared, f"/runs/{run_id}")
    assert tree.one("h1").text == f"etl run {run_id}"
    facts = {one.one("dt").text: one.one("dd").text for one in tree.all("dl", class_="facts")[0].all("div")}
    assert facts["Started by"] == "by hand"
    params = tree.one("dl", class_="params-of").all("div")
    assert [one.text for one in params] == ["countryDK", "rows3", "morenull"]
    assert "Took" in facts
    assert list(tasks(tree)) == ["extract", "load"]
    assert states(tasks(tree)["load"]) == ["SUCCESS"]
    assert len(tasks(tree)["load"].one("td", class_="track").all("rect", class_="SUCCESS")) == 1


def test_a_failed_run_says_why_and_offers_a_restart_with_its_consequences(shared: Live) -> None:
    tree = page(shared, f"/runs/{shared.run('failing')}")
    assert "failed" in tree.one("p", class_="why").text
    assert NASTY in tasks(tree)["fail"].one("p", class_="reason").text
    assert states(tasks(tree)["after_failure"]) == ["UPSTREAM FAILED"]
    [ask] = tree.all("details", class_="ask")
    assert [one.text for one in ask.all("li")] == [
        "2 tasks will run again, with new retriesfail, after_failure",
        "1 task succeeded and will notnothing",
    ]


def test_a_running_run_offers_to_be_cancelled(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    tree = page(program, f"/runs/{run_id}")
    assert [one.text for one in tree.one("details", class_="ask").all("li")] == [
        "1 task will be told to endhold",
        "1 task will not beginafter",
    ]
    assert tasks(tree)["after"].one("p", class_="reason").text == "waits for hold (running)."
    assert [summary.text for summary in tree.all("summary")] == ["Cancel…"]
    gate.open()
    program.ended(run_id)
    assert not page(program, f"/runs/{run_id}").all("summary")


def test_the_graph_leads_to_the_tasks(shared: Live) -> None:
    run_id = shared.run("etl")
    nodes = page(shared, f"/runs/{run_id}").one("div", class_="graph").all("a", class_="node")
    assert [node["href"] for node in nodes] == [
        f"/runs/{run_id}/tasks/{task}" for task in ("extract", "load")
    ]
    assert all("SUCCESS" in node.classes for node in nodes)


def test_who_did_what_to_a_run_is_told(shared: Live) -> None:
    run_id = shared.run("failing")
    shared.post(f"/api/v1/runs/{run_id}/restart")
    until(lambda: shared.ended(run_id)["run"]["restarts"] == 1)
    facts = [
        one.one("dt").text for one in page(shared, f"/runs/{run_id}").one("dl", class_="facts").all("div")
    ]
    assert "Restarted by" in facts
    assert "Cancelled by" not in facts


def test_a_run_is_compared_with_those_before(live: Make) -> None:
    """Four quick ones, and one whose second task takes its time."""
    gate = Gate()
    gate.open()

    @task
    def quick() -> None: ...

    @task
    def waits() -> None:
        gate.wait()

    with Dag("compared") as dag:
        quick() >> waits()
    program = live(dag)
    for _ in range(4):
        program.run("compared")
    assert not page(program, "/runs/1").all("td", class_="past")
    gate.shut()
    run_id = program.trigger("compared")
    until(gate.arrived.is_set)
    began = program.get(f"/api/v1/runs/{run_id}").json["tasks"][1]["started_at"]
    until(lambda: datetime.now(UTC) - datetime.fromisoformat(began) > timedelta(seconds=2))
    gate.open()
    program.ended(run_id)
    tree = page(program, f"/runs/{run_id}")
    assert re.fullmatch(r"[\d.]+× its usual .*", tasks(tree)["waits"].one("p", class_="slow").text)
    assert not tasks(tree)["quick"].all("p", class_="slow")
    drawing = tasks(tree)["waits"].one("td", class_="past").one("svg")
    assert drawing["aria-label"].endswith("at the median of 4 earlier runs")
    assert drawing.one("path")["d"].count("M") == 4
    assert "usually" in tree.one("dl", class_="facts").text
    assert tree.one("p", class_="trail").all("a")[1]["href"] == "/runs/4"


def wide(count: int) -> Dag:
    """So many tasks, of which one fails."""

    @task
    def part(number: int) -> None:
        if number == count - 1:
            raise RuntimeError("the last one fails")

    with Dag("wide") as dag:
        first, *others = (part.with_options(id=f"part_{number:04}")(number) for number in range(count))
        first >> others
    return dag


def test_a_run_of_many_tasks_is_shown_by_pages_with_the_urgent_ones_first(live: Make) -> None:
    count = 2 * TASKS_MAX + 1
    program = live(wide(count))
    path: str | None = f"/runs/{program.run('wide')}"
    seen = list[str]()
    while path:
        tree = page(program, path)
        assert len(tasks(tree)) <= TASKS_MAX
        nodes = tree.one("div", class_="graph").walk()
        assert [node.text for node in nodes if node.name == "text"] == ["part_0000", f"{count - 1} tasks"]
        seen += tasks(tree)
        path = next((link["href"] for link in tree.all("a") if link.text == "Next page"), None)
    assert seen[0] == f"part_{count - 1:04}"
    assert sorted(seen) == [f"part_{number:04}" for number in range(count)]


def test_tasks_are_narrowed_to_a_state(live: Make) -> None:
    program = live(wide(5))
    run_id = program.run("wide")
    tree = page(program, f"/runs/{run_id}?state=failed")
    assert list(tasks(tree)) == ["part_0004"]
    choices = tree.one("nav", **{"aria-label": "State of tasks"}).all("a")
    assert [one.text for one in choices] == ["5 in all", "1 failed", "4 success"]
    assert "No task is in this state now." in page(program, f"/runs/{run_id}?state=running").text
    assert "state is one of NO_STATUS, " in page(program, f"/runs/{run_id}?state=odd", 400).text
    assert list(tasks(page(program, f"/runs/{run_id}?first=99"))) == ["part_0004"]


def test_a_run_without_tasks_says_so(shared: Live) -> None:
    assert "The dag has no tasks." in page(shared, f"/runs/{shared.run('empty')}").text
