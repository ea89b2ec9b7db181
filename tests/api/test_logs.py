"""The logs of a run over HTTP: filters, pages, tails, and followers that lose and repeat nothing."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from api.dags import talking
from api.live import LONG, PATIENCE, Gate, Live
from ppacer import Dag, TaskContext, task


def page(live: Live, run_id: int, query: str = "") -> tuple[list[Any], bool]:
    """The records of one answer, and whether they are the last ones."""
    answer = live.get(f"/api/v1/runs/{run_id}/logs?{query}")
    assert answer.status == 200, answer
    return answer.json["records"], answer.json["ended"]


def messages(live: Live, run_id: int, query: str = "") -> list[str]:
    """What the records of one answer say."""
    return [record["message"] for record in page(live, run_id, query)[0]]


def follow(live: Live, run_id: int, limit: int, wait: int = LONG) -> list[Any]:
    """What a follower sees from the first record to the end."""
    seen: list[Any] = []
    ended = False
    while not ended:
        after = seen[-1]["log_id"] if seen else 0
        records, ended = page(live, run_id, f"after={after}&limit={limit}&wait={wait}")
        seen += records
    return seen


@pytest.fixture(scope="module")
def talked(shared: Live) -> int:
    """A run that said `line 0` to `line 49`, of every level in turn."""
    return shared.run("talking", rows=50, country="PL")


def test_a_record_tells_who_said_what_and_when(shared: Live) -> None:
    run_id = shared.run("etl", country="DK")
    [first, second], ended = page(shared, run_id)
    assert ended
    assert (first["task_id"], first["retry"], first["level"]) == ("extract", 0, "INFO")
    assert (first["message"], first["attributes"]) == ("extracting for DK", {"country": "DK"})
    assert (second["task_id"], second["message"]) == ("load", "loading 3 rows")
    assert first["at"] <= second["at"]
    assert first["log_id"] < second["log_id"]


def test_what_a_task_said_can_be_read_when_its_run_is_seen_to_have_ended(shared: Live) -> None:
    """The records are written by another thread: who reads at once must find them all."""
    for _ in range(20):
        run_id = shared.trigger("talking", rows=7)
        shared.ended(run_id)
        records, ended = page(shared, run_id)
        assert (len(records), ended) == (5, True)  # DEBUG records are not kept by default


def test_pages_follow_each_other_without_gap_or_double(shared: Live, talked: int) -> None:
    all_of_them = messages(shared, talked)
    for limit in (1, 7, 39, 40, 41):
        assert [record["message"] for record in follow(shared, talked, limit)] == all_of_them


def test_the_last_page_says_that_it_is_the_last(shared: Live, talked: int) -> None:
    records, ended = page(shared, talked, "limit=40")
    assert (len(records), ended) == (40, False)  # full, so there may be more
    assert page(shared, talked, f"after={records[-1]['log_id']}") == ([], True)
    records, ended = page(shared, talked, "limit=41")
    assert (len(records), ended) == (40, True)


def test_a_tail_is_the_end_in_the_order_of_the_log(shared: Live, talked: int) -> None:
    everything = messages(shared, talked)
    assert messages(shared, talked, "tail=3") == everything[-3:]
    assert messages(shared, talked, "tail=1000") == everything
    assert messages(shared, talked, "tail=0") == everything[-1:]
    assert page(shared, talked, "tail=3")[1] is True  # behind the end comes nothing


def test_pages_are_read_backwards_too(shared: Live, talked: int) -> None:
    records, _ = page(shared, talked)
    at = records[30]["log_id"]
    older, ended = page(shared, talked, f"tail=7&before={at}")
    assert older == records[23:30]
    assert not ended  # behind this page there is more
    assert page(shared, talked, f"tail=7&before={records[0]['log_id']}")[0] == []


def test_levels_texts_tasks_and_attempts_narrow_the_log(shared: Live, talked: int) -> None:
    levels = {record["level"] for record in page(shared, talked, "level=warning")[0]}
    assert levels == {"WARNING", "ERROR", "CRITICAL"}
    assert messages(shared, talked, "level=CRITICAL&tail=2") == ["line 44 of PL", "line 49 of PL"]
    assert messages(shared, talked, "text=LINE+42") == ["line 42 of PL"]
    assert messages(shared, talked, f"text={quote('%')}") == []
    assert messages(shared, talked, "task_id=talk&retry=0&limit=1") == ["line 1 of PL"]
    assert messages(shared, talked, "task_id=unknown") == []
    assert messages(shared, talked, "retry=1") == []


def test_a_new_record_answers_who_waits_for_it(live: Callable[..., Live]) -> None:
    """While the task that said it goes on."""
    say, end = Gate(), Gate()

    @task
    def chat(ctx: TaskContext) -> None:
        say.wait()
        ctx.logger.info("said")
        end.wait()

    with Dag("chat") as dag:
        chat()
    program = live(dag)
    run_id = program.trigger("chat")
    with program.asking(f"/api/v1/runs/{run_id}/logs?wait={LONG}") as waiting:
        assert not waiting.is_answered(0.3)
        say.open()
        answer = waiting.answer().json
    assert [record["message"] for record in answer["records"]] == ["said"]
    assert answer["ended"] is False
    end.open()
    program.ended(run_id)


def test_the_end_of_a_run_answers_who_waits_for_records(shared: Live, gate: Gate) -> None:
    """Also where no record comes any more."""
    run_id = shared.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    path = f"/api/v1/runs/{run_id}/logs?level=ERROR&wait={LONG}"
    with shared.asking(path) as waiting:
        assert not waiting.is_answered(0.3)
        gate.open()
        assert waiting.answer().json == {"records": [], "ended": True}


def test_records_of_other_runs_answer_nobody(shared: Live, gate: Gate) -> None:
    run_id = shared.trigger("held")
    [record], _ = page(shared, run_id, f"wait={LONG}")
    with shared.asking(f"/api/v1/runs/{run_id}/logs?after={record['log_id']}&wait={LONG}") as waiting:
        shared.run("talking", rows=10)
        assert not waiting.is_answered(0.3)
        gate.open()
        assert [record["message"] for record in waiting.answer().json["records"]] == ["let go"]


def test_no_record_in_time_is_an_empty_page(shared: Live, gate: Gate) -> None:
    run_id = shared.trigger("held")
    [record], _ = page(shared, run_id, f"wait={LONG}")
    begin = time.monotonic()
    assert page(shared, run_id, f"after={record['log_id']}&wait=1") == ([], False)
    assert time.monotonic() - begin > 0.9
    gate.open()
    shared.ended(run_id)


def test_a_follower_loses_nothing_however_it_pages(shared: Live) -> None:
    """Followers with pages of every size, of runs that talk while they read."""
    seen: dict[int, list[Any]] = {}

    def watch(run_id: int, limit: int) -> None:
        seen[run_id] = follow(shared, run_id, limit)

    threads = []
    for limit in (1, 2, 3, 7, 100, 1000):
        run_id = shared.trigger("talking", rows=60)
        threads.append(threading.Thread(target=watch, args=(run_id, limit)))
        threads[-1].start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(seen) == 6
    for records in seen.values():
        numbers = [int(record["message"].split()[1]) for record in records]
        assert numbers == [number for number in range(60) if number % 5]
        assert len({record["log_id"] for record in records}) == 48


def test_the_end_is_not_told_before_the_last_record_can_be_read(
    live: Callable[..., Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database of the logs is locked, the run ends; its follower hears the rest afterwards."""
    program = live(talking())
    with closing(sqlite3.connect(program.logs_db, isolation_level=None)) as other:
        program.run("talking", rows=2)  # makes the table
        other.execute("BEGIN EXCLUSIVE")
        run_id = program.trigger("talking", rows=10)
        program.ended(run_id)
        with program.asking(f"/api/v1/runs/{run_id}/logs?wait={LONG}") as waiting:
            with monkeypatch.context() as patch:
                patch.setattr("ppacer.api.door.FLUSH_SECONDS", 0.3)
                assert not waiting.is_answered(1.5)
            other.execute("ROLLBACK")
            answer = waiting.answer().json
    assert len(answer["records"]) == 8
    assert answer["ended"]
