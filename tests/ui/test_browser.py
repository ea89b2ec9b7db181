"""What only a browser can show: pages that live, forms without a reload, keyboard, themes, widths."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.live import Live
from ppacer.ui.static import asset
from ui.browser import DAGS, Browser, Served, seen

pytestmark = pytest.mark.skipif(not asset("htmx.js"), reason="htmx was not installed: there was no npm")
Make = Callable[..., Live]
PATHS = (
    "/",
    "/dags",
    "/dags/orders/trigger",
    "/dags/broken.always",
    "/dags/broken.always/graph",
    "/dags/orders/schedule",
    "/dags/broken.always/code",
    "/dags/orders/settings",
    "/dags/orders/backfill?from=2020-01-01",
    "/runs",
    "/schedules",
    "/executors",
    "/audit",
    "/search?q=o",
    "/runs/1",
    "/runs/1/tasks/fail",
)


@pytest.fixture(scope="module")
def ran(served: str, engine: Any) -> str:
    """The program after its first run, which is number 1 and has failed."""
    browser = Browser(engine)
    with browser.page() as page:
        page.goto(f"{served}/dags")
        page.get_by_role("button", name="Trigger broken.always").click()
        page.locator("#dag-broken\\.always .state.FAILED").wait_for()
    assert browser.complaints == []
    return served


def test_a_first_start_shows_the_next_step(browser: Browser, live: Make) -> None:
    with browser.page() as page:
        page.goto(f"http://{live().host}")
        assert page.get_by_text("ppacer serve dags.py").is_visible()


def test_a_run_is_triggered_with_parameters_in_a_dialog(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/dags")
        page.get_by_role("link", name="Trigger orders with parameters").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("country").select_option("DK")
        dialog.get_by_label("rows").fill("7")
        dialog.get_by_role("button", name="Start a run").click()
        page.wait_for_url(re.compile(r"/runs/\d+$"))
        assert page.get_by_role("status").get_by_text("of orders was started").is_visible()
        page.locator(".head .state.SUCCESS").wait_for()
        facts = page.locator("dl.params-of").inner_text()
        assert "DK" in facts
        assert "<img src=x onerror=alert(1)>" in facts


def test_what_does_not_fit_is_told_in_the_form(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/dags/orders/trigger")
        page.get_by_label("rows").evaluate("input => { input.type = 'text'; input.value = 'many'; }")
        page.get_by_role("button", name="Start a run").click()
        page.get_by_role("alert").get_by_text("'many' is not a whole number").wait_for()
        assert page.get_by_label("rows").input_value() in ("", "many")
    browser.forgive("status of 422", "cannot be parsed")


def test_a_run_is_watched_to_its_end_without_a_reload(browser: Browser, engine: Any, tmp_path: Path) -> None:
    file = Path(__file__).with_name("served_dags.py")
    program = Served(tmp_path, file)
    with browser.page() as page:
        page.goto(f"{program.url}/dags")
        page.get_by_role("button", name="Trigger patient").click()
        page.locator("#dag-patient .state.RUNNING").click()
        page.wait_for_url(re.compile(r"/runs/1$"))
        page.locator("#task-wait_for_file .state.RUNNING").wait_for()
        page.evaluate("window.stays = true")
        page.get_by_text("Cancel…").click()
        (tmp_path / "go").touch()
        page.locator(".head .state.SUCCESS").wait_for()
        assert page.locator("#task-wait_for_file .state.SUCCESS").is_visible()
        assert page.evaluate("window.stays")
        assert page.get_by_text("Cancel…").count() == 0
        assert "run 1" in page.title()
    program.close()


def test_a_page_finds_back_to_a_program_that_was_away(browser: Browser, tmp_path: Path) -> None:
    file = Path(__file__).with_name("served_dags.py")
    first = Served(tmp_path, file)
    with browser.page() as page:
        page.goto(f"{first.url}/dags")
        page.locator("#scheduler .state.RUNNING").wait_for()
        first.close()
        page.locator("html[data-away]").wait_for(state="attached")
        port = first.url.rpartition(":")[2]
        second = Served(tmp_path, file, "--port", port)
        page.locator("html:not([data-away])").wait_for(state="attached")
        page.get_by_role("button", name="Trigger broken.always").click()
        page.locator("#dag-broken\\.always .state.FAILED").wait_for()
        second.close()
    browser.forgive("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE", "htmx:sse:error")


def test_a_page_says_that_its_program_was_killed_and_its_counters_stand_still(
    browser: Browser, tmp_path: Path
) -> None:
    first = Served(tmp_path, DAGS)
    with browser.page() as page:
        page.goto(f"{first.url}/dags")
        page.get_by_role("button", name="Trigger broken.always").click()
        page.locator("#dag-broken\\.always .state.FAILED").wait_for()
        state, told = page.locator("#scheduler .state"), page.get_by_text("no connection since ")
        counter = page.locator("#dag-broken\\.always time[data-show=ago]").first
        assert (state.is_visible(), told.count()) == (True, 0)
        first.kill()
        told.wait_for()
        assert re.fullmatch(r"no connection since \d\d:\d\d:\d\d", told.inner_text())
        assert not state.is_visible()
        before = told.inner_text(), counter.inner_text()
        page.wait_for_timeout(2500)  # more than two ticks
        assert (told.inner_text(), counter.inner_text()) == before
        second = Served(tmp_path, DAGS, "--port", first.url.rpartition(":")[2])
        told.wait_for(state="detached")
        assert state.is_visible()
        second.close()
    browser.forgive("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE", "htmx:sse:error")


@pytest.mark.parametrize("answer", [None, 503])
def test_a_page_whose_first_connection_fails_says_so_and_connects_later(
    browser: Browser, ran: str, answer: int | None
) -> None:
    with browser.page(size=(840, 900)) as page:
        page.route("**/live/dags*", lambda route: route.fulfill(status=answer) if answer else route.abort())
        page.goto(f"{ran}/dags")
        told = page.get_by_text("no connection since ")
        told.wait_for()
        tabs = page.get_by_role("navigation", name="Pages")
        assert tabs.evaluate("one => one.scrollWidth - one.clientWidth") == 0
        page.unroute("**/live/dags*")
        told.wait_for(state="detached")
        page.get_by_role("switch", name="Runs of orders by schedule").click()
        page.locator("#dag-orders .state.paused").wait_for()
        page.get_by_role("switch", name="Runs of orders by schedule").click()
        page.locator("#dag-orders .switch[aria-checked=true]").wait_for()
    browser.forgive("ERR_FAILED", "Failed to fetch", "503")


def test_pausing_does_not_leave_the_page_and_keeps_the_focus(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/dags")
        page.evaluate("window.stays = true")
        switch = page.get_by_role("switch", name="Runs of orders by schedule")
        switch.focus()
        page.keyboard.press("Enter")
        page.locator("#dag-orders .state.paused").wait_for()
        assert switch.get_attribute("aria-checked") == "false"
        assert page.evaluate("document.activeElement.getAttribute('role')") == "switch"
        assert page.get_by_role("status").get_by_text("orders is paused").is_visible()
        switch.click()
        page.locator("#dag-orders .switch[aria-checked=true]").wait_for()
        assert page.evaluate("window.stays")


def test_a_command_that_gets_no_answer_is_told_and_one_without_a_token_leads_to_the_login(
    browser: Browser, ran: str
) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/dags")
        page.route("**/dags/*/trigger", lambda route: route.abort())
        page.get_by_role("button", name="Trigger broken.always").click()
        page.get_by_role("status").get_by_text("The server gave no answer").wait_for()
        page.unroute("**/dags/*/trigger")
        page.route("**/dags/*/trigger", lambda route: route.fulfill(status=401, body="<p>Log in</p>"))
        page.get_by_role("button", name="Trigger broken.always").click()
        page.wait_for_url("**/login")
    browser.forgive("ERR_FAILED", "401", "Failed to fetch")


def test_a_form_that_cannot_be_fetched_is_opened_as_a_page(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/dags")
        page.route("**/trigger", lambda route: route.abort(), times=1)
        page.get_by_role("link", name="Trigger orders with parameters").click()
        page.wait_for_url("**/dags/orders/trigger")
        assert page.get_by_role("button", name="Start a run").is_visible()
    browser.forgive("ERR_FAILED")


def test_a_zone_that_the_browser_does_not_know_spoils_nothing(browser: Browser, ran: str) -> None:
    def elsewhere(route: Any) -> None:
        html = route.fetch().text().replace("<time ", '<time data-zone-of="Nowhere/None" ')
        route.fulfill(body=html, content_type="text/html")

    with browser.page(timezone_id="Asia/Tokyo") as page:
        page.route("**/runs", elsewhere)
        page.goto(f"{ran}/runs")
        titles = page.locator("time[data-show]").evaluate_all("every => every.map((one) => one.title)")
        assert titles
        assert all("Asia/Tokyo" in one and "UTC" in one and "Nowhere" not in one for one in titles)


def test_keys_work_beside_a_ticked_box(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/runs")
        page.get_by_label("Select run 1", exact=True).check()
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Keyboard").wait_for()


def test_a_page_that_cannot_be_read_says_so_until_it_can(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        stream = "event: trouble\ndata: the database is away\n\n"
        page.route(
            "**/live/dags*",
            lambda route: route.fulfill(body=stream, content_type="text/event-stream"),
            times=1,
        )
        page.goto(f"{ran}/dags")
        page.get_by_role("status").get_by_text("the database is away").wait_for()
        with browser.page() as other:
            other.goto(f"{ran}/dags")
            other.get_by_role("button", name="Trigger broken.always").click()
        page.get_by_text("the database is away").wait_for(state="detached")


def test_typing_goes_on_while_the_page_changes(browser: Browser, ran: str) -> None:
    with browser.page() as page, browser.page() as other:
        page.goto(f"{ran}/dags")
        other.goto(f"{ran}/dags")
        page.locator("#text").press_sequentially("ord")
        other.get_by_role("switch", name="Runs of patient by schedule").click()
        page.locator("#dag-patient .state.paused").wait_for()
        page.keyboard.type("ers")
        assert page.locator("#text").input_value() == "orders"
        other.get_by_role("switch", name="Runs of patient by schedule").click()


def test_the_keyboard_leads_everywhere(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(ran)
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_url("**/dags")
        page.keyboard.press("?")
        assert page.get_by_role("dialog", name="Keyboard").is_visible()
        page.keyboard.press("Escape")
        assert not page.get_by_role("dialog").is_visible()
        page.keyboard.press("g")
        page.keyboard.press("r")
        page.wait_for_url("**/runs")
        page.keyboard.press("/")
        page.keyboard.type("broken")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=broken")
        page.keyboard.press("j")
        assert page.locator("tr[data-at]").get_attribute("id") == "dag-broken.always"


def ground(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_is_that_of_the_system_until_it_is_switched(browser: Browser, ran: str) -> None:
    with browser.page(color_scheme="light") as page:
        page.goto(ran)
        light = ground(page)
        page.get_by_role("button", name="Theme").click()
        dark = ground(page)
        page.goto(f"{ran}/dags")
        assert ground(page) == dark != light
        page.get_by_role("button", name="Theme").click()
        assert ground(page) == light
    with browser.page(color_scheme="dark") as page:
        page.goto(ran)
        assert ground(page) == dark


@pytest.mark.parametrize("path", PATHS)
def test_nothing_has_to_be_scrolled_sideways(browser: Browser, ran: str, path: str) -> None:
    with browser.page() as page:
        page.goto(ran + path)
        for width in (320, 390, 768, 1024, 1440):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_drained_executor_is_undrained_at_every_width(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/executors")
        page.get_by_role("button", name="Drain local", exact=True).click()
        undrain = page.get_by_role("button", name="Undrain local")
        undrain.wait_for()
        for width in (320, 390, 768, 850, 900, 1000, 1100, 1440):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            box = undrain.bounding_box()
            assert box["x"] + box["width"] <= width
        undrain.click()
        page.get_by_role("button", name="Drain local", exact=True).wait_for()


def test_the_active_tab_is_in_view_on_a_phone(browser: Browser, ran: str) -> None:
    with browser.page((320, 700)) as page:
        for path in ("/audit", "/dags/orders/settings"):
            page.goto(ran + path)
            for tab in page.locator(":is(.bar nav, .sections) [aria-current]").all():
                box = tab.bounding_box()
                assert 0 <= box["x"] <= box["x"] + box["width"] <= 320


def test_the_number_of_a_run_stands_beside_its_dag(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/runs/1")
        line, words = (page.locator(what).bounding_box() for what in ("h1", "h1 .quiet"))
        assert line["height"] < 1.5 * words["height"]


def test_times_are_in_the_zone_of_who_looks(browser: Browser, ran: str) -> None:
    with browser.page(timezone_id="Asia/Tokyo") as page:
        page.goto(f"{ran}/runs/1")
        time = page.locator("dl.facts time[data-show=clock]").first
        title = time.get_attribute("title")
        assert "Asia/Tokyo" in title
        assert title.endswith("UTC")
        shown = time.inner_text()
        assert shown in title
        page.locator("footer", has_text="times in Asia/Tokyo").wait_for()


def test_everything_can_be_read_without_scripts(browser: Browser, ran: str) -> None:
    with browser.page(java_script_enabled=False) as page:
        page.goto(f"{ran}/dags")
        page.get_by_role("button", name="Trigger broken.always").click()
        page.wait_for_url("**/dags")
        assert page.get_by_text("of broken.always was started").is_visible()
        page.get_by_role("link", name="Trigger orders with parameters").click()
        page.get_by_role("button", name="Start a run").click()
        page.wait_for_url(re.compile(r"/runs/\d+$"))


def test_ticked_runs_stay_ticked_while_the_page_lives_and_are_restarted(browser: Browser, ran: str) -> None:
    with browser.page() as page, browser.page() as other:
        page.goto(f"{ran}/runs?dag=broken.always")
        page.get_by_label("Select run 1", exact=True).check()
        count = page.locator("table.runs tbody tr").count()
        other.goto(f"{ran}/dags")
        other.get_by_role("button", name="Trigger broken.always").click()
        page.locator("table.runs tbody tr").nth(count).wait_for()
        assert page.get_by_label("Select run 1", exact=True).is_checked()
        assert page.locator("table.runs :checked").count() == 1
        page.get_by_role("button", name="Restart selected").click()
        page.get_by_role("button", name="Restart 1 run").click()
        page.wait_for_url("**/runs")
        assert page.get_by_role("status").get_by_text("1 run is going on.").is_visible()
        page.locator("#run-1", has_text="restarted").wait_for()


def test_a_ticked_run_that_has_left_the_page_stays_selected_until_it_is_forgotten(
    browser: Browser, ran: str
) -> None:
    leave = """() => {
        document.getElementById("run-1").remove();
        document.dispatchEvent(new CustomEvent("htmx:sse:after:message", { detail: { message: {} } }));
    }"""
    with browser.page() as page:
        told = page.get_by_text("and 1 selected before that has left this page")
        for is_forgotten in (True, False):
            page.goto(f"{ran}/runs?dag=broken.always")
            page.get_by_label("Select run 1", exact=True).check()
            assert not told.is_visible()
            page.evaluate(leave)
            told.wait_for()
            if is_forgotten:
                page.get_by_role("button", name="Forget them").click()
                assert not told.is_visible()
            page.get_by_role("button", name="Restart selected").click()
            page.get_by_text("No run was selected" if is_forgotten else "Restart 1 run").first.wait_for()


def test_times_of_a_filter_are_in_the_zone_of_who_looks(browser: Browser, ran: str) -> None:
    with browser.page(timezone_id="Asia/Tokyo") as page:
        page.goto(f"{ran}/runs?since=2020-01-01T20:00")
        assert page.locator("#since").input_value() == "2020-01-02T05:00"
        page.locator(".dates").get_by_text("Asia/Tokyo").last.wait_for()
        page.locator("#until").fill("2020-01-03T00:30")
        page.get_by_role("button", name="Find").click()
        page.wait_for_url("**until=2020-01-02T15%3A30Z**")
        assert "since=2020-01-01T20%3A00Z" in page.url
        assert page.locator("#until").input_value() == "2020-01-03T00:30"
    with browser.page(timezone_id="Asia/Tokyo", java_script_enabled=False) as page:
        page.goto(f"{ran}/runs?since=2020-01-01T20:00")
        assert page.locator("#since").input_value() == "2020-01-01T20:00"
        page.locator(".dates").get_by_text("UTC").last.wait_for()


def test_a_hidden_tab_closes_its_stream_until_it_is_seen_again(browser: Browser, ran: str) -> None:
    with browser.page() as page, browser.page() as other:
        asked = list[str]()
        page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        with page.expect_event("response", lambda response: "/live/dags" in response.url):
            page.goto(f"{ran}/dags")
        with page.expect_event("requestfailed", lambda request: "/live/dags" in request.url):
            seen(page, is_hidden=True)
        del asked[:]
        other.goto(f"{ran}/dags")
        other.get_by_role("switch", name="Runs of patient by schedule").click()
        other.locator("#dag-patient .state.paused").wait_for()
        assert asked == []
        seen(page, is_hidden=False)
        page.locator("#dag-patient .state.paused").wait_for()
        assert asked == ["/live/dags"]
        other.get_by_role("switch", name="Runs of patient by schedule").click()


def test_all_runs_are_ticked_at_once_and_a_filter_needs_no_button(browser: Browser, ran: str) -> None:
    with browser.page() as page:
        page.goto(f"{ran}/runs")
        page.get_by_label("Select all on this page").check()
        assert (
            page.locator("table.runs tbody :checked").count() == page.locator("table.runs tbody tr").count()
        )
        page.get_by_label("Created").select_option("1h")
        page.wait_for_url("**last=1h**")
        page.get_by_label("Part of a dag's id").fill("nothing like it")
        page.keyboard.press("Enter")
        page.get_by_text("No run fits.").wait_for()
        for key, path in (("r", "runs"), ("s", "schedules"), ("e", "executors"), ("a", "audit")):
            page.keyboard.press("Escape")
            page.locator("main").focus()
            page.keyboard.press("g")
            page.keyboard.press(key)
            page.wait_for_url(f"**/{path}")
