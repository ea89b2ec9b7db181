"""What holds for every page: for whom it can be read, and that no value of a user can do anything on it."""

import re
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from jinja2 import UndefinedError

from api.dags import NASTY
from api.live import Live, is_problem, until
from ppacer.ui.environment import _environment
from ppacer.ui.live import live_path
from ppacer.ui.page import SEEN
from ppacer.ui.static import KINDS, asset
from ui.markup import Element, parse

Make = Callable[..., Live]
PAGES = (
    "/",
    "/dags",
    "/dags?text=e&state=failed",
    "/dags/etl/trigger",
    "/dags/etl",
    "/dags/failing",
    "/dags/failing/graph",
    "/dags/etl/schedule",
    "/dags/broken/schedule",
    "/dags/hostile/code",
    "/dags/hostile/settings",
    "/dags/etl/backfill?from=2026-01-01",
    "/dags/hostile/trigger",
    "/runs",
    "/runs?status=FAILED&text=f&last=7d",
    "SELECTED",
    "/schedules",
    "/executors",
    "/audit",
    "RUN",
    "HOSTILE",
    "TASK",
    "ATTEMPT",
    "WAITING",
)


@pytest.fixture(scope="module")
def busy(shared: Live) -> dict[str, str]:
    """A program in which a bit of everything has happened; the paths of its pages."""
    for dag_id in ("etl", "failing"):
        shared.run(dag_id)
    talking = shared.run("talking", rows=20, country=NASTY)
    hostile = shared.run("hostile", country=NASTY)
    restarted = shared.run("failing")
    shared.post(f"/api/v1/runs/{restarted}/restart")
    until(lambda: shared.ended(restarted)["run"]["restarts"] == 1)
    runs = {"RUN": f"/runs/{restarted}", "HOSTILE": f"/runs/{hostile}"}
    runs["SELECTED"] = f"/runs/selected?do=restart&run={restarted}&run={talking}"
    runs["TASK"] = f"/runs/{talking}/tasks/talk"
    runs["ATTEMPT"] = f"/runs/{restarted}/tasks/fail/0?text={quote(NASTY)}"
    runs["WAITING"] = f"/runs/{restarted}/tasks/after_failure"
    return {name: runs.get(name, name) for name in PAGES}


def page(live: Live, path: str = "/", status: int = 200) -> Element:
    """A page as it is now."""
    answer = live.get(path)
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    return parse(answer.text)


@pytest.fixture(params=PAGES)
def tree(request: pytest.FixtureRequest, shared: Live, busy: dict[str, str]) -> Element:
    """Each page."""
    return page(shared, busy[request.param])


def test_a_page_has_landmarks_and_one_heading(tree: Element) -> None:
    assert tree.one("html")["lang"] == "en"
    assert tree.one("head").one("title").text.endswith("· ppacer")
    for landmark in ("main", "footer", "h1"):
        tree.one(landmark)
    assert tree.one("header", class_="bar").one("nav")["aria-label"] == "Pages"
    assert tree.one("meta", name="viewport")["content"] == "width=device-width, initial-scale=1"


def test_every_label_leads_to_an_element(tree: Element) -> None:
    ids = [element["id"] for element in tree.walk() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    named = ("aria-labelledby", "aria-describedby", "for")
    labels = {element.attributes.get(name) for element in tree.walk() for name in named} - {None}
    assert labels <= set(ids)


def test_every_control_has_a_name(tree: Element) -> None:
    labelled = {element["for"] for element in tree.all("label")}
    for name in ("input", "select", "textarea"):
        for control in tree.all(name):
            assert control.attributes.get("type") == "hidden" or control["id"] in labelled
    for button in [*tree.all("button"), *tree.all("summary")]:
        assert button.attributes.get("aria-label", button.text)


def test_tables_say_what_they_and_their_cells_are_about(tree: Element) -> None:
    for table in tree.all("table"):
        assert {"aria-label", "aria-labelledby"} & table.attributes.keys()
        heads = table.one("thead").all("th")
        assert all(head["scope"] == "col" and head.text for head in heads)
        for line in table.one("tbody").all("tr"):
            cells = [cell for cell in line.walk() if cell.name in ("td", "th")]
            assert len(cells) == len(heads)
            assert line.one("th")["scope"] == "row"


def test_links_say_where_they_lead_and_lead_somewhere(shared: Live, tree: Element) -> None:
    links = [link for link in tree.all("a") if link.attributes.get("tabindex") != "-1"]
    assert all(link.attributes.get("aria-label", link.text) for link in links)
    for path in {link["href"] for link in links if not link["href"].startswith("#")}:
        assert path.startswith("/")
        assert shared.get(path).status == 200


def test_times_can_be_read_by_people_and_by_programs(tree: Element) -> None:
    for time in tree.all("time"):
        assert datetime.fromisoformat(time["datetime"]).utcoffset() == timedelta(0)
        assert time.text


def test_drawings_are_told_in_words_or_not_at_all(tree: Element) -> None:
    for drawing in tree.all("svg"):
        assert drawing.attributes.get("aria-hidden") == "true" or drawing["aria-label"]


def test_a_state_is_a_word_and_a_shape_and_not_a_colour_alone(tree: Element) -> None:
    for state in tree.all("span", class_="state"):
        assert state.text, "a state without a word"
        assert len(state.classes) == 2


def test_nothing_of_a_user_can_run_or_fetch_anything(tree: Element) -> None:
    names = {element.name for element in tree.walk()}
    assert names.isdisjoint({"img", "iframe", "object", "embed", "style", "base"})
    for element in tree.walk():
        assert element.name != "script" or element["src"].startswith("/static/")
        for name, value in element.attributes.items():
            assert not name.startswith(("on", "hx-on"))
            assert name != "style"
            if name in ("href", "src", "action", "hx-post"):
                assert value.startswith(("/", "#"))
                assert not value.startswith("//")


def test_a_live_page_looks_again_by_itself_where_there_are_no_scripts(tree: Element) -> None:
    assert "hx-sse:connect" in tree.one("main").attributes
    refreshes = tree.all("meta", **{"http-equiv": "refresh"})
    filled_in = [
        *tree.all("section", class_="logs"),
        *tree.all("input", type="checkbox"),
        *(form for form in tree.one("main").all("form") if form.classes & {"card", "range"}),
    ]
    assert len(refreshes) == (not filled_in)
    assert all(2 <= int(one["content"]) <= 30 for one in refreshes)


@pytest.fixture(scope="module")
def reader(shared: Live) -> dict[str, str]:
    """The headers of somebody who may read, and no more."""
    secret = shared.post("/api/v1/tokens", {"name": "reader", "role": "viewer"}).json["secret"]
    return {"Cookie": f"ppacer_token={secret}"}


@pytest.mark.parametrize("name", [name for name in PAGES if name != "/audit"])
def test_who_may_only_read_is_offered_no_form_that_changes_anything(
    shared: Live, busy: dict[str, str], reader: dict[str, str], name: str
) -> None:
    tree = parse(shared.get(busy[name], **reader).text)
    tree.one("h1")
    assert not [form for form in tree.one("main").all("form") if form.attributes.get("method") == "post"]


def streamed(live: Live, path: str) -> Element:
    """What the stream of a page brings to who has seen nothing yet."""
    url = f"{live_path(path.partition('?')[0])}?{path.partition('?')[2]}&{SEEN}=nothing"
    with closing(live.connect()) as connection:
        connection.request("GET", url)
        answer = connection.getresponse()
        lines: list[str] = []
        while (line := answer.readline().decode()) != "\n" or not lines:
            lines += [line.removeprefix("data: ")] if line.startswith("data: ") else []
    return parse("".join(lines))


def backs(tree: Element) -> list[str]:
    return [one["value"] for one in tree.all("input", name="back")]


@pytest.mark.parametrize("name", [*PAGES, "PART"])
def test_a_stream_leads_to_pages_and_never_to_itself(shared: Live, busy: dict[str, str], name: str) -> None:
    path = f"{busy['RUN']}?state=failed" if name == "PART" else busy[name]
    tree = streamed(shared, path)
    values = [value for element in tree.walk() for value in element.attributes.values()]
    assert not [value for value in values if value.startswith("/live") or SEEN + "=" in value]
    assert backs(tree) == backs(page(shared, path).one("main"))


def test_a_page_that_is_not_there_says_so_in_html(shared: Live) -> None:
    for path, words in (("/runs/999999", "no run 999999"), ("/dags/nothing/trigger", "no dag 'nothing'")):
        tree = page(shared, path, 404)
        assert words in tree.one("main").text
        assert tree.one("h1").text == "Not found"


def test_an_error_begins_as_a_sentence_and_its_commands_are_code(shared: Live) -> None:
    lead = page(shared, "/runs/999999", 404).one("p", class_="lead")
    assert lead.text[0].isupper()
    assert "`" not in lead.text
    assert lead.one("code").text.startswith("ppacer ")


def test_a_path_that_is_none_is_told_to_browsers_as_a_page_and_to_programs_as_json(shared: Live) -> None:
    assert is_problem(shared.get("/nothing"), 404, "not_found")
    answer = shared.get("/nothing", accept="text/html,*/*;q=0.8")
    assert answer.status == 404
    assert "There is nothing at /nothing" in parse(answer.text).one("main").text


def test_a_state_that_is_none_is_told(shared: Live) -> None:
    assert "state is one of running, failed" in page(shared, "/dags?state=x", 400).text


# -- the design system -----------------------------------------------------------------------------------


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def schemes(live: Live) -> list[dict[str, str]]:
    """The colours of each scheme: light, dark by the system, dark by the switch."""
    found = re.findall(r":root\S* \{([^}]*--ground[^}]*)\}", live.get("/static/app.css").text)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme)) for scheme in found]


def test_every_colour_can_be_read_in_light_and_dark(shared: Live) -> None:
    """Text has 4.5, what is drawn and the edges of controls 3."""
    every = schemes(shared)
    assert len(every) == 3
    assert every[1] == every[2]
    for colours in every:
        for name in ("ink", "quiet", "accent", "good", "bad", "busy", "held", "idle", "blocked"):
            for ground in ("ground", "raised", "chosen"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in colours:
            if name.endswith("-fill") or name == "edge":
                assert contrast(colours[name], colours["ground"]) >= 3, name
        assert contrast(colours["ink"], colours["bad-ground"]) >= 4.5
        assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def test_the_style_sheet_fetches_nothing(shared: Live) -> None:
    css = shared.get("/static/app.css").text
    assert "url(" not in css
    assert "@import" not in css


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_kept_by_the_browser_as_long_as_its_content_stays(shared: Live, name: str) -> None:
    url = asset(name)
    if not url:
        assert name == "htmx.js", "only that may be missing, where there was no npm"
        return
    answer = shared.get(url)
    assert answer.kind == KINDS[name]
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    for other in (f"/static/{name}", f"/static/{name}?0123456789abcdef"):
        assert shared.get(other).headers["cache-control"] == "no-cache"


def test_a_name_that_the_template_does_not_know_is_an_error() -> None:
    """Instead of an empty place on the page."""
    with pytest.raises(UndefinedError):
        _environment().from_string("{{ missing }}").render()
    assert _environment().from_string("{{ value }}").render(value="<b>") == "&lt;b&gt;"
