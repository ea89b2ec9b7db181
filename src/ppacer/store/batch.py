"""Folds the changes of one batch into rows for the hot statements; a row leaves out what is NULL before.

What was created and granted is one insert; what became of a run or a cursor in several steps is one update.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from ppacer.engine import RUN_FINAL, RunStatus, ScheduleEvent, TaskStatus
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
    DrainAsked,
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
from ppacer.store.hot import Row
from ppacer.store.schema import ATTEMPT_WAITING
from ppacer.version import VERSION

OfAttempt = AttemptGranted | AttemptLost | AttemptFound | AttemptEnded
Stamp = Callable[[datetime | None], Any]


class Batch:
    """Rows by statement name. `stamp` turns an instant into what the driver takes."""

    def __init__(self, changes: Iterable[Change], stamp: Stamp, names: Iterable[str]) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in names}
        self.stamp = stamp
        self._runs: dict[int, Row] = {}  # inserted by this batch
        self._changed: dict[int, Row] = {}  # the other runs whose status changes
        self._cursors: dict[str, Row] = {}
        self._attempts: dict[tuple[int, str, int], Row] = {}  # inserted by this batch
        self._moves: dict[int, Row] = {}  # of backfills
        for change in changes:
            _FOLDS[type(change)](self, change)
        self.rows["insert_run"] = list(self._runs.values())
        self.rows["change_run"] = list(self._changed.values())
        self.rows["move_cursor"] = list(self._cursors.values())
        self.rows["insert_attempt"] = list(self._attempts.values())
        self.rows["move_backfill"] = list(self._moves.values())

    def _run_created(self, change: RunCreated) -> None:
        at = self.stamp(change.at)
        row = self._runs[change.ref.run_id] = {
            "RunId": change.ref.run_id,
            "DagId": change.ref.dag_id,
            "ExecTs": self.stamp(change.ref.exec_ts),
            "InsertTs": at,
            "Status": RunStatus.SCHEDULED,
            "StatusUpdateTs": at,
            "Version": VERSION,
            "DagVersion": change.version,
            "TriggeredBy": change.trigger,
            "Params": change.params,
            "Restarts": 0,
            "StartedAt": None,
            "EndedAt": None,
            "CancelRequestedAt": None,
        }
        if change.backfill_id is not None:
            row["BackfillId"] = change.backfill_id

    def _run_changed(self, change: RunChanged) -> None:
        at = self.stamp(change.at)
        new = {
            "Status": change.status,
            "StatusUpdateTs": at,
            "StartedAt": at if change.status is RunStatus.RUNNING else None,
            "EndedAt": at if change.status in RUN_FINAL else None,
        }
        run_id = change.ref.run_id
        row = self._runs.get(run_id)
        if row is None:
            key = {"k_RunId": run_id, "k_Status": change.was, "StartedAt": None}
            row = self._changed.setdefault(run_id, key)
        row.update(new, StartedAt=row["StartedAt"] or new["StartedAt"])

    def _run_restarted(self, change: RunRestarted) -> None:
        self._mark(change.ref.run_id, change.restart, None)
        row = {"DagId": change.ref.dag_id, "ExecTs": self.stamp(change.ref.exec_ts)}
        row |= {"Restart": change.restart, "InsertTs": self.stamp(change.at)}
        self.rows["insert_restart"].append(row)

    def _cancel_requested(self, change: CancelRequested) -> None:
        self._mark(change.ref.run_id, None, change.at)

    def _mark(self, run_id: int, restarts: int | None, cancel_at: datetime | None) -> None:
        row = self._runs.get(run_id)
        if row is not None:
            row |= {"Restarts": row["Restarts"] if restarts is None else restarts}
            row |= {"CancelRequestedAt": self.stamp(cancel_at)}
            return
        values = {"Restarts": restarts, "CancelRequestedAt": self.stamp(cancel_at), "k_RunId": run_id}
        self.rows["mark_run"].append(values)

    def _point_recorded(self, change: PointRecorded) -> None:
        ts, next_ts = self.stamp(change.ts), self.stamp(change.next_ts)
        row = {"DagId": change.dag_id, "InsertTs": self.stamp(change.at), "Event": change.event}
        self.rows["insert_point"].append({**row, "ScheduleTs": ts, "NextScheduleTs": next_ts})
        if change.event not in (ScheduleEvent.MANUALLY_TRIGGERED, ScheduleEvent.OUT_OF_BAND):
            cursor = {"LastScheduleAt": ts, "NextScheduleAt": next_ts, "k_DagId": change.dag_id}
            self._cursors[change.dag_id] = cursor

    def _dag_marked(self, change: DagMarked) -> None:
        self.rows["mark_dag"].append(
            {
                "PausedAt": self.stamp(change.paused_at),
                "DisabledAt": self.stamp(change.disabled_at),
                "DisabledReason": change.disabled_reason,
                "k_DagId": change.dag_id,
            }
        )

    def _attempt_created(self, change: AttemptCreated) -> None:
        at, exec_ts = self.stamp(change.at), self.stamp(change.ref.exec_ts)
        row = self._attempts[change.ref.run_id, change.task_id, change.retry] = {
            "DagId": change.ref.dag_id,
            "ExecTs": exec_ts,
            "TaskId": change.task_id,
            "Retry": change.retry,
            "InsertTs": at,
            "Status": change.status,
            "StatusUpdateTs": at,
            "Version": VERSION,
            "Restart": change.restart,
        }
        if change.status not in ATTEMPT_WAITING:
            row["EndedAt"] = at

    def _attempt_granted(self, change: AttemptGranted) -> None:
        at = self.stamp(change.at)
        new = {
            "Status": TaskStatus.RUNNING,
            "StatusUpdateTs": at,
            "Executor": change.executor,
            "Token": change.token,
            "StartedAt": at,
            "LeaseEndAt": self.stamp(change.lease_end_at),
        }
        self._update_attempt("grant_attempt", change, new)

    def _attempt_lost(self, change: AttemptLost) -> None:
        self._update_attempt("lose_attempt", change, {"LostAt": self.stamp(change.at)})

    def _attempt_found(self, change: AttemptFound) -> None:
        self._update_attempt("lose_attempt", change, {"LostAt": None})

    def _attempt_ended(self, change: AttemptEnded) -> None:
        at, result = self.stamp(change.at), change.result
        new = {"Status": change.status, "StatusUpdateTs": at, "EndedAt": at}
        facts = {
            "Reason": change.reason,
            "Error": change.error,
            "RetryAt": self.stamp(change.retry_at),
            "ResultBytes": None if result is None else len(result.encode()),
            "PeakMemory": change.peak_memory,
            "TaskBodyHash": change.body_hash,
            "CpuSeconds": change.cpu_seconds,
        }
        new |= {column: fact for column, fact in facts.items() if fact is not None}
        self._update_attempt("end_attempt", change, new, k_Status=change.was, k_Token=change.token)
        if result is not None:
            self.rows["insert_result"].append(
                {
                    "DagId": change.ref.dag_id,
                    "ExecTs": self.stamp(change.ref.exec_ts),
                    "TaskId": change.task_id,
                    "Retry": change.retry,
                    "Result": result,
                }
            )

    def _update_attempt(self, name: str, change: OfAttempt, new: Row, **condition: Any) -> None:
        row = self._attempts.get((change.ref.run_id, change.task_id, change.retry))
        if row is not None:
            row.update(new)
            return
        new["k_DagId"], new["k_ExecTs"] = change.ref.dag_id, self.stamp(change.ref.exec_ts)
        new["k_TaskId"], new["k_Retry"] = change.task_id, change.retry
        new.update(condition)
        self.rows[name].append(new)

    def _alert_queued(self, change: AlertQueued) -> None:
        at = self.stamp(change.at)
        self.rows["insert_alert"].append(
            {
                "DagId": change.ref.dag_id,
                "ExecTs": self.stamp(change.ref.exec_ts),
                "TaskId": change.task_id,
                "Retry": change.retry,
                "Kind": change.kind,
                "Error": change.error,
                "InsertTs": at,
                "Tries": 0,
                "LastError": None,
                "NextTryAt": at,
                "SentAt": None,
                "GivenUpAt": None,
            }
        )

    def _alert_tried(self, change: AlertTried) -> None:
        at, sent = self.stamp(change.at), change.error is None
        self.rows["try_alert"].append(
            {
                "LastError": change.error,
                "NextTryAt": self.stamp(change.again_at),
                "SentAt": at if sent else None,
                "GivenUpAt": None if sent or change.again_at is not None else at,
                "k_AlertId": change.alert_id,
            }
        )

    def _audited(self, change: Audited) -> None:
        self.rows["insert_audit"].append(
            {
                "At": self.stamp(change.at),
                "Actor": change.actor,
                "Address": change.address,
                "Command": change.command,
                "DagId": change.dag_id,
                "RunId": change.run_id,
                "Details": change.details,
                "Outcome": change.outcome,
                "Error": change.error,
            }
        )

    def _reply_kept(self, change: ReplyKept) -> None:
        row = {"Actor": change.actor, "IdempotencyKey": change.key, "InsertTs": self.stamp(change.at)}
        row |= {"Fingerprint": change.fingerprint, "Reply": change.reply}
        self.rows["insert_request"].append(row)

    def _token_created(self, change: TokenCreated) -> None:
        self.rows["insert_token"].append(
            {
                "TokenId": change.token_id,
                "Name": change.name,
                "Role": change.role,
                "TokenHash": change.token_hash,
                "CreatedAt": self.stamp(change.at),
                "CreatedBy": change.created_by,
                "ExpiresAt": self.stamp(change.expires_at),
                "RevokedAt": None,
            }
        )

    def _token_revoked(self, change: TokenRevoked) -> None:
        row = {"RevokedAt": self.stamp(change.at), "k_TokenId": change.token_id}
        self.rows["revoke_token"].append(row)

    def _executor_greeted(self, change: ExecutorGreeted) -> None:
        at = self.stamp(change.at)
        row = {
            "StartedAt": at,
            "Host": change.host,
            "Pid": change.pid,
            "Version": change.version,
            "Protocol": change.protocol,
            "Slots": change.slots,
            "Labels": _json(change.labels),
            "Runners": _json(change.runners),
            "DagVersions": _json(change.dag_versions),
            "HeartbeatAt": at,
            "DrainingAt": None,
            "GoneAt": None,
            "GoneReason": None,
            "Identity": change.identity,
        }
        if change.is_new:
            self.rows["insert_executor"].append({"Name": change.name, **row})
        else:
            self.rows["change_executor"].append({**row, "k_Name": change.name})

    def _executor_heard(self, change: ExecutorHeard) -> None:
        self.rows["change_executor"].append({"HeartbeatAt": self.stamp(change.at), "k_Name": change.name})

    def _executor_draining(self, change: ExecutorDraining) -> None:
        self.rows["change_executor"].append({"DrainingAt": self.stamp(change.at), "k_Name": change.name})

    def _drain_asked(self, change: DrainAsked) -> None:
        at = None if change.at is None else self.stamp(change.at)
        self.rows["change_executor"].append({"DrainAskedAt": at, "k_Name": change.name})

    def _executor_gone(self, change: ExecutorGone) -> None:
        gone = {"GoneAt": self.stamp(change.at), "GoneReason": change.reason, "k_Name": change.name}
        self.rows["change_executor"].append(gone)

    def _backfill_created(self, change: BackfillCreated) -> None:
        self.rows["insert_backfill"].append(
            {
                "BackfillId": change.backfill_id,
                "DagId": change.dag_id,
                "FromTs": self.stamp(change.from_ts),
                "ToTs": self.stamp(change.to_ts),
                "NewestFirst": int(change.newest_first),
                "MaxActiveRuns": change.max_active_runs,
                "Params": change.params,
                "PointCount": len(change.points),
                "Position": 0,
                "Passed": 0,
                "CreatedAt": self.stamp(change.at),
                "CreatedBy": change.created_by,
            }
        )
        self.rows["insert_backfill_point"] += (
            {"BackfillId": change.backfill_id, "Position": position, "ExecTs": self.stamp(point)}
            for position, point in enumerate(change.points)
        )

    def _backfill_moved(self, change: BackfillMoved) -> None:
        first = {"k_BackfillId": change.backfill_id, "k_Position": change.position, "Passed": 0}
        row = self._moves.setdefault(change.backfill_id, first)
        row |= {"Position": change.position + 1, "Passed": row["Passed"] + change.is_passed}

    def _backfill_marked(self, change: BackfillMarked) -> None:
        self._change_backfill(
            change.backfill_id, PausedAt=self.stamp(change.paused_at), PauseReason=change.pause_reason
        )

    def _backfill_cancelled(self, change: BackfillCancelled) -> None:
        self._change_backfill(change.backfill_id, CancelRequestedAt=self.stamp(change.at))

    def _backfill_ended(self, change: BackfillEnded) -> None:
        self._change_backfill(change.backfill_id, EndedAt=self.stamp(change.at))

    def _change_backfill(self, backfill_id: int, **values: Any) -> None:
        self.rows["change_backfill"].append({**values, "k_BackfillId": backfill_id})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_FOLDS: dict[type, Callable[[Batch, Any], None]] = {
    RunCreated: Batch._run_created,
    RunChanged: Batch._run_changed,
    RunRestarted: Batch._run_restarted,
    CancelRequested: Batch._cancel_requested,
    PointRecorded: Batch._point_recorded,
    DagMarked: Batch._dag_marked,
    AttemptCreated: Batch._attempt_created,
    AttemptGranted: Batch._attempt_granted,
    AttemptLost: Batch._attempt_lost,
    AttemptFound: Batch._attempt_found,
    AttemptEnded: Batch._attempt_ended,
    AlertQueued: Batch._alert_queued,
    AlertTried: Batch._alert_tried,
    Audited: Batch._audited,
    ReplyKept: Batch._reply_kept,
    TokenCreated: Batch._token_created,
    TokenRevoked: Batch._token_revoked,
    ExecutorGreeted: Batch._executor_greeted,
    ExecutorHeard: Batch._executor_heard,
    ExecutorDraining: Batch._executor_draining,
    DrainAsked: Batch._drain_asked,
    ExecutorGone: Batch._executor_gone,
    BackfillCreated: Batch._backfill_created,
    BackfillMoved: Batch._backfill_moved,
    BackfillMarked: Batch._backfill_marked,
    BackfillCancelled: Batch._backfill_cancelled,
    BackfillEnded: Batch._backfill_ended,
}
