"""Judges what the world outside sees: executions (20, 22, 23), answers (11, 26)."""

from typing import Any

from ppacer.engine.model import RunRef, TaskStatus
from ppacer.protocol import Answer, End, Grant, Report
from ppacer.scheduler.requests import (
    Ask,
    CancelBackfill,
    CancelRun,
    PauseBackfill,
    PauseDag,
    Reports,
    RestartRun,
    StartBackfill,
    TriggerRun,
    UnpauseBackfill,
    UnpauseDag,
)
from sim.oracle_leases import is_garbled
from sim.oracle_model import RUN_ENDED, Attempt, wrong
from sim.oracle_runs import Runs


class Outside:
    """Executions by token, and what was asked and answered."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._before: dict[int, tuple[Ask, Any]] = {}  # what was so when it was asked, by id of the ask
        self._triggered: dict[int, Ask] = {}  # by the run that it was answered with
        self._accepted: dict[tuple[str, End], bool] = {}

    # -- executions ----------------------------------------------------------------------------------------

    def granted(self, executor: str, grant: Grant) -> Attempt:
        """20: a grant that somebody has in hand is a committed row, word for word."""
        attempt = self.runs.tokens.get(grant.token)
        if attempt is None:
            wrong(20, f"executor {executor!r} has {grant}, of which there is no row")
        run, task = attempt.run, attempt.task
        row = (run.ref.run_id, run.ref.dag_id, run.ref.exec_ts, task.spec.id, attempt.retry, attempt.executor)
        got = (grant.run_id, grant.dag_id, grant.exec_ts, grant.task_id, grant.retry, executor)
        if row != got or (grant.trigger, grant.timeout) != (run.trigger, task.spec.timeout):
            wrong(20, f"executor {executor!r} has {grant}, and the row is {row}, {run.trigger}, {task.spec}")
        return attempt

    def executed(self, executor: str, grant: Grant) -> None:
        """An execution begins."""
        attempt = self.granted(executor, grant)
        attempt.executions += 1
        if attempt.executions > 1:  # 22
            wrong(22, f"{attempt} is executed {attempt.executions} times with one grant")
        same = [one for one in attempt.task.attempts if one.restart == attempt.restart]
        if attempt.task.spec.at_most_once and sum(one.executions for one in same) > 1:  # 23
            wrong(23, f"{attempt} is executed, is at_most_once, and another attempt was executed before")

    def finished(self, executor: str, grant: Grant, end: End) -> None:
        """20: an execution has ended, so it had begun; only what never began is refused or handed back."""
        attempt = self.granted(executor, grant)
        if not attempt.executions and end not in (End.REFUSED, End.HANDED_BACK, End.CANCELLED):
            wrong(20, f"{attempt} ended as {end}, and was never executed")
        self.runs.finished.setdefault(grant.token, end)

    # -- answers -------------------------------------------------------------------------------------------

    def asked(self, ask: Ask) -> None:
        """Somebody asks for the first time, or again."""
        self._before.setdefault(id(ask), (ask, self._state(ask)))

    def _state(self, ask: Ask) -> Any:
        match ask:
            case CancelRun(run_id=run_id) | RestartRun(run_id=run_id):
                run = self.runs.runs.get(run_id)
                return None if run is None else (run.cancels, run.restart, run.status in RUN_ENDED)
            case PauseDag(dag_id=dag_id) | UnpauseDag(dag_id=dag_id):
                state = self.runs.points.dags.get(dag_id)
                return None if state is None else (state.pause_marks, state.unpause_marks, state.paused_at)
            case PauseBackfill(backfill_id) | UnpauseBackfill(backfill_id):
                one = self.runs.backfills.all.get(backfill_id)
                return None if one is None else (one.pause_marks, one.unpause_marks, one.paused_at)
        return None

    def answered(self, ask: Ask, reply: Any) -> None:
        """11: what was answered with success has been committed; a refusal promises nothing."""
        if isinstance(reply, BaseException):
            return
        _, before = self._before.get(id(ask), (ask, None))
        match ask:
            case TriggerRun():
                self._judge_trigger(ask, reply)
            case CancelRun():
                run = self.runs.runs.get(ask.run_id)
                was_open = before is not None and not before[2]
                if run is None or (was_open and self._state(ask) == before and run.cancel_at is None):
                    wrong(11, f"the cancel of run {ask.run_id} is acknowledged, and {run} is not cancelled")
            case RestartRun():
                run = self.runs.runs.get(ask.run_id)
                if run is None or run.restart == 0 or (before and before[2] and run.restart == before[1]):
                    wrong(11, f"the restart of run {ask.run_id} is acknowledged, and {run} was not restarted")
            case StartBackfill(dag_id):
                made = self.runs.backfills.all.get(reply.backfill_id)
                if made is None or made.made.dag_id != dag_id:
                    wrong(11, f"{ask} is answered with {reply}, of which there is no row")
            case CancelBackfill(backfill_id):
                if self.runs.backfills.all[backfill_id].cancel_at is None:
                    wrong(11, f"{ask} is acknowledged, and nothing is cancelled")
            case PauseBackfill():
                after = self._state(ask)
                if after is None or (after[2] is None and before and after[0] == before[0] and not before[2]):
                    wrong(11, f"{ask} is acknowledged, and it is not paused")
            case UnpauseBackfill():
                after = self._state(ask)
                if after is None or (after[2] and before and after[1] == before[1] and before[2]):
                    wrong(11, f"{ask} is acknowledged, and it is paused")
            case PauseDag():
                after = self._state(ask)
                if after is None or (after[2] is None and before and after[0] == before[0] and not before[2]):
                    wrong(11, f"the pause of dag {ask.dag_id!r} is acknowledged, and it is not paused")
            case UnpauseDag():
                after = self._state(ask)
                if after is None or (after[2] and before and after[1] == before[1] and before[2]):
                    wrong(11, f"the end of the pause of {ask.dag_id!r} is acknowledged, and it is paused")
            case Reports():
                self._judge_reports(ask, reply)

    def _judge_trigger(self, ask: TriggerRun, reply: RunRef) -> None:
        run = self.runs.runs.get(reply.run_id)
        if run is None or run.ref != reply or run.ref.dag_id != ask.dag_id:  # 11
            wrong(11, f"{ask} is answered with {reply}, of which there is no row")
        if ask.exec_ts is not None and ask.exec_ts != reply.exec_ts:  # 26
            wrong(26, f"{ask} is answered with the run at {reply.exec_ts}")
        other = self._triggered.setdefault(reply.run_id, ask)
        if ask.exec_ts is None and other is not ask:  # 11: two triggers are two runs
            wrong(11, f"run {reply.run_id} is the answer to two triggers")

    def _judge_reports(self, ask: Reports, answer: Answer) -> None:
        if len(answer.accepted) != len(ask.reports):  # 26
            wrong(26, f"{len(ask.reports)} reports are answered with {answer.accepted}")
        for report, is_accepted in zip(ask.reports, answer.accepted, strict=True):
            self._judge_report(report, is_accepted)

    def _judge_report(self, report: Report, is_accepted: bool) -> None:
        attempt = self.runs.tokens.get(report.token)
        if is_accepted and (attempt is None or attempt.status is TaskStatus.RUNNING):  # 11
            wrong(11, f"{report} is acknowledged, and {attempt} has not ended")
        is_success = attempt is not None and attempt.status is TaskStatus.SUCCESS
        if report.end is End.SUCCESS and is_accepted != is_success and not is_garbled(report):  # 11
            wrong(
                11, f"a success is answered with {is_accepted}, and {attempt} is {attempt and attempt.status}"
            )
        before = self._accepted.setdefault((report.token, report.end), is_accepted)
        if before != is_accepted:  # 26
            wrong(26, f"{report} was answered with {before}, and now with {is_accepted}")

    def judge_end(self) -> None:
        """10: every run has ended."""
        left = [run for run in self.runs.runs.values() if run.status not in RUN_ENDED]
        if left:
            waits = {
                task.spec.id: str(task.status)
                for task in left[0].tasks
                if task.status is not TaskStatus.SUCCESS
            }
            wrong(10, f"{len(left)} runs have not ended: {left[0]} is {left[0].status}, {waits}")
        self.runs.backfills.judge_end()
