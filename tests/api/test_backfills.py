"""Backfills over HTTP: the preview is what happens then, and it is looked after as one thing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from api.dags import LONG_AGO, Order, etl, hold, nothing
from api.live import PATIENCE, Gate, Live, is_problem, until
from ppacer import Dag
from ppacer.schedule import Cron, Fixed

Make = Callable[..., Live]


def daily() -> Dag:
    """A point at midnight in Warsaw, long since; its runs take no time."""
    with Dag("daily", schedule=Cron("0 0 * * *", tz="Europe/Warsaw"), params=Order) as dag:
        nothing()
    return dag


def stuck() -> Dag:
    """A point each hour, long since; its runs wait at the gate."""
    with Dag("stuck", schedule=Fixed(LONG_AGO, timedelta(hours=1))) as dag:
        hold()
    return dag


def start(live: Live, dag_id: str = "daily", **body: Any) -> int:
    """A backfill; its number."""
    answer = live.post(f"/api/v1/dags/{dag_id}/backfills", {"from": "2020-02-01", "to": "2020-02-04", **body})
    assert answer.status == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/backfills/{answer.json['backfill_id']}"
    return int(answer.json["backfill_id"])


def ended(live: Live, backfill_id: int) -> Any:
    """A backfill in detail, once it has ended."""
    detail = live.get(f"/api/v1/backfills/{backfill_id}?wait={PATIENCE // 2}").json
    assert detail["backfill"]["ended_at"], detail
    return detail


def test_what_the_preview_promises_is_what_happens(live: Make) -> None:
    program = live(daily())
    program.post("/api/v1/dags/daily/trigger", {"exec_ts": "2020-02-02T00:00:00+01:00"})
    plan = program.get("/api/v1/dags/daily/backfill?from=2020-02-01&to=2020-02-04").json
    assert plan == {
        "dag_id": "daily",
        "from_ts": "2020-01-31T23:00:00Z",
        "to_ts": "2020-02-03T23:00:00Z",
        "points": 3,
        "with_run": 1,
        "runs": 2,
        "first_ts": "2020-01-31T23:00:00Z",
        "last_ts": "2020-02-02T23:00:00Z",
    }
    number = start(program, params={"country": "DK"})
    detail = ended(program, number)
    assert detail["runs"] == {"SUCCESS": 2}
    one = detail["backfill"]
    assert (one["state"], one["points"], one["position"], one["passed"]) == ("DONE", 2, 2, 0)
    assert (one["from_ts"], one["to_ts"], one["created_by"]) == (plan["from_ts"], plan["to_ts"], "local")
    runs = [run for run in program.get("/api/v1/runs").json["runs"] if run["trigger"] == "backfill"]
    assert [run["exec_ts"] for run in runs] == [plan["last_ts"], plan["first_ts"]]
    assert {run["backfill_id"] for run in runs} == {number}
    assert {run["params"]["country"] for run in runs} == {"DK"}
    again = program.get("/api/v1/dags/daily/backfill?from=2020-02-01&to=2020-02-04").json
    assert (again["runs"], again["first_ts"], again["last_ts"]) == (0, None, None)
    refused = program.post("/api/v1/dags/daily/backfills", {"from": "2020-02-01", "to": "2020-02-04"})
    assert is_problem(refused, 409, "conflict")


@pytest.mark.parametrize(
    ("query", "status", "code", "words"),
    [
        ("", 400, "bad_request", "the parameter from is missing"),
        ("from=yesterday", 400, "bad_request", "from must be a time such as"),
        ("from=2020-02-01&to=%00", 400, "bad_request", "to must be a time such as"),
        ("from=2020-02-01", 200, "", ""),
        ("from=2020-02-01&to=2020-01-01", 422, "not_possible", "so it is empty"),
        ("from=2199-01-01", 422, "not_possible", "which is to come"),
        ("from=1900-01-01&to=2020-01-01", 422, "not_possible", "more than 10,000 points"),
        ("from=0001-01-01T00:00%2B10:00", 422, "not_possible", "has none in UTC"),
    ],
)
def test_a_preview_that_cannot_be_says_why_and_the_backfill_too(
    live: Make, query: str, status: int, code: str, words: str
) -> None:
    program = live(daily())
    answer = program.get(f"/api/v1/dags/daily/backfill?{query}")
    if status == 200:
        assert answer.json["points"] > 2000
        return
    assert is_problem(answer, status, code), answer
    assert words in answer.json["detail"]
    if status == 422:
        names = dict(part.split("=") for part in query.replace("%2B", "+").split("&"))
        body = program.post("/api/v1/dags/daily/backfills", names)
        assert body.json == answer.json


def test_a_dag_that_is_unknown_or_has_no_schedule_has_no_backfill(shared: Live) -> None:
    for dag_id, status, code in (("nope", 404, "not_found"), ("talking", 409, "conflict")):
        preview = shared.get(f"/api/v1/dags/{dag_id}/backfill?from=2020-02-01")
        assert is_problem(preview, status, code)
        command = shared.post(f"/api/v1/dags/{dag_id}/backfills", {"from": "2020-02-01"})
        assert is_problem(command, status, code)
    broken = shared.get("/api/v1/dags/broken/backfill?from=2020-02-01")
    assert is_problem(broken, 422, "schedule_failed")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": 5},
        {"from": "2020-02-01", "until": "2020-02-02"},
        {"from": "2020-02-01", "max_active_runs": "4"},
        {"from": "2020-02-01", "max_active_runs": 0},
        {"from": "2020-02-01", "to": "2020-02-02", "params": {"county": "DK"}},
    ],
    ids=repr,
)
def test_a_body_that_does_not_fit_starts_nothing(shared: Live, body: Any) -> None:
    before = shared.rows()
    assert is_problem(shared.post("/api/v1/dags/etl/backfills", body), 422, "not_possible")
    assert shared.rows() == before


def test_it_is_paused_and_cancelled_as_one_thing(live: Make, gate: Gate) -> None:
    program = live(stuck())
    number = start(program, "stuck", max_active_runs=2)
    assert gate.arrived.wait(PATIENCE)
    path = f"/api/v1/backfills/{number}"
    until(lambda: program.get(path).json["runs"] == {"RUNNING": 2})
    assert program.post(f"{path}/pause").json == {"backfill_id": number, "dag_id": "stuck"}
    assert program.get(path).json["backfill"]["state"] == "PAUSED"
    assert f"`ppacer backfill unpause {number}`" in program.get(f"{path}/why").json["why"]
    assert program.post(f"{path}/unpause").status == 200
    assert "2 runs are open, and it has 2 at once" in program.get(f"{path}/why").json["why"]
    assert f"Backfill {number} of it is RUNNING" in program.get("/api/v1/dags/stuck/why").json["why"]
    run = program.get("/api/v1/runs?limit=1").json["runs"][0]["run_id"]
    assert f"It is one of backfill {number}" in program.get(f"/api/v1/runs/{run}/why").json["why"]
    with program.asking(f"{path}?wait={PATIENCE}") as waiting:
        assert program.post(f"{path}/cancel").status == 200
        gate.open()
        detail = waiting.answer().json
    assert detail["backfill"]["state"] == "CANCELLED"
    assert sum(detail["runs"].values()) == 2
    for command in ("pause", "unpause", "cancel"):
        assert is_problem(program.post(f"{path}/{command}"), 409, "conflict")
        assert is_problem(program.post(f"/api/v1/backfills/99/{command}"), 404, "not_found")
    assert program.get("/api/v1/dags/stuck/why").json["why"].count("ackfill") == 0


def test_lists_have_pages(live: Make) -> None:
    program = live(daily(), etl())
    for year in range(2010, 2015):
        dag_id = "etl" if year % 2 else "daily"
        ended(program, start(program, dag_id, **{"from": f"{year}-01-01", "to": f"{year}-01-02"}))
    page = program.get("/api/v1/backfills?limit=2").json
    assert ([one["backfill_id"] for one in page["backfills"]], page["next"]) == ([5, 4], 4)
    page = program.get("/api/v1/backfills?limit=2&before=2").json
    assert ([one["backfill_id"] for one in page["backfills"]], page["next"]) == ([1], None)
    mine = program.get("/api/v1/backfills?dag_id=etl").json["backfills"]
    assert [one["backfill_id"] for one in mine] == [4, 2]
    assert is_problem(program.get("/api/v1/backfills/99"), 404, "not_found")
    assert is_problem(program.get("/api/v1/backfills/99/why"), 404, "not_found")


def test_the_same_request_twice_is_one_backfill(live: Make) -> None:
    program = live(daily())
    first, again = (
        program.ask(
            "POST", "/api/v1/dags/daily/backfills", {"from": "2020-02-01"}, {"Idempotency-Key": "once"}
        )
        for _ in range(2)
    )
    assert first.json == again.json
    assert len(program.get("/api/v1/backfills").json["backfills"]) == 1
    program.post(f"/api/v1/backfills/{first.json['backfill_id']}/cancel")
    [row] = program.get("/api/v1/audit?command=start_backfill").json["audit"]
    assert (row["dag_id"], row["outcome"]) == ("daily", "done")
    assert row["details"]["begin"] == "2020-02-01T00:00:00"
