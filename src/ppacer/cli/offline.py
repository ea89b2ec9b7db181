"""The answers from the files alone, when no scheduler runs: the methods of the HTTP client, no commands."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from ppacer.api.secret import hash_of, new_id, new_secret
from ppacer.api.token_routes import view_of
from ppacer.api.why import why_dag, why_latest, why_run, why_task
from ppacer.api.why_backfill import why_backfill, why_backfills
from ppacer.api.wire import (
    Audit,
    BackfillDone,
    BackfillPlan,
    BackfillWanted,
    Done,
    Drained,
    LogQuestion,
    Logs,
    Next,
    TokenMade,
    TokenView,
)
from ppacer.app.alone import obeyed
from ppacer.choices import Role
from ppacer.clock import SystemClock
from ppacer.config import Settings, make_mask
from ppacer.engine import RUN_FINAL
from ppacer.errors import NotFoundError, SchedulerUnavailable
from ppacer.scheduler import CreateToken, RevokeToken
from ppacer.store.reads import Reads
from ppacer.store.tokens import TokenRow
from ppacer.store.views import (
    PAGE_MAX,
    BackfillDetail,
    BackfillView,
    DagView,
    ExecutorView,
    RunDetail,
    RunView,
)
from ppacer.tasklog import LogReader


class Offline:
    """A database opened read-only. `starting`: the process that has it, but does not answer requests now."""

    is_live = False

    def __init__(self, settings: Settings, starting: int | None = None) -> None:
        self._settings, self._db, self._starting = settings, settings.db, starting
        self._reads = Reads(settings.db, make_mask(os.environ, settings.secrets))
        self._logs = LogReader(settings.logs_db)
        self._now = SystemClock().now

    def close(self) -> None:
        """Closes the file."""
        self._reads.close()
        self._logs.close()

    def dags(self, *, after: str = "", limit: int = 100, tag: str | None = None) -> list[DagView]:
        return self._reads.dags(after=after, limit=limit, tag=tag)

    def executors(self, *, after: str = "", limit: int = 100) -> list[ExecutorView]:
        return self._reads.executors(after=after, limit=limit)

    def dag(self, dag_id: str) -> DagView:
        return self._reads.dag(dag_id)

    def next(self, dag_id: str, *, count: int) -> Next:
        at = self._reads.dag(dag_id).next_at  # the others only the schedule itself knows, which is code
        return Next([] if at is None else [at])

    def runs(
        self,
        *,
        dag_id: str | None = None,
        status: Sequence[str] = (),
        before: int | None = None,
        limit: int = 20,
    ) -> list[RunView]:
        return self._reads.runs(dag_id=dag_id, status=status, before=before, limit=limit)

    def run(self, run_id: int, *, wait: float = 0.0) -> RunDetail:
        return self._reads.run_detail(run_id)

    def logs(self, question: LogQuestion) -> Logs:
        run, limit, level = self._reads.run(question.run_id), question.limit, question.level
        key = (run.dag_id, run.exec_ts, question.task_id, question.retry)
        if question.tail is not None:
            records = self._logs.tail(*key, limit=question.tail, level=level)
        else:
            records = self._logs.read(*key, after=question.after, limit=limit, level=level)
        return Logs(records, run.status in RUN_FINAL and len(records) < limit)

    def result(self, run_id: int, task_id: str) -> str:
        return self._reads.result(run_id, task_id) or "null"

    def why_dag(self, dag_id: str) -> str:
        backfills = self._reads.backfills(dag_id=dag_id, is_open=True, limit=PAGE_MAX)
        dag = self._reads.dag(dag_id)
        return why_dag(dag, self._now().utc, False) + why_latest(dag) + why_backfills(backfills)

    def why_run(self, run_id: int) -> str:
        detail = self._reads.run_detail(run_id)
        return why_run(self._reads.dag(detail.run.dag_id), detail, self._now().utc, False)

    def why_task(self, run_id: int, task_id: str) -> str:
        detail = self._reads.run_detail(run_id)
        for task in detail.tasks:
            if task.task_id == task_id:
                return why_task(detail, task, self._now().utc, False)
        raise NotFoundError(f"run {run_id} has no task {task_id!r}")

    def trigger(self, dag_id: str, params: dict[str, Any], exec_ts: datetime | None = None) -> Done:
        self._refuse()

    def pause(self, dag_id: str) -> Done:
        self._refuse()

    def unpause(self, dag_id: str) -> Done:
        self._refuse()

    def cancel(self, run_id: int) -> Done:
        self._refuse()

    def restart(self, run_id: int) -> Done:
        self._refuse()

    def backfills(
        self, *, dag_id: str | None = None, before: int | None = None, limit: int = 20
    ) -> list[BackfillView]:
        return self._reads.backfills(dag_id=dag_id, before=before, limit=limit)

    def backfill(self, backfill_id: int, *, wait: float = 0.0) -> BackfillDetail:
        return self._reads.backfill(backfill_id)

    def why_backfill(self, backfill_id: int) -> str:
        detail = self._reads.backfill(backfill_id)
        dag = self._reads.dag(detail.backfill.dag_id)
        return why_backfill(dag, detail, self._now().utc, False)

    def plan_backfill(self, dag_id: str, begin: str, end: str | None) -> BackfillPlan:
        self._refuse()  # the points only the schedule itself knows, which is code

    def start_backfill(self, dag_id: str, wanted: BackfillWanted) -> BackfillDone:
        self._refuse()

    def pause_backfill(self, backfill_id: int) -> BackfillDone:
        self._refuse()

    def unpause_backfill(self, backfill_id: int) -> BackfillDone:
        self._refuse()

    def cancel_backfill(self, backfill_id: int) -> BackfillDone:
        self._refuse()

    def drain(self, executor: str) -> Drained:
        self._refuse()

    def undrain(self, executor: str) -> Drained:
        self._refuse()

    def tokens(self) -> list[TokenView]:
        return [view_of(row) for row in self._reads.tokens()]

    def create_token(self, name: str, role: Role, expires_at: datetime | None) -> TokenMade:
        secret = new_secret()
        row = self._obey(CreateToken(name, role, expires_at, new_id(), hash_of(secret)))
        return TokenMade(view_of(row), secret)

    def revoke_token(self, name: str) -> TokenView:
        return view_of(self._obey(RevokeToken(name)))

    def audit(self, **query: Any) -> Audit:
        rows = self._reads.audit(**query)
        return Audit(rows, rows[-1].audit_id if len(rows) == query["limit"] else None)

    def _obey(self, command: CreateToken | RevokeToken) -> TokenRow:
        """The first token is needed before a scheduler may start."""
        if self._starting is not None:
            self._refuse()
        row: TokenRow = obeyed(self._settings.db, self._settings.db_file, command)
        return row

    def _refuse(self) -> NoReturn:
        if self._starting is not None:
            raise SchedulerUnavailable(
                f"the scheduler on {self._db} (process {self._starting}) does not answer: "
                "it is starting or stopping"
            )
        raise SchedulerUnavailable(
            f"no scheduler runs on {self._db}, so nothing can be changed; start one with `ppacer serve FILE`"
        )
