"""An executor that somebody has drained is given nothing new, whatever is started anew meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.dags import GATE, held, nothing
from api.live import PATIENCE, Gate, Live, until
from ppacer import Dag


def quick() -> Dag:
    with Dag("quick") as dag:
        nothing()
    return dag


@pytest.fixture
def gate() -> Iterator[Gate]:
    GATE.shut()
    yield GATE
    GATE.open()


def state(program: Live) -> str:
    [executor] = program.get("/api/v1/executors").json["executors"]
    return str(executor["state"])


def tasks(program: Live, run_id: int) -> list[str]:
    return [task["status"] for task in program.get(f"/api/v1/runs/{run_id}").json["tasks"]]


def drain(program: Live, verb: str = "drain") -> None:
    answer = program.post(f"/api/v1/executors/local/{verb}")
    assert (answer.status, answer.json) == (200, {"executor": "local", "drained": verb == "drain"})


def test_what_it_has_it_finishes_and_nothing_else_begins_until_it_is_undrained(
    tmp_path: Path, gate: Gate
) -> None:
    with Live(tmp_path, quick(), held()) as program:
        running = program.trigger("held")
        assert gate.arrived.wait(PATIENCE)
        drain(program)
        drain(program)  # again is no other thing
        waiting = program.trigger("quick")
        gate.open()
        until(lambda: tasks(program, running) == ["SUCCESS", "SCHEDULED"])
        assert state(program) == "DRAINING"
        assert tasks(program, waiting) == ["SCHEDULED"]
        drain(program, "undrain")
        assert program.ended(running)["run"]["status"] == "SUCCESS"
        assert program.ended(waiting)["run"]["status"] == "SUCCESS"
        assert state(program) == "UP"


def test_it_stays_drained_over_a_restart_of_both(tmp_path: Path) -> None:
    with Live(tmp_path, quick()) as program:
        until(lambda: program.get("/api/v1/executors").json["executors"])
        drain(program)
    with Live(tmp_path, quick()) as program:
        waiting = program.trigger("quick")
        until(lambda: state(program) == "DRAINING")
        for _ in range(20):
            program.get("/api/v1/executors")
        assert tasks(program, waiting) == ["SCHEDULED"]
        drain(program, "undrain")
        assert program.ended(waiting)["run"]["status"] == "SUCCESS"


def test_it_leaves_a_row_in_the_audit_and_who_is_unknown_is_told(tmp_path: Path) -> None:
    with Live(tmp_path, quick()) as program:
        until(lambda: program.get("/api/v1/executors").json["executors"])
        drain(program)
        assert program.post("/api/v1/executors/nobody/drain").status == 404
        rows = program.get("/api/v1/audit").json["audit"]
        told = [(row["command"], row["details"], row["outcome"]) for row in rows]
        assert told == [
            ("drain", {"executor": "nobody"}, "not_found"),
            ("drain", {"executor": "local"}, "done"),
        ]
