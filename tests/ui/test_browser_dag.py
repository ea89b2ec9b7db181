"""What only a browser can show of a dag's pages: arrows over the grid, hints, a live graph, a backfill."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppacer.ui.static import asset
from ui.browser import DAGS, Browser, Served

pytestmark = pytest.mark.skipif(not asset("htmx.js"), reason="htmx was not installed: there was no npm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dag")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    program = Served(folder, DAGS)
    yield program.url
    program.close()


def test_a_run_fills_the_grid_and_the_graph_without_a_reload(
    browser: Browser, url: str, folder: Path
) -> None:
    with browser.page() as page, browser.page() as other:
        page.goto(f"{url}/dags/patient")
        other.goto(f"{url}/dags/patient/graph")
        page.evaluate("window.stays = true")
        page.get_by_role("button", name="Trigger patient").click()
        page.locator("#task-wait_for_file .square.RUNNING").wait_for()
        other.locator("a.node.RUNNING", has_text="wait_for_file").wait_for()
        (folder / "go").touch()
        page.locator("#task-wait_for_file .square.SUCCESS").wait_for()
        other.locator("a.node.SUCCESS", has_text="wait_for_file").wait_for()
        assert page.evaluate("window.stays")


def test_arrows_lead_over_the_grid_and_every_square_says_what_it_is(browser: Browser, url: str) -> None:
    with browser.page() as page:
        page.goto(f"{url}/dags/broken.always")
        for number in (1, 2):
            page.get_by_role("button", name="Trigger broken.always").click()
            page.locator("#task-fail .square.FAILED").nth(number - 1).wait_for()
        page.locator(".grid [tabindex='0']").focus()
        assert "say in run" in page.locator(".tip").inner_text()
        page.keyboard.press("ArrowDown")
        tip = page.locator(".tip").inner_text()
        assert "fail in run" in tip
        assert "FAILED" in tip
        first = page.evaluate("document.activeElement.href")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.href") != first
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        assert "/runs/" in page.evaluate("document.activeElement.href")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tasks/say/0")


def test_a_backfill_is_seen_before_it_is_started_and_watched_to_its_end(browser: Browser, url: str) -> None:
    with browser.page() as page:
        page.goto(f"{url}/dags/orders")
        page.get_by_role("link", name="Backfill").click()
        page.get_by_label("From").fill("2020-06-01T00:00")
        page.get_by_label("To").fill("2023-06-01T00:00")
        page.get_by_role("button", name="Preview").click()
        page.get_by_text("3 runs will be created").wait_for()
        page.get_by_label("country").select_option("DK")
        page.get_by_role("button", name="Start the backfill of 3 runs").click()
        page.locator("#backfill-1 .state.SUCCESS").wait_for()
        page.get_by_role("link", name="Grid").click()
        page.locator(".grid .square.SUCCESS").nth(2).wait_for()
        assert page.locator(".grid .square.SUCCESS").count() == 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_squares_of_different_states_look_different(browser: Browser, url: str, theme: Any) -> None:
    """By more than their colour: all of them painted in one colour still differ."""
    states = (
        "SUCCESS", "FAILED", "RUNNING", "SCHEDULED", "FAILED_PENDING_RETRY", "UPSTREAM_FAILED", "CANCELLED",
        "SKIPPED", "NO_STATUS",
    )  # fmt: skip
    squares = "".join(f'<a class="square {state}" id="s-{state}"></a><br>' for state in states)
    with browser.page(color_scheme=theme) as page:
        page.goto(f"{url}/dags")
        page.evaluate("html => { document.querySelector('main').innerHTML = html; }", squares)
        colours = {f"--{name}-fill": "#777777" for name in ("good", "bad", "busy", "held", "idle", "blocked")}
        page.evaluate(
            "all => { for (const [name, one] of Object.entries(all))"
            " document.documentElement.style.setProperty(name, one); }",
            {**colours, "--edge": "#777777"},
        )
        seen = {page.locator(f"#s-{state}").screenshot() for state in states}
    assert len(seen) == len(states)
