"""Backfills as rows: what is written of them, what the scheduler reads back, what readers are shown."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from engine.world import at
from ppacer.dag import Graph
from ppacer.engine import RunRef, RunStatus, Trigger
from ppacer.engine.changes import (
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
    Change,
    RunChanged,
    RunCreated,
)
from ppacer.errors import NotFoundError, StoreError
from ppacer.store import Store
from ppacer.store.backfills import PART
from ppacer.store.reads import Reads
from ppacer.store.retention import Past
from ppacer.store.store import StaleWrite
from store.shelf import A_DAG, dump, execute, rows


@pytest.fixture
def reads(db: str, store: Store) -> Iterator[Reads]:
    reads = Reads(db, lambda text: text.replace("hidden", "***"))
    yield reads
    reads.close()


def made(number: int, *points: float, dag_id: str = "d", params: str | None = None) -> BackfillCreated:
    """A backfill of these points, in this order."""
    times = [at(point) for point in points]
    return BackfillCreated(number, dag_id, at(0), at(1000), False, 4, params, times, at(number), "ann")


def ran(number: int, backfill_id: int | None, status: RunStatus, dag_id: str = "d") -> list[Change]:
    """A run at the point of its number."""
    ref = RunRef(number, dag_id, at(number))
    changes: list[Change] = [RunCreated(ref, at(number), "v1", Trigger.BACKFILL, None, backfill_id)]
    if status is not RunStatus.SCHEDULED:
        changes.append(RunChanged(ref, at(number), RunStatus.SCHEDULED, RunStatus.RUNNING))
    if status not in (RunStatus.SCHEDULED, RunStatus.RUNNING):
        changes.append(RunChanged(ref, at(number), RunStatus.RUNNING, status))
    return changes


def test_a_backfill_comes_back_as_it_was_written(store: Store) -> None:
    store.apply([made(7, 3, 1, 2, params='{"n":1}')])
    [row] = store.open_backfills()
    assert row == store.backfill(7)
    assert (row.ref.backfill_id, row.ref.dag_id, row.max_active_runs, row.params) == (7, "d", 4, '{"n":1}')
    assert (row.count, row.position, row.created_at, row.created_by) == (3, 0, at(7), "ann")
    assert (row.paused_at, row.cancel_requested_at, row.ended_at) == (None, None, None)
    assert store.newest_backfill_id() == 7
    assert store.backfill_points(7, 0, 10) == [at(3), at(1), at(2)]
    assert store.backfill_points(7, 1, 1) == [at(1)]


def test_without_any_there_is_none(store: Store) -> None:
    assert (store.open_backfills(), store.newest_backfill_id()) == ([], 0)
    assert [store.backfill(number) for number in (-1, 0, 1, 2**31, 10**18)] == [None] * 5


def test_moves_of_one_batch_are_one_update(store: Store, reads: Reads) -> None:
    store.apply([made(1, 1, 2, 3, 4, 5), made(2, 1)])
    store.apply([BackfillMoved(1, 0, False), BackfillMoved(2, 0, True), BackfillMoved(1, 1, True)])
    store.apply([BackfillMoved(1, 2, True), BackfillMoved(1, 3, False)])
    one, two = reads.backfill(1).backfill, reads.backfill(2).backfill
    assert (one.position, one.passed) == (4, 2)
    assert (two.position, two.passed) == (1, 1)


def test_a_move_from_elsewhere_is_refused_and_nothing_is_written(store: Store, db: str) -> None:
    store.apply([made(1, 1, 2, 3), BackfillMoved(1, 0, False)])
    before = dump(db)
    for position in (0, 2):
        with pytest.raises(StaleWrite, match="move_backfill"):
            store.apply([*ran(1, 1, RunStatus.RUNNING), BackfillMoved(1, position, False)])
        assert dump(db) == before


def test_a_move_behind_the_end_is_impossible(store: Store, db: str) -> None:
    store.apply([made(1, 1), BackfillMoved(1, 0, False)])
    with pytest.raises(StoreError, match="ck_backfills_position"):
        store.apply([BackfillMoved(1, 1, False)])


def test_what_has_ended_is_not_changed_any_more(store: Store, db: str) -> None:
    store.apply([made(1, 1), BackfillMarked(1, at(5), "it broke"), BackfillEnded(1, at(9))])
    before = dump(db)
    for change in (BackfillEnded(1, at(10)), BackfillMarked(1), BackfillCancelled(1, at(10))):
        with pytest.raises(StaleWrite, match="change_backfill"):
            store.apply([change])
    assert dump(db) == before
    assert store.open_backfills() == []


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ([], "RUNNING"),
        ([BackfillMarked(1, at(5))], "PAUSED"),
        ([BackfillMarked(1, at(5)), BackfillMarked(1)], "RUNNING"),
        ([BackfillMarked(1, at(5)), BackfillCancelled(1, at(6))], "CANCELLING"),
        ([BackfillCancelled(1, at(6)), BackfillEnded(1, at(7))], "CANCELLED"),
        ([BackfillMarked(1, at(5)), BackfillEnded(1, at(7))], "DONE"),
    ],
)
def test_its_state_is_one_word(store: Store, reads: Reads, changes: list[Change], state: str) -> None:
    store.apply([made(1, 1)])
    for change in changes:
        store.apply([change])
    assert reads.backfill(1).backfill.state == state
    assert (len(reads.backfills(is_open=True)) == 1) == (state not in ("DONE", "CANCELLED"))


def test_secrets_in_its_parameters_are_masked(store: Store, reads: Reads) -> None:
    store.apply([made(1, 1, params='{"key":"hidden"}')])
    assert reads.backfill(1).backfill.params == {"key": "***"}


def test_its_runs_are_counted_by_status_and_no_others(store: Store, reads: Reads) -> None:
    store.apply([made(1, 1, 2, 3), made(2, 5), made(3, 6, dag_id="e")])
    for number, status in enumerate(RunStatus, 1):
        store.apply(ran(number, 1, status))
    store.apply(
        [*ran(8, 1, RunStatus.FAILED), *ran(9, 2, RunStatus.FAILED), *ran(10, None, RunStatus.FAILED)]
    )
    assert reads.backfill(1).runs == {**{str(status): 1 for status in RunStatus}, "FAILED": 2}
    assert reads.backfill(2).runs == {"FAILED": 1}
    assert reads.backfill(3).runs == {}
    assert [run.backfill_id for run in reads.runs(limit=3)] == [None, 2, 1]
    with pytest.raises(NotFoundError, match="there is no backfill 4"):
        reads.backfill(4)


def test_pages_follow_each_other(store: Store, reads: Reads) -> None:
    store.apply([made(number, 1, dag_id="de"[number % 2]) for number in range(1, 8)])
    assert [one.backfill_id for one in reads.backfills(limit=3)] == [7, 6, 5]
    assert [one.backfill_id for one in reads.backfills(before=5, limit=3)] == [4, 3, 2]
    assert [one.backfill_id for one in reads.backfills(dag_id="e", before=7)] == [5, 3, 1]
    store.apply([BackfillEnded(5, at(9))])
    assert [one.backfill_id for one in reads.backfills(dag_id="e", is_open=True)] == [7, 3, 1]


@pytest.mark.parametrize("count", [0, 1, 2, PART - 1, PART, PART + 1, 2 * PART + 1])
def test_points_without_runs_are_found_among_many(store: Store, reads: Reads, count: int) -> None:
    points: list[datetime] = [at(number) for number in range(1, count + 1)]
    taken = (1, PART, PART + 1)
    store.apply([change for number in taken for change in ran(number, None, RunStatus.FAILED)])
    store.apply(ran(2, None, RunStatus.RUNNING, dag_id="e"))
    wanted = [at(number) for number in range(1, count + 1) if number not in taken]
    assert store.without_runs("d", points) == reads.without_runs("d", points) == wanted


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_points_without_runs_are_found_where_runs_by_hand_lie_between_them(
    store: Store, reads: Reads, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("ppacer.store.backfills.INSIDE_MAX", 4)
    for number in range(1, count + 1):
        store.apply(ran(number, None, RunStatus.FAILED))
    points = [at(0.5), at(count), at(count + 1)]
    assert reads.without_runs("d", points) == [at(0.5), at(count + 1)]


def test_an_open_run_comes_back_with_its_backfill(store: Store) -> None:
    store.keep_graph("d", "v1", Graph(()))
    store.apply([*ran(1, 7, RunStatus.RUNNING), *ran(2, None, RunStatus.RUNNING)])
    assert [row.backfill_id for row, _, _ in store.open_runs()] == [7, None]


# -- retention -----------------------------------------------------------------------------------------------

NIGHT = at(100_000)


def sweep(db: str, store: Store, runs_min: int = 0) -> None:
    past = Past(db)
    for old in past.slices(NIGHT, runs_min):
        store.forget(old)
    past.close()


def test_what_ended_long_ago_goes_with_its_points_when_its_runs_are_gone(store: Store, db: str) -> None:
    execute(db, A_DAG)
    store.apply([made(1, *range(1200)), BackfillEnded(1, at(50))])
    store.apply([made(2, 1, 2), BackfillEnded(2, at(50)), *ran(2, 2, RunStatus.SUCCESS)])
    store.apply([made(3, 1), BackfillEnded(3, at(200_000))])
    store.apply([made(4, 1, 2)])
    store.apply([made(5, 1), BackfillEnded(5, at(50))])
    sweep(db, store, runs_min=1)
    assert [row["BackfillId"] for row in rows(db, "backfills", "BackfillId")] == [2, 3, 4, 5]
    assert {row["BackfillId"] for row in rows(db, "backfillpoints")} == {2, 3, 4, 5}
    sweep(db, store)
    assert [row["BackfillId"] for row in rows(db, "backfills", "BackfillId")] == [3, 4, 5]
    assert store.newest_backfill_id() == 5
