"""Many rows go into few statements, and become the same rows."""

from datetime import timedelta
from pathlib import Path

import pytest

from engine.world import at
from ppacer.engine import RunRef, RunStatus, ScheduleEvent, TaskStatus
from ppacer.engine.changes import (
    Change,
    PointRecorded,
    RunChanged,
)
from ppacer.store import Store
from ppacer.store.hot import EXACT_MAX, MANY, ROWS_MAX, _for_rows, sizes
from store.shelf import A_DAG, REF, created, ended, execute, granted, new, rows, text

R, T = RunStatus, TaskStatus


@pytest.mark.parametrize(
    "count", [0, 1, EXACT_MAX, EXACT_MAX + 1, ROWS_MAX - 1, ROWS_MAX, ROWS_MAX + 1, 1000, 12_345]
)
def test_a_batch_is_cut_into_few_parts_of_few_sizes(count: int) -> None:
    parts = list(sizes(count))
    assert sum(parts) == count
    assert all(part <= EXACT_MAX or (part & (part - 1) == 0 and part <= ROWS_MAX) for part in parts)
    assert len(parts) <= count // ROWS_MAX + 5


def test_a_thousand_tasks_take_a_handful_of_statements(file_store: Store) -> None:
    """Each step of the driver may wait 5 ms for the interpreter lock, beside a thread that computes."""
    seen: list[str] = []
    driver = file_store._connection.connection.dbapi_connection
    assert driver is not None
    driver.set_trace_callback(seen.append)
    tasks = [f"t{n}" for n in range(1000)]
    file_store.apply([*created(), *(new(task) for task in tasks)])
    file_store.apply([granted(task, task) for task in tasks])
    file_store.apply([ended(task, task, result="1") for task in tasks])
    driver.set_trace_callback(None)
    assert len(seen) <= 60


@pytest.mark.parametrize("count", [1, 2, 5, 300])
def test_any_number_of_rows_becomes_the_same_rows(count: int, store: Store, db: str) -> None:
    refs = [RunRef(n + 1, f"d{n % 3}", at(n)) for n in range(count)]
    for n in range(3):
        execute(db, A_DAG.replace("'d'", f"'d{n}'"))
    story: list[Change] = []
    for ref in refs:
        story += [
            PointRecorded(ref.dag_id, at(0), ScheduleEvent.REGULAR, ref.exec_ts, at(9999)),
            *created(ref),
        ]
        story.append(new("a", ref=ref))
    store.apply(story)
    store.apply([granted("a", f"k{ref.run_id}", ref=ref) for ref in refs])
    ends: list[Change] = []
    for ref in refs:
        ends.append(ended("a", f"k{ref.run_id}", ref=ref, result=str(ref.run_id)))
        ends.append(RunChanged(ref, at(50) + timedelta(seconds=ref.run_id), R.RUNNING, R.SUCCESS))
    store.apply(ends)
    assert {(row["Status"], row["EndedAt"]) for row in rows(db, "dagruns")} == {
        ("SUCCESS", text(50 + ref.run_id)) for ref in refs
    }
    attempts = {(row["DagId"], row["ExecTs"], row["Token"], row["Status"]) for row in rows(db, "dagruntasks")}
    assert attempts == {(r.dag_id, text(r.run_id - 1), f"k{r.run_id}", "SUCCESS") for r in refs}
    assert sorted(int(row["Result"]) for row in rows(db, "dagrunresults")) == [r.run_id for r in refs]


def test_updates_of_many_rows_find_them_by_their_key(file_store: Store, path: Path) -> None:
    execute(path, A_DAG)
    point = PointRecorded("d", at(0), ScheduleEvent.REGULAR, at(1), at(2))
    file_store.apply([point, *created(), new("a"), new("b")])
    file_store.apply([granted("a", "k")])
    file_store.apply([ended("a", "k", result="1"), RunChanged(REF, at(3), R.RUNNING, R.SUCCESS)])
    updates = [
        _for_rows(compiled.sql, 256)
        for name in MANY
        for compiled in file_store._hot[name]._compiled.values()
        if compiled.sql.startswith("UPDATE")
    ]
    assert len(updates) == 4
    for sql in updates:
        with file_store.write as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?")).all()
        steps = [str(step[3]) for step in plan]
        assert any(step.startswith("SEARCH") for step in steps), (sql, steps)
        assert not any(step.startswith("SCAN d") for step in steps), (sql, steps)


def test_what_a_row_leaves_out_is_null_and_stays_so(store: Store, db: str) -> None:
    store.apply([*created(), new("a"), new("b"), granted("b", "k")])
    by_task = {row["TaskId"]: row for row in rows(db, "dagruntasks")}
    late = ["Reason", "Error", "EndedAt", "RetryAt", "LostAt", "ResultBytes", "PeakMemory"]
    late += ["TaskBodyHash", "CpuSeconds"]
    assert {by_task[task][column] for task in "ab" for column in late} == {None}
    assert by_task["a"]["Token"] is None
    store.apply([ended("b", "k")])
    ended_row = next(row for row in rows(db, "dagruntasks") if row["TaskId"] == "b")
    assert {ended_row[column] for column in late if column != "EndedAt"} == {None}
    assert ended_row["Token"] == "k"
