"""Live streams: what is told, when, to whom, and how little it costs."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from api.dags import empty, etl, held, nothing
from api.live import PATIENCE, Gate, Live, until
from ppacer import Dag
from ppacer.errors import StoreError
from ppacer.store.reads import Reads
from ppacer.ui.environment import render
from ppacer.ui.live import Pause
from ui.test_pages import page

Make = Callable[..., Live]


class Stream:
    """The events of a stream, read in a thread of their own."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.events: list[dict[str, str]] = []
        self.has_ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        event: dict[str, str] = {}
        with suppress(OSError, ValueError, AttributeError):  # how http.client notices that it was closed
            for line in self.response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name in ("data", "id", "event"):
                    event[name] = f"{event[name]}\n{value}" if name in event else value
                elif not name and event:
                    self.events.append(event)
                    event = {}
        self.has_ended.set()


@contextmanager
def stream(live: Live, path: str, seen: str = "", **headers: str) -> Iterator[Stream]:
    """A stream while the block runs."""
    connection = live.connect()
    connection.request("GET", f"{path}{'&' if '?' in path else '?'}seen={seen}", headers=headers)
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    sock = connection.sock
    try:
        yield Stream(response)
    finally:
        sock.shutdown(2)
        connection.close()


def seen_by(live: Live, path: str) -> str:
    """The moment of which a page is."""
    return page(live, path).one("main")["hx-sse:connect"].rpartition("seen=")[2]


def test_who_has_seen_all_hears_nothing_until_something_happens(live: Make) -> None:
    program = live(etl())
    until(lambda: "RUNNING" in page(program).one("p", id="scheduler").text)
    path = "/dags"
    seen = seen_by(program, path)
    with stream(program, "/live/dags", seen) as events:
        time.sleep(0.3)
        assert seen != seen_by(program, path) or events.events == []
        before = len(events.events)
        program.post("/api/v1/dags/etl/pause")
        until(lambda: len(events.events) > before)
        last = events.events[-1]
        assert "/dags/etl/unpause" in last["data"]
        assert "<html" not in last["data"]
        assert 'hx-swap-oob="outerMorph"' in last["data"]
        with stream(program, "/live/dags", last["id"]) as again:
            assert again.events == []


def test_who_has_seen_something_else_is_told_at_once(live: Make) -> None:
    program = live(etl())
    with stream(program, "/live/dags", "of-another-program") as events:
        until(lambda: events.events)
    with stream(program, "/live/dags", seen_by(program, "/dags"), **{"Last-Event-ID": "0-0"}) as events:
        until(lambda: events.events)


def test_a_run_is_told_to_who_looks_at_it_and_not_to_others(live: Make, gate: Gate) -> None:
    program = live(held(), empty())
    run_id = program.trigger("held")
    until(gate.arrived.is_set)
    with stream(program, f"/live/runs/{run_id}", seen_by(program, f"/runs/{run_id}")) as events:
        time.sleep(0.3)
        before = len(events.events)
        program.run("empty")
        time.sleep(0.3)
        assert len(events.events) == before
        gate.open()
        until(lambda: events.events and "SUCCESS" in events.events[-1]["data"])


def test_a_stream_asks_for_the_same_as_its_page(live: Make) -> None:
    program = live(etl(), held())
    with stream(program, "/live/dags?text=hel") as events:
        until(lambda: events.events)
        assert "dag-held" in events.events[0]["data"]
        assert "dag-etl" not in events.events[0]["data"]


def test_many_who_look_at_the_same_cost_one_rendering(live: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def counting(template: str, **values: object) -> str:
        rendered.append(str(values["layout"]))
        return render(template, **values)

    monkeypatch.setattr("ppacer.ui.page.render", counting)
    program = live(etl())
    seen = seen_by(program, "/dags")
    with ExitStack() as stack:
        opened = [stack.enter_context(stream(program, "/live/dags", seen)) for _ in range(20)]
        time.sleep(0.5)
        before, rendered[:] = [len(one.events) for one in opened], []
        program.post("/api/v1/dags/etl/pause")
        until(lambda: all(len(one.events) > count for one, count in zip(opened, before, strict=True)))
    assert rendered.count("live.html") <= 3  # the command, and what it leaves in the audit


def test_a_busy_program_renders_for_a_small_part_of_the_time(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = 0.0

    def slow(template: str, **values: object) -> str:
        nonlocal spent
        begin = time.thread_time()
        while time.thread_time() - begin < 0.02:
            pass
        html = render(template, **values)
        spent += time.thread_time() - begin
        return html

    monkeypatch.setattr("ppacer.ui.page.render", slow)
    with Dag("quick") as quick:
        nothing()
    program = live(quick)
    with ExitStack() as stack:
        for letter in "quick":
            stack.enter_context(stream(program, f"/live/dags?text={letter}"))
        begin = time.monotonic()
        while time.monotonic() - begin < 3:
            program.trigger("quick")
        assert spent / (time.monotonic() - begin) < 0.15


def test_the_pause_after_a_rendering_is_longer_when_the_program_does_much_else() -> None:
    pause = Pause()
    pause.begin(now=100.0, program=10.0, spent=0.0)
    pause.begin(now=101.0, program=10.01, spent=0.01)  # nothing else was done
    assert pause.ends_at == pytest.approx(101.04)
    pause.begin(now=102.0, program=10.52, spent=0.01)  # half of the second went to other things
    assert pause.ends_at == pytest.approx(102.32)
    pause.begin(now=103.0, program=12.53, spent=0.01)  # as much as can be, and more
    assert pause.ends_at == pytest.approx(103.6)
    pause.begin(now=103.0, program=12.53, spent=0.01)  # clocks that tick coarsely
    assert pause.ends_at == pytest.approx(103.04)


def test_who_goes_away_is_forgotten_and_there_is_a_limit(live: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.ui.live.STREAMS_MAX", 2)
    program = live(etl())
    with stream(program, "/live/dags") as first, stream(program, "/live") as second:
        until(lambda: first.events and second.events)
        with stream(program, "/live/dags") as third:
            until(third.has_ended.is_set)
            assert third.events == [
                {"event": "full", "data": "2 pages are live already; this one stands still."}
            ]

    def is_free() -> bool:
        with stream(program, "/live/dags") as one:
            until(lambda: one.events)
            return "event" not in one.events[0]

    until(is_free)


def test_a_page_that_has_become_old_is_told_once_for_all_though_there_is_no_news(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []

    def counting(template: str, **values: object) -> str:
        rendered.append(str(values["layout"]))
        return render(template, **values)

    program = live(etl())
    until(lambda: "RUNNING" in page(program).one("p", id="scheduler").text)
    monkeypatch.setattr("ppacer.ui.page.render", counting)
    monkeypatch.setattr("ppacer.ui.live.SILENCE_SECONDS", 0.2)
    with stream(program, "/live/audit", seen_by(program, "/audit")) as events:
        time.sleep(1)
        assert events.events == []
    monkeypatch.setattr("ppacer.ui.live.OLD_SECONDS", 1.0)
    seen, rendered[:] = seen_by(program, "/audit"), []
    with ExitStack() as stack:
        opened = [stack.enter_context(stream(program, "/live/audit", seen)) for _ in range(10)]
        until(lambda: all(len(one.events) >= 2 for one in opened))
        told = sum(len(one.events) for one in opened)
    assert rendered.count("live.html") <= told / 2  # on a busy machine some hear of it once more than others


def test_a_page_that_cannot_be_read_says_so_and_comes_back_by_itself(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = live(etl())
    monkeypatch.setattr("ppacer.ui.live.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("ppacer.ui.live.OLD_SECONDS", 0.4)
    with monkeypatch.context() as patch, stream(program, "/live/dags") as events:
        until(lambda: events.events)

        def away(*_: object, **__: object) -> None:
            raise StoreError("the database is away")

        patch.setattr(Reads, "dags", away)
        until(lambda: {"event": "trouble", "data": "the database is away"} in events.events)
        patch.undo()
        until(lambda: "dag-etl" in events.events[-1]["data"])


def test_a_token_that_counts_no_more_ends_its_streams(live: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    program = live(etl())
    made = {name: program.post("/api/v1/tokens", {"name": name, "role": "operator"}) for name in "abc"}
    cookies = {name: {"Cookie": f"ppacer_token={answer.json['secret']}"} for name, answer in made.items()}
    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(stream(program, "/live/dags", **cookies[name])) for name in cookies
        }
        until(lambda: all(one.events for one in streams.values()))
        program.post("/api/v1/tokens/a/revoke")
        program.post("/api/v1/dags/etl/pause")
        assert streams["a"].has_ended.wait(PATIENCE)
        assert not any("/dags/etl/unpause" in event["data"] for event in streams["a"].events)
        until(lambda: "/dags/etl/unpause" in streams["b"].events[-1]["data"])
        monkeypatch.setattr("ppacer.ui.live.SILENCE_SECONDS", 0.2)  # from the next event on
        program.post("/api/v1/dags/etl/unpause")
        program.post("/api/v1/tokens/b/revoke")
        assert streams["b"].has_ended.wait(PATIENCE)
        assert not streams["c"].has_ended.is_set()


def test_streams_end_with_the_program(live: Make) -> None:
    program = live(etl())
    with stream(program, "/live/dags") as events:
        until(lambda: events.events)
        begin = time.monotonic()
        program.stop()
        assert events.has_ended.wait(PATIENCE)
        assert time.monotonic() - begin < PATIENCE / 4
