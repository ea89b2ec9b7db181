"""The page of a run: what it is, why, its tasks, and what can be done about it."""

from collections.abc import Callable

from api.dags import NASTY, held
from api.live import Gate, Live, until
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
    facts = {one.one("dt").text: one.one("dd").text for one in tree.one("dl", class_="facts").all("div")}
    assert facts["Started by"] == "manual"
    assert (facts["country"], facts["rows"], facts["more"]) == ("DK", "3", "null")
    assert "Took" in facts
    assert list(tasks(tree)) == ["extract", "load"]
    assert states(tasks(tree)["load"]) == ["SUCCESS"]
    assert len(tasks(tree)["load"].all("rect", class_="SUCCESS")) == 1


def test_a_failed_run_says_why_and_offers_a_restart_with_its_consequences(shared: Live) -> None:
    tree = page(shared, f"/runs/{shared.run('failing')}")
    assert "failed" in tree.one("p", class_="why").text
    assert NASTY in tasks(tree)["fail"].one("p", class_="reason").text
    assert states(tasks(tree)["after_failure"]) == ["UPSTREAM FAILED"]
    [ask] = tree.all("details", class_="ask")
    assert "2 tasks will run again" in ask.text
    assert "1 task that succeeded will not" in ask.text


def test_a_running_run_offers_to_be_cancelled(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    tree = page(program, f"/runs/{run_id}")
    assert "1 running task will be told to end, 1 task will not begin" in tree.text
    assert [summary.text for summary in tree.all("summary")] == ["Cancel…"]
    gate.open()
    program.ended(run_id)
    assert not page(program, f"/runs/{run_id}").all("summary")
