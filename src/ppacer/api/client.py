"""The HTTP client of the commands: each method is one request, answered with a read model or with our errors.

A command carries an idempotency key. So when its connection breaks, of which nobody knows whether the command
was carried out, it is sent again and answered as the first time. Whoever reads, waits or follows asks again
himself.
"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from ppacer.api.link import BrokenConnection, Link, Question
from ppacer.api.wire import (
    Audit,
    BackfillDone,
    BackfillPlan,
    Backfills,
    BackfillWanted,
    Dags,
    Done,
    Drained,
    Executors,
    LogQuestion,
    Logs,
    NewToken,
    Next,
    Runs,
    TokenMade,
    Tokens,
    TokenView,
    Wanted,
    Why,
)
from ppacer.choices import Role
from ppacer.errors import NotFoundError
from ppacer.store.views import (
    BackfillDetail,
    BackfillView,
    DagView,
    ExecutorView,
    RunDetail,
    RunView,
)

ANSWER_SECONDS = 40.0  # more than the server gives a command
PAUSES = (0.2, 1.0, 3.0)  # before a command whose connection broke is sent again
T = TypeVar("T")
Query = Iterable[tuple[str, Any]]


class HttpClient:
    """A scheduler at a URL. Raises SchedulerUnavailable when nobody answers, else what the scheduler says."""

    is_live = True

    def __init__(self, url: str, token: str | None = None) -> None:
        self._link = Link(url, token)
        self.url = self._link.url

    def close(self) -> None:
        """Closes the connections."""
        self._link.close()

    # -- reading ---------------------------------------------------------------------------------------------

    def dags(self, *, after: str = "", limit: int = 100, tag: str | None = None) -> list[DagView]:
        """Dags in order of their ids, from the first one behind `after`."""
        query = [("after", after), ("limit", limit), ("tag", tag)]
        return self._get("/api/v1/dags", Dags, query).dags

    def executors(self, *, after: str = "", limit: int = 100) -> list[ExecutorView]:
        """Executors in the order of their names, from the first one behind `after`."""
        query = [("after", after), ("limit", limit)]
        return self._get("/api/v1/executors", Executors, query).executors

    def dag(self, dag_id: str) -> DagView:
        """One dag. Raises NotFoundError."""
        return self._get(f"/api/v1/dags/{_segment(dag_id)}", DagView)

    def next(self, dag_id: str, *, count: int) -> Next:
        """The next points of a dag's schedule."""
        return self._get(f"/api/v1/dags/{_segment(dag_id)}/next", Next, [("count", count)])

    def runs(
        self,
        *,
        dag_id: str | None = None,
        status: Sequence[str] = (),
        before: int | None = None,
        limit: int = 20,
    ) -> list[RunView]:
        """Runs, newest first, from the first one with a number below `before`."""
        query = [
            ("dag_id", dag_id),
            ("before", before),
            ("limit", limit),
            *(("status", word) for word in status),
        ]
        return self._get("/api/v1/runs", Runs, query).runs

    def run(self, run_id: int, *, wait: float = 0.0) -> RunDetail:
        """One run with its tasks and attempts; waits up to `wait` seconds (30 at most) for its end first."""
        return self._get(f"/api/v1/runs/{run_id}", RunDetail, [("wait", round(wait))], wait)

    def logs(self, question: LogQuestion) -> Logs:
        """The records that are asked for; waits `question.wait` seconds for the first."""
        query = msgspec.structs.asdict(question) | {"run_id": None, "wait": round(question.wait)}
        return self._get(f"/api/v1/runs/{question.run_id}/logs", Logs, query.items(), question.wait)

    def result(self, run_id: int, task_id: str) -> str:
        """The JSON text of what a task returned; `null` when it returned nothing."""
        value = self._get(f"/api/v1/runs/{run_id}/tasks/{_segment(task_id)}/result", msgspec.Raw)
        return bytes(value).decode()

    def why_dag(self, dag_id: str) -> str:
        """Why the dag does or does not get new runs."""
        return self._why(f"/api/v1/dags/{_segment(dag_id)}/why")

    def why_run(self, run_id: int) -> str:
        """Why the run is where it is."""
        return self._why(f"/api/v1/runs/{run_id}/why")

    def why_task(self, run_id: int, task_id: str) -> str:
        """Why the task is where it is."""
        return self._why(f"/api/v1/runs/{run_id}/tasks/{_segment(task_id)}/why")

    # -- changing --------------------------------------------------------------------------------------------

    def trigger(self, dag_id: str, params: dict[str, Any], exec_ts: datetime | None = None) -> Done:
        """Starts a run now, as that of `exec_ts`. Raises DagError naming the parameter that does not fit."""
        return self._post(f"/api/v1/dags/{_segment(dag_id)}/trigger", Wanted(params, exec_ts))

    def pause(self, dag_id: str) -> Done:
        """No new scheduled runs."""
        return self._post(f"/api/v1/dags/{_segment(dag_id)}/pause")

    def unpause(self, dag_id: str) -> Done:
        """Scheduled runs again, from now on."""
        return self._post(f"/api/v1/dags/{_segment(dag_id)}/unpause")

    def cancel(self, run_id: int) -> Done:
        """Ends a run. Raises ConflictError when it has ended."""
        return self._post(f"/api/v1/runs/{run_id}/cancel")

    def restart(self, run_id: int) -> Done:
        """Lets a failed or cancelled run go on. Raises ConflictError for any other."""
        return self._post(f"/api/v1/runs/{run_id}/restart")

    # -- backfills -------------------------------------------------------------------------------------------

    def backfills(
        self, *, dag_id: str | None = None, before: int | None = None, limit: int = 20
    ) -> list[BackfillView]:
        """Backfills, newest first, from the first one with a number below `before`."""
        query = [("dag_id", dag_id), ("before", before), ("limit", limit)]
        return self._get("/api/v1/backfills", Backfills, query).backfills

    def backfill(self, backfill_id: int, *, wait: float = 0.0) -> BackfillDetail:
        """One backfill with the counts of its runs; waits up to `wait` seconds for its end first."""
        path = f"/api/v1/backfills/{backfill_id}"
        return self._get(path, BackfillDetail, [("wait", round(wait))], wait)

    def why_backfill(self, backfill_id: int) -> str:
        """Why the backfill is where it is."""
        return self._why(f"/api/v1/backfills/{backfill_id}/why")

    def plan_backfill(self, dag_id: str, begin: str, end: str | None) -> BackfillPlan:
        """What a backfill of this range would do."""
        path = f"/api/v1/dags/{_segment(dag_id)}/backfill"
        return self._get(path, BackfillPlan, [("from", begin), ("to", end)])

    def start_backfill(self, dag_id: str, wanted: BackfillWanted) -> BackfillDone:
        """Starts a backfill. Raises ConflictError when there is nothing to run."""
        return self._command(f"/api/v1/dags/{_segment(dag_id)}/backfills", BackfillDone, wanted)

    def pause_backfill(self, backfill_id: int) -> BackfillDone:
        """It begins no more runs for now. Raises ConflictError when it has ended, as the next two do."""
        return self._command(f"/api/v1/backfills/{backfill_id}/pause", BackfillDone)

    def unpause_backfill(self, backfill_id: int) -> BackfillDone:
        """It goes on."""
        return self._command(f"/api/v1/backfills/{backfill_id}/unpause", BackfillDone)

    def cancel_backfill(self, backfill_id: int) -> BackfillDone:
        """It begins no more runs, and those that are open are cancelled."""
        return self._command(f"/api/v1/backfills/{backfill_id}/cancel", BackfillDone)

    def drain(self, executor: str) -> Drained:
        """The executor is given nothing new until it is undrained."""
        return self._command(f"/api/v1/executors/{_segment(executor)}/drain", Drained)

    def undrain(self, executor: str) -> Drained:
        """The executor is given work again."""
        return self._command(f"/api/v1/executors/{_segment(executor)}/undrain", Drained)

    # -- access ----------------------------------------------------------------------------------------------

    def tokens(self) -> list[TokenView]:
        """Every access token."""
        return self._get("/api/v1/tokens", Tokens).tokens

    def create_token(self, name: str, role: Role, expires_at: datetime | None) -> TokenMade:
        """Makes an access token."""
        return self._command("/api/v1/tokens", TokenMade, NewToken(name, role, expires_at))

    def revoke_token(self, name: str) -> TokenView:
        """Lets the holder of a token in no more."""
        return self._command(f"/api/v1/tokens/{_segment(name)}/revoke", TokenView)

    def audit(self, **query: Any) -> Audit:
        """What was done, newest first."""
        return self._get("/api/v1/audit", Audit, list(query.items()))

    # -- requests --------------------------------------------------------------------------------------------

    def _get(self, path: str, kind: type[T], query: Query = (), wait: float = 0.0) -> T:
        given = urlencode([(name, value) for name, value in query if value not in (None, "")])
        question = Question("GET", f"{path}?{given}" if given else path, ANSWER_SECONDS + wait)
        return self._link.ask(question, kind)

    def _post(self, path: str, body: Any = None) -> Done:
        return self._command(path, Done, body)

    def _command(self, path: str, kind: type[T], body: Any = None) -> T:
        """Sends a command, and again when its connection broke."""
        data = None if body is None else msgspec.json.encode(body)
        question = Question("POST", path, ANSWER_SECONDS, data, {"idempotency-key": uuid.uuid4().hex})
        for pause in PAUSES:
            try:
                return self._link.ask(question, kind)
            except BrokenConnection:
                threading.Event().wait(pause)
        return self._link.ask(question, kind)

    def _why(self, path: str) -> str:
        return self._get(path, Why).why


def _segment(id: str) -> str:
    """An id as one segment of a path; one that could leave its place in the path is no id."""
    if not id or id in (".", "..") or "/" in id:
        raise NotFoundError(f"there is no dag or task {id!r}; `ppacer dags` lists the dags")
    return quote(id, safe="")
