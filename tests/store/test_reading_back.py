"""What memory is made of again: open runs, numbers, results."""

from datetime import timedelta

import pytest

from engine.world import at, graph
from ppacer.engine import RunRef, RunStatus
from ppacer.engine.changes import RunChanged, RunRestarted
from ppacer.errors import StoreError
from ppacer.store import Store
from store.shelf import created, new


def test_open_runs_are_found_by_an_index(file_store: Store) -> None:
    seen: list[str] = []
    driver = file_store._connection.connection.dbapi_connection
    assert driver is not None
    driver.set_trace_callback(seen.append)
    list(file_store.open_runs())
    driver.set_trace_callback(None)
    (query,) = [sql for sql in seen if "dagruns" in sql]
    with file_store.write as connection:
        plan = [str(step[3]) for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()]
    assert any("ix_dagruns_status_runid" in step for step in plan), plan


def test_numbers_of_runs_go_on_where_they_were(store: Store) -> None:
    assert store.newest_run_id() == 0
    store.apply(created(RunRef(41, "d", at(1))))
    assert store.newest_run_id() == 41


def test_a_run_is_known_by_its_execution_time(store: Store) -> None:
    store.apply(created())
    assert store.has_run("d", at(1))
    assert not store.has_run("d", at(1) + timedelta(microseconds=1))
    assert not store.has_run("e", at(1))


def test_open_runs_come_in_the_order_in_which_they_began_to_wait(store: Store) -> None:
    store.keep_graph("d", "v1", graph("a"))
    for number, status in ((3, RunStatus.SCHEDULED), (1, RunStatus.RUNNING), (2, RunStatus.SCHEDULED)):
        store.apply(created(RunRef(number, "d", at(number)), status))
    assert [row.ref.run_id for row, _, _ in store.open_runs()] == [1, 2, 3]
    first = RunRef(1, "d", at(1))
    store.apply([RunChanged(first, at(5), RunStatus.RUNNING, RunStatus.FAILED)])
    store.apply(
        [RunRestarted(first, at(6), 1), RunChanged(first, at(6), RunStatus.FAILED, RunStatus.SCHEDULED)]
    )
    assert [row.ref.run_id for row, _, _ in store.open_runs()] == [2, 3, 1]


def test_more_open_runs_than_fit_into_one_question(store: Store) -> None:
    store.keep_graph("d", "v1", graph("a"))
    refs = [RunRef(number, "d", at(number)) for number in range(1, 1202)]
    store.apply([change for ref in refs for change in (*created(ref), new("a", ref=ref))])
    found = [(row.ref, [attempt.task_id for attempt in attempts]) for row, _, attempts in store.open_runs()]
    assert found == [(ref, ["a"]) for ref in refs]


def test_an_unknown_run_is_none(store: Store) -> None:
    assert store.run(1) is None
    assert list(store.open_runs()) == []


def test_a_run_whose_graph_is_gone_is_a_sentence(store: Store) -> None:
    store.apply(created())
    with pytest.raises(StoreError, match="version v1 of dag 'd' is not in the database"):
        store.run(1)
