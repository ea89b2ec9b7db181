"""A run in a browser: a task that failed, a restart and a cancel, each after a look at what they will do."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from api.live import Live
from ppacer import Dag, task
from ppacer.ui.run import NODES_MAX
from ppacer.ui.static import asset
from ui.browser import Browser
from ui.served_dags import NASTY

pytestmark = pytest.mark.skipif(not asset("htmx.js"), reason="htmx was not installed: there was no npm")


def trigger(page: Any, url: str, dag_id: str, state: str) -> None:
    """Starts a run of a dag, and opens it when it is in this state."""
    page.goto(f"{url}/dags")
    page.get_by_role("button", name=f"Trigger {dag_id}").click()
    page.locator(f"[id='dag-{dag_id}'] .last .state.{state}").click()
    page.wait_for_url("**/runs/*")
    page.evaluate("window.stays = true")


def test_a_failing_task_is_looked_at_and_restarted(browser: Browser, served: str) -> None:
    with browser.page() as page:
        trigger(page, served, "broken.always", "FAILED")
        page.locator(".graph a.node.FAILED").click()
        page.wait_for_url("**/tasks/fail")
        assert NASTY in page.locator("pre.error").first.inner_text()
        assert "raise RuntimeError(NASTY)" in page.locator("pre.code").last.inner_text()
        page.go_back()
        page.get_by_text("Restart…").click()
        card = page.locator(".ask[open] .card")
        assert "1 task will run again" in card.inner_text()
        assert card.locator(".names").first.inner_text() == "fail"
        page.evaluate("window.stays = true")
        card.get_by_role("button", name="Restart the run").click()
        page.locator("dl.facts", has_text="Restarted by").wait_for()
        page.locator(".head .state.FAILED").wait_for()
        assert page.evaluate("window.stays")
        page.locator("#task-fail a").click()
        page.get_by_role("navigation", name="Attempts").locator("a").nth(1).wait_for()
        assert page.get_by_role("navigation", name="Attempts").locator("a").count() == 2


def test_a_run_is_cancelled_after_a_look_at_what_that_does(browser: Browser, served: str) -> None:
    with browser.page() as page:
        trigger(page, served, "patient", "RUNNING")
        page.locator("#task-wait_for_file .state.RUNNING").wait_for()
        page.get_by_text("Cancel…").click()
        card = page.locator(".ask[open] .card")
        assert "1 task will be told to end" in card.inner_text()
        assert card.locator(".names").first.inner_text() == "wait_for_file"
        card.get_by_role("button", name="Cancel the run").click()
        page.locator(".head .state", has_text=re.compile("^CANCELLED$")).wait_for()
        page.locator("#task-wait_for_file .state.CANCELLED").wait_for()
        assert page.evaluate("window.stays")
        assert page.get_by_text("Cancelled by").is_visible()


def test_a_question_goes_away_with_its_command(browser: Browser, served: str) -> None:
    """Who is about to press a button shall not find another one under the finger."""
    with browser.page() as page:
        trigger(page, served, "patient", "RUNNING")
        page.locator("#task-wait_for_file .state.RUNNING").wait_for()
        page.get_by_text("Cancel…").click()
        page.locator(".ask[open]").get_by_role("button", name="Cancel the run").focus()
        post(page, f"/api/v1{page.evaluate('location.pathname')}/cancel")
        page.get_by_text("Restart…").wait_for()
        assert page.locator(".ask[open]").count() == 0
        assert page.evaluate("document.activeElement.textContent").strip() != "Restart the run"


def post(page: Any, path: str) -> None:
    """As somebody else does it, elsewhere."""
    page.evaluate("path => fetch(path, { method: 'POST' })", path)


def flat(count: int) -> Dag:
    """So many tasks, none after another, that fail with much to say."""

    @task
    def fails() -> None:
        raise RuntimeError("there is much to say about it, " * 9 + "x" * 99)

    with Dag("flat") as dag:
        for number in range(count):
            fails.with_options(id=f"fails_{number}")()
    return dag


@pytest.mark.parametrize("count", [1, NODES_MAX + 1])
def test_long_reasons_leave_room_where_one_box_would_be_the_graph(
    browser: Browser, live: Callable[..., Live], count: int
) -> None:
    program = live(flat(count))
    with browser.page() as page:
        page.goto(f"http://{program.host}/runs/{program.run('flat')}")
        assert "much to say" in page.locator(".tasks .reason").first.inner_text()
        assert page.locator(".graph").count() == 0
        for width in (320, 390, 768, 1024, 1280, 1700):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            box = page.locator(".tasks td.number").first.bounding_box()
            assert box["x"] + box["width"] <= width
