"""Judges every change of a run: 1 to 6, 8, 9, 12, 13, 17, 19, 21, 23, 25, 30, 32, 33.

Each change is judged when it is committed, and what must hold between them at the end of its transaction.
`NEXT` is the table of legal transitions as docs/architecture.md tells it, not the engine's.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from ppacer.clock import Now
from ppacer.engine.changes import (
    AlertKind,
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
    PointRecorded,
    RunChanged,
    RunCreated,
    RunRestarted,
)
from ppacer.engine.model import Reason, RunRef, RunStatus, ScheduleEvent, Trigger
from ppacer.protocol import End
from sim.oracle_backfills import Backfills
from sim.oracle_leases import Leases
from sim.oracle_model import RUN_ENDED, TASK_ENDED, Attempt, R, Run, S, Task, wrong
from sim.oracle_points import Points

LOST_MAX = 3  # attempts granted anew, after that the task is poisonous
ROUNDING = timedelta(microseconds=2)

NEXT = {  # of a task within one generation; a lost attempt is replaced without its task being anything else
    S.NO_STATUS: {S.SCHEDULED, S.UPSTREAM_FAILED, S.CANCELLED},
    S.SCHEDULED: {S.RUNNING, S.CANCELLED},
    S.RUNNING: {S.SUCCESS, S.FAILED, S.FAILED_PENDING_RETRY, S.CANCELLED},
    S.FAILED_PENDING_RETRY: {S.SCHEDULED, S.CANCELLED},
}
RUN_NEXT = {
    R.SCHEDULED: {R.RUNNING, R.CANCELLED},
    R.RUNNING: set(RUN_ENDED),
    R.FAILED: {R.SCHEDULED},  # both by a restart alone
    R.CANCELLED: {R.SCHEDULED},
    R.SUCCESS: set(),
}
REPORTED = {
    Reason.FAILED: (End.FAILED,),
    Reason.HANDED_BACK: (End.HANDED_BACK, End.CANCELLED),  # the latter of a run that nobody has cancelled
    Reason.REFUSED: (End.REFUSED,),
    Reason.CANCELLED: (End.CANCELLED,),
}
WAITING = (S.NO_STATUS, S.SCHEDULED, S.FAILED_PENDING_RETRY)


class Runs:
    """Every run there ever was, as the committed changes tell it."""

    def __init__(self, points: Points, leases: Leases) -> None:
        self.points, self.leases = points, leases
        self.runs: dict[int, Run] = {}
        self.by_ts: dict[tuple[str, Any], Run] = {}
        self.backfills = Backfills(points, self.by_ts)
        self.tokens: dict[str, Attempt] = {}
        self.finished: dict[str, End] = {}  # how executions ended, by token; `Outside` writes it
        self.running: dict[str, int] = {}  # RUNNING runs of a dag
        self.waiting: dict[str, set[int]] = {}  # SCHEDULED runs of a dag
        self.opened: dict[int, Run] = {}
        self.alerts: list[Any] = []  # [change, tries] in the order of writing
        self.touched: dict[int, Run] = {}  # since the last step
        self.records: list[PointRecorded] = []
        self.stale: dict[int, Run] = {}  # touched since the tables were last compared
        self._conditions: set[tuple[int, str, int, AlertKind]] = set()
        self._tasks: dict[int, dict[int, Task]] = {}  # touched in this transaction, by run and position
        self._restarted: set[int] = set()  # in this transaction
        self._created: list[RunCreated] = []
        self._recorded: list[PointRecorded] = []
        self._ended: list[tuple[Attempt, AttemptEnded]] = []
        self._queued: list[AlertQueued] = []

    def committed(self, changes: Sequence[Change], now: Now) -> None:
        """One transaction has become rows."""
        self._tasks, self._restarted = {}, set()
        for change in changes:
            _JUDGES[type(change)](self, change, now)
        for run_id, tasks in self._tasks.items():
            self._settle(self.runs[run_id], tasks)
        if self._created or self._recorded:
            self._match_points()
        self.backfills.settled()
        if self._ended or self._queued:
            self._match_alerts()

    def clear(self) -> None:
        """Nobody asks any more: runs, tasks and attempts let go of each other."""
        for run in self.runs.values():
            for task in run.tasks:
                task.attempts.clear()
            run.tasks.clear()

    def _run(self, ref: RunRef) -> Run:
        run = self.runs.get(ref.run_id)
        if run is None or run.ref != ref:
            wrong(24, f"{ref} is no run of which a row was written")
        if ref.run_id not in self._tasks:
            self._tasks[ref.run_id] = {}
        self.touched[ref.run_id] = self.stale[ref.run_id] = run
        return run

    def _task(self, run: Run, task_id: str) -> Task:
        position = run.graph.index.get(task_id)
        if position is None:  # 5
            wrong(5, f"{run} has no task {task_id!r} in its version {run.version}")
        task = run.tasks[position]
        self._tasks[run.ref.run_id][position] = task
        return task

    # -- runs ----------------------------------------------------------------------------------------------

    def _run_created(self, change: RunCreated, now: Now) -> None:
        ref = change.ref
        other = self.by_ts.get((ref.dag_id, ref.exec_ts)) or self.runs.get(ref.run_id)
        if other is not None:  # 8
            wrong(8, f"{ref} is created though there is {other}")
        state = self.points.dags.get(ref.dag_id)
        if state is None or state.is_removed:  # 18
            wrong(18, f"dag {ref.dag_id!r} is not deployed and gets run {ref.run_id}")
        if change.version != state.dag.version:  # 5
            wrong(5, f"{ref} pins version {change.version}, and {state.dag.version} is deployed")
        if change.trigger is Trigger.SCHEDULE:
            self.points.may_run(ref.dag_id, ref.exec_ts, now)
            if self.running.get(ref.dag_id, 0) >= state.dag.max_active_runs:  # 17: the cursor waits
                wrong(17, f"{ref} is created ahead, with {self.running[ref.dag_id]} runs active")
        elif change.backfill_id is not None and self.running.get(ref.dag_id, 0) >= state.dag.max_active_runs:
            wrong(17, f"{ref} of backfill {change.backfill_id} is created ahead")
        run = Run(change, state.versions[change.version])
        self.backfills.run_created(change, run, now)
        self.runs[ref.run_id] = self.by_ts[ref.dag_id, ref.exec_ts] = self.opened[ref.run_id] = run
        self.waiting.setdefault(ref.dag_id, set()).add(ref.run_id)
        self._created.append(change)
        self._run(ref)

    def _run_changed(self, change: RunChanged, now: Now) -> None:
        run, dag_id = self._run(change.ref), change.ref.dag_id
        if run.status is not change.was:  # 25
            wrong(25, f"{run} goes from {change.was}, and it is {run.status}")
        if change.was in RUN_ENDED and change.ref.run_id not in self._restarted:  # 2
            wrong(2, f"{run} goes from {change.was} to {change.status} without a restart")
        if change.status not in RUN_NEXT[change.was]:  # 25
            wrong(25, f"{run} goes from {change.was} to {change.status}")
        run.status, run.changed_at = change.status, change.at
        self._count(run, change.was)
        if change.status is R.RUNNING:
            run.is_fresh = True
            run.started_at = run.started_at or change.at
            cap = self.points.dags[dag_id].dag.max_active_runs
            if self.running[dag_id] > cap:  # 17
                wrong(17, f"{run} is run number {self.running[dag_id]} of at most {cap} at once")
        run.ended_at = change.at if change.status in RUN_ENDED else None

    def _count(self, run: Run, was: RunStatus) -> None:
        dag_id, run_id = run.ref.dag_id, run.ref.run_id
        step = (run.status is R.RUNNING) - (was is R.RUNNING)
        self.running[dag_id] = self.running.get(dag_id, 0) + step
        waiting = self.waiting.setdefault(dag_id, set())
        (waiting.add if run.status is R.SCHEDULED else waiting.discard)(run_id)
        if run.status in RUN_ENDED:
            self.opened.pop(run_id, None)
        else:
            self.opened[run_id] = run

    def _run_restarted(self, change: RunRestarted, now: Now) -> None:
        run = self._run(change.ref)
        if run.status not in (R.FAILED, R.CANCELLED):  # 25
            wrong(25, f"{run} is {run.status} and is restarted")
        if change.restart != run.restart + 1:  # 3
            wrong(3, f"{run} gets restart {change.restart} after {run.restart}")
        self._restarted.add(change.ref.run_id)
        run.restart, run.cancel_at, run.is_fresh = change.restart, None, True
        run.restarts[change.restart] = change.at
        for task in run.tasks:
            if task.status is not S.SUCCESS:
                run.set_status(task, S.NO_STATUS)
            task.spent = task.lost = 0

    def _backfill_created(self, change: BackfillCreated, now: Now) -> None:
        self.backfills.created(change, now)

    def _backfill_moved(self, change: BackfillMoved, now: Now) -> None:
        self.backfills.moved(change, now)

    def _backfill_marked(self, change: BackfillMarked, now: Now) -> None:
        self.backfills.marked(change, now)

    def _backfill_cancelled(self, change: BackfillCancelled, now: Now) -> None:
        self.backfills.cancelled(change, now)

    def _backfill_ended(self, change: BackfillEnded, now: Now) -> None:
        self.backfills.ended(change, now)

    def _cancel_requested(self, change: CancelRequested, now: Now) -> None:
        run = self._run(change.ref)
        if run.status in RUN_ENDED:  # 25
            wrong(25, f"{run} is {run.status} and is cancelled")
        if run.cancel_at is not None:  # 26
            wrong(26, f"{run} is cancelled twice")
        run.cancel_at = change.at
        run.cancels += 1

    # -- attempts ------------------------------------------------------------------------------------------

    def _attempt_created(self, change: AttemptCreated, now: Now) -> None:
        run = self._run(change.ref)
        task = self._task(run, change.task_id)
        if run.status in RUN_ENDED or task.status in TASK_ENDED:  # 2
            wrong(2, f"{change.task_id!r} of {run} is {task.status} and gets attempt {change.retry}")
        if change.retry != len(task.attempts) or change.restart != run.restart:  # 3
            got = f"attempt {change.retry} of restart {change.restart}"
            wrong(
                3, f"{change.task_id!r} of {run} gets {got}, and is at {len(task.attempts)} of {run.restart}"
            )
        attempt = Attempt(run, task, change.retry, change.restart, change.at, change.status)
        self._judge_creation(attempt, now)
        task.attempts.append(attempt)
        run.set_status(task, change.status)

    def _judge_creation(self, attempt: Attempt, now: Now) -> None:
        run, task, status = attempt.run, attempt.task, attempt.status
        last = task.attempts[-1] if task.attempts else None
        replaces = last is not None and task.status is S.RUNNING and last.lost_at is not None
        if status not in NEXT[task.status] and not (replaces and status is S.SCHEDULED):  # 25
            wrong(25, f"{attempt} is created as {status}, and its task is {task.status}")
        match status:
            case S.SCHEDULED:
                if run.cancel_at is not None:  # 19
                    wrong(19, f"{attempt} is created after the cancel at {run.cancel_at}")
                if run.status is not R.RUNNING or not run.may_start(task):  # 4
                    wrong(
                        4,
                        f"{attempt} is created; its run is {run.status}, its parents {_parents(task, run)}",
                    )
                if last is not None and last.restart == run.restart:
                    self._judge_repetition(attempt, last, now)
            case S.UPSTREAM_FAILED:
                parents = {run.tasks[at].status for at in task.parents}
                if not parents & {S.FAILED, S.UPSTREAM_FAILED}:  # 33
                    wrong(33, f"{attempt} is UPSTREAM_FAILED, its parents are {_parents(task, run)}")
            case _:
                if status is not S.CANCELLED or run.cancel_at is None:  # 25
                    wrong(25, f"{attempt} is created as {status}")

    def _judge_repetition(self, attempt: Attempt, last: Attempt, now: Now) -> None:
        if last.retry_at is not None and now.utc < last.retry_at:  # 30
            wrong(30, f"{attempt} is created at {now.utc}, and is due at {last.retry_at}")
        is_lost = last.reason is Reason.LOST or last.status is S.RUNNING
        if attempt.task.spec.at_most_once and (is_lost or last.executions):  # 23
            wrong(23, f"{attempt} follows one that may have been executed, and is at_most_once")

    def _attempt_granted(self, change: AttemptGranted, now: Now) -> None:
        run = self._run(change.ref)
        task = self._task(run, change.task_id)
        attempt = self._attempt(task, run, change.retry)
        if attempt is not task.attempts[-1] or attempt.status is not S.SCHEDULED:  # 25
            wrong(25, f"{attempt} is granted and is {attempt.status}")
        if run.cancel_at is not None:  # 19
            wrong(19, f"{attempt} is granted after the cancel at {run.cancel_at}")
        if run.status is not R.RUNNING or not run.may_start(task):  # 4
            wrong(4, f"{attempt} is granted; its run is {run.status}, its parents are {_parents(task, run)}")
        if not change.token or not change.executor or change.lease_end_at <= change.at:  # 12
            wrong(12, f"{attempt} is granted without owner, token or lease: {change}")
        if change.position != task.position:  # 5
            wrong(5, f"{attempt} is granted as position {change.position}; it is {task.position}")
        if change.token in self.tokens:  # 9
            wrong(9, f"{attempt} gets the token of {self.tokens[change.token]}")
        self.tokens[change.token] = attempt
        attempt.status, attempt.token, attempt.executor = S.RUNNING, change.token, change.executor
        attempt.granted_at, attempt.lease_end_at = change.at, change.lease_end_at
        run.set_status(task, S.RUNNING)
        self.leases.granted(attempt, now)

    def _attempt(self, task: Task, run: Run, retry: int) -> Attempt:
        if not 0 <= retry < len(task.attempts):  # 3
            wrong(3, f"{task.spec.id!r} of {run} has no attempt {retry}")
        return task.attempts[retry]

    def _attempt_lost(self, change: AttemptLost, now: Now) -> None:
        run = self._run(change.ref)
        attempt = self._attempt(self._task(run, change.task_id), run, change.retry)
        if attempt.status is not S.RUNNING or attempt.lost_at is not None:  # 25
            wrong(25, f"{attempt} is lost; it is {attempt.status}, and was lost at {attempt.lost_at}")
        self.leases.judge_loss(attempt, now)
        attempt.lost_at = change.at

    def _attempt_found(self, change: AttemptFound, now: Now) -> None:
        run = self._run(change.ref)
        task = self._task(run, change.task_id)
        attempt = self._attempt(task, run, change.retry)
        if attempt is not task.attempts[-1] or attempt.status is not S.RUNNING:  # 25
            wrong(25, f"{attempt} is found; it is {attempt.status}")
        if attempt.lost_at is None:  # 25
            wrong(25, f"{attempt} is found, and was not lost")
        self.leases.judge_find(attempt, now)
        attempt.lost_at = None

    def _attempt_ended(self, change: AttemptEnded, now: Now) -> None:
        run = self._run(change.ref)
        task = self._task(run, change.task_id)
        attempt = self._attempt(task, run, change.retry)
        if attempt.status is not change.was or change.was not in NEXT:  # 2, 25
            number = 2 if attempt.status in TASK_ENDED else 25
            wrong(number, f"{attempt} goes from {change.was} to {change.status}, and it is {attempt.status}")
        if change.status not in NEXT[change.was]:  # 25
            wrong(25, f"{attempt} goes from {change.was} to {change.status}")
        if change.token != attempt.token:  # 9
            wrong(9, f"{attempt} is ended with token {change.token}, and its token is {attempt.token}")
        is_latest = attempt is task.attempts[-1]
        if not is_latest and change.reason is not Reason.LOST:  # 9
            wrong(9, f"{attempt} is ended by {change.reason or change.status} though it was replaced")
        self._judge_end(attempt, change, now)
        attempt.status, attempt.ended_at, attempt.reason = change.status, change.at, change.reason
        attempt.error, attempt.result, attempt.retry_at = change.error, change.result, change.retry_at
        attempt.peak, attempt.code, attempt.cpu = change.peak_memory, change.body_hash, change.cpu_seconds
        if is_latest:
            run.set_status(task, change.status)
        self.leases.ended(attempt)
        self._ended.append((attempt, change))

    def _judge_end(self, attempt: Attempt, change: AttemptEnded, now: Now) -> None:
        self._judge_code(attempt, change)
        match change.status:
            case S.SUCCESS:
                self._judge_success(attempt, change)
            case S.CANCELLED:
                self._judge_cancelled(attempt, change, now)
            case _:
                self._judge_failure(attempt, change, now)

    def _judge_code(self, attempt: Attempt, change: AttemptEnded) -> None:
        """21: the code that ran is what the executor told; none, where the scheduler itself ends it."""
        told = {report.body_hash for report in self.leases.ends.get(str(attempt.token), ())}
        is_decided = change.status is not S.SUCCESS and change.reason in (Reason.LOST, Reason.TIMED_OUT, None)
        if change.body_hash not in told and not (change.body_hash is None and (is_decided or not told)):
            wrong(21, f"{attempt} is said to have run {change.body_hash}; its executor told {told}")

    def _judge_success(self, attempt: Attempt, change: AttemptEnded) -> None:
        report = self.leases.reported(attempt, End.SUCCESS)
        if report is None:  # 9
            wrong(9, f"{attempt} is SUCCESS, and no success with its token {attempt.token} was reported")
        if self.finished.get(str(attempt.token)) is not End.SUCCESS:  # 21
            wrong(21, f"{attempt} is SUCCESS, and its execution did not end so")
        if change.result != report.result or change.reason is not None:  # 21
            wrong(
                21,
                f"{attempt} has the result {change.result} ({change.reason}); reported was {report.result}",
            )

    def _judge_cancelled(self, attempt: Attempt, change: AttemptEnded, now: Now) -> None:
        """25: only by a cancel; what waits at once, what runs when its end is reported or its lease ends."""
        if attempt.run.cancel_at is None:
            wrong(25, f"{attempt} is CANCELLED, and nobody cancelled its run")
        if change.was is S.SCHEDULED or attempt.lost_at is not None:
            return
        if self.leases.reported(attempt, *(end for end in End if end is not End.SUCCESS)) is None:
            if change.reason is Reason.TIMED_OUT:
                self.leases.judge_timeout(attempt, now)
            else:
                self.leases.judge_loss(attempt, now)

    def _judge_failure(self, attempt: Attempt, change: AttemptEnded, now: Now) -> None:
        task, reason = attempt.task, change.reason
        if attempt.run.cancel_at is not None:  # 19: it would wait, or fail what was cancelled
            wrong(19, f"{attempt} is {change.status} after the cancel, and should be CANCELLED")
        if reason is None:  # 13
            wrong(13, f"{attempt} is {change.status} without a reason")
        if reason is Reason.TIMED_OUT:
            self.leases.judge_timeout(attempt, now)
        elif reason is Reason.LOST:
            ends = (End.LOST, End.CANCELLED) if attempt.task.spec.at_most_once else (End.LOST,)
            if attempt.lost_at is None and self.leases.reported(attempt, *ends) is None:
                self.leases.judge_loss(attempt, now)
        elif self.leases.reported(attempt, *REPORTED[reason]) is None and not (
            reason is Reason.FAILED and self.leases.is_garbled(attempt)
        ):  # 9
            wrong(9, f"{attempt} is {reason}, and nobody reported that with its token {attempt.token}")
        self._judge_budget(attempt, change)
        if change.status is S.FAILED_PENDING_RETRY and reason in (Reason.FAILED, Reason.TIMED_OUT):
            task.spent += 1
            _judge_delay(attempt, change, task.spent)
        task.lost += change.status is S.FAILED_PENDING_RETRY and reason is Reason.LOST

    def _judge_budget(self, attempt: Attempt, change: AttemptEnded) -> None:
        """3: a task is repeated as often as it may be, and no more.

        For attempts that are handed back or refused the documents name no limit, only that they cost no
        retry: both endings are accepted.
        """
        spec, task = attempt.task.spec, attempt.task
        match change.reason:
            case Reason.FAILED | Reason.TIMED_OUT:
                left = spec.retries - task.spent
            case Reason.LOST:
                left = 0 if spec.at_most_once else LOST_MAX - task.lost
            case _:
                return
        if (change.status is S.FAILED) != (left <= 0):
            wrong(3, f"{attempt} ({change.reason}) is {change.status} with {left} repetitions left")

    # -- alerts, dags, points ------------------------------------------------------------------------------

    def _alert_queued(self, change: AlertQueued, now: Now) -> None:
        condition = (change.ref.run_id, change.task_id, change.retry, change.kind)
        if condition in self._conditions:  # 32
            wrong(
                32,
                f"a second alert {change.kind} for {change.task_id!r}, {change.retry}, {change.ref}",
            )
        self._conditions.add(condition)
        self._queued.append(change)
        self.alerts.append([change, []])

    def _audited(self, change: Audited, now: Now) -> None:
        """One row for a command, at the time at which it is decided; no key, so the same may come again."""
        if change.at != now.utc:
            wrong(24, f"{change} is written at {now.utc}")

    def _alert_tried(self, change: AlertTried, now: Now) -> None:
        if not 1 <= change.alert_id <= len(self.alerts):  # 32
            wrong(32, f"alert {change.alert_id} was tried, and there is none")
        self.alerts[change.alert_id - 1][1].append(change)

    def _dag_marked(self, change: DagMarked, now: Now) -> None:
        self.points.marked(change, now)

    def _point_recorded(self, change: PointRecorded, now: Now) -> None:
        self.points.recorded(change, (change.dag_id, change.ts) in self.by_ts, now)
        self._recorded.append(change)
        self.records.append(change)

    # -- the end of a transaction --------------------------------------------------------------------------

    def _settle(self, run: Run, tasks: dict[int, Task]) -> None:
        if run.is_fresh or run.cancel_at is not None:
            tasks = dict(enumerate(run.tasks))
        run.is_fresh = False
        for task in tasks.values():
            self._settle_task(run, task)
        is_empty = not run.tasks and run.status is R.SCHEDULED
        if (run.status in RUN_ENDED) != (run.open == 0) and not is_empty:  # 6
            wrong(6, f"{run} is {run.status} with {run.open} tasks open")
        if run.status in RUN_ENDED and run.status is not (expected := _outcome(run)):  # 6
            wrong(6, f"{run} is {run.status}, and its tasks make it {expected}")
        self._settle_room(run)

    def _settle_room(self, run: Run) -> None:
        """13: a run waits only while its dag is full."""
        waiting = self.waiting.get(run.ref.dag_id)
        if waiting:
            cap = self.points.dags[run.ref.dag_id].dag.max_active_runs
            active = self.running.get(run.ref.dag_id, 0)
            if active < cap:
                wrong(13, f"run {min(waiting)} of {run.ref.dag_id!r} waits, and {active} of {cap} are active")

    def _settle_task(self, run: Run, task: Task) -> None:
        last = task.attempts[-1] if task.attempts else None
        if (
            len(task.attempts) > 1
            and last is not None
            and task.attempts[-2].status in (S.SCHEDULED, S.RUNNING)
        ):
            wrong(1, f"{task.attempts[-2]} is {task.attempts[-2].status}, and {last} is {last.status}")  # 1
        if task.status in (S.FAILED, S.UPSTREAM_FAILED):  # 33
            for at in task.children:
                if run.tasks[at].status not in (S.UPSTREAM_FAILED, S.CANCELLED):
                    child = run.tasks[at]
                    wrong(33, f"{child.spec.id!r} of {run} is {child.status} after {task.spec.id!r} failed")
        elif task.status is S.SUCCESS:
            for at in task.children:
                self._judge_wait(run, run.tasks[at])
        self._judge_wait(run, task)

    def _judge_wait(self, run: Run, task: Task) -> None:
        """13: what keeps a task waiting is one of the reasons that pass."""
        status = task.status
        if run.cancel_at is not None:
            is_lost = status is S.RUNNING and task.attempts[-1].lost_at is not None
            if status in WAITING or is_lost:
                wrong(13, f"{task.spec.id!r} of {run} is {status} though the run was cancelled")
        elif status is S.NO_STATUS:
            if run.status is R.RUNNING and run.may_start(task):
                wrong(13, f"{task.spec.id!r} of {run} is not scheduled, and all its parents succeeded")
        elif status is S.FAILED_PENDING_RETRY:
            if task.attempts[-1].retry_at is None:
                wrong(13, f"{task.attempts[-1]} waits for a retry at no time")
        elif status is S.RUNNING and task.attempts[-1].lost_at is not None and not _may_follow(task):
            wrong(13, f"{task.attempts[-1]} is lost, waits for a successor and may have none")

    def _match_points(self) -> None:
        """7: a point and its run are one transaction; so are a run by hand and its record."""
        records = {
            (one.dag_id, one.ts): one for one in self._recorded if one.event is not ScheduleEvent.SKIPPED
        }
        for created in self._created:
            record = records.pop((created.ref.dag_id, created.ref.exec_ts), None)
            is_manual = record is not None and record.event is ScheduleEvent.MANUALLY_TRIGGERED
            if record is None or is_manual != (created.trigger is not Trigger.SCHEDULE):
                wrong(7, f"{created.ref} ({created.trigger}) comes with the record {record}")
        for (dag_id, ts), record in records.items():
            if record.event is not ScheduleEvent.OUT_OF_BAND and (dag_id, ts) not in self.by_ts:
                wrong(7, f"dag {dag_id!r}: {ts} is recorded as {record.event}, and has no run")
        self._created, self._recorded = [], []

    def _match_alerts(self) -> None:
        """32: an alert is written with the end that it tells about, if the task wants one, and only then."""
        queued = {(one.ref.run_id, one.task_id, one.retry): one.kind for one in self._queued}
        for attempt, change in self._ended:
            kind = queued.pop((change.ref.run_id, change.task_id, change.retry), None)
            spec, is_free = attempt.task.spec, False
            match change.status:
                case S.FAILED:
                    wanted = AlertKind.FAILURE if spec.alert_on_failure else None
                case S.FAILED_PENDING_RETRY:
                    wanted = AlertKind.RETRY if spec.alert_on_retry else None
                    # For attempts that cost no retry the documents ask neither for an alert nor against it.
                    is_free = kind is None and change.reason not in (Reason.FAILED, Reason.TIMED_OUT)
                case _:
                    wanted = None
            if kind is not wanted and not is_free:
                wrong(32, f"{attempt} is {change.status} with alert {kind}, and should be with {wanted}")
        if queued:
            wrong(32, f"alerts without an end in their transaction: {queued}")
        self._ended, self._queued = [], []


def _may_follow(task: Task) -> bool:
    """Whether a lost attempt of this task may be granted anew."""
    return not task.spec.at_most_once and task.lost < LOST_MAX


def _parents(task: Task, run: Run) -> dict[str, str]:
    return {run.tasks[at].spec.id: str(run.tasks[at].status) for at in task.parents}


def _outcome(run: Run) -> RunStatus:
    """What the statuses of its tasks make of a run (a cancelled run ends as CANCELLED)."""
    found = {task.status for task in run.tasks}
    if S.CANCELLED in found or (not run.tasks and run.cancel_at is not None):
        return RunStatus.CANCELLED
    return RunStatus.FAILED if found & {S.FAILED, S.UPSTREAM_FAILED} else RunStatus.SUCCESS


def _judge_delay(attempt: Attempt, change: AttemptEnded, number: int) -> None:
    """30: delay * backoff**(n-1), at most the maximum, longer by at most the share of jitter."""
    spec = attempt.task.spec
    seconds = spec.retry_delay
    for _ in range(number - 1):
        seconds = min(seconds * spec.retry_backoff, spec.retry_delay_max)
    low, high = timedelta(seconds=seconds), timedelta(seconds=seconds * (1 + spec.retry_jitter))
    if change.retry_at is None or not low - ROUNDING <= change.retry_at - change.at <= high + ROUNDING:
        wait = None if change.retry_at is None else change.retry_at - change.at
        wrong(30, f"{attempt}: retry number {number} waits {wait}, which is not {low} to {high}")


_JUDGES: dict[type, Callable[[Runs, Any, Now], None]] = {
    RunCreated: Runs._run_created,
    RunChanged: Runs._run_changed,
    RunRestarted: Runs._run_restarted,
    BackfillCreated: Runs._backfill_created,
    BackfillMoved: Runs._backfill_moved,
    BackfillMarked: Runs._backfill_marked,
    BackfillCancelled: Runs._backfill_cancelled,
    BackfillEnded: Runs._backfill_ended,
    CancelRequested: Runs._cancel_requested,
    PointRecorded: Runs._point_recorded,
    DagMarked: Runs._dag_marked,
    AttemptCreated: Runs._attempt_created,
    AttemptGranted: Runs._attempt_granted,
    AttemptEnded: Runs._attempt_ended,
    AttemptLost: Runs._attempt_lost,
    AttemptFound: Runs._attempt_found,
    AlertQueued: Runs._alert_queued,
    AlertTried: Runs._alert_tried,
    Audited: Runs._audited,
}
