"""A store in plain dictionaries: it folds changes into rows, and answers what the scheduler asks of a Store.

Every row is a dict with the column names of `ppacer.store.schema`; times are aware datetimes, statuses are
the engine's StrEnums. `Tables` says how they are keyed. A batch that a real database would refuse (a row that
is not in the expected state, a key that exists) raises the same error here and leaves everything as it was.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from ppacer.dag import Dag, Graph
from ppacer.engine import (
    RUN_FINAL,
    AttemptRow,
    RunRef,
    RunRow,
    RunStatus,
    ScheduleEvent,
    TaskStatus,
)
from ppacer.engine.changes import (
    AlertQueued,
    AlertTried,
    AttemptCreated,
    AttemptEnded,
    AttemptFound,
    AttemptGranted,
    AttemptLost,
    Audited,
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
    CancelRequested,
    Change,
    DagMarked,
    ExecutorDraining,
    ExecutorGone,
    ExecutorGreeted,
    ExecutorHeard,
    PointRecorded,
    ReplyKept,
    RunChanged,
    RunCreated,
    RunRestarted,
    TokenCreated,
    TokenRevoked,
)
from ppacer.errors import ScheduleError, StoreError
from ppacer.schedule import CatchUp, first_point
from ppacer.store.backfills import BackfillRow, row_of
from ppacer.store.store import DagRow, ExecutorRow, StaleWrite

Row = dict[str, Any]
RunRows = tuple[RunRow, Graph, list[AttemptRow]]

WAITING = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)
NO_CURSOR = (ScheduleEvent.MANUALLY_TRIGGERED, ScheduleEvent.OUT_OF_BAND)


class Tables:
    """All rows. What is left out: `dagtasks`, `Version` and the other columns about the software itself.

    dags            by DagId
    dagversions     the pinned Graph by (DagId, DagVersion)
    dagruns         by RunId
    dagruntasks     by RunId, then by (TaskId, Retry); inserted in the order of creation
    dagrunresults   by RunId, then by (TaskId, Retry): rows {"TaskId", "Retry", "Result"}
    dagrunrestarts  by RunId, then by Restart: rows {"Restart", "InsertTs"}
    schedules       by DagId: a list in the order of writing
    outbox          by AlertId, in the order of writing
    audit           a list of the changes, in the order of writing
    requests        (Fingerprint, Reply) by (Actor, IdempotencyKey)
    tokens          by TokenId
    backfills       by BackfillId
    backfillpoints  by BackfillId: the points in their order
    executors       by Name: rows {"Identity", "HeartbeatAt", "DrainingAt", "GoneAt", "GoneReason"}
    """

    def __init__(self) -> None:
        self.dags: dict[str, Row] = {}
        self.dagversions: dict[tuple[str, str], Graph] = {}
        self.dagruns: dict[int, Row] = {}
        self.dagruntasks: dict[int, dict[tuple[str, int], Row]] = {}
        self.dagrunresults: dict[int, dict[tuple[str, int], Row]] = {}
        self.dagrunrestarts: dict[int, dict[int, Row]] = {}
        self.schedules: dict[str, list[Row]] = {}
        self.outbox: dict[int, Row] = {}
        self.audit: list[Audited] = []
        self.requests: dict[tuple[str, str], tuple[str, str]] = {}
        self.tokens: dict[str, Row] = {}
        self.executors: dict[str, Row] = {}
        self.backfills: dict[int, Row] = {}
        self.backfillpoints: dict[int, list[datetime]] = {}


class Fold:
    """The rows, and the questions of the scheduler. It has nothing but the rows, so it needs no restart."""

    def __init__(self) -> None:
        self.tables = Tables()
        self._runs: dict[tuple[str, datetime], int] = {}  # RunId by (DagId, ExecTs), which is unique
        self._alerts: dict[tuple[int, str, int, str], int] = {}  # AlertId by its condition, which is unique
        self._undo: list[tuple[Any, Any, Any]] = []  # (container, key, the row before or None)
        self.open: dict[int, int] = {}  # the RunIds of runs that have not ended
        self._read: dict[int, RunRows] = {}  # runs as they were read back, until they change

    # -- writing ---------------------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change]) -> None:
        """All of the batch or nothing; raises as a database would."""
        self._undo.clear()
        try:
            for change in changes:
                _FOLDS[type(change)](self, change)
        except BaseException:
            for container, key, before in reversed(self._undo):
                if before is not None:
                    container[key] = before
                elif isinstance(container, list):
                    container.pop()
                else:
                    del container[key]
            raise

    def _insert(self, container: Any, key: Any, row: Any) -> None:
        if key in container:
            raise StoreError(f"a row with the key {key} exists")
        container[key] = row
        self._undo.append((container, key, None))

    def _delete(self, container: Any, key: Any, row: Any) -> None:
        del container[key]
        self._undo.append((container, key, row))

    def _update(self, container: Any, key: Any) -> Row:
        row: Row | None = container.get(key)
        if row is None:
            raise StaleWrite(f"there is no row {key}")
        self._undo.append((container, key, row.copy()))
        return row

    def _run(self, ref: RunRef) -> Row:
        self._read.pop(ref.run_id, None)
        row = self._update(self.tables.dagruns, ref.run_id)
        if row["DagId"] != ref.dag_id or row["ExecTs"] != ref.exec_ts:
            raise StaleWrite(f"run {ref} is {row['DagId']}, {row['ExecTs']}")
        return row

    def _run_created(self, change: RunCreated) -> None:
        ref, at = change.ref, change.at
        self._insert(self._runs, (ref.dag_id, ref.exec_ts), ref.run_id)
        row = {
            "RunId": ref.run_id,
            "DagId": ref.dag_id,
            "ExecTs": ref.exec_ts,
            "InsertTs": at,
            "Status": RunStatus.SCHEDULED,
            "StatusUpdateTs": at,
            "DagVersion": change.version,
            "TriggeredBy": change.trigger,
            "Params": change.params,
            "Restarts": 0,
            "StartedAt": None,
            "EndedAt": None,
            "CancelRequestedAt": None,
            "BackfillId": change.backfill_id,
        }
        self._insert(self.tables.dagruns, ref.run_id, row)
        self._insert(self.open, ref.run_id, ref.run_id)
        self._insert(self.tables.dagruntasks, ref.run_id, {})
        self._insert(self.tables.dagrunresults, ref.run_id, {})
        self._insert(self.tables.dagrunrestarts, ref.run_id, {})

    def _run_changed(self, change: RunChanged) -> None:
        row = self._run(change.ref)
        if row["Status"] != change.was:
            raise StaleWrite(f"run {change.ref} is {row['Status']}, not {change.was}")
        row["Status"], row["StatusUpdateTs"] = change.status, change.at
        if change.status is RunStatus.RUNNING and row["StartedAt"] is None:
            row["StartedAt"] = change.at
        is_final, run_id = change.status in RUN_FINAL, change.ref.run_id
        row["EndedAt"] = change.at if is_final else None
        if is_final != (run_id not in self.open):
            (self._delete if is_final else self._insert)(self.open, run_id, run_id)

    def _run_restarted(self, change: RunRestarted) -> None:
        row = self._run(change.ref)
        row["Restarts"], row["CancelRequestedAt"] = change.restart, None
        restarts = self.tables.dagrunrestarts[change.ref.run_id]
        self._insert(restarts, change.restart, {"Restart": change.restart, "InsertTs": change.at})

    def _cancel_requested(self, change: CancelRequested) -> None:
        self._run(change.ref)["CancelRequestedAt"] = change.at

    def _point_recorded(self, change: PointRecorded) -> None:
        points = self.tables.schedules.setdefault(change.dag_id, [])
        points.append(
            {
                "DagId": change.dag_id,
                "InsertTs": change.at,
                "Event": change.event,
                "ScheduleTs": change.ts,
                "NextScheduleTs": change.next_ts,
            }
        )
        self._undo.append((points, None, None))
        if change.event not in NO_CURSOR:
            row = self._update(self.tables.dags, change.dag_id)
            row["LastScheduleAt"], row["NextScheduleAt"] = change.ts, change.next_ts

    def _dag_marked(self, change: DagMarked) -> None:
        row = self._update(self.tables.dags, change.dag_id)
        row["PausedAt"], row["DisabledAt"] = change.paused_at, change.disabled_at
        row["DisabledReason"] = change.disabled_reason

    def _attempts(self, ref: RunRef) -> dict[tuple[str, int], Row]:
        self._read.pop(ref.run_id, None)
        attempts = self.tables.dagruntasks.get(ref.run_id)
        if attempts is None:
            raise StaleWrite(f"there is no run {ref}")
        return attempts

    def _attempt_created(self, change: AttemptCreated) -> None:
        ref, at = change.ref, change.at
        row = {
            "DagId": ref.dag_id,
            "ExecTs": ref.exec_ts,
            "TaskId": change.task_id,
            "Retry": change.retry,
            "InsertTs": at,
            "Status": change.status,
            "StatusUpdateTs": at,
            "Restart": change.restart,
            "Reason": None,
            "Error": None,
            "Executor": None,
            "Token": None,
            "StartedAt": None,
            "EndedAt": None if change.status in WAITING else at,
            "LeaseEndAt": None,
            "LostAt": None,
            "RetryAt": None,
            "ResultBytes": None,
            "PeakMemory": None,
            "TaskBodyHash": None,
            "CpuSeconds": None,
        }
        self._insert(self._attempts(ref), (change.task_id, change.retry), row)

    def _attempt_granted(self, change: AttemptGranted) -> None:
        row = self._update(self._attempts(change.ref), (change.task_id, change.retry))
        if row["Status"] is not TaskStatus.SCHEDULED:
            raise StaleWrite(f"{change} meets {row}")
        row["Status"], row["StatusUpdateTs"] = TaskStatus.RUNNING, change.at
        row["Executor"], row["Token"] = change.executor, change.token
        row["StartedAt"], row["LeaseEndAt"] = change.at, change.lease_end_at

    def _attempt_lost(self, change: AttemptLost) -> None:
        row = self._update(self._attempts(change.ref), (change.task_id, change.retry))
        if row["Status"] is not TaskStatus.RUNNING:
            raise StaleWrite(f"{change} meets {row}")
        row["LostAt"] = change.at

    def _attempt_found(self, change: AttemptFound) -> None:
        row = self._update(self._attempts(change.ref), (change.task_id, change.retry))
        if row["Status"] is not TaskStatus.RUNNING:
            raise StaleWrite(f"{change} meets {row}")
        row["LostAt"] = None

    def _attempt_ended(self, change: AttemptEnded) -> None:
        row = self._update(self._attempts(change.ref), (change.task_id, change.retry))
        if row["Status"] is not change.was or row["Token"] != change.token:
            raise StaleWrite(f"{change} meets {row}")
        row["Status"], row["StatusUpdateTs"], row["EndedAt"] = change.status, change.at, change.at
        row["Reason"], row["Error"], row["RetryAt"] = change.reason, change.error, change.retry_at
        row["PeakMemory"], row["TaskBodyHash"] = change.peak_memory, change.body_hash
        row["CpuSeconds"] = change.cpu_seconds
        if change.error is not None:
            change.error.encode()  # a lone surrogate is refused by every database
        if change.result is not None:
            row["ResultBytes"] = len(change.result.encode())
            result = {"TaskId": change.task_id, "Retry": change.retry, "Result": change.result}
            results = self.tables.dagrunresults[change.ref.run_id]
            self._insert(results, (change.task_id, change.retry), result)

    def _alert_queued(self, change: AlertQueued) -> None:
        alert_id = len(self.tables.outbox) + 1
        self._insert(self._alerts, (change.ref.run_id, change.task_id, change.retry, change.kind), alert_id)
        row = {
            "AlertId": alert_id,
            "DagId": change.ref.dag_id,
            "ExecTs": change.ref.exec_ts,
            "TaskId": change.task_id,
            "Retry": change.retry,
            "Kind": change.kind,
            "Error": change.error,
            "InsertTs": change.at,
            "Tries": 0,
            "LastError": None,
            "NextTryAt": change.at,
            "SentAt": None,
            "GivenUpAt": None,
        }
        self._insert(self.tables.outbox, alert_id, row)

    def _alert_tried(self, change: AlertTried) -> None:
        row = self._update(self.tables.outbox, change.alert_id)
        row["Tries"] += 1
        if row["SentAt"] is not None:
            return  # what was delivered stays delivered
        row["LastError"], row["NextTryAt"] = change.error, change.again_at
        row["SentAt"] = change.at if change.error is None else None
        row["GivenUpAt"] = change.at if change.error is not None and change.again_at is None else None

    def _audited(self, change: Audited) -> None:
        self.tables.audit.append(change)
        self._undo.append((self.tables.audit, None, None))

    def _reply_kept(self, change: ReplyKept) -> None:
        self._insert(self.tables.requests, (change.actor, change.key), (change.fingerprint, change.reply))

    def _token_created(self, change: TokenCreated) -> None:
        self._insert(self.tables.tokens, change.token_id, {"RevokedAt": None, "Token": change})

    def _token_revoked(self, change: TokenRevoked) -> None:
        self._update(self.tables.tokens, change.token_id)["RevokedAt"] = change.at

    def _executor_greeted(self, change: ExecutorGreeted) -> None:
        row = {"Identity": change.identity, "HeartbeatAt": change.at}
        row |= {"DrainingAt": None, "GoneAt": None, "GoneReason": None}
        if change.is_new:
            self._insert(self.tables.executors, change.name, row)
        else:
            self._update(self.tables.executors, change.name).update(row)

    def _executor_heard(self, change: ExecutorHeard) -> None:
        self._update(self.tables.executors, change.name)["HeartbeatAt"] = change.at

    def _executor_draining(self, change: ExecutorDraining) -> None:
        self._update(self.tables.executors, change.name)["DrainingAt"] = change.at

    def _executor_gone(self, change: ExecutorGone) -> None:
        row = self._update(self.tables.executors, change.name)
        row["GoneAt"], row["GoneReason"] = change.at, change.reason

    def _backfill_created(self, change: BackfillCreated) -> None:
        row = {
            "BackfillId": change.backfill_id,
            "DagId": change.dag_id,
            "FromTs": change.from_ts,
            "ToTs": change.to_ts,
            "NewestFirst": int(change.newest_first),
            "MaxActiveRuns": change.max_active_runs,
            "Params": change.params,
            "PointCount": len(change.points),
            "Position": 0,
            "Passed": 0,
            "CreatedAt": change.at,
            "CreatedBy": change.created_by,
            "PausedAt": None,
            "PauseReason": None,
            "CancelRequestedAt": None,
            "EndedAt": None,
        }
        self._insert(self.tables.backfills, change.backfill_id, row)
        self._insert(self.tables.backfillpoints, change.backfill_id, list(change.points))

    def _backfill_moved(self, change: BackfillMoved) -> None:
        row = self._update(self.tables.backfills, change.backfill_id)
        if row["Position"] != change.position or change.position == row["PointCount"]:
            raise StaleWrite(f"{change} meets {row}")
        row["Position"] += 1
        row["Passed"] += change.is_passed

    def _open_backfill(self, backfill_id: int) -> Row:
        row = self._update(self.tables.backfills, backfill_id)
        if row["EndedAt"] is not None:
            raise StaleWrite(f"backfill {backfill_id} has ended")
        return row

    def _backfill_marked(self, change: BackfillMarked) -> None:
        row = self._open_backfill(change.backfill_id)
        row["PausedAt"], row["PauseReason"] = change.paused_at, change.pause_reason

    def _backfill_cancelled(self, change: BackfillCancelled) -> None:
        self._open_backfill(change.backfill_id)["CancelRequestedAt"] = change.at

    def _backfill_ended(self, change: BackfillEnded) -> None:
        self._open_backfill(change.backfill_id)["EndedAt"] = change.at

    # -- reading back ----------------------------------------------------------------------------------------

    def dag_rows(self) -> dict[str, DagRow]:
        """As `Store.dag_rows`."""
        rows = self.tables.dags.items()
        return {key: DagRow(SimpleNamespace(**row)) for key, row in rows if row["RemovedAt"] is None}

    def removed_rooms(self) -> dict[str, int]:
        """As `Store.removed_rooms`."""
        rows = [row for row in self.tables.dags.values() if row["RemovedAt"] is not None]
        return {row["DagId"]: json.loads(row["Attributes"])["MaxActiveRuns"] for row in rows}

    def executor_rows(self) -> dict[str, ExecutorRow]:
        """As `Store.executor_rows`."""
        rows = self.tables.executors.items()
        return {name: ExecutorRow(row["Identity"], row["GoneAt"] is not None) for name, row in rows}

    def newest_run_id(self) -> int:
        """As `Store.newest_run_id`."""
        return max(self.tables.dagruns, default=0)

    def open_runs(self) -> Iterator[RunRows]:
        """As `Store.open_runs`."""
        rows = [self.tables.dagruns[run_id] for run_id in self.open]
        for row in sorted(rows, key=lambda row: (row["StatusUpdateTs"], row["RunId"])):
            yield self._with_attempts(row)

    def run(self, run_id: int) -> RunRows | None:
        """As `Store.run`."""
        row = self.tables.dagruns.get(run_id)
        return None if row is None else self._with_attempts(row)

    def attempt(self, run_id: int, task_id: str, retry: int) -> AttemptRow | None:
        """As `Store.attempt`."""
        row = self.tables.dagruntasks.get(run_id, {}).get((task_id, retry))
        return None if row is None else _attempt_row(row)

    def _with_attempts(self, row: Row) -> RunRows:
        read = self._read.get(row["RunId"])
        if read is None:
            read = self._read[row["RunId"]] = self._read_run(row)
        return read

    def _read_run(self, row: Row) -> RunRows:
        attempts = sorted(
            self.tables.dagruntasks[row["RunId"]].values(),
            key=lambda row: (row["Retry"], row["InsertTs"], row["TaskId"]),
        )
        graph = self.tables.dagversions[row["DagId"], row["DagVersion"]]
        return _run_row(row), graph, [_attempt_row(attempt) for attempt in attempts]

    def result(self, ref: RunRef, task_id: str) -> str | None:
        """As `Store.result`."""
        rows = [row for row in self.tables.dagrunresults[ref.run_id].values() if row["TaskId"] == task_id]
        return max(rows, key=lambda row: int(row["Retry"]))["Result"] if rows else None

    def reply(self, actor: str, key: str) -> tuple[str, str] | None:
        """As `Store.reply`."""
        return self.tables.requests.get((actor, key))

    def open_backfills(self) -> list[BackfillRow]:
        """As `Store.open_backfills`."""
        rows = [row for row in self.tables.backfills.values() if row["EndedAt"] is None]
        return [
            row_of(SimpleNamespace(**row)) for row in sorted(rows, key=lambda row: int(row["BackfillId"]))
        ]

    def newest_backfill_id(self) -> int:
        """As `Store.newest_backfill_id`."""
        return max(self.tables.backfills, default=0)

    def backfill(self, backfill_id: int) -> BackfillRow | None:
        """As `Store.backfill`."""
        row = self.tables.backfills.get(backfill_id)
        return None if row is None else row_of(SimpleNamespace(**row))

    def backfill_points(self, backfill_id: int, position: int, limit: int) -> list[datetime]:
        """As `Store.backfill_points`."""
        return self.tables.backfillpoints.get(backfill_id, [])[position : position + limit]

    def without_runs(self, dag_id: str, points: Sequence[datetime]) -> list[datetime]:
        """As `Store.without_runs`."""
        return [point for point in points if (dag_id, point) not in self._runs]

    def has_run(self, dag_id: str, exec_ts: datetime) -> bool:
        """As `Store.has_run`."""
        return (dag_id, exec_ts) in self._runs

    # -- dags ------------------------------------------------------------------------------------------------

    def sync(self, registry: Mapping[str, Dag], now: datetime) -> None:
        """What `ppacer.store.sync.sync` does to `dags` and `dagversions`."""
        dags = self.tables.dags
        for dag in registry.values():
            self.tables.dagversions.setdefault((dag.id, dag.version), dag.graph)
            if dag.id not in dags:
                dags[dag.id] = _dag_row(dag, now)
            elif _differs(dag, dags[dag.id]):
                _change_dag(dags[dag.id], dag, now)
        for row in dags.values():
            if row["DagId"] not in registry and row["RemovedAt"] is None:
                row["RemovedAt"] = now


def _dag_row(dag: Dag, now: datetime) -> Row:
    return {
        "DagId": dag.id,
        "StartTs": dag.start_text,
        "Schedule": dag.schedule_text,
        "CreateTs": now,
        "LatestUpdateTs": None,
        "HashDagMeta": dag.hash_meta,
        "HashTasks": dag.hash_tasks,
        "Attributes": json.dumps(dag.attributes, ensure_ascii=False),
        "DagVersion": dag.version,
        "ScheduleSinceAt": now,
        "LastScheduleAt": None,
        "NextScheduleAt": _first(dag, now, dag.catch_up),
        "PausedAt": None,
        "DisabledAt": None,
        "DisabledReason": None,
        "RemovedAt": None,
    }


def _differs(dag: Dag, row: Row) -> bool:
    hashes = (dag.hash_meta, dag.hash_tasks, dag.version)
    same = (row["HashDagMeta"], row["HashTasks"], row["DagVersion"]) == hashes
    return not same or row["RemovedAt"] is not None or row["DisabledAt"] is not None


def _change_dag(row: Row, dag: Dag, now: datetime) -> None:
    """A changed schedule, and one that was away, begins now; a disabled dag gets another chance."""
    if (row["Schedule"], row["StartTs"]) != (dag.schedule_text, dag.start_text) or row["RemovedAt"]:
        row["Schedule"], row["StartTs"], row["ScheduleSinceAt"] = dag.schedule_text, dag.start_text, now
        row["LastScheduleAt"], row["NextScheduleAt"] = None, _first(dag, now, False)
    if row["DagVersion"] != dag.version:
        row["HashDagMeta"], row["HashTasks"], row["DagVersion"] = dag.hash_meta, dag.hash_tasks, dag.version
        row["Attributes"], row["LatestUpdateTs"] = _dag_row(dag, now)["Attributes"], now
    row["RemovedAt"] = row["DisabledAt"] = row["DisabledReason"] = None


def _first(dag: Dag, now: datetime, catch_up: CatchUp) -> datetime | None:
    try:
        return None if dag.schedule is None else first_point(dag.schedule, now, catch_up)
    except ScheduleError:
        return None


def _run_row(row: Row) -> RunRow:
    return RunRow(
        RunRef(row["RunId"], row["DagId"], row["ExecTs"]),
        row["Status"],
        row["DagVersion"],
        row["TriggeredBy"],
        row["Params"],
        row["Restarts"],
        row["CancelRequestedAt"] is not None,
        row["BackfillId"],
    )


def _attempt_row(row: Row) -> AttemptRow:
    return AttemptRow(
        row["TaskId"],
        row["Retry"],
        row["Restart"],
        row["Status"],
        row["InsertTs"],
        row["Reason"],
        row["Token"],
        row["Executor"],
        row["LostAt"] is not None,
        row["RetryAt"],
        row["ResultBytes"] is not None,
    )


_FOLDS: dict[type, Callable[[Fold, Any], None]] = {
    RunCreated: Fold._run_created,
    RunChanged: Fold._run_changed,
    RunRestarted: Fold._run_restarted,
    CancelRequested: Fold._cancel_requested,
    PointRecorded: Fold._point_recorded,
    DagMarked: Fold._dag_marked,
    AttemptCreated: Fold._attempt_created,
    AttemptGranted: Fold._attempt_granted,
    AttemptLost: Fold._attempt_lost,
    AttemptFound: Fold._attempt_found,
    AttemptEnded: Fold._attempt_ended,
    AlertQueued: Fold._alert_queued,
    AlertTried: Fold._alert_tried,
    Audited: Fold._audited,
    ReplyKept: Fold._reply_kept,
    TokenCreated: Fold._token_created,
    TokenRevoked: Fold._token_revoked,
    ExecutorGreeted: Fold._executor_greeted,
    ExecutorHeard: Fold._executor_heard,
    ExecutorDraining: Fold._executor_draining,
    ExecutorGone: Fold._executor_gone,
    BackfillCreated: Fold._backfill_created,
    BackfillMoved: Fold._backfill_moved,
    BackfillMarked: Fold._backfill_marked,
    BackfillCancelled: Fold._backfill_cancelled,
    BackfillEnded: Fold._backfill_ended,
}
