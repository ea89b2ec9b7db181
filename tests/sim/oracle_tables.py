"""24: the rows are what the committed changes make of them; 7, 11, 12 follow for every row.

The oracle's own fold is its model of runs and dags; here each row is compared with it, column by column.
"""

from operator import itemgetter
from typing import Any

from sim.oracle_model import Attempt, Run, S, wrong
from sim.oracle_runs import Runs

Row = dict[str, Any]


def compare(tables: Any, runs: Runs, whole: bool) -> None:
    """`tables` as `sim.fold.Tables` has them. Runs touched since the last time, or the `whole` of it."""
    _compare_dags(tables, runs)
    _compare_schedules(tables, runs)
    _compare_outbox(tables, runs)
    runs.backfills.compare(tables)
    if tables.dagruns.keys() != runs.runs.keys():
        wrong(
            24, f"there are rows of the runs {tables.dagruns.keys() ^ runs.runs.keys()} too many or too few"
        )
    for run_id, run in (runs.runs if whole else runs.stale).items():
        _compare_run(tables, run_id, run)
    runs.stale.clear()


def _compare_dags(tables: Any, runs: Runs) -> None:
    for dag_id, state in runs.points.dags.items():
        row = tables.dags.get(dag_id)
        if row is None:
            wrong(24, f"dag {dag_id!r} has no row")
        facts = (row["NextScheduleAt"], row["LastScheduleAt"], row["PausedAt"], row["DisabledAt"])
        mine = (state.cursor, state.last, state.paused_at, state.disabled_at)
        if facts != mine or (row["RemovedAt"] is not None) != state.is_removed:
            wrong(
                24, f"dag {dag_id!r} has the cursor, latest point, pause, end {facts}, and should have {mine}"
            )


def _compare_schedules(tables: Any, runs: Runs) -> None:
    count = sum(map(len, tables.schedules.values()))
    if count != len(runs.records):
        wrong(24, f"there are {count} rows of schedules for {len(runs.records)} records")
    seen: dict[str, int] = {}
    for record in runs.records:
        at = seen[record.dag_id] = seen.get(record.dag_id, -1) + 1
        row = tables.schedules[record.dag_id][at]
        mine = (record.event, record.ts, record.next_ts, record.at)
        if mine != (row["Event"], row["ScheduleTs"], row["NextScheduleTs"], row["InsertTs"]):
            wrong(24, f"the row of schedules {row} should be {mine}")


def _compare_outbox(tables: Any, runs: Runs) -> None:
    """32 too: no row for work that was rolled back, none missing."""
    if len(tables.outbox) != len(runs.alerts):
        wrong(24, f"there are {len(tables.outbox)} alerts and should be {len(runs.alerts)}")
    for row, (alert, tries) in zip(tables.outbox.values(), runs.alerts, strict=True):
        mine = (alert.ref.dag_id, alert.ref.exec_ts, alert.task_id, alert.retry, alert.kind, len(tries))
        facts = _alert_facts(row)
        # An alert may be delivered twice (at least once), and never becomes one that was not.
        sent = next((one.at for one in tries if one.error is None), None)
        again = None if sent is not None else tries[-1].again_at if tries else alert.at
        if facts != mine or (row["SentAt"], row["NextTryAt"]) != (sent, again):
            wrong(24, f"the alert {row} should be {mine}, sent at {sent}, tried again at {again}")


def _compare_run(tables: Any, run_id: int, run: Run) -> None:
    row = tables.dagruns[run_id]
    facts = _run_facts(row)
    mine = (
        *(run.ref.dag_id, run.ref.exec_ts, run.created_at, run.status, run.changed_at, run.version),
        *(run.trigger, run.params, run.restart, run.started_at, run.ended_at, run.cancel_at),
        run.backfill_id,
    )
    if facts != mine:
        wrong(24, f"run {run_id} is {facts} in its row, and should be {mine}")
    restarts = {number: one["InsertTs"] for number, one in tables.dagrunrestarts[run_id].items()}
    if restarts != run.restarts:
        wrong(24, f"run {run_id} has the restarts {restarts} in its rows, and should have {run.restarts}")
    _compare_attempts(tables, run_id, run)


_alert_facts = itemgetter("DagId", "ExecTs", "TaskId", "Retry", "Kind", "Tries")
_run_facts = itemgetter(
    *("DagId", "ExecTs", "InsertTs", "Status", "StatusUpdateTs", "DagVersion"),
    *("TriggeredBy", "Params", "Restarts", "StartedAt", "EndedAt", "CancelRequestedAt"),
    "BackfillId",
)
_attempt_facts = itemgetter(
    *("DagId", "ExecTs", "InsertTs", "Status", "Restart", "Reason", "Error", "Executor"),
    *("Token", "StartedAt", "EndedAt", "LeaseEndAt", "LostAt", "RetryAt", "PeakMemory"),
    *("TaskBodyHash", "CpuSeconds"),
)


def _compare_attempts(tables: Any, run_id: int, run: Run) -> None:
    rows: dict[tuple[str, int], Row] = tables.dagruntasks[run_id]
    results = tables.dagrunresults[run_id]
    mine = {(task.spec.id, one.retry): one for task in run.tasks for one in task.attempts}
    if rows.keys() != mine.keys():
        wrong(24, f"run {run_id} has the attempts {rows.keys()}, and should have {mine.keys()}")
    for key, attempt in mine.items():
        facts = _attempt_facts(rows[key])
        if facts != _row_of(attempt):
            wrong(24, f"{attempt} is {facts} in its row, and should be {_row_of(attempt)}")
        if attempt.status is S.RUNNING and None in (facts[7], facts[8], facts[11]):
            wrong(12, f"{attempt} is RUNNING without owner, token or lease end: {facts}")
        if attempt.status is S.SCHEDULED and facts[7:9] != (None, None):
            wrong(12, f"{attempt} is SCHEDULED and has an owner: {facts}")
        result = results[key]["Result"] if key in results else None
        if result != attempt.result:
            wrong(24, f"{attempt} has the result {result} in its row, and should have {attempt.result}")


def _row_of(attempt: Attempt) -> tuple[Any, ...]:
    ref = attempt.run.ref
    return (
        *(ref.dag_id, ref.exec_ts, attempt.created_at, attempt.status, attempt.restart),
        *(attempt.reason, attempt.error, attempt.executor, attempt.token, attempt.granted_at),
        *(attempt.ended_at, attempt.lease_end_at, attempt.lost_at, attempt.retry_at, attempt.peak),
        *(attempt.code, attempt.cpu),
    )
