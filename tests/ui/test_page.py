"""The page: what it says, to whom it can be read, and that no value of a user can do anything on it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jinja2 import UndefinedError

from api.dags import LONG_AGO, NASTY, all_dags, etl, held, hold, nothing
from api.live import PATIENCE, Gate, Live, until
from ppacer import Dag
from ppacer.engine import RunStatus
from ppacer.errors import StoreUnavailable
from ppacer.schedule import Fixed
from ppacer.ui.environment import _environment
from ui.markup import Element, parse

Make = Callable[..., Live]


def page(live: Live) -> Element:
    """The page as it is now."""
    answer = live.get("/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return parse(answer.text)


def row(tree: Element, table: str, id: str) -> Element:
    """The first row of a table that is about this dag."""
    rows = tree.one("table", class_=table).one("tbody").all("tr")
    return next(row for row in rows if row.all("th") and row.one("th").text.split()[0] == id)


def states(element: Element) -> list[str]:
    """The states that an element shows, by their words."""
    return [state.text for state in element.all("span", class_="state")]


@pytest.fixture(scope="module")
def full(shared: Live) -> Element:
    """A page with a bit of everything."""
    for dag_id in ("etl", "failing", "talking"):
        shared.run(dag_id)
    shared.run("hostile", country=NASTY)
    restarted = shared.run("failing")
    shared.post(f"/api/v1/runs/{restarted}/restart")
    until(lambda: shared.ended(restarted)["run"]["restarts"] == 1)
    return page(shared)


# -- for whom it can be read ------------------------------------------------------


def test_the_page_has_landmarks_and_headings(full: Element) -> None:
    assert full.one("html")["lang"] == "en"
    assert full.one("title").text.startswith("ppacer")
    for landmark in ("header", "main", "footer", "h1"):
        full.one(landmark)
    assert full.one("h1").text == "ppacer"
    assert [heading.text for heading in full.all("h2")] == ["Dags", "Latest runs"]
    assert full.one("meta", name="viewport")["content"] == "width=device-width, initial-scale=1"


def test_every_label_leads_to_an_element(full: Element) -> None:
    ids = [element["id"] for element in full.walk() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    labels = {element.attributes.get("aria-labelledby") for element in full.walk()} - {None}
    assert labels == {"dags", "runs"} <= set(ids)


def test_tables_say_what_their_cells_are_about(full: Element) -> None:
    """The roles stand there because on a narrow screen the tables are not laid out as tables."""
    for table in full.all("table"):
        heads = table.one("thead").all("th")
        assert all(head["scope"] == "col" and head.text for head in heads)
        for line in table.one("tbody").all("tr"):
            cells = [cell for cell in line.walk() if cell.name in ("td", "th")]
            assert sum(int(cell.attributes.get("colspan", "1")) for cell in cells) == len(heads)
            assert "reason" in line.classes or line.one("th")["scope"] == "row"
            assert {cell["role"] for cell in cells} <= {"cell", "rowheader"}


def shapes(css: str) -> dict[str, str]:
    """The character before each state, by the class that has it."""
    found: dict[str, str] = {}
    for selectors, shape in re.findall(r"([^{}/]*::before) \{ content: \"(.)\"", css):
        for selector in selectors.split(","):
            found[selector.strip().removesuffix("::before").lstrip(".")] = shape
    return found


def test_a_state_is_a_word_and_a_shape_and_not_a_colour_alone(shared: Live, full: Element) -> None:
    shape = shapes(shared.get("/static/app.css").text)
    assert len({shape.get(status, shape["state"]) for status in RunStatus}) == len(RunStatus)
    for other in ("disabled", "paused", "DEGRADED", "STOPPING"):
        assert shape[other] not in (shape["SUCCESS"], shape["RUNNING"])
    for state in full.all("span", class_="state"):
        assert state.text, "a state without a word"
        assert len(state.classes) == 2


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_every_colour_of_text_can_be_read_in_light_and_dark(shared: Live) -> None:
    schemes = re.findall(r":root \{(.*?)\}", shared.get("/static/app.css").text, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for name, colour in colours.items():
            if name not in ("ground", "line", "bad-ground"):
                assert contrast(colour, colours["ground"]) >= 4.5, name
        assert contrast(colours["ink"], colours["bad-ground"]) >= 4.5


def test_links_say_where_they_lead_and_lead_somewhere(shared: Live, full: Element) -> None:
    links = full.all("a")
    assert all(link.attributes.get("aria-label", link.text) for link in links)
    for link in links:
        assert link["href"].startswith("/")
        assert shared.get(link["href"]).status == 200


def test_times_can_be_read_by_people_and_by_programs(full: Element) -> None:
    times = full.all("time")
    assert times
    for time in times:
        assert datetime.fromisoformat(time["datetime"]).utcoffset() == timedelta(0)
        assert time.text


# -- what it says ------------------------------------------------------


def test_dags_are_listed_with_schedule_next_and_latest_run(full: Element) -> None:
    heads = full.one("table", class_="dags").one("tbody").all("th")
    assert [head.text.split()[0] for head in heads] == sorted(dag.id for dag in all_dags())
    first = row(full, "dags", "etl")
    assert first.one("th").text == "etl nightly sales"
    assert [tag.text for tag in first.all("span", class_="tag")] == ["nightly", "sales"]
    assert "15 3 * * *" in first.one("td", class_="schedule").text
    assert re.fullmatch(r"in \d+[hms]", first.one("td", class_="next").text)
    assert re.fullmatch(r"SUCCESS (\d+[sm] ago|now)", first.one("td", class_="last").text)
    by_hand = row(full, "dags", "empty")
    assert [cell.text for cell in by_hand.all("td")] == ["by hand", "–", "never"]


def test_runs_are_listed_newest_first(shared: Live, full: Element) -> None:
    lines = full.one("table", class_="runs").one("tbody").all("tr")
    numbers = [int(line.one("td", class_="number").text) for line in lines]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) <= 50
    talked = row(full, "runs", "talking")
    assert talked.one("span", class_="params").text == "country=PL, rows=3, more=null"
    assert states(talked) == ["SUCCESS"]
    assert re.fullmatch(r"[\d.]+m?s", talked.one("td", class_="took").text)
    assert talked.one("td", class_="by").text == "manual"
    assert row(full, "runs", "failing").one("td", class_="by").text == "manual, restarted"


def test_a_run_that_did_not_succeed_can_be_asked_why(shared: Live, full: Element) -> None:
    for line in full.one("table", class_="runs").one("tbody").all("tr"):
        links = [link for link in line.all("a") if link.text == "why"]
        assert bool(links) is (states(line) != ["SUCCESS"])
    [why] = [link for link in row(full, "runs", "failing").all("a") if link.text == "why"]
    assert "failed" in shared.get(why["href"]).json["why"]


def test_a_disabled_dag_says_why_in_words(full: Element) -> None:
    disabled = row(full, "dags", "broken")
    assert states(disabled)[0] == "disabled"
    [reason] = full.all("tr", class_="reason")
    assert reason.text.startswith("schedule 'broken ")
    assert NASTY in reason.text


def test_the_first_line_counts_what_matters(full: Element) -> None:
    words = full.one("header").text
    assert "RUNNING 9 dags" in words
    assert "2 failed last" in words
    assert "1 disabled" in words
    assert full.one("title").text == "ppacer · 3 to look at"


def test_no_dags_and_no_runs_are_told_with_what_to_do(live: Make) -> None:
    tree = page(live())
    assert tree.all("table") == []
    assert "No dags yet." in tree.text
    assert "ppacer serve" in tree.text
    assert "No runs yet." in tree.text
    assert tree.one("title").text == "ppacer"
    assert tree.all("span", class_="fact") == []


def test_paused_waiting_and_cancelled_things_are_named(live: Make, gate: Gate) -> None:
    with Dag("often", schedule=Fixed(LONG_AGO, timedelta(seconds=1)), max_active_runs=1) as often:
        hold()
    program = live(etl(), held(), often, grace=PATIENCE)  # a cancelled task may take its time
    program.post("/api/v1/dags/etl/pause")
    run_id = program.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    program.post(f"/api/v1/runs/{run_id}/cancel")
    tree = page(program)
    assert states(row(tree, "dags", "etl"))[0] == "paused"
    assert states(row(tree, "runs", "held")) == ["CANCELLING"]
    assert "1 paused" in tree.one("header").text
    until(lambda: states(row(page(program), "dags", "often")) == ["waits for room", "RUNNING"])
    gate.open()
    program.ended(run_id)
    assert states(row(page(program), "runs", "held")) == ["CANCELLED"]


def test_of_many_dags_and_runs_the_first_are_shown_and_the_rest_is_not_hidden(live: Make) -> None:
    dags = []
    for number in range(201):
        with Dag(f"d{number:03}") as dag:
            nothing()
        dags.append(dag)
    program = live(*dags)
    for dag in dags[:51]:
        program.trigger(dag.id)
    until(lambda: not program.get("/api/v1/runs?status=RUNNING&status=SCHEDULED").json["runs"])
    tree = page(program)
    assert len(tree.one("table", class_="dags").one("tbody").all("tr")) == 200
    assert len(tree.one("table", class_="runs").one("tbody").all("tr")) == 50
    assert "These are the first 200 by name." in tree.text
    assert "first 200 dags" in tree.one("header").text
    assert "These are the first" not in page(live(*dags[:200])).text


def test_a_long_id_can_be_broken_at_its_separators_and_stays_one_text(live: Make) -> None:
    id = "a.long_name" * 18
    with Dag(id) as dag:
        nothing()
    cell = row(page(live(dag)), "dags", id).one("th")
    assert cell.text == id
    assert len(cell.all("wbr")) == id.count(".") + id.count("_")


def test_a_database_that_cannot_be_read_is_told_on_the_page(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("scheduler.db <b>is locked</b> by another program")

    monkeypatch.setattr("ppacer.store.reads.Reads.runs", refuses)
    answer = shared.get("/")
    tree = parse(answer.text)
    assert answer.status == 503
    assert tree.one("p", role="alert").text == "scheduler.db <b>is locked</b> by another program"
    assert "No dags yet" not in tree.text
    assert len(tree.all("meta", **{"http-equiv": "refresh"})) == 1


# -- what no value can do ------------------------------------------------------


def test_values_that_look_like_html_are_shown_as_text(full: Element) -> None:
    assert NASTY in row(full, "dags", "hostile").one("th").text
    assert f"never {NASTY}" == row(full, "dags", "hostile").one("td", class_="schedule").text
    assert f"broken {NASTY}" == row(full, "dags", "broken").one("td", class_="schedule").text
    params = row(full, "runs", "hostile").one("span", class_="params")
    assert f"country={NASTY}, rows=3" in params.text
    assert f"country={NASTY}, rows=3" in params["title"]


def test_nothing_on_the_page_can_run_or_fetch_anything(full: Element, shared: Live) -> None:
    names = {element.name for element in full.walk()}
    assert names.isdisjoint({"script", "img", "iframe", "object", "embed", "style", "form", "svg", "base"})
    for element in full.walk():
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("href", "src"):
                assert value.startswith("/")
                assert not value.startswith("//")
    css = shared.get("/static/app.css")
    assert css.headers["content-type"].startswith("text/css")
    assert "url(" not in css.text
    assert "@import" not in css.text


def test_a_name_that_the_template_does_not_know_is_an_error() -> None:
    """Instead of an empty place on the page."""
    with pytest.raises(UndefinedError):
        _environment().from_string("{{ missing }}").render()
    assert _environment().from_string("{{ value }}").render(value="<b>") == "&lt;b&gt;"


def test_the_page_looks_again_by_itself(full: Element) -> None:
    assert 2 <= int(full.one("meta", **{"http-equiv": "refresh"})["content"]) <= 30


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
    assert _environment().filters["relative"](now + timedelta(seconds=seconds), now) == words
