"""The log of an attempt in a browser: it follows, finds, pages, links, and holds a window of the lines."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppacer.ui.static import asset
from ui.browser import Browser, Served, seen

pytestmark = pytest.mark.skipif(not asset("htmx.js"), reason="htmx was not installed: there was no npm")
LOG = "/runs/1/tasks/talk/0"
WINDOW = 2000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, engine: Any) -> Iterator[tuple[str, Path]]:
    """The address and the folder of a program whose run 1 has said 6,000 lines."""
    folder = tmp_path_factory.mktemp("logs")
    served = Served(folder, Path(__file__).with_name("served_logs.py"))
    with Browser(engine).page() as page:
        page.goto(f"{served.url}/dags")
        page.get_by_role("button", name="Trigger long").click()
        page.locator("#dag-long .state.SUCCESS").wait_for()
    yield served.url, folder
    served.close()


@pytest.fixture
def url(program: tuple[str, Path]) -> str:
    """The address."""
    return program[0]


def line(page: Any, words: str) -> Any:
    """The line of the log with exactly these words."""
    return page.locator(".log li", has=page.get_by_text(words, exact=True))


def count(page: Any) -> int:
    return int(page.locator(".log li").count())


def is_at_end(page: Any) -> bool:
    script = "box => box.scrollHeight - box.clientHeight - box.scrollTop < 30"
    return bool(page.locator(".log").evaluate(script))


def scroll(page: Any, to: str) -> None:
    """As far up or down as it goes just now."""
    page.locator(".log").evaluate(f"box => {{ box.scrollTop = {to}; }}")


def open_live(page: Any, url: str, folder: Path) -> None:
    """Starts a run that says what it is told to, and opens its log."""
    for file in folder.glob("say-*"):
        file.unlink()
    page.goto(f"{url}/dags")
    page.get_by_role("button", name="Trigger live").click()
    page.locator("#dag-live .last .state.RUNNING").click()
    page.wait_for_url("**/runs/*")
    page.locator("#task-go_on a").click()
    page.wait_for_url("**/tasks/go_on")


def test_it_opens_at_the_end_and_pages_backwards_in_a_window(browser: Browser, url: str) -> None:
    with browser.page() as page:
        page.goto(url + LOG)
        assert line(page, "line 5999").is_visible()
        assert is_at_end(page)
        first = page.locator(".log li .text").first
        for _ in range(40):
            if first.inner_text() == "line 0":
                break
            before = first.inner_text()
            scroll(page, "0")
            page.wait_for_function(
                "before => document.querySelector('.log li .text').textContent !== before", arg=before
            )
            assert count(page) <= WINDOW
        assert first.inner_text() == "line 0"
        assert line(page, "line 5999").count() == 0
        shown = page.locator(".log li .text").all_inner_texts()
        plain = [words for words in shown if words.startswith("line")]
        assert plain == [f"line {number}" for number in range(len(plain))]


def test_start_and_end_are_a_click_away(browser: Browser, url: str) -> None:
    with browser.page() as page:
        page.goto(url + LOG)
        page.get_by_role("button", name="Start", exact=True).click()
        line(page, "line 0").wait_for()
        scroll(page, "box.scrollHeight")
        line(page, "line 700").wait_for(state="attached")
        page.get_by_role("button", name="End").click()
        line(page, "line 5999").wait_for()
        assert is_at_end(page)


def test_a_line_is_found_linked_and_seen_among_its_neighbours(browser: Browser, url: str) -> None:
    with browser.page() as page:
        page.goto(url + LOG)
        page.get_by_label("Text in the log").press_sequentially("NEEDLE")
        page.wait_for_function("() => document.querySelectorAll('.log li').length === 1")
        assert page.locator(".log mark").inner_text() == "needle"
        assert page.locator(".log li .text").inner_text().endswith("needle red")
        assert "text=NEEDLE" in page.url
        page.locator(".log li a").click()
        line(page, "line 1234").wait_for()
        assert line(page, "line 1235").is_visible()
        assert re.search(r"0#L\d+$", page.url)
        link = page.url
    with browser.page() as page:
        page.goto(link)
        page.locator(".log li.linked").wait_for()
        assert "needle" in page.locator(".log li.linked").inner_text()
        assert line(page, "line 1234").is_visible()


def test_levels_narrow_the_log_and_times_can_be_relative(browser: Browser, url: str) -> None:
    with browser.page() as page:
        page.goto(url + LOG)
        page.get_by_label("Level").select_option("ERROR")
        page.wait_for_function("() => document.querySelectorAll('.log li').length === 1")
        page.get_by_role("button", name="Since start").click()
        assert re.fullmatch(r"\+\d+\.\d{3}s", page.locator(".log li time").inner_text())
        page.get_by_label("Text in the log").fill("nothing of the kind")
        page.get_by_text("No line fits.").wait_for()


def test_a_running_attempt_is_followed_until_somebody_scrolls_up(
    browser: Browser, program: tuple[str, Path]
) -> None:
    url, folder = program

    def say(step: int, lines: int) -> None:
        (folder / f"say-{step}").write_text(str(lines))

    with browser.page() as page:
        page.goto(f"{url}/dags")
        page.get_by_role("button", name="Trigger live").click()
        page.locator("#dag-live .state.RUNNING").click()
        page.locator("#task-go_on a").click()
        page.evaluate("window.stays = true")
        page.get_by_text("Nothing was said yet.").wait_for()
        say(0, 300)
        line(page, "step 0 line 299").wait_for()
        assert is_at_end(page)
        page.locator(".log").hover()
        page.mouse.wheel(0, -600)
        page.get_by_text("Following stopped, as you scrolled up").wait_for()
        say(1, 5000)
        page.get_by_role("button", name="Follow").click()
        line(page, "step 1 line 4999").wait_for()
        assert count(page) <= WINDOW
        assert is_at_end(page)
        say(2, 0)
        page.locator(".head .state.SUCCESS").wait_for()
        page.locator("[data-say]", has_text="The end").wait_for()
        assert page.evaluate("window.stays")
        assert page.get_by_role("button", name="Follow").count() == 0


def test_a_hidden_tab_asks_for_nothing_until_it_is_seen_again(
    browser: Browser, program: tuple[str, Path]
) -> None:
    """A browser has six connections to a host, and each long poll keeps one."""
    url, folder = program
    with browser.page() as page:
        open_live(page, url, folder)
        page.get_by_text("Following", exact=True).wait_for()
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        with page.expect_event("requestfailed", lambda request: "/logs" in request.url):
            seen(page, is_hidden=True)
        (folder / "say-0").write_text("3")
        page.wait_for_timeout(500)
        assert not [one for one in asked if "/logs" in one]
        seen(page, is_hidden=False)
        line(page, "step 0 line 2").wait_for()
        (folder / "say-1").write_text("0")
        page.locator(".head .state.SUCCESS").wait_for()


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_nothing_has_to_be_scrolled_sideways(browser: Browser, url: str, width: int) -> None:
    with browser.page((width, 844)) as page:
        page.goto(url + LOG)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Wrap").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_older_lines_are_links(browser: Browser, url: str) -> None:
    with browser.page(java_script_enabled=False) as page:
        page.goto(url + LOG)
        assert line(page, "line 5999").count() == 1
        page.get_by_role("link", name="Older lines").click()
        line(page, "line 5499").wait_for()  # the next page may only be on its way
        page.get_by_label("Text in the log").fill("needle")
        page.get_by_role("button", name="Find").click()
        page.wait_for_url("**text=needle**")
        assert count(page) == 1


@pytest.mark.parametrize("end", ["crash", "cancel"])
def test_the_log_stays_when_the_attempt_that_it_is_of_fails(
    browser: Browser, program: tuple[str, Path], end: str
) -> None:
    url, folder = program
    with browser.page() as page:
        open_live(page, url, folder)
        (folder / "say-0").write_text("3")
        line(page, "step 0 line 2").wait_for()
        if end == "cancel":
            run = page.evaluate("location.pathname.split('/')[2]")
            page.evaluate("run => fetch(`/api/v1/runs/${run}/cancel`, { method: 'POST' })", run)
        else:
            (folder / "say-1").write_text("no number")
        page.locator("pre.error").first.wait_for()
        assert line(page, "step 0 line 2").is_visible()
        assert page.get_by_role("searchbox", name="Text in the log").is_visible()
