"""Hundreds of hostile texts wherever a user may write: every page shows them as text, and nothing executes.

A real browser looks at every page of the table, so a new page is looked at as well.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from api.dags import GATE
from api.live import Live, until
from ppacer.tasklog.plain import plain
from ppacer.ui.page import Page
from ppacer.ui.pages import table
from ppacer.ui.static import asset
from ui.browser import Browser
from ui.hostile import UNPRINTABLE, groups, hostile_dags, strings

TALL = (1440, 8000)  # so tall that a log shows all its lines
TASKS = ("shout", "fall", "give", "quote")
NOISE = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u2028-\u202e\ufeff\ufffd\ud800-\udfff\\?]+"
)  # no two show it alike
LOOK = """() => {
  const every = [...document.querySelectorAll("*")];
  const has = (one, name) => [...one.attributes].some(({name: at}) => at.startsWith(name));
  const ours = (url) => new URL(url, location.href).origin === location.origin;
  return {
    pwned: "pwned" in window,
    foreign: every.filter((one) => one.matches("img,image,iframe,object,embed,base,style,body body,math,"
      + "animate,set,foreignObject,marquee,video,audio,isindex,svg a:not([href^='/']),svg script,"
      + "script:not([src^='/static/'])") || one.localName === "script" && one.textContent
      || ["on", "hx-on", "hx-get", "hx-vals", "hx-trigger", "srcdoc", "style"].some((name) => has(one, name))
    ).map((one) => one.outerHTML.slice(0, 300)),
    abroad: every.flatMap((one) => ["href", "src", "action", "hx-post", "formaction"].flatMap((name) =>
      one.hasAttribute(name) && !ours(one.getAttribute(name)) ? [one.outerHTML.slice(0, 300)] : [])),
    text: [document.body.textContent, ...every.flatMap((one) => [one.title, one.value])].join(" "),
  };
}"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A program that is full of hostile texts; each hostile dag has a run of the same number, still open."""
    GATE.shut()
    folder = tmp_path_factory.mktemp("hostile")
    with Live(folder, *hostile_dags(folder)) as live:
        for number in range(len(groups())):
            assert live.trigger(f"hostile.{number}") == number + 1
            for task in TASKS[1:]:
                until(partial(_has_ended, live, number + 1, task))
        for number, text in enumerate([*strings()[:10], "".join(strings())]):
            for verb in ("trigger", "pause"):
                live.post(f"/api/v1/dags/{quote(text, '')}/{verb}", {"params": {text: number}})
        _written(live.db)
        yield live
        GATE.open()


def _has_ended(live: Live, run_id: int, task: str) -> bool:
    tasks = live.get(f"/api/v1/runs/{run_id}").json["tasks"]
    return any(one["task_id"] == task and one["ended_at"] for one in tasks)


def _written(db: Path) -> None:
    """What no grammar lets in today, in columns that pages show: who was it, from where, why."""
    words = " ".join(strings())
    with closing(sqlite3.connect(db, timeout=60)) as connection, connection:
        connection.execute(
            "UPDATE audit SET Actor=?1, Address=?1, Error=?1, Details=json_object(?1, ?1)", (words,)
        )
        connection.execute(
            "INSERT INTO executors (Name, StartedAt, Host, Pid, Version, Protocol, Slots, Labels, Runners, "
            "DagVersions, HeartbeatAt, GoneAt, GoneReason, Identity) SELECT 'hostile', StartedAt, ?1, 1, "
            "?1, Protocol, 1, json_array(?1), json_array(?1), '{}', HeartbeatAt, HeartbeatAt, ?1, 'x' "
            "FROM executors",
            (words,),
        )


def said(text: str) -> str:
    """A text without what every place shows in its own way: spaces, control characters."""
    return NOISE.sub("", plain(text))


def looked_at(page: Any) -> str:
    """All that a page says, once it was seen that nothing on it is more than text."""
    found = page.evaluate(LOOK)
    assert not found["pwned"]
    assert found["foreign"] == []
    assert found["abroad"] == []
    return said(found["text"])


def missing(text: str, wanted: list[str]) -> list[str]:
    """Those that are not on a page which says `text`."""
    return [one for one in wanted if said(one) not in text]


def urls(page: Page) -> Iterator[str]:
    """A page as it is meant, with every question it understands hostile, and with hostile ids."""
    tasks = TASKS if "{task_id}" in page.path else TASKS[:1]
    numbers = range(len(groups())) if "{" in page.path else [0]
    for number in numbers:
        ids = {"dag_id": f"hostile.{number}", "run_id": number + 1, "retry": 0}
        yield from (page.path.format(**ids, task_id=task) for task in (tasks if number == 0 else tasks[-1:]))
    words = groups()[len(page.path) % 3]
    if page.query:
        ids = {"dag_id": "hostile.0", "run_id": 1, "task_id": "shout", "retry": 0}
        asked = {one.name: " ".join(words[::2]) for one in page.query if one.schema["type"] == "string"}
        free = {one.name for one in page.query if one.schema["type"] == "string" and "enum" not in one.schema}
        for names in {frozenset(asked), frozenset(free)}:
            yield f"{page.path.format(**ids)}?{urlencode({name: asked[name] for name in names})}"
    if "{" in page.path:
        hostile = quote(" ".join(words[::3]), "")
        yield page.path.format(dag_id=hostile, run_id=hostile, task_id=hostile, retry=hostile)
        yield page.path.format(dag_id=hostile, run_id=1, task_id=hostile, retry=0)


@pytest.mark.parametrize("page", table(), ids=lambda page: page.path)
def test_nothing_executes_on_any_page(browser: Browser, program: Live, page: Page) -> None:
    with browser.page() as tab:
        for url in urls(page):
            tab.goto(f"http://{program.host}{url}")
            looked_at(tab)
    browser.forgive("status of 400", "status of 404", "status of 422")


def test_they_are_shown_as_what_they_are(browser: Browser, program: Live) -> None:
    with browser.page(TALL) as tab:

        def text(path: str) -> str:
            tab.goto(f"http://{program.host}{path}")
            return looked_at(tab)

        assert missing(text("/dags?text=hostile"), strings()) == []
        for number, words in enumerate(groups()):
            assert missing(text(f"/dags/hostile.{number}/trigger"), words) == []
            at = f"/runs/{number + 1}/tasks"
            assert missing(text(f"{at}/fall"), [*words, *UNPRINTABLE]) == []
            assert missing(text(f"{at}/quote"), words) == []
            tab.goto(f"http://{program.host}{at}/shout")
            tab.locator(".log li").nth(len(words) + len(UNPRINTABLE) - 1).wait_for()
            assert missing(looked_at(tab), [*words, *UNPRINTABLE]) == []
        for one in strings()[::30]:
            assert missing(text(f"/dags?text={quote(one, '')}"), [one]) == []
            assert missing(text(f"/nothing/{quote(one, '')}"), [one]) == []
    browser.forgive("status of 404")


@pytest.mark.skipif(not asset("htmx.js"), reason="htmx was not installed: there was no npm")
def test_what_comes_in_live_is_text_too(browser: Browser, program: Live) -> None:
    with browser.page(TALL) as dags, browser.page(TALL) as log:
        dags.goto(f"http://{program.host}/dags?text=hostile")
        log.goto(f"http://{program.host}/runs/1/tasks/shout")
        program.post("/api/v1/dags/hostile.0/pause")
        dags.locator("#dag-hostile\\.0 .state.paused").wait_for()
        assert missing(looked_at(dags), strings()) == []
        GATE.open()
        log.locator(".head .state.SUCCESS").wait_for()
        log.locator(".log li").nth(2 * len([*groups()[0], *UNPRINTABLE]) - 1).wait_for()
        assert missing(looked_at(log), [*groups()[0], *UNPRINTABLE]) == []


def test_forms_and_notices_take_them_for_text(browser: Browser, program: Live) -> None:
    words = " ".join(strings())
    with browser.page() as tab:
        for at in range(0, len(words), 900):
            notice = {"name": "ppacer_notice", "value": quote(words[at : at + 900])}
            tab.context.add_cookies([{**notice, "url": f"http://{program.host}"}])
            tab.goto(f"http://{program.host}/nothing")
            assert missing(looked_at(tab), [words[at : at + 900]]) == []
        tab.goto(f"http://{program.host}/dags?text=hostile.1")
        tab.get_by_role("link", name="Trigger hostile.1 with parameters").click()
        tab.get_by_role("dialog").wait_for()
        assert missing(looked_at(tab), groups()[1]) == []
        number = tab.get_by_role("dialog").get_by_label("number", exact=True)
        number.evaluate("(input, words) => { input.type = 'text'; input.value = words; }", words)
        tab.get_by_role("button", name="Start a run").click()
        tab.get_by_role("alert").wait_for()
        assert missing(looked_at(tab), groups()[1]) == []
    browser.forgive("status of 404", "status of 422", "cannot be parsed")
