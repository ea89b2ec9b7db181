"""The JSON routes: a table of declarations, and endpoints that are a few lines over the read models."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Permission
from ppacer.api.backfill_routes import backfill_routes
from ppacer.api.door import Door, end_of, logs_of
from ppacer.api.parameters import LEVEL, STATUS, limit, tail, text, wait, whole
from ppacer.api.route import Route, answer, check_depth, gone, origin_of
from ppacer.api.token_routes import token_routes
from ppacer.api.why import why_dag, why_latest, why_run, why_task
from ppacer.api.why_backfill import why_backfills
from ppacer.api.wire import (
    Dags,
    Done,
    Drained,
    Executors,
    Health,
    Logs,
    Next,
    Nothing,
    Points,
    Runs,
    Sources,
    Wanted,
    Why,
)
from ppacer.engine import RUN_FINAL, RunRef, RunStatus, TaskStatus
from ppacer.errors import NotFoundError
from ppacer.schedule import Cron, upcoming
from ppacer.scheduler import (
    CancelRun,
    DrainExecutor,
    PauseDag,
    RestartRun,
    State,
    TriggerRun,
    UndrainExecutor,
    UnpauseDag,
)
from ppacer.store.views import PAGE_MAX, DagView, RunDetail, RunView, TaskView
from ppacer.tasklog import LogReader, LogRow
from ppacer.version import VERSION

_TRIED_AGAIN = (TaskStatus.FAILED, TaskStatus.FAILED_PENDING_RETRY, TaskStatus.CANCELLED)
PUBLIC, VIEW, COMMAND = Permission.PUBLIC, Permission.VIEW, Permission.COMMAND

AFTER_DAG = text("after", "Only dags whose ids come after this one: the page behind the last one.")
TAG = text("tag", "Only dags with this tag.")
AFTER_NAME = text("after", "Only executors whose names come after this one: the page behind the last one.")
OF_DAG = text("dag_id", "Only runs of this dag.")
BEFORE = whole("before", "Only runs with a lower number: the page behind the last one.")
LOG_QUERY = (
    text("task_id", "Only what this task has logged."),
    whole("retry", "Only what this attempt has logged; the first one is 0."),
    whole("after", "Only records with a higher log_id: the page behind the last one.", 0),
    whole("before", "With `tail`: only records with a lower log_id, the page before the first one."),
    limit(PAGE_MAX),
    LEVEL,
    text("text", "Only records whose message contains this text."),
    tail(),
    wait("Seconds to wait for the first record or the end of the run."),
)
TRIGGERED = ("not_found", "conflict", "not_possible")
PLANNED = ("not_found", "schedule_failed")


def routes(door: Door) -> list[Route]:
    """All JSON routes over `door`."""
    api = Routes(door)
    dag, run, task = "/api/v1/dags/{dag_id}", "/api/v1/runs/{run_id}", "/api/v1/runs/{run_id}/tasks/{task_id}"
    executor = "/api/v1/executors/{executor_name}"
    read = partial(Route, "GET", permission=VIEW, problems=("not_found",))
    command = partial(Route, "POST", permission=COMMAND, body=Nothing, answer=Done)
    drain = partial(Route, "POST", permission=COMMAND, body=Nothing, answer=Drained, problems=("not_found",))
    return [
        Route("GET", "/healthz", api.health, PUBLIC, answer=Health),
        Route("GET", "/api/v1/dags", api.dags, VIEW, query=(AFTER_DAG, limit(100), TAG), answer=Dags),
        read(dag, api.dag, answer=DagView),
        read(f"{dag}/points", api.points, query=(limit(20),), answer=Points),
        read(f"{dag}/next", api.next, query=(limit(5, "count"),), answer=Next, problems=PLANNED),
        read(f"{dag}/tasks/{{task_id}}/sources", api.sources, answer=Sources),
        read(f"{dag}/why", api.why_dag, answer=Why),
        Route(
            "GET", "/api/v1/executors", api.executors, VIEW, query=(AFTER_NAME, limit(100)), answer=Executors
        ),
        Route("GET", "/api/v1/runs", api.runs, VIEW, query=(OF_DAG, STATUS, BEFORE, limit(20)), answer=Runs),
        read(run, api.run, query=(wait("Seconds to wait for the end of the run."),), answer=RunDetail),
        read(f"{run}/logs", api.logs, query=LOG_QUERY, answer=Logs),
        read(f"{run}/why", api.why_run, answer=Why),
        read(f"{task}/why", api.why_task, answer=Why),
        read(f"{task}/result", api.result, answer=Any),
        command(f"{dag}/trigger", api.trigger, body=Wanted, status=201, problems=TRIGGERED),
        command(f"{dag}/pause", api.pause, problems=("not_found",)),
        command(f"{dag}/unpause", api.unpause, problems=("not_found", "conflict")),
        command(f"{run}/cancel", api.cancel, problems=("not_found", "conflict")),
        command(f"{run}/restart", api.restart, problems=("not_found", "conflict")),
        *backfill_routes(door),
        drain(f"{executor}/drain", api.drain),
        drain(f"{executor}/undrain", api.undrain),
        *token_routes(door),
    ]


class Routes:
    """The endpoints. Those that only read run in worker threads; those that may wait hold no thread."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def health(self, request: Request) -> Response:
        """Whether the scheduler works."""
        trouble, state = self.door.trouble, self.door.scheduler.state
        works = trouble is None or (state is State.STANDBY and self.door.is_live)
        detail = trouble or self.door.logs_trouble()
        return answer(Health(state, VERSION, detail), 200 if works else 503)

    def dags(self, request: Request, after: str | None, limit: int, tag: str | None) -> Dags:
        """Dags in the order of their ids."""
        dags = self.door.reads.dags(after=after or "", limit=limit, tag=tag)
        return Dags(dags, dags[-1].dag_id if len(dags) == limit else None)

    def dag(self, request: Request, dag_id: str) -> DagView:
        """One dag."""
        return self.door.reads.dag(dag_id)

    def points(self, request: Request, dag_id: str, limit: int) -> Points:
        """What became of the points of a dag's schedule, newest first."""
        dag = self.door.reads.dag(dag_id)
        return Points(self.door.reads.points(dag.dag_id, limit=limit))

    def next(self, request: Request, dag_id: str, count: int) -> Next:
        """The next points of a dag's schedule."""
        dag = self.door.reads.dag(dag_id)
        served = self.door.scheduler.registry.get(dag.dag_id)
        schedule = None if served is None else served.schedule
        if schedule is None or dag.next_at is None:
            return Next([])
        points = [dag.next_at, *upcoming(schedule, dag.next_at, count - 1)]
        return Next(points, schedule.tz) if isinstance(schedule, Cron) else Next(points)

    def sources(self, request: Request, dag_id: str, task_id: str) -> Sources:
        """Every version of a task's source, newest first."""
        dag = self.door.reads.dag(dag_id)
        sources = self.door.reads.sources(dag.dag_id, task_id)
        if not sources:
            raise NotFoundError(f"dag {dag.dag_id!r} has no task {task_id!r}")
        return Sources(sources)

    def executors(self, request: Request, after: str | None, limit: int) -> Executors:
        """Executors, by name."""
        return Executors(self.door.reads.executors(after=after or "", limit=limit))

    def runs(
        self, request: Request, dag_id: str | None, status: list[RunStatus], before: int | None, limit: int
    ) -> Runs:
        """Runs, newest first."""
        runs = self.door.reads.runs(dag_id=dag_id, status=status, before=before, limit=limit)
        return Runs(runs, runs[-1].run_id if len(runs) == limit else None)

    async def run(self, request: Request, run_id: int, wait: float) -> Response:
        """One run with its tasks and attempts; can wait for its end."""
        reads = self.door.reads

        def ended() -> RunDetail | None:
            return reads.run_detail(run_id) if reads.run(run_id).status in RUN_FINAL else None

        async def look() -> RunDetail | None:
            return await in_thread(ended)

        detail = await self.door.news.until(look, [end_of(run_id)], wait, partial(gone, request))
        return await in_thread(lambda: answer(detail or reads.run_detail(run_id)))

    async def logs(self, request: Request, run_id: int, wait: float, **question: Any) -> Response:
        """What the tasks of a run have logged; can wait for more."""
        run = await in_thread(self.door.reads.run, run_id)
        read = _log_question(self.door.logs, run, **question)

        async def look() -> Logs:
            # In this order: what a run has logged is handed over before its end is told.
            run = await in_thread(self.door.reads.run, run_id)
            is_complete = run.status in RUN_FINAL and await self.door.flushed()
            records, is_last = await in_thread(read)
            return Logs(records, is_complete and is_last)

        subjects = [end_of(run_id), logs_of(run)]
        page = await self.door.news.until(look, subjects, wait, partial(gone, request))
        return await in_thread(answer, page)

    def why_dag(self, request: Request, dag_id: str) -> Why:
        """Why a dag does or does not get new runs."""
        dag = self.door.reads.dag(dag_id)
        now, is_live = self.door.clock.now().utc, self.door.is_live
        backfills = self.door.reads.backfills(dag_id=dag_id, is_open=True, limit=PAGE_MAX)
        return self._why(why_dag(dag, now, is_live) + why_latest(dag) + why_backfills(backfills))

    def why_run(self, request: Request, run_id: int) -> Why:
        """Why a run is where it is."""
        detail = self.door.reads.run_detail(run_id)
        dag = self.door.reads.dag(detail.run.dag_id)
        executors = self.door.executors_for(detail.tasks)
        words = why_run(dag, detail, self.door.clock.now().utc, self.door.is_live, executors)
        return self._why(words + self._code_note(detail))

    def why_task(self, request: Request, run_id: int, task_id: str) -> Why:
        """Why a task of a run is where it is."""
        detail = self.door.reads.run_detail(run_id)
        task = _task(detail, task_id)
        executors = self.door.executors_for(detail.tasks)
        words = why_task(detail, task, self.door.clock.now().utc, self.door.is_live, executors)
        return self._why(words + self._code_note(detail))

    def _code_note(self, detail: RunDetail) -> str:
        """What is to be known before something that has failed is tried again."""
        has_failed = any(task.status in _TRIED_AGAIN for task in detail.tasks)
        note = self.door.code_note() if has_failed else None
        return f" Mind that {note}." if note else ""

    def _why(self, words: str) -> Why:
        trouble = self.door.trouble if self.door.is_live else None
        return Why(f"{words} But {trouble}." if trouble else words)

    def result(self, request: Request, run_id: int, task_id: str) -> msgspec.Raw:
        """The JSON that a task returned; `null` when it returned nothing."""
        text = self.door.reads.result(run_id, task_id)
        if text is None:
            _task(self.door.reads.run_detail(run_id), task_id)
        return msgspec.Raw((text or "null").encode())

    async def trigger(self, request: Request, dag_id: str, body: Wanted) -> Response:
        """Starts a run of a dag now."""
        check_depth(body.params)
        ref = await self.door.command(TriggerRun(dag_id, body.params, body.exec_ts), origin_of(request))
        return answer(_done(ref), 201, location=f"/api/v1/runs/{ref.run_id}")

    async def pause(self, request: Request, dag_id: str, body: Nothing) -> Done:
        """No new scheduled runs of a dag."""
        return _done(await self.door.command(PauseDag(dag_id), origin_of(request)))

    async def unpause(self, request: Request, dag_id: str, body: Nothing) -> Done:
        """Scheduled runs of a dag again, from now on."""
        return _done(await self.door.command(UnpauseDag(dag_id), origin_of(request)))

    async def drain(self, request: Request, executor_name: str, body: Nothing) -> Drained:
        """Gives an executor nothing new until it is undrained; what it has it finishes."""
        return Drained(await self.door.command(DrainExecutor(executor_name), origin_of(request)), True)

    async def undrain(self, request: Request, executor_name: str, body: Nothing) -> Drained:
        """Gives an executor work again."""
        return Drained(await self.door.command(UndrainExecutor(executor_name), origin_of(request)), False)

    async def cancel(self, request: Request, run_id: int, body: Nothing) -> Done:
        """Ends a run."""
        return _done(await self.door.command(CancelRun(run_id), origin_of(request)))

    async def restart(self, request: Request, run_id: int, body: Nothing) -> Done:
        """Lets a failed or cancelled run go on."""
        done = _done(await self.door.command(RestartRun(run_id), origin_of(request)))
        return msgspec.structs.replace(done, note=await in_thread(self.door.code_note))


def _log_question(
    reader: LogReader,
    run: RunView,
    task_id: str | None,
    retry: int | None,
    after: int,
    before: int | None,
    limit: int,
    level: str | None,
    text: str | None,
    tail: int | None,
) -> Callable[[], tuple[list[LogRow], bool]]:
    """What a request for logs asks of the reader; also whether there was nothing more than that."""
    key = (run.dag_id, run.exec_ts, task_id, retry)

    def page() -> tuple[list[LogRow], bool]:
        rows = reader.read(*key, after=after, limit=limit, level=level, text=text)
        return rows, len(rows) < limit

    def last() -> tuple[list[LogRow], bool]:
        assert tail is not None
        return reader.tail(*key, before=before, level=level, text=text, limit=tail), before is None

    return page if tail is None else last


def _done(value: Any) -> Done:
    if isinstance(value, RunRef):
        return Done(value.dag_id, value.run_id, value.exec_ts)
    return Done(str(value))


def _task(detail: RunDetail, task_id: str) -> TaskView:
    for task in detail.tasks:
        if task.task_id == task_id:
            return task
    raise NotFoundError(f"run {detail.run.run_id} of {detail.run.dag_id} has no task {task_id!r}")
