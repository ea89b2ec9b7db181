"""The list of dags: search, filters, pages, and what is said of each dag."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from api.dags import LONG_AGO, NASTY, all_dags, etl, held, hold, nothing
from api.live import PATIENCE, Gate, Live, until
from ppacer import Dag
from ppacer.schedule import Fixed
from ui.markup import Element
from ui.test_pages import page

Make = Callable[..., Live]


def rows(tree: Element) -> dict[str, Element]:
    """The rows of the list by the ids of their dags."""
    tables = tree.all("table", class_="dags")
    lines = tables[0].one("tbody").all("tr") if tables else []
    return {line["id"].removeprefix("dag-"): line for line in lines}


def states(element: Element) -> list[str]:
    """The states that an element shows, by their words."""
    return [state.text for state in element.all("span", class_="state")]


def many(count: int) -> list[Dag]:
    """So many dags."""
    dags = []
    for number in range(count):
        with Dag(f"d{number:03}") as dag:
            nothing()
        dags.append(dag)
    return dags


def test_every_dag_is_listed_in_the_order_of_ids(shared: Live) -> None:
    assert list(rows(page(shared, "/dags"))) == sorted(dag.id for dag in all_dags())


def test_a_dag_has_tags_schedule_in_words_next_point_and_latest_run(shared: Live) -> None:
    shared.run("etl")
    etl = rows(page(shared, "/dags"))["etl"]
    assert [tag.text for tag in etl.all("a", class_="tag")] == ["nightly", "sales"]
    assert etl.one("td", class_="schedule").text == "every day at 03:15, UTC"
    assert re.fullmatch(r"in \d+[hms]", etl.one("td", class_="next").text)
    assert re.fullmatch(r"SUCCESS (\d+[sm] ago|now)", etl.one("td", class_="last").text)


def test_a_dag_without_schedule_and_runs_says_so(live: Make) -> None:
    with Dag("idle") as idle:
        nothing()
    line = rows(page(live(idle), "/dags"))["idle"]
    assert [line.one("td", class_=name).text for name in ("schedule", "next", "last")] == [
        "by hand",
        "–",
        "never ran",
    ]


def test_latest_runs_are_bars_that_lead_to_the_run(live: Make) -> None:
    program = live(etl())
    numbers = [program.run("etl") for _ in range(3)]
    history = rows(page(program, "/dags"))["etl"].one("td", class_="history")
    drawing = history.one("svg", class_="bars")
    assert [link["href"] for link in drawing.all("a")] == [f"/runs/{number}" for number in numbers]
    assert history.one("span", class_="unseen").text == "Latest runs of etl: 3 SUCCESS"
    bars = drawing.all("rect", class_="SUCCESS")
    assert [float(bar["x"]) for bar in bars] == sorted(float(bar["x"]) for bar in bars)


def test_a_disabled_dag_says_why_and_values_are_shown_as_text(shared: Live) -> None:
    every = rows(page(shared, "/dags"))
    assert "disabled" in states(every["broken"])
    assert NASTY in every["broken"].one("p", class_="reason").text
    assert every["hostile"].one("a", class_="tag").text == NASTY
    assert every["hostile"].one("td", class_="schedule").text == f"never {NASTY}"


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("text=TALK", {"talking"}),
        ("text=night", {"etl"}),  # a tag
        ("text=%25", set()),
        ("text=_", set()),
        ("tag=sales", {"etl", "held"}),
        ("tag=sale", set()),
        ("tag=sales&text=held", {"held"}),
        ("state=disabled", {"broken"}),
        ("state=disabled&tag=sales", set()),
    ],
)
def test_dags_are_found_by_text_tag_and_state(shared: Live, question: str, found: set[str]) -> None:
    tree = page(shared, f"/dags?{question}")
    assert set(rows(tree)) == found
    assert bool(found) != ("No dag fits." in tree.text)


def test_the_number_of_a_run_leads_to_it_behind_a_number_sign(shared: Live) -> None:
    run_id = shared.run("etl")
    answer = shared.get(f"/dags?text=%23{run_id}")
    assert (answer.status, answer.headers["location"]) == (303, f"/runs/{run_id}")
    tree = page(shared, f"/dags?text={run_id}00000")  # without it: part of an id, of which there is none here
    assert "No dag fits." in tree.text
    assert not tree.all("a", href=f"/runs/{run_id}00000")
    for text in ("%23999999", f"%23{2**63}", f"{2**63}"):
        assert "No dag fits." in page(shared, f"/dags?text={text}").text


def test_paused_running_and_waiting_dags_are_named_and_found(live: Make, gate: Gate) -> None:
    with Dag("often", schedule=Fixed(LONG_AGO, timedelta(seconds=1)), max_active_runs=1) as often:
        hold()
    program = live(etl(), held(), often, grace=PATIENCE)  # a cancelled task may take its time
    program.post("/api/v1/dags/etl/pause")
    run_id = program.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    program.post(f"/api/v1/runs/{run_id}/cancel")
    every = rows(page(program, "/dags"))
    assert states(every["etl"]) == ["paused"]
    assert every["etl"].one("button", role="switch")["aria-checked"] == "false"
    assert states(every["held"]) == ["CANCELLING"]
    until(lambda: states(rows(page(program, "/dags"))["often"]) == ["RUNNING", "waits for room"])
    assert set(rows(page(program, "/dags?state=paused"))) == {"etl"}
    assert set(rows(page(program, "/dags?state=running"))) == {"held", "often"}
    gate.open()


def test_dags_that_failed_last_are_found(shared: Live) -> None:
    shared.run("failing")
    shared.run("etl")
    found = set(rows(page(shared, "/dags?state=failed")))
    assert "failing" in found
    assert "etl" not in found


def test_a_long_list_has_pages_that_lose_no_dag(live: Make) -> None:
    program = live(*many(101))
    path: str | None = "/dags?text=d"
    found: list[str] = []
    while path is not None:
        tree = page(program, path)
        found += rows(tree)
        path = next((link["href"] for link in tree.all("a", rel="next")), None)
    assert found == [f"d{number:03}" for number in range(101)]
    assert not page(live(*many(50)), "/dags").all("a", rel="next")


def test_a_long_id_can_be_broken_at_its_separators_and_stays_one_text(live: Make) -> None:
    id = "a.long_name" * 18
    with Dag(id) as dag:
        nothing()
    cell = rows(page(live(dag), "/dags"))[id].one("th")
    assert cell.text == id
    assert len(cell.all("wbr")) == id.count(".") + id.count("_")
