"""What readers get: the read models of the command line, the API and the pages, as plain structs."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

PAGE_MAX = 1_000  # rows of one answer, wherever it comes from


class RunView(msgspec.Struct, frozen=True):
    """One dag run."""

    run_id: int
    dag_id: str
    exec_ts: datetime
    status: str
    trigger: str
    version: str
    restarts: int
    inserted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_requested_at: datetime | None
    params: dict[str, Any]
    backfill_id: int | None = None


class RunsFound(msgspec.Struct, frozen=True):
    """A page of a search for runs; `before` is the way to the next one, None at the end.

    `looked`: the search ended after so many runs, and can go on; None when that was not needed.
    """

    runs: list[RunView]
    before: int | None
    looked: int | None


class RunMark(msgspec.Struct, frozen=True):
    """As much of a run as a mark of it needs: a bar among others, or a point on a time axis."""

    run_id: int
    exec_ts: datetime
    status: str
    started_at: datetime | None
    ended_at: datetime | None


LOST = "LOST"  # a running attempt whose executor was not heard of any more


class TasksAt(msgspec.Struct, frozen=True):
    """How many tasks of a run are at something, with two of their names, and when the next one is due.

    `status`: a TaskStatus, or LOST. Of what is ready, tasks that ask the same of an executor are counted
    together: `labels` and `runner`, which for all others say nothing.
    """

    status: str
    count: int
    first: str
    last: str
    retry_at: datetime | None
    labels: list[str] = []
    runner: str | None = None


class DagView(msgspec.Struct, frozen=True):
    """One dag as it is defined now, with its newest run."""

    dag_id: str
    schedule: str | None
    tags: list[str]
    next_at: datetime | None
    paused_at: datetime | None
    disabled_reason: str | None
    removed_at: datetime | None
    version: str
    catch_up: Any
    max_active_runs: int
    params_schema: dict[str, Any] | None
    running: int
    waiting: int
    latest: RunView | None


class NextView(msgspec.Struct, frozen=True):
    """The next point of a dag's schedule."""

    dag_id: str
    schedule: str | None
    next_at: datetime


class HourView(msgspec.Struct, frozen=True):
    """How many runs were created in the hour from `begin` on, by the state that they have now."""

    begin: datetime
    runs: dict[str, int]


class LostView(msgspec.Struct, frozen=True):
    """An executor that has gone without having said so."""

    name: str
    reason: str
    gone_at: datetime


class ExecutorView(msgspec.Struct, frozen=True):
    """One executor. `state`: UP, DRAINING or GONE.

    `differing`: of the `differing_count` dags whose code is not the scheduler's the first ones.
    `heartbeat_at` is written once in a lease, so it may be that much behind. `drain_asked_at`: since when it
    is given nothing new because somebody has asked for that; None when it drains by itself, or not at all.
    """

    name: str
    state: str
    host: str
    pid: int
    version: str
    protocol: int
    slots: int
    running: int
    labels: list[str]
    runners: list[str]
    dags: int
    differing: list[str]
    differing_count: int
    started_at: datetime
    heartbeat_at: datetime
    drain_asked_at: datetime | None
    gone_at: datetime | None
    gone_reason: str | None


class TaskView(msgspec.Struct, frozen=True):
    """One task of a run: its state, and its latest attempt as far as there was one (`retry` -1: none yet).

    `labels` and `runner` are what it asks of an executor.
    """

    task_id: str
    parents: list[str]
    status: str
    retry: int
    retries: int
    reason: str | None = None
    error: str | None = None
    executor: str | None = None
    inserted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    retry_at: datetime | None = None
    lost_at: datetime | None = None
    labels: list[str] = []
    runner: str | None = None


class AttemptView(msgspec.Struct, frozen=True):
    """One attempt of a task; `result_bytes` is the size of what it returned.

    `body_hash` is that of the code that ran (`SourceView` has it, too), None where that is not known;
    `cpu_seconds` that of its process and of those it waited for.
    """

    task_id: str
    retry: int
    restart: int
    status: str
    reason: str | None
    error: str | None
    executor: str | None
    inserted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    retry_at: datetime | None
    result_bytes: int | None
    peak_memory: int | None
    body_hash: str | None = None
    cpu_seconds: float | None = None


class RunDetail(msgspec.Struct, frozen=True):
    """A run with all its tasks, in topological order, and all their attempts in order of time."""

    run: RunView
    tasks: list[TaskView]
    attempts: list[AttemptView]


class PastRun(msgspec.Struct, frozen=True):
    """An earlier run of a dag: how long it took, if it succeeded at once, and tasks of it that succeeded."""

    run_id: int
    span: timedelta | None
    took: dict[str, timedelta]


class ResultView(msgspec.Struct, frozen=True):
    """The beginning of the JSON text that a task returned."""

    text: str
    is_whole: bool


class PointView(msgspec.Struct, frozen=True):
    """What became of a schedule point, or of a stretch of them."""

    event: str
    schedule_ts: datetime
    next_schedule_ts: datetime | None
    inserted_at: datetime


class SourceView(msgspec.Struct, frozen=True):
    """The source of a task, as it was from `inserted_at` on; `body_hash` tells which attempts ran it."""

    task_id: str
    revision: int
    is_current: bool
    inserted_at: datetime
    type_name: str
    source: str
    body_hash: str = ""


class AuditView(msgspec.Struct, frozen=True):
    """A command that somebody gave; `outcome` is `done`, or the code of the refusal."""

    audit_id: int
    at: datetime
    actor: str
    address: str | None
    command: str
    dag_id: str | None
    run_id: int | None
    details: dict[str, Any]
    outcome: str
    error: str | None


class AuditFound(msgspec.Struct, frozen=True):
    """A page of a search for commands; `before` and `looked` are as in RunsFound."""

    rows: list[AuditView]
    before: int | None
    looked: int | None


class BackfillView(msgspec.Struct, frozen=True):
    """One backfill. `state`: RUNNING, PAUSED, CANCELLING, CANCELLED or DONE.

    Of its `points` those before `position` are dealt with: `passed` of them had a run by then, the others got
    one. The range is [from_ts, to_ts).
    """

    backfill_id: int
    dag_id: str
    state: str
    from_ts: datetime
    to_ts: datetime
    newest_first: bool
    max_active_runs: int
    params: dict[str, Any]
    points: int
    position: int
    passed: int
    created_at: datetime
    created_by: str
    paused_at: datetime | None
    pause_reason: str | None
    cancel_requested_at: datetime | None
    ended_at: datetime | None


class BackfillDetail(msgspec.Struct, frozen=True):
    """A backfill, and how many of its runs have which status; deleted ones do not count."""

    backfill: BackfillView
    runs: dict[str, int]


class CellView(msgspec.Struct, frozen=True, gc=False):
    """What became of a task in a run, in short: its latest attempt (`retry` -1: none yet)."""

    retry: int
    status: str
    started_at: datetime | None
    ended_at: datetime | None


class ConfigView(msgspec.Struct, frozen=True):
    """A task as it is defined now; `revision` counts how often it has changed, `place` is for paging."""

    task_id: str
    type_name: str
    config: dict[str, Any]
    revision: int
    inserted_at: datetime
    place: tuple[int, int]


class VersionView(msgspec.Struct, frozen=True):
    """A version of a dag, and the tasks (with their revisions) that are new or differ in it.

    `changed` has the first of these `changed_count`.
    """

    version: str
    inserted_at: datetime
    changed: list[tuple[str, int]]
    changed_count: int
