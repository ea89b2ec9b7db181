"""`Store.apply`: what the changes of a batch become, folded into few rows for few statements."""

from collections.abc import Callable
from typing import get_args

from engine.world import at
from ppacer.engine import Reason, RunRef, RunStatus, ScheduleEvent, TaskStatus, Trigger
from ppacer.engine.changes import (
    AlertKind,
    AlertQueued,
    AlertTried,
    AttemptCreated,
    AttemptEnded,
    AttemptFound,
    AttemptLost,
    CancelRequested,
    Change,
    DagMarked,
    PointRecorded,
    RunChanged,
    RunCreated,
    RunRestarted,
)
from ppacer.store import Store
from ppacer.store.batch import _FOLDS, Batch
from ppacer.store.hot import statements
from ppacer.version import VERSION
from store.shelf import A_DAG, REF, created, dump, ended, execute, granted, new, rows, text

R, T = RunStatus, TaskStatus


def count(changes: list[Change]) -> dict[str, int]:
    """How many rows each statement of a batch gets."""
    batch = Batch(changes, lambda moment: moment, statements())
    return {name: len(rows) for name, rows in batch.rows.items() if rows}


def test_every_change_has_its_fold() -> None:
    assert set(_FOLDS) == set(get_args(Change))


def test_created_and_granted_is_one_insert() -> None:
    assert count([new("a"), granted("a", "k")]) == {"insert_attempt": 1}


def test_a_whole_life_in_one_batch_is_one_insert_of_each() -> None:
    story = [*created(), new("a"), granted("a", "k"), ended("a", "k", result="1")]
    story.append(RunChanged(REF, at(2), R.RUNNING, R.SUCCESS))
    assert count(story) == {"insert_run": 1, "insert_attempt": 1, "insert_result": 1}


def test_the_hop_of_a_chain_is_one_update_and_one_insert() -> None:
    assert count([ended("a", "k"), new("b"), granted("b", "l")]) == {"insert_attempt": 1, "end_attempt": 1}


def test_several_steps_of_a_run_are_one_update(store: Store, db: str) -> None:
    store.apply([*created(), RunChanged(REF, at(5), R.RUNNING, R.FAILED)])
    again: list[Change] = [
        RunRestarted(REF, at(6), 1),
        RunChanged(REF, at(6), R.FAILED, R.SCHEDULED),
        RunChanged(REF, at(7), R.SCHEDULED, R.RUNNING),
    ]
    assert count(again) == {"mark_run": 1, "change_run": 1, "insert_restart": 1}
    store.apply(again)
    (run,) = rows(db, "dagruns")
    assert (run["Status"], run["StartedAt"], run["EndedAt"], run["Restarts"]) == ("RUNNING", text(0), None, 1)


def test_several_points_of_a_dag_move_its_cursor_once() -> None:
    points: list[Change] = [
        PointRecorded("d", at(0), ScheduleEvent.CAUGHT_UP, at(0), at(60)),
        PointRecorded("d", at(0), ScheduleEvent.REGULAR, at(60), at(120)),
        PointRecorded("e", at(0), ScheduleEvent.REGULAR, at(60), at(90)),
    ]
    assert count(points) == {"insert_point": 3, "move_cursor": 2}


def test_folded_or_one_by_one_the_rows_are_the_same(new_db: Callable[[], str]) -> None:
    story = [*created(), new("a"), granted("a", "k"), AttemptLost(REF, "a", 0, at(2))]
    story += [AttemptEnded(REF, "a", 0, at(3), T.RUNNING, T.FAILED_PENDING_RETRY, "k", Reason.LOST, "gone")]
    story += [new("a", 1), granted("a", "l", 1), ended("a", "l", T.SUCCESS, 1, result="[7]")]
    story += [new("b", status=T.UPSTREAM_FAILED), CancelRequested(REF, at(4))]
    story += [RunChanged(REF, at(5), R.RUNNING, R.CANCELLED), RunRestarted(REF, at(6), 1)]
    story += [
        RunChanged(REF, at(6), R.CANCELLED, R.SCHEDULED),
        RunChanged(REF, at(6), R.SCHEDULED, R.RUNNING),
    ]
    one_db, other_db = new_db(), new_db()
    store, other = Store(one_db), Store(other_db)
    store.apply(story)
    for change in story:
        other.apply([change])
    store.close()
    other.close()
    assert dump(one_db) == dump(other_db)


def test_the_row_of_a_run(store: Store, db: str) -> None:
    ref = RunRef(5, "d", at(60))
    store.apply([RunCreated(ref, at(61), "v7", Trigger.SCHEDULE, '{"n":1}')])
    assert rows(db, "dagruns") == [
        {
            "RunId": 5,
            "DagId": "d",
            "ExecTs": "2026-03-01T12:01:00.000000Z",
            "InsertTs": "2026-03-01T12:01:01.000000Z",
            "Status": "SCHEDULED",
            "StatusUpdateTs": "2026-03-01T12:01:01.000000Z",
            "Version": VERSION,
            "DagVersion": "v7",
            "TriggeredBy": "schedule",
            "Params": '{"n":1}',
            "Restarts": 0,
            "StartedAt": None,
            "EndedAt": None,
            "CancelRequestedAt": None,
            "BackfillId": None,
        }
    ]


def test_the_row_of_an_attempt_from_its_beginning_to_its_end(store: Store, db: str) -> None:
    store.apply([*created(), new("a")])
    (row,) = rows(db, "dagruntasks")
    assert row == {**row, "DagId": "d", "TaskId": "a", "Retry": 0, "Status": "SCHEDULED", "InsertTs": text(0)}
    assert [row[name] for name in ("Executor", "Token", "StartedAt", "EndedAt", "LeaseEndAt")] == [None] * 5
    store.apply([granted("a", "k")])
    (row,) = rows(db, "dagruntasks")
    assert (row["Status"], row["Executor"], row["Token"]) == ("RUNNING", "x", "k")
    assert (row["StartedAt"], row["StatusUpdateTs"], row["LeaseEndAt"]) == (text(1), text(1), text(31))
    end = AttemptEnded(
        REF,
        "a",
        0,
        at(9),
        T.RUNNING,
        T.FAILED,
        "k",
        Reason.TIMED_OUT,
        "too long",
        None,
        None,
        77,
        "c0de",
        1.25,
    )
    store.apply([end])
    (row,) = rows(db, "dagruntasks")
    assert (row["Status"], row["Reason"], row["Error"]) == ("FAILED", "TIMED_OUT", "too long")
    assert (row["EndedAt"], row["StatusUpdateTs"], row["PeakMemory"]) == (text(9), text(9), 77)
    assert (row["StartedAt"], row["Token"]) == (text(1), "k")
    assert (row["TaskBodyHash"], row["CpuSeconds"]) == ("c0de", 1.25)


def test_a_result_and_its_size_in_bytes(store: Store, db: str) -> None:
    store.apply([*created(), new("a"), granted("a", "k")])
    store.apply([ended("a", "k", result='"żółw"')])
    assert rows(db, "dagruntasks", "ResultBytes") == [{"ResultBytes": 9}]
    assert (store.result(REF, "a"), store.result(REF, "b")) == ('"żółw"', None)
    assert store.result(RunRef(1, "d", at(2)), "a") is None


def test_the_result_of_the_latest_attempt_counts(store: Store) -> None:
    store.apply([*created(), new("a"), granted("a", "k"), new("a", 1), granted("a", "l", 1)])
    store.apply([ended("a", "l", retry=1, result="2"), ended("a", "k", result="1")])
    assert store.result(REF, "a") == "2"


def test_a_lost_attempt_stays_running(store: Store, db: str) -> None:
    store.apply([*created(), new("a"), granted("a", "k")])
    store.apply([AttemptLost(REF, "a", 0, at(40))])
    (row,) = rows(db, "dagruntasks")
    assert (row["Status"], row["LostAt"], row["EndedAt"]) == ("RUNNING", text(40), None)


def test_an_attempt_that_was_found_is_not_lost(store: Store, db: str) -> None:
    store.apply([*created(), new("a"), granted("a", "k"), AttemptLost(REF, "a", 0, at(40))])
    store.apply([AttemptFound(REF, "a", 0, at(50))])
    assert rows(db, "dagruntasks")[0]["LostAt"] is None
    store.apply([AttemptLost(REF, "a", 0, at(90)), AttemptFound(REF, "a", 0, at(91))])
    assert rows(db, "dagruntasks")[0]["LostAt"] is None
    store.apply([AttemptFound(REF, "a", 0, at(91)), AttemptLost(REF, "a", 0, at(92))])
    assert rows(db, "dagruntasks")[0]["LostAt"] == text(92)


def test_a_point_moves_the_cursor_unless_it_is_manual_or_out_of_band(store: Store, db: str) -> None:
    execute(db, A_DAG)
    store.apply([PointRecorded("d", at(1), ScheduleEvent.REGULAR, at(0), at(60))])
    store.apply([PointRecorded("d", at(2), ScheduleEvent.MANUALLY_TRIGGERED, at(2), None)])
    store.apply([PointRecorded("d", at(3), ScheduleEvent.OUT_OF_BAND, at(60), None)])
    (dag,) = rows(db, "dags")
    assert (dag["LastScheduleAt"], dag["NextScheduleAt"]) == (text(0), text(60))
    points = rows(db, "schedules", "Event", "ScheduleTs", "NextScheduleTs", "InsertTs")
    assert [tuple(point.values()) for point in points] == [
        ("MANUALLY_TRIGGERED", text(2), None, text(2)),
        ("OUT_OF_BAND", text(60), None, text(3)),
        ("REGULAR", text(0), text(60), text(1)),
    ]


def test_cancel_and_restart_mark_the_run(store: Store, db: str) -> None:
    store.apply(created())
    store.apply([CancelRequested(REF, at(3)), RunChanged(REF, at(4), R.RUNNING, R.CANCELLED)])
    (run,) = rows(db, "dagruns")
    assert (run["CancelRequestedAt"], run["EndedAt"]) == (text(3), text(4))
    store.apply([RunRestarted(REF, at(5), 1), RunChanged(REF, at(5), R.CANCELLED, R.SCHEDULED)])
    (run,) = rows(db, "dagruns")
    assert (run["CancelRequestedAt"], run["EndedAt"], run["Restarts"]) == (None, None, 1)
    store.apply([CancelRequested(REF, at(6))])
    (run,) = rows(db, "dagruns")
    assert (run["CancelRequestedAt"], run["Restarts"]) == (text(6), 1)
    assert rows(db, "dagrunrestarts") == [
        {"DagId": "d", "ExecTs": text(1), "Restart": 1, "InsertTs": text(5)}
    ]


def test_a_run_that_is_cancelled_while_it_waits_has_not_started(store: Store, db: str) -> None:
    store.apply(created(status=R.SCHEDULED))
    store.apply([CancelRequested(REF, at(3)), RunChanged(REF, at(3), R.SCHEDULED, R.CANCELLED)])
    (run,) = rows(db, "dagruns")
    assert (run["StartedAt"], run["EndedAt"]) == (None, text(3))


def test_an_attempt_keeps_the_restart_it_belongs_to(store: Store, db: str) -> None:
    store.apply([*created(), AttemptCreated(REF, "a", 4, 2, at(0))])
    assert rows(db, "dagruntasks", "Retry", "Restart") == [{"Retry": 4, "Restart": 2}]


def test_an_alert_waits_in_the_outbox_until_it_is_taken(store: Store, db: str) -> None:
    store.apply([AlertQueued(REF, "a", 2, AlertKind.FAILURE, "no", at(1))])
    (alert,) = rows(db, "outbox")
    assert alert == {
        **alert,
        "AlertId": 1,
        "TaskId": "a",
        "Retry": 2,
        "Kind": "FAILURE",
        "Error": "no",
        "Tries": 0,
    }
    assert alert["NextTryAt"] == text(1)
    store.apply([AlertTried(1, at(2), "down", at(9))])
    (alert,) = rows(db, "outbox")
    assert [alert[n] for n in ("Tries", "LastError", "NextTryAt", "SentAt")] == [1, "down", text(9), None]
    store.apply([AlertTried(1, at(9))])
    (alert,) = rows(db, "outbox")
    assert [alert[n] for n in ("Tries", "NextTryAt", "SentAt", "GivenUpAt")] == [2, None, text(9), None]


def test_what_was_delivered_stays_delivered(store: Store, db: str) -> None:
    """The record of a try may be late, and come after that of a later one."""
    store.apply([AlertQueued(REF, "a", 0, AlertKind.FAILURE, "boom", at(1)), AlertTried(1, at(2))])
    store.apply([AlertTried(1, at(3), "down", at(9))])
    store.apply([AlertTried(1, at(4), "down", None)])
    [row] = rows(db, "outbox")
    assert (row["SentAt"], row["NextTryAt"], row["GivenUpAt"], row["LastError"]) == (
        text(2),
        None,
        None,
        None,
    )
    assert row["Tries"] == 3


def test_an_alert_that_nobody_takes_is_given_up(store: Store, db: str) -> None:
    store.apply([AlertQueued(REF, "a", 2, AlertKind.RETRY, None, at(1)), AlertTried(1, at(2), "down", None)])
    (alert,) = rows(db, "outbox")
    assert [alert[n] for n in ("Tries", "NextTryAt", "SentAt", "GivenUpAt")] == [1, None, None, text(2)]


def test_a_dag_is_paused_disabled_and_neither(store: Store, db: str) -> None:
    execute(db, A_DAG)
    store.apply([DagMarked("d", at(1), at(2), "no such zone")])
    assert store.dag_rows()["d"].paused_at == at(1)
    assert store.dag_rows()["d"].disabled_reason == "no such zone"
    store.apply([DagMarked("d")])
    assert rows(db, "dags", "PausedAt", "DisabledAt", "DisabledReason") == [
        {"PausedAt": None, "DisabledAt": None, "DisabledReason": None}
    ]


def test_nothing_is_no_work(store: Store) -> None:
    store.apply([])
