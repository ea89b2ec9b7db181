"""What the routes that read tell: dags, runs, points, sources, results, explanations, and how pages go on."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.dags import NASTY, Order, all_dags, etl, held, talking
from api.live import LONG, PATIENCE, Gate, Live, is_problem, until
from ppacer import Dag, task
from ppacer.errors import StoreUnavailable
from ppacer.schedule import Cron
from ppacer.scheduler import Scheduler, State

Make = Callable[..., Live]


@task
def nothing() -> None:
    """Does it."""


def many(count: int) -> list[Dag]:
    """Dags `d000`, `d001` … with one task."""
    dags = []
    for number in range(count):
        with Dag(f"d{number:03}") as dag:
            nothing()
        dags.append(dag)
    return dags


# -- /healthz ------------------------------------------------------


def test_a_scheduler_that_works_is_healthy(shared: Live) -> None:
    answer = shared.get("/healthz")
    assert (answer.status, answer.kind) == (200, "application/json")
    assert answer.json["state"] == "RUNNING"
    assert answer.json["detail"] is None
    assert answer.json["version"]


def test_a_scheduler_that_waits_for_its_database_says_so_everywhere(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = live(etl())
    run_id = program.run("etl")

    def full(*_: object) -> None:
        raise StoreUnavailable("the disk with scheduler.db is full: free some space")

    with monkeypatch.context() as patch:
        patch.setattr(program.program.store, "apply", full)
        patch.setattr(program.program.store, "_rows", full)
        patch.setattr(program.program.store, "_row", full)
        answer = program.post("/api/v1/dags/etl/trigger")
        assert is_problem(answer, 503, "unavailable")
        assert "free some space" in answer.json["detail"]
        health = program.get("/healthz")
        assert (health.status, health.json["state"]) == (503, "DEGRADED")
        reason = "the scheduler waits for its database: the disk with scheduler.db is full: free some space"
        assert health.json["detail"] == reason
        for path in (f"runs/{run_id}/why", f"runs/{run_id}/tasks/load/why", "dags/etl/why"):
            assert program.get(f"/api/v1/{path}").json["why"].endswith(f". But {reason}.")
        assert reason in program.get("/").text
        assert program.get("/api/v1/runs").status == 200
    until(lambda: program.get("/healthz").status == 200)
    assert len(program.get("/api/v1/runs").json["runs"]) == 1


def test_a_scheduler_that_stops_takes_no_commands_and_says_so(live: Make) -> None:
    program = live(etl())
    run_id = program.run("etl")
    scheduler = program.program.scheduler
    assert isinstance(scheduler, Scheduler)
    scheduler.refuse_commands()
    health = program.get("/healthz")
    assert (health.status, health.json["state"]) == (503, "STOPPING")
    assert health.json["detail"] == "the scheduler is stopping: running tasks may finish, nothing new begins"
    assert is_problem(program.post("/api/v1/dags/etl/trigger"), 503, "unavailable")
    scheduler.stop()
    until(lambda: scheduler.state is State.STOPPED)
    health = program.get("/healthz")
    assert (health.status, health.json["detail"]) == (503, "the scheduler has stopped")
    assert is_problem(program.post("/api/v1/dags/etl/trigger"), 503, "unavailable")
    assert program.get(f"/api/v1/runs/{run_id}").status == 200
    assert (
        program.get("/api/v1/dags/etl/why")
        .json["why"]
        .endswith("But no scheduler is running; start it with `ppacer serve`.")
    )


# -- dags ------------------------------------------------------


def test_pages_of_dags_follow_each_other_without_gap_or_double(live: Make) -> None:
    program = live(*many(25))
    seen: list[str] = []
    after = ""
    while page := [dag["dag_id"] for dag in program.get(f"/api/v1/dags?limit=10&after={after}").json["dags"]]:
        seen += page
        after = page[-1]
    assert seen == [f"d{number:03}" for number in range(25)]


@pytest.mark.parametrize(
    ("limit", "count"), [("0", 1), ("1", 1), ("5", 5), ("1000", 5), ("1001", 5), ("9" * 18, 5)]
)
def test_a_limit_is_bounded(live: Make, limit: str, count: int) -> None:
    assert len(live(*many(5)).get(f"/api/v1/dags?limit={limit}").json["dags"]) == count


def test_no_dags_are_an_empty_list(live: Make) -> None:
    program = live()
    assert program.get("/api/v1/dags").json == {"dags": [], "next": None}
    assert program.get("/api/v1/runs").json == {"runs": [], "next": None}


def test_a_tag_finds_the_dags_that_have_it(shared: Live) -> None:
    def ids(tag: str) -> list[str]:
        return [dag["dag_id"] for dag in shared.get(f"/api/v1/dags?tag={tag}").json["dags"]]

    assert ids("sales") == ["etl", "held"]
    assert ids("nightly") == ["etl"]
    assert ids("night") == []
    assert ids("unknown") == []


def test_a_tag_is_not_found_among_the_parameters_of_a_dag(shared: Live) -> None:
    """The parameters stand beside the tags in one column, and hold texts like these."""
    for word in ("object", "integer", "country", "PL", "Order", "properties", "Tags"):
        assert shared.get(f"/api/v1/dags?tag={word}").json == {"dags": [], "next": None}, word


def test_pages_of_a_tag_are_full(live: Make) -> None:
    """Also where most dags in between have the word somewhere else."""
    dags = []
    for number in range(30):
        tags = ["PL"] if number % 10 == 9 else []
        with Dag(f"d{number:02}", params=Order, tags=tags) as dag:
            nothing()
        dags.append(dag)
    program = live(*dags)
    page = program.get("/api/v1/dags?tag=PL&limit=2").json["dags"]
    assert [dag["dag_id"] for dag in page] == ["d09", "d19"]
    page = program.get("/api/v1/dags?tag=PL&limit=2&after=d19").json["dags"]
    assert [dag["dag_id"] for dag in page] == ["d29"]


def test_a_dag_tells_everything_about_itself(shared: Live) -> None:
    dag = shared.get("/api/v1/dags/etl").json
    assert dag["dag_id"] == "etl"
    assert "15 3 * * *" in dag["schedule"]
    assert dag["tags"] == ["nightly", "sales"]
    assert datetime.fromisoformat(dag["next_at"]).utcoffset() is not None
    assert dag["params_schema"]["$defs"]["Order"]["properties"]["country"] == {
        "type": "string",
        "default": "PL",
    }
    assert (dag["paused_at"], dag["disabled_reason"], dag["removed_at"]) == (None, None, None)


def test_values_that_look_like_html_are_plain_values_in_json(shared: Live) -> None:
    answer = shared.get("/api/v1/dags/hostile")
    assert answer.json["tags"] == [NASTY]
    assert answer.json["schedule"] == f"never {NASTY}"
    assert answer.kind == "application/json"
    assert NASTY in shared.get("/api/v1/dags/broken").json["disabled_reason"]


def test_every_schedule_point_is_accounted_for(shared: Live) -> None:
    points = shared.get("/api/v1/dags/rare/points").json["points"]
    assert [point["event"] for point in points[-2:]] == ["CAUGHT_UP", "SKIPPED"]
    assert points[-1]["next_schedule_ts"] == points[-2]["schedule_ts"]
    assert len(shared.get("/api/v1/dags/rare/points?limit=1").json["points"]) == 1
    assert shared.get("/api/v1/dags/empty/points").json == {"points": []}


def test_the_source_of_a_task_can_be_read(shared: Live) -> None:
    [source] = shared.get("/api/v1/dags/etl/tasks/load/sources").json["sources"]
    assert source["is_current"] is True
    assert "def load(ctx: TaskContext, rows: list[int]) -> int:" in source["source"]
    assert is_problem(shared.get("/api/v1/dags/etl/tasks/unload/sources"), 404, "not_found")


# -- runs ------------------------------------------------------


def test_runs_come_newest_first_in_pages_and_by_dag_and_status(live: Make) -> None:
    program = live(*all_dags())
    good = [program.run("empty") for _ in range(5)]
    bad = [program.run("failing") for _ in range(2)]

    def ids(query: str) -> list[int]:
        return [run["run_id"] for run in program.get(f"/api/v1/runs?{query}").json["runs"]]

    assert ids("dag_id=empty") == good[::-1]
    assert ids("dag_id=failing") == bad[::-1]
    assert ids("dag_id=unknown") == []
    assert ids("status=FAILED") == ids("status=failed") == bad[::-1]
    assert set(ids("status=FAILED&status=SUCCESS")) >= {*good, *bad}
    assert ids("status=RUNNING") == []
    assert ids("dag_id=empty&limit=2") == [good[4], good[3]]
    assert ids(f"dag_id=empty&limit=2&before={good[3]}") == [good[2], good[1]]
    assert ids(f"dag_id=empty&before={good[0]}") == []
    assert len(ids("limit=0")) == 1


def test_a_run_tells_its_tasks_and_attempts(shared: Live) -> None:
    detail = shared.ended(shared.trigger("etl", country="DK", rows=2))
    assert detail["run"]["status"] == "SUCCESS"
    assert detail["run"]["params"] == {"country": "DK", "rows": 2, "more": None}
    assert [(task["task_id"], task["parents"]) for task in detail["tasks"]] == [
        ("extract", []),
        ("load", ["extract"]),
    ]
    assert [(attempt["task_id"], attempt["retry"], attempt["status"]) for attempt in detail["attempts"]] == [
        ("extract", 0, "SUCCESS"),
        ("load", 0, "SUCCESS"),
    ]


def test_the_error_of_a_task_is_told(shared: Live) -> None:
    detail = shared.ended(shared.trigger("failing"))
    states = {task["task_id"]: (task["status"], task["error"]) for task in detail["tasks"]}
    assert states["fail"][0] == "FAILED"
    assert NASTY in states["fail"][1]
    assert states["after_failure"] == ("UPSTREAM_FAILED", None)
    assert states["nothing"] == ("SUCCESS", None)


def test_the_result_of_a_task_is_its_json(shared: Live) -> None:
    run_id = shared.run("etl", rows=3)
    answer = shared.get(f"/api/v1/runs/{run_id}/tasks/extract/result")
    assert (answer.kind, answer.text) == ("application/json", "[0,1,2]")
    assert shared.get(f"/api/v1/runs/{run_id}/tasks/load/result").json == 3


def test_a_task_that_returned_nothing_has_the_result_null(shared: Live) -> None:
    run_id = shared.run("failing")
    for task_id in ("nothing", "fail", "after_failure"):
        assert shared.get(f"/api/v1/runs/{run_id}/tasks/{task_id}/result").text == "null"
    assert is_problem(shared.get(f"/api/v1/runs/{run_id}/tasks/unknown/result"), 404, "not_found")


# -- why ------------------------------------------------------


def test_dags_runs_and_tasks_explain_themselves(shared: Live, gate: Gate) -> None:
    """That each route explains the thing it is asked about; `test_why` reads the sentences of all states."""

    def why(path: str) -> str:
        answer = shared.get(f"/api/v1/{path}/why")
        assert answer.status == 200
        return str(answer.json["why"])

    run_id = shared.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    assert (
        why(f"runs/{run_id}") == f"run {run_id} of held is running: 0 of 2 tasks succeeded; hold is running."
    )
    assert why(f"runs/{run_id}/tasks/hold").startswith(f"hold in run {run_id} of held is running since ")
    assert why(f"runs/{run_id}/tasks/after") == f"after in run {run_id} of held waits for hold (running)."
    gate.open()
    shared.ended(run_id)
    assert why(f"runs/{run_id}").startswith(f"run {run_id} of held succeeded: all 2 tasks did, in ")
    failed = shared.run("failing")
    assert why(f"runs/{failed}").startswith(
        f"run {failed} of failing failed: fail failed at its first attempt: "
    )
    assert f"DagError: it failed: {NASTY}. Once" in why(f"runs/{failed}")
    assert "was not started, because fail failed." in why(f"runs/{failed}/tasks/after_failure")
    assert why("dags/etl").startswith("etl runs next at ")
    assert why("dags/empty").startswith("empty has no schedule")
    assert why("dags/broken").startswith("broken is disabled, because its schedule failed: ")
    assert is_problem(shared.get(f"/api/v1/runs/{run_id}/tasks/unknown/why"), 404, "not_found")
    assert is_problem(shared.get("/api/v1/dags/unknown/why"), 404, "not_found")


# -- waiting for the end of a run ------------------------------------------------------


def test_a_run_is_answered_as_soon_as_it_ends(shared: Live, gate: Gate) -> None:
    run_id = shared.trigger("held")
    with shared.asking(f"/api/v1/runs/{run_id}?wait={LONG}") as waiting:
        assert gate.arrived.wait(PATIENCE)
        assert not waiting.is_answered(0.3)
        gate.open()
        answer = waiting.answer()
    assert answer.json["run"]["status"] == "SUCCESS"


def test_a_run_that_does_not_end_is_answered_as_it_is_in_time(shared: Live, gate: Gate) -> None:
    run_id = shared.trigger("held")
    begin = time.monotonic()
    answer = shared.get(f"/api/v1/runs/{run_id}?wait=1")
    assert time.monotonic() - begin > 0.9
    assert answer.json["run"]["status"] == "RUNNING"
    assert shared.get(f"/api/v1/runs/{run_id}?wait=0").json["run"]["status"] == "RUNNING"
    gate.open()
    shared.ended(run_id)


def test_a_run_that_has_ended_is_answered_at_once(shared: Live) -> None:
    for dag_id in ("etl", "failing", "empty"):
        run_id = shared.run(dag_id)
        assert shared.get(f"/api/v1/runs/{run_id}?wait={LONG}").json["run"]["ended_at"]


def test_a_cancelled_run_is_answered_too(shared: Live, gate: Gate) -> None:
    run_id = shared.trigger("held")
    assert gate.arrived.wait(PATIENCE)
    with shared.asking(f"/api/v1/runs/{run_id}?wait={LONG}") as waiting:
        assert shared.post(f"/api/v1/runs/{run_id}/cancel").status == 200
        assert waiting.answer().json["run"]["status"] == "CANCELLED"


def test_a_bug_is_answered_without_its_inside_and_written_to_the_log(
    shared: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr("ppacer.store.reads.Reads.dags", broken)
    with caplog.at_level(logging.ERROR):
        answer = shared.get("/api/v1/dags")
    assert is_problem(answer, 500, "error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    until(lambda: "secret inside" in caplog.text)
    assert shared.get("/api/v1/runs").status == 200


def test_a_database_that_refuses_is_a_503_with_its_reason(
    live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = live(etl(), held(), talking())

    def refuses(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("scheduler.db is locked by another program")

    monkeypatch.setattr("ppacer.store.reads.Reads.runs", refuses)
    answer = program.get("/api/v1/runs")
    assert is_problem(answer, 503, "database_unavailable")
    assert answer.json["detail"] == "scheduler.db is locked by another program"


class Wild:
    """A schedule of somebody's own, which raises when it is asked for what comes after its third point."""

    start = None

    def next(self, current: datetime, previous: datetime | None) -> datetime:
        day = datetime(2126, 1, 1, tzinfo=UTC)
        if current > day + timedelta(days=1):
            raise KeyError("moon")
        return day if current < day else current + timedelta(days=1)

    def __str__(self) -> str:
        return "wild"


def test_the_next_points_are_asked_of_the_schedule_itself(live: Make) -> None:
    tokyo = Dag("cron", schedule=Cron("0 3 * * *", tz="Asia/Tokyo"))
    program = live(Dag("wild", schedule=Wild()), tokyo, held())
    answer = program.get("/api/v1/dags/wild/next?count=3").json
    assert answer == {"points": [f"2126-01-0{day}T00:00:00Z" for day in (1, 2, 3)], "tz": "UTC"}
    assert is_problem(program.get("/api/v1/dags/wild/next?count=4"), 422, "schedule_failed")
    answer = program.get("/api/v1/dags/cron/next").json
    assert (len(answer["points"]), answer["tz"]) == (5, "Asia/Tokyo")
    assert program.get("/api/v1/dags/held/next").json == {"points": [], "tz": "UTC"}
    assert is_problem(program.get("/api/v1/dags/nope/next"), 404, "not_found")
