"""The queries of the original's tutorial work on our database, word for word."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from engine.world import at
from ppacer.dag import Dag, Node, Registry, TaskContext
from ppacer.engine import Engine, RunRef, ScheduleEvent
from ppacer.engine.changes import AttemptGranted
from ppacer.engine.events import Claimed, RunDue, Succeeded
from ppacer.schedule import Fixed
from ppacer.store import Store
from ppacer.store.sync import sync
from store.shelf import text

# Each query with the first columns of its answer; the tutorial is older than the column Retry.
QUERIES = {
    "SELECT DagId, StartTs, Schedule, CreateTs FROM dags": ["DagId", "StartTs", "Schedule", "CreateTs"],
    "SELECT * FROM dagruns": ["RunId", "DagId", "ExecTs", "InsertTs", "Status", "StatusUpdateTs", "Version"],
    "SELECT * FROM dagruntasks": [
        *("DagId", "ExecTs", "TaskId", "Retry", "InsertTs", "Status", "StatusUpdateTs", "Version")
    ],
    "SELECT DagId, TaskId, IsCurrent, InsertTs, TaskTypeName FROM dagtasks": [
        *("DagId", "TaskId", "IsCurrent", "InsertTs", "TaskTypeName")
    ],
    "SELECT DagId, TaskId, IsCurrent, TaskBodySource FROM dagtasks": [
        *("DagId", "TaskId", "IsCurrent", "TaskBodySource")
    ],
}
TABLES = {
    "dags": "DagId StartTs Schedule CreateTs LatestUpdateTs CreateVersion LatestUpdateVersion "
    "HashDagMeta HashTasks Attributes",
    "dagtasks": "DagId TaskId IsCurrent InsertTs PosDepth PosWidth Version TaskTypeName "
    "TaskConfig TaskBodyHash TaskBodySource",
    "dagruns": "RunId DagId ExecTs InsertTs Status StatusUpdateTs Version",
    "dagruntasks": "DagId ExecTs TaskId Retry InsertTs Status StatusUpdateTs Version",
    "schedules": "DagId InsertTs Event ScheduleTs NextScheduleTs",
    "dagrunrestarts": "DagId ExecTs Restart InsertTs",
}


class PrintTask:
    """The task of the tutorial."""

    def __init__(self, id: str) -> None:
        self.id = id

    def execute(self, ctx: TaskContext) -> None:
        print(f" >>> PrintTask <<<: {self.id}")


@pytest.fixture
def tutorial(path: Path) -> Path:
    """The database after two runs of the tutorial's dag."""
    start = Node(PrintTask("start"))
    start.next(Node(PrintTask("finish")))
    example = Dag("example", start, schedule=Fixed(at(0), timedelta(seconds=10)))
    store, engine = Store(path), Engine()
    sync(store, Registry([example]), at(0))
    for number in (1, 2):
        ref = RunRef(number, "example", at(10 * number))
        regular = ScheduleEvent.REGULAR
        event = RunDue(ref, example.graph, example.version, regular, at(10 * number + 10))
        store.apply(engine.handle(event, ref.exec_ts))
        for task_id in ("start", "finish"):
            grants = engine.handle(Claimed("x", [f"{number}{task_id}"], at(99)), ref.exec_ts)
            store.apply(grants)
            (grant,) = [change for change in grants if isinstance(change, AttemptGranted)]
            store.apply(engine.handle(Succeeded(number, task_id, 0, grant.token), at(10 * number + 1)))
    store.close()
    return path


@pytest.mark.parametrize(("query", "columns"), QUERIES.items())
def test_a_query_of_the_tutorial(query: str, columns: list[str], tutorial: Path) -> None:
    with closing(sqlite3.connect(tutorial)) as connection:
        answer = connection.execute(query)
        assert [name for name, *_ in answer.description][: len(columns)] == columns
        assert answer.fetchall()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 command is not installed")
@pytest.mark.parametrize(("query", "columns"), QUERIES.items())
def test_a_query_of_the_tutorial_in_the_terminal(query: str, columns: list[str], tutorial: Path) -> None:
    command = ["sqlite3", "-header", "-csv", tutorial.name, query]
    answer = subprocess.run(command, cwd=tutorial.parent, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[0].split(",")[: len(columns)] == columns
    assert answer.stderr == ""


@pytest.mark.parametrize(("table", "columns"), TABLES.items())
def test_the_tables_of_the_original_begin_with_its_columns(table: str, columns: str, tutorial: Path) -> None:
    names = columns.split()
    with closing(sqlite3.connect(tutorial)) as connection:
        found = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    assert found[: len(names)] == names
    ours = found[len(names) :]
    assert len(set(map(str.lower, found))) == len(found)
    assert not any(name.endswith("Ts") for name in ours)  # new times are called …At


def test_the_rows_are_of_the_same_kind(tutorial: Path) -> None:
    with closing(sqlite3.connect(tutorial)) as connection:
        (dag,) = connection.execute("SELECT DagId, StartTs, Schedule, CreateTs FROM dags").fetchall()
        runs = connection.execute("SELECT RunId, DagId, ExecTs, Status FROM dagruns").fetchall()
        tasks = connection.execute("SELECT ExecTs, TaskId, Status FROM dagruntasks").fetchall()
        code = connection.execute(
            "SELECT TaskId, IsCurrent, TaskTypeName, TaskBodySource FROM dagtasks"
        ).fetchall()
    assert dag == ("example", text(0), "FixedSchedule: 10s", text(0))
    assert runs == [(1, "example", text(10), "SUCCESS"), (2, "example", text(20), "SUCCESS")]
    in_the_order_of_their_beginning = [(text(10 * n), id) for n in (1, 2) for id in ("start", "finish")]
    assert tasks == [(*key, "SUCCESS") for key in in_the_order_of_their_beginning]
    for task_id, is_current, type_name, source in code:
        assert (is_current, type_name) == (1, "PrintTask"), task_id
        assert "PrintTask <<<" in source
