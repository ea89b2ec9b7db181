"""`sync`: the tables of definitions follow the registry; only what changed is written."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from engine.world import at
from ppacer.dag import Dag, Graph, Node, Registry, TaskConfig, TaskContext
from ppacer.engine import RunRef, RunStatus, TaskStatus, Trigger
from ppacer.engine.changes import AttemptCreated, DagMarked, PointRecorded, RunChanged, RunCreated
from ppacer.engine.model import ScheduleEvent
from ppacer.errors import StoreError
from ppacer.schedule import Cron, Fixed
from ppacer.store import Store
from ppacer.store.sync import sync
from store.shelf import dump, refusing, rows, text

HOURLY = Fixed(at(0), timedelta(hours=1))


class Say:
    """A task whose source never changes."""

    def __init__(self, id: str) -> None:
        self.id = id

    def execute(self, ctx: TaskContext) -> None:
        return None


class Shout(Say):
    """Another type of task."""


def dag(*ids: str, id: str = "d", schedule: Any = HOURLY, task: type[Say] = Say, **more: Any) -> Dag:
    """A chain of tasks; `configs` has the TaskConfig of some of them."""
    configs = more.pop("configs", {})
    nodes = [Node(task(task_id), configs.get(task_id)) for task_id in ids or ("a", "b")]
    for node, child in pairwise(nodes):
        node.next(child)
    return Dag(id, nodes[0], schedule=schedule, **more)


def current(db: str, dag_id: str = "d") -> dict[str, int]:
    """The tasks that count now, with their revision."""
    found = rows(db, "dagtasks", "DagId", "TaskId", "IsCurrent", "Revision")
    return {r["TaskId"]: r["Revision"] for r in found if r["DagId"] == dag_id and r["IsCurrent"]}


def the_dag(db: str, dag_id: str = "d") -> dict[str, Any]:
    (row,) = [row for row in rows(db, "dags") if row["DagId"] == dag_id]
    return row


def changed_columns(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_new_dag_and_its_tasks(store: Store, db: str) -> None:
    this = dag(tags=["nightly"], configs={"b": TaskConfig(retries=3)})
    sync(store, Registry([this]), at(5))
    row = the_dag(db)
    assert row["Schedule"] == "FixedSchedule: 1h"
    assert (row["StartTs"], row["CreateTs"], row["ScheduleSinceAt"]) == (text(0), text(5), text(5))
    assert (row["HashDagMeta"], row["HashTasks"]) == (this.hash_meta, this.hash_tasks)
    assert row["DagVersion"] == this.version
    assert json.loads(row["Attributes"])["Tags"] == ["nightly"]
    assert row["LatestUpdateTs"] is None
    a, b = rows(db, "dagtasks")
    assert (a["TaskId"], a["IsCurrent"], a["PosDepth"], a["PosWidth"], a["Revision"]) == ("a", 1, 0, 0, 0)
    assert (b["TaskId"], b["PosDepth"], json.loads(b["Parents"])) == ("b", 1, ["a"])
    assert json.loads(b["TaskConfig"])["retries"] == 3
    assert a["TaskTypeName"] == "Say"
    assert "A task whose source never changes." in a["TaskBodySource"]
    (version,) = rows(db, "dagversions")
    assert Graph.from_json(version["Graph"]).to_json() == this.graph.to_json()


def test_an_unchanged_registry_leaves_every_byte_as_it_is(store: Store, db: str) -> None:
    sync(store, Registry([dag(), dag("x", id="e", schedule=Cron("@daily"))]), at(5))
    before = dump(db)
    written: list[str] = []
    sa.event.listen(
        store._engine, "before_cursor_execute", lambda *arguments: written.append(arguments[2].split()[0])
    )
    for later in (6, 7000):
        sync(store, Registry([dag(), dag("x", id="e", schedule=Cron("@daily"))]), at(later))
        assert dump(db) == before
    assert set(written) <= {"SELECT", "BEGIN"}


def test_an_empty_registry_is_no_trouble(store: Store, db: str) -> None:
    sync(store, Registry(), at(1))
    assert rows(db, "dags") == []


META = {"HashDagMeta", "DagVersion", "LatestUpdateTs", "LatestUpdateVersion"}
TASKS = {"HashTasks", "DagVersion", "LatestUpdateTs", "LatestUpdateVersion"}
CURSOR = {"ScheduleSinceAt", "NextScheduleAt"}
CURSOR_COLUMNS = ("ScheduleSinceAt", "LastScheduleAt", "NextScheduleAt")


@pytest.mark.parametrize(
    ("changed", "columns"),
    [
        (lambda: dag(tags=["x"]), META | {"Attributes"}),
        (lambda: dag(catch_up=True), META | {"Attributes"}),
        (lambda: dag(max_active_runs=3), META | {"Attributes"}),
        (lambda: dag(schedule=Cron("@daily")), META | CURSOR | {"Schedule", "StartTs"}),
        (lambda: dag(schedule=None), META | CURSOR | {"Schedule", "StartTs"}),
        (lambda: dag(schedule=Fixed(at(60), timedelta(hours=1))), META | CURSOR | {"StartTs"}),
        (lambda: dag(configs={"a": TaskConfig(retries=1)}), TASKS),
        (lambda: dag(configs={"a": TaskConfig(timeout=timedelta(seconds=1))}), TASKS),
        (lambda: dag("b", "a"), TASKS),
        (lambda: dag("a"), TASKS),
        (lambda: dag("a", "b", "c"), TASKS),
        (lambda: dag(task=Shout), TASKS),
    ],
    ids=[
        *("tags", "catch_up", "room", "schedule", "no schedule", "start"),
        *("retries", "timeout", "edges", "less", "more", "type"),
    ],
)
def test_a_change_is_a_new_version_and_only_the_right_hash_flips(
    changed: Any, columns: set[str], store: Store, db: str
) -> None:
    """Defect 15 of the original: changes of edges and configuration went unseen."""
    sync(store, Registry([dag()]), at(5))
    before = the_dag(db)
    sync(store, Registry([changed()]), at(10))
    assert changed_columns(before, the_dag(db)) == columns
    assert len(rows(db, "dagversions")) == 2
    after = dump(db)
    sync(store, Registry([changed()]), at(20))
    assert dump(db) == after


def test_the_history_of_a_task_keeps_every_version(store: Store, db: str) -> None:
    """Defect 3 of the original: the third version could not be stored."""
    for n in range(10):
        sync(store, Registry([dag(configs={"a": TaskConfig(retries=n)})]), at(n))
        assert current(db) == {"a": n, "b": 0}
    history = [row for row in rows(db, "dagtasks") if row["TaskId"] == "a"]
    history.sort(key=lambda row: int(row["Revision"]))
    assert [json.loads(row["TaskConfig"])["retries"] for row in history] == list(range(10))
    assert [row["InsertTs"] for row in history] == [text(n) for n in range(10)]
    assert [row["IsCurrent"] for row in history] == [0] * 9 + [1]
    assert len(rows(db, "dagversions")) == 10


def test_going_back_to_an_old_version_is_a_new_row_and_the_old_graph(store: Store, db: str) -> None:
    one, two = (TaskConfig(retries=n) for n in (1, 2))
    for n, config in enumerate((one, two, one, two, one)):
        sync(store, Registry([dag(configs={"a": config})]), at(n))
    assert current(db) == {"a": 4, "b": 0}
    assert len(rows(db, "dagversions")) == 2


def test_a_task_that_goes_and_comes_back(store: Store, db: str) -> None:
    sync(store, Registry([dag("a", "b")]), at(1))
    sync(store, Registry([dag("a")]), at(2))
    assert current(db) == {"a": 0}
    sync(store, Registry([dag("a", "b")]), at(3))
    assert current(db) == {"a": 0, "b": 1}


def test_a_dag_that_goes_is_marked_and_keeps_its_rows(store: Store, db: str) -> None:
    sync(store, Registry([dag(), dag(id="e")]), at(1))
    tasks = rows(db, "dagtasks")
    sync(store, Registry([dag(id="e")]), at(2))
    assert the_dag(db)["RemovedAt"] == text(2)
    assert the_dag(db, "e")["RemovedAt"] is None
    assert rows(db, "dagtasks") == tasks
    assert set(store.dag_rows()) == {"e"}
    before = dump(db)
    sync(store, Registry([dag(id="e")]), at(3))
    assert dump(db) == before


def test_a_dag_that_comes_back_begins_its_schedule_now(store: Store, db: str) -> None:
    sync(store, Registry([dag(catch_up=True)]), at(1))
    store.apply([PointRecorded("d", at(1), ScheduleEvent.REGULAR, at(0), at(3600))])
    sync(store, Registry(), at(2))
    sync(store, Registry([dag(catch_up=True)]), at(10_000))
    row = the_dag(db)
    assert (row["RemovedAt"], row["CreateTs"]) == (None, text(1))
    assert (row["ScheduleSinceAt"], row["LastScheduleAt"]) == (text(10_000), None)
    assert row["NextScheduleAt"] == text(3 * 3600)
    assert current(db) == {"a": 0, "b": 0}


def test_a_dag_that_comes_back_changed(store: Store, db: str) -> None:
    sync(store, Registry([dag("a", "b")]), at(1))
    sync(store, Registry(), at(2))
    sync(store, Registry([dag("b", "c")]), at(3))
    assert current(db) == {"b": 1, "c": 0}
    assert the_dag(db)["RemovedAt"] is None


def test_the_cursor_stays_unless_the_schedule_changes(store: Store, db: str) -> None:
    sync(store, Registry([dag()]), at(1))
    store.apply([PointRecorded("d", at(1), ScheduleEvent.REGULAR, at(0), at(3600))])
    sync(store, Registry([dag(configs={"a": TaskConfig(retries=1)}, tags=["x"])]), at(500))
    row = the_dag(db)
    assert (row["ScheduleSinceAt"], row["LastScheduleAt"], row["NextScheduleAt"]) == (
        text(1),
        text(0),
        text(3600),
    )
    sync(store, Registry([dag(schedule=Fixed(at(0), timedelta(minutes=1)))]), at(500))
    row = the_dag(db)
    assert (row["ScheduleSinceAt"], row["LastScheduleAt"], row["NextScheduleAt"]) == (
        text(500),
        None,
        text(540),
    )


@pytest.mark.parametrize(("catch_up", "first"), [(True, 0), (False, 7200)])
def test_the_cursor_of_a_new_dag_is_its_first_point(
    catch_up: bool, first: float, store: Store, db: str
) -> None:
    sync(store, Registry([dag(catch_up=catch_up)]), at(3601))
    assert the_dag(db)["NextScheduleAt"] == text(first)


def test_a_schedule_that_raises_hinders_nobody(store: Store, db: str) -> None:
    class Broken:
        start = None

        def next(self, current: datetime, previous: datetime | None) -> datetime | None:
            raise RuntimeError("no")

        def __str__(self) -> str:
            return "broken"

    sync(store, Registry([dag(schedule=Broken()), dag(id="e")]), at(1))
    assert the_dag(db)["NextScheduleAt"] is None
    assert the_dag(db, "e")["NextScheduleAt"] == text(3600)


def test_a_pause_survives_and_a_disabled_dag_gets_another_chance(store: Store, db: str) -> None:
    sync(store, Registry([dag()]), at(1))
    store.apply([DagMarked("d", at(2), at(3), "it raised")])
    sync(store, Registry([dag()]), at(4))
    row = the_dag(db)
    assert (row["PausedAt"], row["DisabledAt"], row["DisabledReason"]) == (text(2), None, None)


def test_secrets_are_hidden_in_what_is_kept(store: Store, db: str) -> None:
    class Leaky(Say):
        password = "hunter2"

    sync(store, Registry([dag(task=Leaky)]), at(1), lambda text: text.replace("hunter2", "***"))
    for row in rows(db, "dagtasks"):
        assert "***" in row["TaskBodySource"]
        assert "hunter2" not in repr(row)


def test_an_open_run_keeps_the_graph_it_began_with(store: Store, db: str) -> None:
    old, new = dag("a", "b"), dag("a", "x", "b")
    sync(store, Registry([old]), at(1))
    ref = RunRef(1, "d", at(1))
    store.apply([RunCreated(ref, at(1), old.version, Trigger.MANUAL, None)])
    sync(store, Registry([new]), at(2))
    store.close()
    again = Store(db)
    ((row, graph, _),) = again.open_runs()
    again.close()
    assert row.version == old.version
    assert [task.id for task in graph.tasks] == ["a", "b"]


def test_the_runs_of_a_dag_are_left_alone(store: Store, db: str) -> None:
    sync(store, Registry([dag()]), at(1))
    ref = RunRef(1, "d", at(1))
    store.apply([RunCreated(ref, at(1), dag().version, Trigger.MANUAL, None)])
    store.apply([RunChanged(ref, at(1), RunStatus.SCHEDULED, RunStatus.RUNNING)])
    store.apply([AttemptCreated(ref, "a", 0, 0, at(1), TaskStatus.SCHEDULED)])
    before = (rows(db, "dagruns"), rows(db, "dagruntasks"))
    sync(store, Registry([dag("a")]), at(2))
    sync(store, Registry(), at(3))
    assert (rows(db, "dagruns"), rows(db, "dagruntasks")) == before


def test_a_sync_that_fails_in_the_middle_leaves_nothing(store: Store, db: str) -> None:
    sync(store, Registry([dag()]), at(1))
    before = dump(db)
    with refusing(db, "INSERT", "dagversions"):
        with pytest.raises(StoreError, match="stopped"):
            sync(store, Registry([dag("a"), dag(id="e")]), at(2))
        assert dump(db) == before
    sync(store, Registry([dag("a"), dag(id="e")]), at(3))
    assert set(store.dag_rows()) == {"d", "e"}


def test_more_dags_than_fit_into_one_question(store: Store, db: str) -> None:
    many = 1200
    sync(store, Registry([dag("a", id=f"d{n}") for n in range(many)]), at(1))
    sync(store, Registry([dag("a", id=f"d{n}", task=Shout) for n in range(many)]), at(2))
    found = rows(db, "dagtasks", "TaskTypeName", "IsCurrent", "Revision")
    assert found.count({"TaskTypeName": "Say", "IsCurrent": 0, "Revision": 0}) == many
    assert found.count({"TaskTypeName": "Shout", "IsCurrent": 1, "Revision": 1}) == many
    assert len(rows(db, "dagversions")) == 2 * many
    sync(store, Registry(), at(3))
    assert store.dag_rows() == {}
