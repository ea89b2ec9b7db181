"""What is old goes, whole and a little at a time; what is young, open or among the newest stays."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from engine.world import at
from ppacer.dag import Registry
from ppacer.engine import RunRef, RunStatus, ScheduleEvent
from ppacer.engine.changes import (
    AlertKind,
    AlertQueued,
    AlertTried,
    Audited,
    Change,
    DrainAsked,
    ExecutorGone,
    PointRecorded,
    ReplyKept,
    RunChanged,
    RunRestarted,
)
from ppacer.errors import StoreError
from ppacer.store import Store, care, retention
from ppacer.store.retention import OldPoints, OldRuns, OldTasks, OldVersions, Past
from ppacer.store.sync import sync
from store.shelf import (
    A_DAG,
    SRC,
    created,
    dump,
    ended,
    execute,
    granted,
    greeted,
    new,
    python,
    refusing,
    rows,
    text,
)
from store.test_sync import Shout, dag

TESTS = Path(__file__).parents[1]
VERSION = "INSERT INTO dagversions VALUES ('d', 'v1', '2026-03-01T12:00:00.000000Z', '[]')"
NIGHT = at(100_000)  # what ended before is old


@pytest.fixture
def past(db: str, store: Store) -> Iterator[Past]:
    execute(db, A_DAG)
    past = Past(db)
    yield past
    past.close()


def ran(number: int, end: float, tasks: int = 2, dag_id: str = "d", result: str = '"x"') -> list[Change]:
    """A run with everything that a run can have, which ended at `end`."""
    ref = RunRef(number, dag_id, at(number))
    changes: list[Change] = [
        PointRecorded(dag_id, at(number), ScheduleEvent.REGULAR, at(number), at(number + 1))
    ]
    changes += created(ref)
    for n in range(tasks):
        changes += [new(f"t{n}", ref=ref), granted(f"t{n}", f"{number}-{n}", ref=ref)]
        changes.append(ended(f"t{n}", f"{number}-{n}", ref=ref, result=result))
    changes.append(AlertQueued(ref, "t0", 0, AlertKind.FAILURE, "it went wrong", at(end)))
    return [*changes, RunChanged(ref, at(end), RunStatus.RUNNING, RunStatus.FAILED)]


def tried(db: str) -> list[Change]:
    """All alerts are delivered."""
    return [AlertTried(row["AlertId"], at(9)) for row in rows(db, "outbox")]


def sweep(store: Store, past: Past, before: datetime = NIGHT, runs_min: int = 1) -> list[int]:
    """Deletes everything that is old; how much each slice had."""
    return [store.forget(old) for old in past.slices(before, runs_min)]


def of_run(db: str, number: int) -> dict[str, list[dict[str, Any]]]:
    """All that hangs on a run."""
    tables = ("dagruns", "dagruntasks", "dagrunresults", "dagrunrestarts", "outbox")
    return {table: [row for row in rows(db, table) if row["ExecTs"] == text(number)] for table in tables}


def run_ids(db: str) -> list[int]:
    return [row["RunId"] for row in rows(db, "dagruns", "RunId")]


def test_of_a_run_that_goes_nothing_is_left_and_the_others_stay_whole(
    store: Store, past: Past, db: str, new_db: Callable[[], str]
) -> None:
    other_db = new_db()
    other = Store(other_db)
    execute(other_db, A_DAG)
    old = [change for n in (1, 3) for change in ran(n, 10 + n)]
    young = [change for n in (2, 200_000) for change in ran(n, 200_000)]
    again = RunRef(3, "d", at(3))
    store.apply([*old, *young])
    store.apply(
        [RunRestarted(again, at(20), 1), RunChanged(again, at(20), RunStatus.FAILED, RunStatus.RUNNING)]
    )
    store.apply([RunChanged(again, at(30), RunStatus.RUNNING, RunStatus.FAILED)])
    other.apply(young)
    for one, file in ((store, db), (other, other_db)):
        one.apply(tried(file))
        run = "r.DagId = outbox.DagId AND r.ExecTs = outbox.ExecTs"
        execute(file, f"UPDATE outbox SET AlertId = (SELECT -r.RunId FROM dagruns AS r WHERE {run})")
    assert all(dump(db)[table] for table in ("dagrunrestarts", "outbox", "dagrunresults", "schedules"))
    sweep(store, past)
    execute(other_db, f"DELETE FROM schedules WHERE ScheduleTs < '{text(100_000)}'")
    assert dump(db) == dump(other_db)
    assert run_ids(db) == [2, 200_000]
    other.close()


@pytest.mark.parametrize(("runs_min", "left"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_the_newest_runs_of_each_dag_stay_however_old(
    store: Store, past: Past, db: str, runs_min: int, left: int
) -> None:
    execute(db, A_DAG.replace("'d'", "'e'"))
    for number in range(1, 7):
        store.apply(ran(number, 50, dag_id="de"[number % 2]))
    store.apply(tried(db))
    sweep(store, past, runs_min=runs_min)
    kept = rows(db, "dagruns", "DagId", "RunId")
    assert [row["RunId"] for row in kept if row["DagId"] == "d"] == [2, 4, 6][3 - left :]
    assert [row["RunId"] for row in kept if row["DagId"] == "e"] == [1, 3, 5][3 - left :]


def test_a_run_goes_by_its_end_not_by_its_beginning(store: Store, past: Past, db: str) -> None:
    for number, end in enumerate((99_999, 100_000, 100_001, 5, 5), 1):
        store.apply(ran(number, end))
    store.apply(tried(db))
    sweep(store, past)
    assert run_ids(db) == [2, 3, 5]


def test_open_runs_stay(store: Store, past: Path, db: str) -> None:
    store.apply(created(RunRef(1, "d", at(1))))
    store.apply(created(RunRef(2, "d", at(2)), RunStatus.SCHEDULED))
    store.apply(ran(3, 50))
    assert sweep(store, cast(Any, past)) == [1]  # the point
    assert run_ids(db) == [1, 2, 3]


def test_a_run_stays_until_its_alerts_are_delivered_or_given_up(store: Store, past: Past, db: str) -> None:
    for number in (1, 2, 3, 4):
        store.apply(ran(number, 50))
    store.apply([AlertTried(1, at(60)), AlertTried(2, at(60), "refused", None)])
    store.apply([AlertTried(3, at(60), "refused", at(70))])
    sweep(store, past)
    assert run_ids(db) == [3, 4]


def test_a_run_that_is_restarted_after_it_was_found_stays_whole(store: Store, past: Past, db: str) -> None:
    for number in (1, 2, 3):
        store.apply(ran(number, 50))
    store.apply(tried(db))
    [old, *_] = past.slices(NIGHT, 1)
    assert isinstance(old, OldRuns)
    assert old.run_ids == [1, 2]
    ref = RunRef(2, "d", at(2))
    store.apply(
        [RunRestarted(ref, at(200_000), 1), RunChanged(ref, at(200_000), RunStatus.FAILED, RunStatus.RUNNING)]
    )
    before = of_run(db, 2)
    assert store.forget(old) == 1
    assert run_ids(db) == [2, 3]
    assert of_run(db, 2) == before
    assert not any(of_run(db, 1).values())


@pytest.mark.parametrize("table", ["dagruntasks", "dagrunresults", "outbox", "dagruns"])
def test_a_slice_that_fails_half_way_changes_nothing(store: Store, past: Past, db: str, table: str) -> None:
    for number in (1, 2, 3):
        store.apply(ran(number, 50))
    store.apply(tried(db))
    [old, *_] = past.slices(NIGHT, 1)
    before = dump(db)
    with refusing(db, "DELETE", table, when=f"OLD.ExecTs = '{text(2)}'"):
        with pytest.raises(StoreError, match="stopped"):
            store.forget(old)
        assert dump(db) == before
    assert store.forget(old) == 2


def test_slices_are_small_and_a_large_run_goes_alone(store: Store, past: Past, db: str) -> None:
    sizes = [1, 2, retention.WEIGHT_MAX - 1, 1, 2_000, 1, 1, 3]
    for number, tasks in enumerate(sizes, 1):
        store.apply(ran(number, 50, tasks, result="0" * 4))
    store.apply(tried(db))
    slices = [old.run_ids for old in past.slices(NIGHT, 1) if isinstance(old, OldRuns)]
    assert slices == [[1, 2], [3, 4], [5], [6, 7]]


def test_large_results_make_a_slice_heavy(store: Store, past: Past, db: str) -> None:
    for number in range(1, 8):
        store.apply(ran(number, 50, 1, result='"' + "x" * 200_000 + '"'))
    store.apply(tried(db))
    slices = [old.run_ids for old in past.slices(NIGHT, 1) if isinstance(old, OldRuns)]
    assert slices == [[1, 2], [3, 4], [5, 6]]


def test_many_runs_go_in_many_slices_and_nothing_is_found_twice(
    store: Store, past: Past, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_MAX", 4)
    for number in range(1, 12):
        store.apply(ran(number, 50))
    store.apply(tried(db))
    runs = [store.forget(old) for old in past.slices(NIGHT, 1) if isinstance(old, OldRuns)]
    assert runs == [4, 4, 2]
    sweep(store, past)
    assert sweep(store, past) == []


def test_what_could_not_be_deleted_does_not_hold_up_the_rest(
    store: Store, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slice is offered once in a sweep, whatever becomes of it."""
    monkeypatch.setattr(retention, "RUNS_MAX", 2)
    monkeypatch.setattr(retention, "WEIGHT_MAX", 2)
    for number in range(1, 8):
        store.apply(ran(number, 50, tasks=1))
    store.apply([AlertTried(number, at(60)) for number in range(1, 8)])
    slices = list(past.slices(NIGHT, 1))
    assert [old.run_ids for old in slices if isinstance(old, OldRuns)] == [[1, 2], [3, 4], [5, 6]]
    assert len([old for old in slices if isinstance(old, OldPoints)]) == 4


def test_a_stretch_of_points_that_was_recorded_lately_stays(store: Store, past: Past, db: str) -> None:
    store.apply([PointRecorded("d", at(1), ScheduleEvent.REGULAR, at(1), at(2))])
    store.apply([PointRecorded("d", at(200_000), ScheduleEvent.SKIPPED, at(0.5), at(199_999))])
    store.apply([PointRecorded("d", at(200_000), ScheduleEvent.REGULAR, at(200_000), None)])
    assert sweep(store, past) == [1]
    assert [row["Event"] for row in rows(db, "schedules", "ScheduleTs", "Event")] == ["SKIPPED", "REGULAR"]


DELETES = """
import sys
sys.path[:0] = sys.argv[2:]
from store.test_retention import NIGHT, Past, Store
store, past = Store(sys.argv[1]), Past(sys.argv[1])
for old in past.slices(NIGHT, 1):
    store.forget(old)
    print("deleted", flush=True)
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_whole_runs_and_the_rest_goes_later(
    store: Store, past: Past, db: str
) -> None:
    for first in range(1, 1_000, 50):
        store.apply([change for n in range(first, first + 50) for change in ran(n, 50)])
    store.apply(tried(db))
    execute(db, VERSION)
    left = [1_000]
    for lines in (1, 3, 7):
        with python(DELETES, db, str(SRC), str(TESTS)) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline() == "deleted\n"
            process.kill()
        assert care.problems(db) == []
        left.append(len(run_ids(db)))
    assert left == sorted(left, reverse=True)
    assert left[-1] > 1
    sweep(store, past)
    assert run_ids(db) == [1_000]
    assert care.problems(db) == []


# -- versions ------------------------------------------------------------------------------------------------


def versions(db: str) -> dict[str, int]:
    """How many tasks each version has that is kept."""
    return {row["DagVersion"]: row["Graph"].count('"id"') for row in rows(db, "dagversions")}


def revisions(db: str) -> list[tuple[str, int]]:
    return [(row["TaskId"], row["Revision"]) for row in rows(db, "dagtasks", "TaskId", "Revision")]


def test_versions_and_sources_that_nothing_needs_go(store: Store, db: str) -> None:
    first, second, third, now = dag("a"), dag("a", "b", task=Shout), dag("a", "b"), dag("a", task=Shout)
    for moment, one in ((10, first), (20, second), (30, third), (40, now)):
        sync(store, Registry([one]), at(moment))
    ref = RunRef(1, "d", at(21))
    store.apply([*created(ref), RunChanged(ref, at(25), RunStatus.RUNNING, RunStatus.SUCCESS)])
    execute(db, f"UPDATE dagruns SET DagVersion = '{second.version}'")
    past = Past(db)
    assert sweep(store, past, before=at(15)) == [1]  # the first version; its source was replaced at 20
    assert sweep(store, past, before=at(35)) == [1, 1]
    assert set(versions(db)) == {second.version, now.version}
    # `a` was replaced at 20, 30 and 40; its second is that of the run; the last of `b` stays.
    assert revisions(db) == [("a", 1), ("a", 2), ("a", 3), ("b", 0), ("b", 1)]
    assert sweep(store, past, before=at(35)) == []
    assert sweep(store, past) == [1]
    assert revisions(db) == [("a", 1), ("a", 3), ("b", 0), ("b", 1)]
    execute(db, "DELETE FROM dagruns")
    sweep(store, past)
    assert set(versions(db)) == {now.version}
    assert revisions(db) == [("a", 3), ("b", 1)]
    past.close()
    sync(store, Registry([third]), at(50))  # a version may come back
    assert set(versions(db)) == {third.version, now.version}
    assert revisions(db) == [("a", 3), ("a", 4), ("b", 1), ("b", 2)]


def test_a_version_that_has_become_the_current_one_since_it_was_found_stays(store: Store, db: str) -> None:
    now = dag("a")
    sync(store, Registry([now]), at(10))
    assert store.forget(OldVersions("d", NIGHT, [now.version])) == 0
    assert store.forget(OldTasks("d", NIGHT, [("a", 0)])) == 0
    assert set(versions(db)) == {now.version}


def test_the_current_version_stays_also_of_a_dag_that_is_gone(store: Store, db: str) -> None:
    sync(store, Registry([dag("a")]), at(10))
    sync(store, Registry([]), at(20))
    past = Past(db)
    assert sweep(store, past) == []
    past.close()
    sync(store, Registry([dag("a")]), at(30))
    assert len(versions(db)) == 1


# -- its cost ------------------------------------------------------------------------------------------------


def steps_of(past: Past, before: datetime, runs_min: int) -> int:
    """What SQLite does to find everything, in hundreds of steps of its machine."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    with past._engine.connect() as connection:
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.set_progress_handler(tick, 100)
    list(past.slices(before, runs_min))
    driver.set_progress_handler(None, 0)
    return count


def test_a_look_costs_the_same_however_many_runs_are_young(file_store: Store, path: Path) -> None:
    """Behind an old one that is still open."""
    execute(path, A_DAG)
    past = Past(path)
    file_store.apply(created(RunRef(1, "d", at(1))))
    steps = []
    for first, last in ((2, 402), (402, 3_002)):
        for number in range(first, last, 100):
            file_store.apply([change for n in range(number, number + 100) for change in ran(n, 200_000, 1)])
        execute(
            path,
            "UPDATE outbox SET NextTryAt = NULL",
            "UPDATE dagruns SET InsertTs = EndedAt WHERE RunId > 1",
        )
        execute(path, "UPDATE schedules SET ScheduleTs = '2026-04' || ScheduleTs")
        steps.append(steps_of(past, NIGHT, 100))
    assert 0 < steps[1] <= steps[0] + 1
    past.close()


# -- audit and replies ---------------------------------------------------------------------------------------


def asked(second: float, key: str) -> list[Change]:
    """A command with an idempotency key, refused or not."""
    row = Audited(at(second), "ann", None, "trigger", "d", None, "{}", "done", None)
    return [row, ReplyKept("ann", key, at(second), "f", "{}")]


def test_the_audit_goes_with_the_rest(store: Store, past: Past, db: str) -> None:
    store.apply([change for second in range(1200) for change in asked(second, str(second))])
    assert sum(store.forget(old) for old in past.slices(at(1100), 1)) == 1100
    assert min(row["At"] for row in rows(db, "audit")) == text(1100)
    assert list(past.slices(at(1100), 1)) == []


def test_replies_go_by_their_age_alone(store: Store, past: Past, db: str) -> None:
    store.apply([change for second in range(1200) for change in asked(second, str(second))])
    assert sum(store.forget(old) for old in past.replies(at(1100))) == 1100
    assert len(rows(db, "requests")) == 100
    assert len(rows(db, "audit")) == 1200


def test_executors_go_when_they_are_gone_for_long(store: Store, past: Past, db: str) -> None:
    names = [f"e{number:04}" for number in range(1200)]
    store.apply([greeted(name) for name in names])
    assert list(past.executors(at(10_000))) == []  # they live
    store.apply([DrainAsked("e0500", at(0))])  # it is to be given nothing when it comes back, whenever
    store.apply([ExecutorGone(name, at(number), "it has stopped") for number, name in enumerate(names[1:])])
    slices = list(past.executors(at(1100)))
    execute(db, "UPDATE executors SET GoneAt = NULL WHERE Name = 'e0001'")  # it has come back meanwhile
    assert [store.forget(old) for old in slices] == [499, 500, 99]
    left = [row["Name"] for row in rows(db, "executors", "Name")]
    assert left == ["e0000", "e0001", "e0500", *names[1101:]]
