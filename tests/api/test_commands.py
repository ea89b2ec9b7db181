"""The commands: what each changes, what it answers, and that a refused one changes nothing."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest

from api.dags import all_dags, etl, failing, held, rare, retrying
from api.live import LONG, PATIENCE, Gate, Live, is_problem, until

Make = Callable[..., Live]


def status_of(live: Live, run_id: int) -> str:
    """The status of a run, now."""
    return str(live.get(f"/api/v1/runs/{run_id}").json["run"]["status"])


# -- trigger ------------------------------------------------------


def test_a_trigger_starts_a_run_and_says_where_it_is(shared: Live) -> None:
    answer = shared.post("/api/v1/dags/etl/trigger", {"params": {"country": "DK"}})
    assert (answer.status, answer.kind) == (201, "application/json")
    run_id = answer.json["run_id"]
    assert answer.json["dag_id"] == "etl"
    assert answer.headers["location"] == f"/api/v1/runs/{run_id}"
    detail = shared.ended(run_id)["run"]
    assert detail["trigger"] == "manual"
    assert detail["exec_ts"] == answer.json["exec_ts"]
    assert detail["params"] == {"country": "DK", "rows": 3, "more": None}
    assert datetime.fromisoformat(detail["exec_ts"]).utcoffset() is not None


def test_a_trigger_can_choose_the_time_of_the_run_once(shared: Live) -> None:
    answer = shared.post("/api/v1/dags/etl/trigger", {"exec_ts": "2026-01-31T03:00:00+02:00"})
    assert (answer.status, answer.json["exec_ts"]) == (201, "2026-01-31T01:00:00Z")
    shared.ended(answer.json["run_id"])
    before = shared.rows()
    again = shared.post("/api/v1/dags/etl/trigger", {"exec_ts": "2026-01-31T01:00:00Z"})
    assert is_problem(again, 409, "conflict")
    assert "has a run with the execution time 2026-01-31T01:00:00+00:00 already" in again.json["detail"]
    assert shared.rows() == before
    naive = shared.post("/api/v1/dags/etl/trigger", {"exec_ts": "2026-01-31T03:00:00"})
    assert "2026-01-31T03:00:00 has no time zone; add Z or an offset" in naive.json["detail"]


@pytest.mark.parametrize(
    ("dag_id", "params", "words"),
    [
        ("etl", {"country": 7}, ["country", "str", "int"]),
        ("etl", {"rows": "many"}, ["rows", "int", "str"]),
        ("etl", {"contry": "PL"}, ["'contry'", "country"]),
        ("empty", {"x": 1}, ["no parameters", "x"]),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(
    shared: Live, dag_id: str, params: dict[str, Any], words: list[str]
) -> None:
    before = shared.rows()
    answer = shared.post(f"/api/v1/dags/{dag_id}/trigger", {"params": params})
    assert is_problem(answer, 422, "not_possible")
    assert [word for word in words if word not in answer.json["detail"]] == []
    assert shared.rows() == before


def test_an_unknown_dag_is_refused_with_the_one_that_was_meant(shared: Live) -> None:
    before = shared.rows()
    for command in ("trigger", "pause", "unpause"):
        answer = shared.post(f"/api/v1/dags/etll/{command}")
        assert is_problem(answer, 404, "not_found")
        assert answer.json["detail"] == "there is no dag 'etll'; did you mean 'etl'?"
        far = shared.post(f"/api/v1/dags/something-else/{command}")
        assert is_problem(far, 404, "not_found")
        assert "did you mean" not in far.json["detail"]
    assert shared.rows() == before


def test_among_very_many_dags_none_is_sought_that_was_meant(
    shared: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing a typing error with 100,000 ids would hold up the scheduler for six seconds."""
    monkeypatch.setattr("ppacer.scheduler.commands.COMPARED_MAX", 3)
    answer = shared.post("/api/v1/dags/etll/trigger")
    assert is_problem(answer, 404, "not_found")
    assert answer.json["detail"] == "there is no dag 'etll'; `ppacer dags` lists them"


def test_triggers_at_the_same_moment_are_runs_of_their_own(live: Make) -> None:
    program = live(etl())
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(program.trigger("etl"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    details = [program.ended(run_id)["run"] for run_id in numbers]
    assert len(set(numbers)) == len({run["exec_ts"] for run in details}) == 20
    assert {run["status"] for run in details} == {"SUCCESS"}


# -- cancel ------------------------------------------------------


def test_a_cancelled_run_ends_with_its_tasks(live: Make) -> None:
    program = live(retrying())
    run_id = program.trigger("retrying")
    until(lambda: program.get(f"/api/v1/runs/{run_id}").json["tasks"][0]["status"] == "FAILED_PENDING_RETRY")
    answer = program.post(f"/api/v1/runs/{run_id}/cancel")
    assert answer.status == 200
    assert (answer.json["dag_id"], answer.json["run_id"]) == ("retrying", run_id)
    detail = program.ended(run_id)
    assert detail["run"]["status"] == "CANCELLED"
    assert [task["status"] for task in detail["tasks"]] == ["CANCELLED"]


def test_a_run_that_has_ended_cannot_be_cancelled(shared: Live) -> None:
    run_id = shared.run("etl")
    before = shared.rows()
    answer = shared.post(f"/api/v1/runs/{run_id}/cancel")
    assert is_problem(answer, 409, "conflict")
    assert "SUCCESS" in answer.json["detail"]
    assert shared.rows() == before


def test_cancelling_twice_is_the_same_as_once(live: Make, gate: Gate) -> None:
    program = live(held(), grace=PATIENCE)  # the task may take its time
    run_id = program.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    assert [program.post(f"/api/v1/runs/{run_id}/cancel").status for _ in range(2)] == [200, 200]
    gate.open()
    assert program.ended(run_id)["run"]["status"] == "CANCELLED"


# -- restart ------------------------------------------------------


def test_a_restart_tries_again_what_failed_and_nothing_else(shared: Live) -> None:
    run_id = shared.run("failing")
    answer = shared.post(f"/api/v1/runs/{run_id}/restart")
    assert answer.status == 200
    assert answer.json["run_id"] == run_id
    until(lambda: status_of(shared, run_id) == "FAILED")
    detail = shared.ended(run_id)
    attempts = [(attempt["task_id"], attempt["retry"]) for attempt in detail["attempts"]]
    assert attempts.count(("nothing", 0)) == 1
    assert {("fail", 0), ("fail", 1)} <= set(attempts)
    assert ("nothing", 1) not in attempts
    assert detail["run"]["restarts"] == 1


def test_a_run_that_is_open_or_succeeded_cannot_be_restarted(shared: Live, gate: Gate) -> None:
    done, running = shared.run("etl"), shared.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    before = shared.rows()
    for run_id, word in ((done, "SUCCESS"), (running, "RUNNING")):
        answer = shared.post(f"/api/v1/runs/{run_id}/restart")
        assert is_problem(answer, 409, "conflict")
        assert word in answer.json["detail"]
    assert shared.rows() == before
    gate.open()
    shared.ended(running)


# -- pause ------------------------------------------------------


def test_a_paused_dag_says_so_until_it_is_unpaused(live: Make) -> None:
    program = live(rare())
    for _ in range(2):  # the second time changes nothing
        answer = program.post("/api/v1/dags/rare/pause")
        assert (answer.status, answer.json) == (
            200,
            {"dag_id": "rare", "run_id": None, "exec_ts": None, "note": None},
        )
        assert program.get("/api/v1/dags/rare").json["paused_at"]
    assert "is paused since" in program.get("/api/v1/dags/rare/why").json["why"]
    assert program.run("rare")  # by hand it runs
    for _ in range(2):
        assert program.post("/api/v1/dags/rare/unpause").status == 200
        assert program.get("/api/v1/dags/rare").json["paused_at"] is None


def test_a_disabled_dag_goes_on_only_when_its_schedule_works_again(live: Make) -> None:
    program = live(*all_dags())
    before = program.get("/api/v1/dags/broken").json["disabled_reason"]
    answer = program.post("/api/v1/dags/broken/unpause")
    assert answer.status == 409
    assert before in answer.json["detail"]
    assert program.get("/api/v1/dags/broken").json["disabled_reason"] == before
    assert program.run("broken")  # by hand it runs in any case


# -- how commands wait ------------------------------------------------------


def test_commands_that_wait_for_the_scheduler_leave_room_for_others(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked database holds up the scheduler's thread; a hundred commands wait for it, nobody else does."""
    monkeypatch.setattr("ppacer.store.database.BUSY_TIMEOUT_MS", 1000 * LONG)
    program = live(etl(), held(), failing())
    with closing(sqlite3.connect(program.db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(program.post("/api/v1/dags/etl/pause").status))
            for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        for path in ("/healthz", "/api/v1/dags", "/", "/api/v1/runs?status=RUNNING"):
            with program.asking(path) as waiting:
                assert waiting.is_answered(PATIENCE)
                assert waiting.answer().status == 200
        assert statuses == []
        other.execute("ROLLBACK")
        for thread in threads:
            thread.join(PATIENCE)
    assert statuses == [200] * 100


def test_a_command_without_an_answer_says_that_it_may_still_be_carried_out(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = live(etl())
    monkeypatch.setattr("ppacer.api.door.COMMAND_SECONDS", 0.1)
    with closing(sqlite3.connect(program.db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = program.post("/api/v1/dags/etl/pause")
        other.execute("ROLLBACK")
    assert is_problem(answer, 503, "no_answer")
    assert "may still be carried out" in answer.json["detail"]
    until(lambda: program.get("/api/v1/dags/etl").json["paused_at"])
