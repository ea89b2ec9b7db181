"""What is not as expected, or must never be, is refused; a refused batch leaves nothing."""

import sqlite3

import psycopg
import pytest

from engine.world import at
from ppacer.engine import RunRef, RunStatus, ScheduleEvent, TaskStatus, Trigger
from ppacer.engine.changes import (
    AlertKind,
    AlertQueued,
    AlertTried,
    AttemptEnded,
    AttemptLost,
    CancelRequested,
    Change,
    DagMarked,
    PointRecorded,
    RunChanged,
    RunCreated,
    RunRestarted,
)
from ppacer.errors import StoreError
from ppacer.store import StaleWrite, Store
from store.shelf import A_DAG, REF, created, dump, ended, execute, granted, new, rows, text

R, T = RunStatus, TaskStatus


STALE: list[list[Change]] = [
    [granted("a", "other")],  # it is RUNNING already
    [granted("z", "k")],
    [ended("a", "wrong")],
    [ended("a", None)],
    [ended("a", "k", retry=1)],
    [AttemptEnded(REF, "a", 0, at(3), T.SCHEDULED, T.CANCELLED, "k")],
    [AttemptEnded(REF, "b", 0, at(3), T.RUNNING, T.SUCCESS, None)],
    [AttemptLost(REF, "b", 0, at(3))],
    [RunChanged(REF, at(3), R.SCHEDULED, R.RUNNING)],
    [RunChanged(RunRef(9, "d", at(9)), at(3), R.RUNNING, R.FAILED)],
    [CancelRequested(RunRef(9, "d", at(9)), at(3))],
    [RunRestarted(RunRef(9, "d", at(9)), at(3), 1)],
    [PointRecorded("unknown", at(1), ScheduleEvent.REGULAR, at(0), at(60))],
    [DagMarked("unknown", at(1))],
    [AlertTried(9, at(1))],
]


@pytest.mark.parametrize("stale", STALE, ids=repr)
def test_a_stale_write_leaves_nothing(stale: list[Change], store: Store, db: str) -> None:
    store.apply([*created(), new("a"), granted("a", "k"), new("b")])
    before = dump(db)
    with pytest.raises(StaleWrite):
        store.apply([new("c"), AlertQueued(REF, "c", 0, AlertKind.RETRY, None, at(1)), *stale])
    assert dump(db) == before
    store.apply([ended("a", "k"), granted("b", "l")])  # and the store goes on


def test_one_stale_row_among_many_leaves_nothing(store: Store, db: str) -> None:
    tasks = [f"t{n}" for n in range(1000)]
    store.apply([*created(), *(new(task) for task in tasks)])
    before = dump(db)
    grants = [granted(task, f"k{task}") for task in tasks]
    with pytest.raises(StaleWrite, match="grant_attempt touched 999 rows of 1000"):
        store.apply([*grants[:500], granted("nobody", "k"), *grants[501:]])
    assert dump(db) == before
    store.apply(grants)
    ends = [ended(task, f"k{task}") for task in tasks]
    with pytest.raises(StaleWrite):
        store.apply([*ends, ended("t7", "old")])
    store.apply(ends)
    assert {row["Status"] for row in rows(db, "dagruntasks")} == {"SUCCESS"}


# The words are those of SQLite, or the name of the constraint, by which PostgreSQL goes.
IMPOSSIBLE: list[tuple[str, list[Change]]] = [
    (
        "UNIQUE.*ExecTs|uq_dagruns_dagid_exects",
        [RunCreated(RunRef(2, "d", at(1)), at(0), "v1", Trigger.MANUAL, None)],
    ),
    ("UNIQUE.*RunId|pk_dagruns", [RunCreated(RunRef(1, "d", at(5)), at(0), "v1", Trigger.MANUAL, None)]),
    ("UNIQUE.*Retry|pk_dagruntasks", [new("a")]),
    ("ck_dagruntasks_status", [new("z", status=T.NO_STATUS)]),
    ("ck_dagruns_status", [RunChanged(REF, at(1), R.RUNNING, "LOST")]),  # type: ignore[arg-type]  # on purpose
    ("outbox", [AlertQueued(REF, "a", 0, AlertKind.RETRY, None, at(1))] * 2),
    ("ck_outbox_kind", [AlertQueued(REF, "a", 0, "OTHER", None, at(1))]),  # type: ignore[arg-type]  # on purpose
    ("ck_schedules_event", [PointRecorded("d", at(0), "NEVER", at(0), None)]),  # type: ignore[arg-type]  # as above
    ("dagrunrestarts", [RunRestarted(REF, at(1), 1), RunRestarted(REF, at(1), 1)]),
]


@pytest.mark.parametrize(("words", "changes"), IMPOSSIBLE, ids=[words for words, _ in IMPOSSIBLE])
def test_what_must_never_happen_is_refused(words: str, changes: list[Change], store: Store, db: str) -> None:
    execute(db, A_DAG)
    store.apply([*created(), new("a"), granted("a", "k")])
    before = dump(db)
    with pytest.raises(StoreError, match=words):
        store.apply([new("b"), *changes])
    assert dump(db) == before
    store.apply([ended("a", "k")])


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE dagruns SET EndedAt = '{text(3)}'",
        "UPDATE dagruns SET Status = 'FAILED'",
        f"UPDATE dagruntasks SET EndedAt = '{text(3)}'",
        "UPDATE dagruntasks SET Status = 'SUCCESS'",
        "UPDATE dagruntasks SET Token = NULL",
        "UPDATE dagruntasks SET Executor = NULL",
        "UPDATE dagruntasks SET LeaseEndAt = NULL",
        "UPDATE dagruntasks SET Status = 'RUNNING_LATE'",
        "UPDATE dagruns SET ExecTs = NULL",
    ],
)
def test_nobody_else_can_write_an_impossible_row_either(statement: str, store: Store, db: str) -> None:
    store.apply([*created(), new("a"), granted("a", "k")])
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        execute(db, statement)
