"""The page of an attempt: its state and story, its log, what it returned, its source, its siblings."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.dags import NASTY, failing, held, retrying
from api.live import Gate, Live, until
from ppacer import Dag, TaskContext, task
from ppacer.tasklog.plain import plain
from ppacer.ui import logs
from ui.markup import Element
from ui.test_dags import states
from ui.test_pages import page

Make = Callable[..., Live]


@task(retries=2, retry_delay=timedelta(0))
def third_time_lucky(ctx: TaskContext) -> dict[str, Any]:
    """Succeeds at its third attempt."""
    ctx.logger.info("attempt %d", ctx.retry)
    if ctx.retry < 2:
        raise ConnectionError(f"no {NASTY}")
    return {"rows": [1, 2], "note": NASTY}


@task
def shout(ctx: TaskContext) -> str:
    """Says a lot, in colour and in HTML, and returns more than a page shows."""
    for number in range(20):
        ctx.logger.log((number % 5 + 1) * 10, "line %d \x1b[31mred\x1b[0m %s", number, NASTY)
    ctx.logger.info("x" * 5000)
    return "y" * 30_000


def said(live: Live, dag_id: str, **params: Any) -> int:
    """A run to its end, of which all that was said can be read."""
    run_id = live.run(dag_id, **params)
    assert live.get(f"/api/v1/runs/{run_id}/logs").json["ended"]
    return run_id


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A program whose run 1 has succeeded at the third attempt, and whose run 2 has shouted."""
    with Dag("lucky") as lucky:
        third_time_lucky()
    with Dag("loud") as loud:
        shout()
    with Live(tmp_path_factory.mktemp("tried"), lucky, loud, retrying(), held()) as live:
        assert [said(live, "lucky"), said(live, "loud")] == [1, 2]
        yield live


def lines(tree: Element) -> list[str]:
    """What the log on the page says."""
    return [line.one("span", class_="text").text for line in tree.one("ol").all("li")]


def test_the_latest_attempt_is_shown_where_none_is_named(tried: Live) -> None:
    tree = page(tried, "/runs/1/tasks/third_time_lucky")
    assert tree.one("h1").text == "third_time_lucky retry 2"
    assert states(tree.one("header", class_="head")) == ["SUCCESS"]
    assert "Succeeded at retry 2" in tree.one("p", class_="why").text
    assert lines(tree) == ["attempt 2"]


def test_all_attempts_stand_side_by_side(tried: Live) -> None:
    tree = page(tried, "/runs/1/tasks/third_time_lucky/0")
    tabs = tree.one("nav", class_="attempts").all("a")
    assert [tab["href"] for tab in tabs] == [f"/runs/1/tasks/third_time_lucky/{retry}" for retry in range(3)]
    assert [states(tab) for tab in tabs] == [["FAILED"], ["FAILED"], ["SUCCESS"]]
    assert [tab.attributes.get("aria-current") for tab in tabs] == ["page", None, None]
    assert "Attempt 1 of 3;" in tree.one("p", class_="why").text
    message, traceback = tree.all("pre", class_="error")
    assert message.text == f"ConnectionError: no {NASTY}"
    assert traceback in tree.one("section", **{"aria-labelledby": "error"}).one("details").all("pre")
    assert lines(tree)[0] == "attempt 0"


def test_the_error_is_not_told_twice(live: Make) -> None:
    program = live(failing())
    run_id = program.run("failing")
    tree = page(program, f"/runs/{run_id}/tasks/fail")
    assert f"it failed: {NASTY}" in tree.all("pre", class_="error")[0].text
    why = tree.one("p", class_="why").text
    assert "Failed" in why
    assert "it failed" not in why


def test_a_result_is_shown_readably(tried: Live) -> None:
    result = page(tried, "/runs/1/tasks/third_time_lucky").one("section", **{"aria-labelledby": "result"})
    assert f"{NASTY[:8]}" in result.one("pre").text
    assert '"rows": [ 1, 2 ]' in result.one("pre").text
    whole = page(tried, "/runs/2/tasks/shout").one("section", **{"aria-labelledby": "result"})
    assert len(whole.one("pre").text) < 21_000
    assert tried.get(whole.one("a")["href"]).json == "y" * 30_000


Say = Callable[..., Dag]


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Makes the dag `changing`; its task is written in a file, and prints these words or fails with them."""

    def make(words: str, fails: bool = False) -> Dag:
        space: dict[str, Any] = {}
        file, does = tmp_path / f"{words}.py", "raise ValueError" if fails else "print"
        file.write_text(f"from ppacer import task\n\n@task(id='say')\ndef say():\n    {does}('{words}')\n")
        exec(compile(file.read_text(), file, "exec"), space)
        with Dag("changing") as made:
            space["say"]()
        return made

    return make


def source_of(tree: Element) -> Element:
    """The section about the code."""
    return tree.one("section", **{"aria-labelledby": "source"})


def test_the_source_that_ran_is_shown_also_when_another_is_current(live: Make, say: Say) -> None:
    first = live(say("old"))
    first.run("changing")
    first.__exit__(None)
    with Live(first.db.parent, say("new")) as second:
        second.run("changing")
        old, new = (source_of(page(second, f"/runs/{run}/tasks/say")) for run in (1, 2))
    assert "print('old')" in old.one("pre").text
    assert "print('new')" in new.one("pre").text
    assert "version 0, not the current one, hash" in old.one("h2").text
    assert old.one("h2").text.startswith("Source that ran")
    assert "other code" not in old.text


def test_attempts_that_ran_different_code_say_so_and_lead_to_the_difference(live: Make, say: Say) -> None:
    first = live(say("broken", fails=True))
    first.run("changing")
    first.__exit__(None)
    with Live(first.db.parent, say("mended")) as second:
        assert second.post("/api/v1/runs/1/restart").status == 200
        second.ended(1)
        tree = page(second, "/runs/1/tasks/say/1")
        assert ["other code" in tab.text for tab in tree.one("nav", class_="attempts").all("a")] == [
            False,
            True,
        ]
        source = source_of(tree)
        assert "It ran other code or constants than the first attempt: what has changed." in source.text
        link = source.one("a", href="/dags/changing/code?task=say&version=1&base=0")
        assert "raise ValueError('broken')" in page(second, link["href"]).text
        assert "It ran other code" not in source_of(page(second, "/runs/1/tasks/say/0")).text
        why = second.get("/api/v1/runs/1/tasks/say/why").json["why"]
        assert why.endswith(" It ran other code or constants than the first attempt.")
        codes = {one["body_hash"] for one in second.get("/api/v1/runs/1").json["attempts"]}
        sources = second.get("/api/v1/dags/changing/tasks/say/sources").json["sources"]
        assert codes == {one["body_hash"] for one in sources}


def recorded(live: Live, **values: Any) -> Element:
    """The page of an attempt of which these columns say something else."""
    names = ", ".join(f"{name} = ?" for name in values)
    with closing(sqlite3.connect(live.db)) as connection, connection:
        connection.execute(f"UPDATE dagruntasks SET {names}", list(values.values()))
    return page(live, "/runs/1/tasks/say")


def test_what_is_not_sure_about_the_code_is_told(live: Make, say: Say) -> None:
    program = live(say("hello"))
    program.run("changing")
    assert "print('hello')" in page(program, "/runs/1/tasks/say").text
    unseen = source_of(recorded(program, TaskBodyHash="ab" * 32))
    assert "other code or constants than this scheduler has: those of executor local" in unseen.text
    assert unseen.one("code")["title"] == "ab" * 32
    assert not unseen.all("pre")
    lost = source_of(recorded(program, TaskBodyHash=None, Reason="LOST"))
    assert "lost before it could tell" in lost.text
    assert "print('hello')" in lost.one("pre").text
    older = source_of(recorded(program, Reason=None))
    assert "is not recorded" in older.text
    assert older.one("h2").text.startswith("Source say")


def test_resources_stand_among_the_facts_where_they_are_known(live: Make, say: Say) -> None:
    program = live(say("hello"))
    program.run("changing")
    assert "CPU" not in page(program, "/runs/1/tasks/say").one("dl", class_="facts").text
    facts = recorded(program, CpuSeconds=0.32, PeakMemory=2**20).one("dl", class_="facts")
    assert "CPU time320ms" in facts.text
    assert "Peak memory1 MiB" in facts.text


def test_log_lines_are_text_without_control(tried: Live) -> None:
    shown = lines(page(tried, "/runs/2/tasks/shout"))
    assert shown[0] == f"line 1 red {NASTY}"
    assert shown[-1] == "x" * logs.TEXT_CHARS_MAX + "…"
    assert len(shown) == 17  # DEBUG records are not kept by default


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain", "plain"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\rb\x00\x9b", "ab"),
        ("\u202eevil", "evil"),
    ],
)
def test_what_could_take_over_a_terminal_is_left_out(text: str, said: str) -> None:
    assert plain(text) == said


def test_what_was_logged_beside_a_message_is_shown_and_what_is_ours_is_not(shared: Live) -> None:
    [line] = page(shared, f"/runs/{said(shared, 'etl', country='DK')}/tasks/extract").one("ol").all("li")
    assert line.one("span", class_="text").text == 'extracting for DK {"country":"DK"}'
    [line] = page(shared, f"/runs/{said(shared, 'failing')}/tasks/fail").one("ol").all("li")
    assert not line.all("span", class_="more")
    assert line.one("span", class_="level").text == "ERROR"


def test_a_log_is_narrowed_by_text_and_level(tried: Live) -> None:
    assert len(lines(page(tried, "/runs/2/tasks/shout?level=ERROR"))) == 8
    assert len(lines(page(tried, "/runs/2/tasks/shout/0?text=LINE+7&level="))) == 1
    tree = page(tried, "/runs/2/tasks/shout?text=nothing+of+the+kind")
    assert lines(tree) == []
    assert "No line fits." in tree.text
    assert "level is one of DEBUG, INFO" in page(tried, "/runs/2/tasks/shout?level=LOUD", 400).text


def test_older_lines_are_a_link_away(tried: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lines(page(tried, "/runs/2/tasks/shout"))
    monkeypatch.setattr("ppacer.ui.logs.LINES", 7)
    path, seen = "/runs/2/tasks/shout?level=INFO", list[str]()
    while path:
        tree = page(tried, path)
        seen = [*lines(tree), *seen]
        path = next((link["href"] for link in tree.all("a") if link.text == "Older lines"), "")
    assert seen == whole


def test_a_narrowed_log_is_looked_through_in_steps(tried: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lines(page(tried, "/runs/2/tasks/shout?level=ERROR"))
    monkeypatch.setattr("ppacer.ui.logs.LOOKED_MAX", 5)
    path, seen, pages = "/runs/2/tasks/shout?level=ERROR", list[str](), 0
    while path:
        tree = page(tried, path)
        seen, pages = [*lines(tree), *seen], pages + 1
        path = next((link["href"] for link in tree.all("a") if link.text == "Older lines"), "")
    assert seen == whole
    assert pages == 4  # of 17 lines


def test_the_whole_log_is_a_file(tried: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.ui.logs.FILE_ROWS", 5)
    answer = tried.get("/runs/2/tasks/shout/0/log.txt")
    assert (answer.status, answer.kind) == (200, "text/plain")
    assert answer.headers["content-disposition"] == 'attachment; filename="loud-2-shout-0.log"'
    rows = answer.text.splitlines()
    assert len(rows) == 17
    assert rows[0].endswith(f" INFO line 1 red {NASTY}")
    assert rows[-1].endswith("x" * 5000)
    assert tried.get("/runs/99/tasks/shout/0/log.txt").status == 404


def test_a_task_that_has_not_begun_says_what_it_waits_for(live: Make, gate: Gate) -> None:
    program = live(held())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    tree = page(program, f"/runs/{run_id}/tasks/after")
    assert "Waits for hold (running)" in tree.one("p", class_="why").text
    assert "Which code runs is recorded at the end" in source_of(tree).text
    assert "It has not begun" in tree.one("section", class_="logs").text
    assert not tree.all("dl", class_="facts")
    running = page(program, f"/runs/{run_id}/tasks/hold")
    assert running.one("section", class_="logs")["data-open"] == "true"
    assert lines(running) == ["held"]


def test_a_retry_to_come_is_told(live: Make) -> None:
    program = live(retrying())
    run_id = program.trigger("retrying")
    until(lambda: program.get(f"/api/v1/runs/{run_id}").json["tasks"][0]["status"] == "FAILED_PENDING_RETRY")
    tree = page(program, f"/runs/{run_id}/tasks/fail")
    assert "It is tried again at" in tree.one("p", class_="why").text
    assert "an error of the task" in tree.one("dl", class_="facts").text


def test_what_failed_upstream_names_the_cause(shared: Live) -> None:
    tree = page(shared, f"/runs/{shared.run('failing')}/tasks/after_failure")
    assert "Was not started, because fail failed" in tree.one("p", class_="why").text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/runs/1/tasks/nobody", "no task 'nobody'"),
        ("/runs/1/tasks/third_time_lucky/3", "no attempt 3"),
        ("/runs/1/tasks/third_time_lucky/x", "no attempt 'x'"),
        ("/runs/99/tasks/shout", "no run 99"),
    ],
)
def test_what_is_not_there_is_told(tried: Live, path: str, words: str) -> None:
    assert words in page(tried, path, 404).one("main").text


def streamed(live: Live, path: str, until: bytes) -> bytes:
    """What the stream of a page says until there."""
    with live.asking(f"/live{path}?seen=") as waiting:
        response = waiting.connection.getresponse()
        found = b""
        while until not in found:
            found += response.read1(65536)
    return found


def test_the_stream_of_the_page_has_no_lines(tried: Live) -> None:
    found = streamed(tried, "/runs/2/tasks/shout", b"</section>")
    assert b"<li" not in found
    assert b"line 1" not in found


def test_the_stream_of_the_page_has_the_download_of_the_latest_attempt(tried: Live) -> None:
    """The log is not in it, and what is in the log's section would stay as it was."""
    found = streamed(tried, "/runs/1/tasks/third_time_lucky", b"Source")
    assert b'href="/runs/1/tasks/third_time_lucky/2/log.txt"' in found


def test_an_attempt_that_was_retried_says_what_became_of_it(tried: Live) -> None:
    for retry, words in (
        (0, "failed, tried again as retry 1"),
        (1, "failed, tried again as retry 2"),
        (2, "SUCCESS"),
    ):
        tree = page(tried, f"/runs/1/tasks/third_time_lucky/{retry}")
        assert tree.one("p", class_="big").text == words
