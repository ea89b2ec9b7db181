"""The JSON routes. One `Route` per path and method; every endpoint is a few lines over the read models."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ppacer.api.door import Door, end_of, logs_of
from ppacer.api.problems import RequestError
from ppacer.api.why import why_dag, why_run, why_task
from ppacer.api.wire import Dags, Done, Health, Logs, Next, Nothing, Points, Runs, Sources, Wanted, Why
from ppacer.dag.check import ID_GRAMMAR, shown
from ppacer.engine import RUN_FINAL, RunRef, RunStatus, TaskStatus
from ppacer.errors import DagError, NotFoundError
from ppacer.schedule import Cron, upcoming
from ppacer.scheduler import CancelRun, Command, PauseDag, RestartRun, TriggerRun, UnpauseDag
from ppacer.store.views import PAGE_MAX, RunDetail, RunView, TaskView
from ppacer.tasklog import LogReader, LogRow
from ppacer.version import VERSION

WAIT_SECONDS_MAX = 30.0
DEPTH_MAX = 64  # of parameters
_TRIED_AGAIN = (TaskStatus.FAILED, TaskStatus.FAILED_PENDING_RETRY, TaskStatus.CANCELLED)
TOO_DEEP = f"the request body is nested too deeply; parameters have at most {DEPTH_MAX} levels"
T = TypeVar("T")


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """A JSON answer."""
    return Response(
        msgspec.json.encode(value),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store", **headers},
    )


def routes(door: Door) -> list[Route]:
    """All JSON routes over `door`."""
    api = Routes(door)
    get: list[tuple[str, Callable[..., Any]]] = [
        ("/healthz", api.health),
        ("/api/v1/dags", api.dags),
        ("/api/v1/dags/{dag_id}", api.dag),
        ("/api/v1/dags/{dag_id}/points", api.points),
        ("/api/v1/dags/{dag_id}/next", api.next),
        ("/api/v1/dags/{dag_id}/tasks/{task_id}/sources", api.sources),
        ("/api/v1/dags/{dag_id}/why", api.why_dag),
        ("/api/v1/runs", api.runs),
        ("/api/v1/runs/{run_id}", api.run),
        ("/api/v1/runs/{run_id}/logs", api.logs),
        ("/api/v1/runs/{run_id}/why", api.why_run),
        ("/api/v1/runs/{run_id}/tasks/{task_id}/why", api.why_task),
        ("/api/v1/runs/{run_id}/tasks/{task_id}/result", api.result),
    ]
    post: list[tuple[str, Callable[..., Any]]] = [
        ("/api/v1/dags/{dag_id}/trigger", api.trigger),
        ("/api/v1/dags/{dag_id}/pause", api.pause),
        ("/api/v1/dags/{dag_id}/unpause", api.unpause),
        ("/api/v1/runs/{run_id}/cancel", api.cancel),
        ("/api/v1/runs/{run_id}/restart", api.restart),
    ]
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in get),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in post),
    ]


class Routes:
    """The endpoints. Those that only read run in worker threads; those that may wait hold no thread."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def health(self, request: Request) -> Response:
        """GET /healthz."""
        trouble = self.door.trouble
        detail = trouble or self.door.logs_trouble()
        return answer(Health(self.door.scheduler.state, VERSION, detail), 503 if trouble else 200)

    def dags(self, request: Request) -> Response:
        """GET /api/v1/dags?after=&limit=&tag=."""
        q = request.query_params
        after, tag = _text(q, "after") or "", _text(q, "tag")
        return answer(Dags(self.door.reads.dags(after=after, limit=_limit(q, 100), tag=tag)))

    def dag(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}."""
        return answer(self.door.reads.dag(_dag_id(request)))

    def points(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/points?limit=."""
        dag = self.door.reads.dag(_dag_id(request))
        return answer(Points(self.door.reads.points(dag.dag_id, limit=_limit(request.query_params, 20))))

    def next(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/next?count=."""
        dag, count = self.door.reads.dag(_dag_id(request)), _limit(request.query_params, 5, "count")
        served = self.door.scheduler.registry.get(dag.dag_id)
        schedule = None if served is None else served.schedule
        if schedule is None or dag.next_at is None:
            return answer(Next([]))
        points = [dag.next_at, *upcoming(schedule, dag.next_at, count - 1)]
        return answer(Next(points, schedule.tz) if isinstance(schedule, Cron) else Next(points))

    def sources(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/tasks/{task_id}/sources."""
        dag, task_id = self.door.reads.dag(_dag_id(request)), _task_id(request)
        sources = self.door.reads.sources(dag.dag_id, task_id)
        if not sources:
            raise NotFoundError(f"dag {dag.dag_id!r} has no task {task_id!r}")
        return answer(Sources(sources))

    def runs(self, request: Request) -> Response:
        """GET /api/v1/runs?dag_id=&status=&before=&limit=."""
        q = request.query_params
        status = [_status(word) for word in q.getlist("status")]
        before = _integer(q, "before")
        runs = self.door.reads.runs(
            dag_id=_text(q, "dag_id"), status=status, before=before, limit=_limit(q, 20)
        )
        return answer(Runs(runs))

    async def run(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}?wait=: waits up to so many seconds for the end of the run."""
        run_id, reads = _run_id(request), self.door.reads

        def ended() -> RunDetail | None:
            return reads.run_detail(run_id) if reads.run(run_id).status in RUN_FINAL else None

        async def look() -> RunDetail | None:
            return await in_thread(ended)

        detail = await self.door.news.until(look, [end_of(run_id)], _wait(request), partial(_gone, request))
        return await in_thread(lambda: answer(detail or reads.run_detail(run_id)))

    async def logs(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/logs?task_id=&retry=&after=&limit=&level=&text=&tail=&wait=."""
        run_id = _run_id(request)
        run = await in_thread(self.door.reads.run, run_id)
        read = _log_question(self.door.logs, run, request.query_params)

        async def look() -> Logs:
            # In this order: what a run has logged is handed over before its end is told.
            run = await in_thread(self.door.reads.run, run_id)
            is_complete = run.status in RUN_FINAL and await self.door.flushed()
            records, is_last = await in_thread(read)
            return Logs(records, is_complete and is_last)

        subjects = [end_of(run_id), logs_of(run)]
        page = await self.door.news.until(look, subjects, _wait(request), partial(_gone, request))
        return await in_thread(answer, page)

    def why_dag(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/why."""
        dag = self.door.reads.dag(_dag_id(request))
        return self._why(why_dag(dag, self.door.clock.now().utc, self.door.is_live))

    def why_run(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/why."""
        detail = self.door.reads.run_detail(_run_id(request))
        dag = self.door.reads.dag(detail.run.dag_id)
        words = why_run(dag, detail, self.door.clock.now().utc, self.door.is_live)
        return self._why(words + self._code_note(detail))

    def why_task(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/tasks/{task_id}/why."""
        detail = self.door.reads.run_detail(_run_id(request))
        task = _task(detail, _task_id(request))
        words = why_task(detail, task, self.door.clock.now().utc, self.door.is_live)
        return self._why(words + self._code_note(detail))

    def _code_note(self, detail: RunDetail) -> str:
        """What is to be known before something that has failed is tried again."""
        has_failed = any(task.status in _TRIED_AGAIN for task in detail.tasks)
        note = self.door.code_note() if has_failed else None
        return f" Mind that {note}." if note else ""

    def _why(self, words: str) -> Response:
        trouble = self.door.trouble if self.door.is_live else None
        return answer(Why(f"{words} But {trouble}." if trouble else words))

    def result(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/tasks/{task_id}/result: the JSON that the task returned."""
        run_id, task_id = _run_id(request), _task_id(request)
        text = self.door.reads.result(run_id, task_id)
        if text is None:
            _task(self.door.reads.run_detail(run_id), task_id)
        return answer(msgspec.Raw((text or "null").encode()))

    async def trigger(self, request: Request) -> Response:
        """POST /api/v1/dags/{dag_id}/trigger {"params": {…}, "exec_ts": "…"}; both may be left out."""
        body = await _body(request, Wanted)
        _check_depth(body.params)
        ref = await self.door.command(TriggerRun(_dag_id(request), body.params, body.exec_ts))
        return answer(_done(ref), 201, location=f"/api/v1/runs/{ref.run_id}")

    async def pause(self, request: Request) -> Response:
        """POST /api/v1/dags/{dag_id}/pause."""
        return await self._obey(request, PauseDag(_dag_id(request)))

    async def unpause(self, request: Request) -> Response:
        """POST /api/v1/dags/{dag_id}/unpause."""
        return await self._obey(request, UnpauseDag(_dag_id(request)))

    async def cancel(self, request: Request) -> Response:
        """POST /api/v1/runs/{run_id}/cancel."""
        return await self._obey(request, CancelRun(_run_id(request)))

    async def restart(self, request: Request) -> Response:
        """POST /api/v1/runs/{run_id}/restart."""
        command = RestartRun(_run_id(request))
        await _body(request, Nothing)
        done = _done(await self.door.command(command))
        return answer(msgspec.structs.replace(done, note=await in_thread(self.door.code_note)))

    async def _obey(self, request: Request, command: Command) -> Response:
        await _body(request, Nothing)
        return answer(_done(await self.door.command(command)))


def _log_question(
    reader: LogReader, run: RunView, query: QueryParams
) -> Callable[[], tuple[list[LogRow], bool]]:
    """What a request for logs asks of the reader; also whether there was nothing more than that."""
    key = (run.dag_id, run.exec_ts, _text(query, "task_id"), _integer(query, "retry"))
    level, text = (_text(query, "level") or "").upper() or None, query.get("text")
    after, limit = _integer(query, "after") or 0, _limit(query, PAGE_MAX)

    def page() -> tuple[list[LogRow], bool]:
        rows = reader.read(*key, after=after, limit=limit, level=level, text=text)
        return rows, len(rows) < limit

    def tail() -> tuple[list[LogRow], bool]:
        last = _limit(query, PAGE_MAX, "tail")
        return reader.tail(*key, level=level, text=text, limit=last), True

    return tail if "tail" in query else page


async def _gone(request: Request) -> None:
    """Returns when the client has gone away, or sends without end."""
    with suppress(RequestError):
        while (await request.receive())["type"] != "http.disconnect":
            pass


async def _body(request: Request, kind: type[T]) -> T:
    """The JSON body; an empty one counts as an empty object."""
    data = await request.body()
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise DagError(f"the request does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the request body is not JSON: {error}") from error
    except RecursionError as error:
        raise RequestError(TOO_DEEP) from error


def _check_depth(value: Any) -> None:
    """Values that go deeper than any reader can follow would be stored, and then could not be shown."""
    values = [value]
    for _ in range(DEPTH_MAX):
        nested = [value for value in values if isinstance(value, dict | list)]
        values = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
        if not values:
            return
    raise RequestError(TOO_DEEP)


def _done(value: Any) -> Done:
    if isinstance(value, RunRef):
        return Done(value.dag_id, value.run_id, value.exec_ts)
    return Done(str(value))


def _dag_id(request: Request) -> str:
    """The dag of the path. What is no id is not looked up: neither database nor hint has to cope with it."""
    dag_id: str = request.path_params["dag_id"]
    if not ID_GRAMMAR.fullmatch(dag_id):
        raise NotFoundError(f"there is no dag {shown(dag_id)}")
    return dag_id


def _task_id(request: Request) -> str:
    task_id: str = request.path_params["task_id"]
    if not ID_GRAMMAR.fullmatch(task_id):
        raise NotFoundError(f"there is no task {shown(task_id)}")
    return task_id


def _run_id(request: Request) -> int:
    text: str = request.path_params["run_id"]
    if not _is_number(text):
        raise NotFoundError(f"there is no run {shown(text)}; the number of a run is meant")
    return int(text)


def _task(detail: RunDetail, task_id: str) -> TaskView:
    for task in detail.tasks:
        if task.task_id == task_id:
            return task
    raise NotFoundError(f"run {detail.run.run_id} of {detail.run.dag_id} has no task {task_id!r}")


def _is_number(text: str) -> bool:
    """A whole number that fits 64 bits with their sign."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _integer(query: QueryParams, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not _is_number(text):
        raise RequestError(f"{name} must be a whole number, not {shown(text)}")
    return int(text)


def _text(query: QueryParams, name: str) -> str | None:
    text = query.get(name)
    if text is not None and "\0" in text:
        raise RequestError(f"{name} may not contain NUL")
    return text


def _limit(query: QueryParams, default: int, name: str = "limit") -> int:
    value = _integer(query, name)
    return default if value is None else max(1, min(value, PAGE_MAX))


def _wait(request: Request) -> float:
    value = _integer(request.query_params, "wait")
    return min(float(value or 0), WAIT_SECONDS_MAX)


def _status(word: str) -> RunStatus:
    try:
        return RunStatus(word.upper())
    except ValueError:
        raise RequestError(f"{shown(word)} is no status of a run; there are {', '.join(RunStatus)}") from None
