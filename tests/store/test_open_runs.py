"""What the open runs of a list are at: what is ready is told apart by what it asks of an executor."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from engine.world import at
from ppacer.dag.graph import Graph, TaskSpec
from ppacer.engine import RunRef, TaskStatus
from ppacer.store import Store, open_runs
from ppacer.store.reads import Reads
from ppacer.store.views import TasksAt
from store.shelf import A_DAG, Db, created, ended, execute, granted, new

VERSION = "INSERT INTO dagversions VALUES ('%s', 'v1', '2026-03-01T12:00:00.000000Z', '%s')"
NEEDS = Graph([TaskSpec("a"), TaskSpec("b", labels=("gpu",)), TaskSpec("c", runner="dask"), TaskSpec("d")])
NOTHING = Graph([TaskSpec(id) for id in "abcd"])
TASKS = ("a", "b", "c", "d")


@pytest.fixture
def reads(store: Store, db: Db) -> Iterator[Reads]:
    """Ten runs of a dag whose tasks need something, ten of one whose tasks do not; all tasks are ready."""
    for number, (dag_id, graph) in enumerate((("needs", NEEDS), ("nothing", NOTHING))):
        execute(db, A_DAG.replace("'d'", f"'{dag_id}'"), VERSION % (dag_id, graph.to_json()))
        for run in range(1 + 10 * number, 11 + 10 * number):
            ref = RunRef(run, dag_id, at(run))
            store.apply([*created(ref), *(new(id, ref=ref) for id in TASKS)])
    reads = Reads(db)
    yield reads
    reads.close()


@contextmanager
def counted(reads: Reads) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    said: list[str] = []

    def hear(connection: object, cursor: object, statement: str, *rest: object) -> None:
        said.append(statement)

    sa.event.listen(reads._engine, "before_cursor_execute", hear)
    yield said
    sa.event.remove(reads._engine, "before_cursor_execute", hear)


def ready(
    count: int, first: str, last: str, labels: tuple[str, ...] = (), runner: str | None = None
) -> TasksAt:
    return TasksAt("SCHEDULED", count, first, last, None, [*labels], runner)


def test_ready_tasks_are_told_apart_by_what_they_need(reads: Reads, store: Store) -> None:
    ref = RunRef(1, "needs", at(1))
    found = reads.tasks_at([1, 11])
    assert found == {
        1: [ready(2, "a", "d"), ready(1, "b", "b", labels=("gpu",)), ready(1, "c", "c", runner="dask")],
        11: [ready(4, "a", "d")],
    }
    store.apply([granted("a", "x", ref=ref), granted("b", "y", ref=ref), ended("b", "y", ref=ref)])
    by_status = {one.status: one for one in reads.tasks_at([1])[1] if one.status != TaskStatus.SCHEDULED}
    assert {status: one.count for status, one in by_status.items()} == {"RUNNING": 1, "SUCCESS": 1}
    assert reads.tasks_at([1])[1][2:] == [ready(1, "c", "c", runner="dask"), ready(1, "d", "d")]


def test_many_runs_cost_no_more_questions_than_one(reads: Reads) -> None:
    with counted(reads) as first:
        reads.tasks_at([1])
    with counted(reads) as many:
        assert len(reads.tasks_at(range(1, 21))) == 20
    assert len(many) <= len(first), "one version is known, one is not"
    with counted(reads) as again:
        reads.tasks_at(range(1, 21))
    assert len(again) == len(many) - 1, "both are known"


def test_few_versions_are_remembered_at_once_and_all_are_answered(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_runs, "VERSIONS_MAX", 1)
    for _ in range(2):
        found = reads.tasks_at([1, 11])
        assert [len(found[1]), len(found[11])] == [3, 1]
        assert len(reads._needs._known) == 1
