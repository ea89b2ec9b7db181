"""A page of a list costs the same however much there is: counted in steps of SQLite, not in time."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from engine.world import at
from ppacer.engine import RunRef, RunStatus
from ppacer.engine.changes import Change, PointRecorded, RunChanged
from ppacer.engine.model import ScheduleEvent
from ppacer.store import Store, open_runs
from ppacer.store.reads import Reads
from store.shelf import A_DAG, Db, created, ended, execute, granted, new

Look = Callable[[Reads], Any]
VERSION = "INSERT INTO dagversions VALUES ('%s', 'v1', '2026-03-01T12:00:00.000000Z', '[]')"
ATTRIBUTES = '{"Tags": [], "CatchUp": false, "MaxActiveRuns": 16, "Params": null}'

LOOKS: dict[str, Look] = {
    "all dags": lambda reads: reads.dags(),
    "one dag": lambda reads: reads.dag("often"),
    "a rare dag": lambda reads: reads.dag("rare"),
    "newest runs": lambda reads: reads.runs(),
    "later pages": lambda reads: reads.runs(before=50),
    "runs of a dag": lambda reads: reads.runs(dag_id="often"),
    "runs of a rare dag": lambda reads: reads.runs(dag_id="rare"),
    "later pages of a dag": lambda reads: reads.runs(dag_id="often", before=50),
    "failed runs": lambda reads: reads.runs(status=["FAILED"]),
    "open runs": lambda reads: reads.runs(status=["RUNNING", "SCHEDULED"]),
    "all but open runs": lambda reads: reads.runs(status=["FAILED", "CANCELLED", "SUCCESS"]),
    "failed runs of a dag": lambda reads: reads.runs(dag_id="often", status=["FAILED", "CANCELLED"]),
    "successful runs of a dag": lambda reads: reads.runs(dag_id="often", status=["SUCCESS"]),
    "successful runs of a rare dag": lambda reads: reads.runs(dag_id="rare", status=["SUCCESS"]),
    "open runs of a dag": lambda reads: reads.runs(dag_id="often", status=["RUNNING", "CANCELLED"]),
    "latest runs of dags": lambda reads: reads.recent_runs(["often", "rare"], 20),
    "latest runs of dags since": lambda reads: reads.recent_runs(["often", "rare"], 20, at(0)),
    "dags by their ids": lambda reads: reads.dags_of(["often", "rare"]),
    "what tasks of runs are at": lambda reads: reads.tasks_at(range(100, 150)),
    "one run": lambda reads: reads.run(100),
    "the result of a task": lambda reads: reads.result(100, "t"),
    "schedule points": lambda reads: reads.points("often"),
    "sources": lambda reads: reads.sources("often", "t"),
}


def ran(number: int, dag_id: str, status: RunStatus = RunStatus.SUCCESS) -> list[Change]:
    ref = RunRef(number, dag_id, at(number))
    point: Change = PointRecorded(dag_id, at(number), ScheduleEvent.REGULAR, at(number), at(number + 1))
    task = [
        new("t", ref=ref),
        granted("t", str(number), ref=ref),
        ended("t", str(number), ref=ref, result="1"),
    ]
    return [point, *created(ref), *task, RunChanged(ref, at(number), RunStatus.RUNNING, status)]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Reads]]:
    """One of 200 runs and one of 3,000, alike at both ends: a rare dag's, then some failed and open ones."""
    made = []
    for runs in (200, 3_000):
        path = tmp_path_factory.mktemp("long") / "scheduler.db"
        made.append(filled(path, runs))
    yield made
    for reads in made:
        reads.close()


def filled(path: Db, runs: int) -> Reads:
    store = Store(path)
    for dag_id in ("often", "rare"):
        execute(path, A_DAG.replace("'d'", f"'{dag_id}'"), VERSION % dag_id)
    execute(path, f"UPDATE dags SET Attributes = '{ATTRIBUTES}'")
    for number in range(1, 4):
        store.apply(ran(number, "rare"))
    for first in range(4, runs, 100):
        store.apply([change for n in range(first, min(first + 100, runs)) for change in ran(n, "often")])
    for number in range(runs, runs + 5):
        store.apply(ran(number, "often", RunStatus.FAILED))
        store.apply(created(RunRef(number + 10, "often", at(number + 10))))
    store.close()
    return Reads(path)


def steps_of(look: Look, reads: Reads) -> int:
    """What SQLite does for it, in tens of steps of its machine."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    with reads._engine.connect() as connection:
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.set_progress_handler(tick, 10)
    look(reads)
    driver.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize("name", LOOKS)
def test_a_page_costs_the_same_however_many_runs_there_are(databases: list[Reads], name: str) -> None:
    few, many = (steps_of(LOOKS[name], reads) for reads in databases)
    assert 0 < many <= few * 1.2 + 5


def test_the_latest_runs_are_the_newest_of_each_dag_in_order(databases: list[Reads]) -> None:
    found = databases[0].recent_runs(["often", "rare", "none"], 3)
    assert {dag_id: [run.run_id for run in runs] for dag_id, runs in found.items()} == {
        "often": [212, 213, 214], "rare": [1, 2, 3], "none": [],
    }  # fmt: skip
    since = databases[0].recent_runs(["often"], 3, at(0))
    assert [run.run_id for run in since["often"]] == [212, 213, 214]
    assert databases[0].recent_runs(["often"], 3, at(1)) == {"often": []}


def test_of_what_was_not_looked_at_whole_nothing_is_said(
    databases: list[Reads], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, asked = databases[0], [100, 101, 102, 103, 210]  # 210 has no attempt yet
    assert {run_id: len(at) for run_id, at in reads.tasks_at(asked).items()} == {
        100: 1, 101: 1, 102: 1, 103: 1, 210: 0,
    }  # fmt: skip
    monkeypatch.setattr(open_runs, "LOOKED_MAX", 2)
    assert {run_id: len(at) for run_id, at in reads.tasks_at(asked).items()} == {103: 1, 210: 0}


def test_a_page_of_several_statuses_is_in_order_and_has_no_holes(databases: list[Reads]) -> None:
    reads = databases[0]
    statuses = ["RUNNING", "FAILED", "SUCCESS"]
    whole = [run.run_id for run in reads.runs(limit=1000)]
    assert [run.run_id for run in reads.runs(status=statuses, limit=1000)] == whole
    pages, before = list[int](), None
    while page := reads.runs(status=statuses, dag_id="often", before=before, limit=7):
        pages += [run.run_id for run in page]
        before = pages[-1]
    assert pages == [run_id for run_id in whole if run_id > 3]
