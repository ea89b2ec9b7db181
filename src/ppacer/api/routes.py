"""The JSON routes. One `Route` per path and method; every endpoint is a few lines over the read models."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ppacer.api.door import Door
from ppacer.api.problems import problem
from ppacer.api.why import why_dag, why_run, why_task
from ppacer.engine import RUN_FINAL, RunRef, RunStatus
from ppacer.errors import DagError, NotFoundError
from ppacer.scheduler import CancelRun, PauseDag, RestartRun, State, TriggerRun, UnpauseDag
from ppacer.store.views import DagView, PointView, RunDetail, RunView, SourceView
from ppacer.tasklog import LogRow
from ppacer.version import VERSION

WAIT_SECONDS_MAX = 30.0
LIMIT_MAX = 1_000
T = TypeVar("T")


class Health(msgspec.Struct, frozen=True):
    """`/healthz`: 200 while the scheduler works, 503 while it does not."""

    state: str
    version: str
    detail: str | None = None


class Dags(msgspec.Struct, frozen=True):
    """A page of dags; `after` of the next page is the last id."""

    dags: list[DagView]


class Runs(msgspec.Struct, frozen=True):
    """A page of runs, newest first; `before` of the next page is the last number."""

    runs: list[RunView]


class Logs(msgspec.Struct, frozen=True):
    """A page of log records; `after` of the next page is the last log_id. `ended`: nothing more will come."""

    records: list[LogRow]
    ended: bool


class Points(msgspec.Struct, frozen=True):
    """What became of schedule points, newest first."""

    points: list[PointView]


class Sources(msgspec.Struct, frozen=True):
    """Every version of a task's source, newest first."""

    sources: list[SourceView]


class Why(msgspec.Struct, frozen=True):
    """An explanation in words."""

    why: str


class Done(msgspec.Struct, frozen=True):
    """A command was carried out; `run_id` is the run it was about, if it was about one."""

    dag_id: str
    run_id: int | None = None
    exec_ts: Any = None


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a trigger."""

    params: dict[str, Any] = {}


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def routes(door: Door) -> list[Route]:
    """All JSON routes over `door`."""
    api = Routes(door)
    get: list[tuple[str, Callable[..., Any]]] = [
        ("/healthz", api.health),
        ("/api/v1/dags", api.dags),
        ("/api/v1/dags/{dag_id}", api.dag),
        ("/api/v1/dags/{dag_id}/points", api.points),
        ("/api/v1/dags/{dag_id}/tasks/{task_id}/sources", api.sources),
        ("/api/v1/dags/{dag_id}/why", api.why_dag),
        ("/api/v1/runs", api.runs),
        ("/api/v1/runs/{run_id:int}", api.run),
        ("/api/v1/runs/{run_id:int}/logs", api.logs),
        ("/api/v1/runs/{run_id:int}/why", api.why_run),
        ("/api/v1/runs/{run_id:int}/tasks/{task_id}/why", api.why_task),
        ("/api/v1/runs/{run_id:int}/tasks/{task_id}/result", api.result),
    ]
    post: list[tuple[str, Callable[..., Any]]] = [
        ("/api/v1/dags/{dag_id}/trigger", api.trigger),
        ("/api/v1/dags/{dag_id}/pause", api.pause),
        ("/api/v1/dags/{dag_id}/unpause", api.unpause),
        ("/api/v1/runs/{run_id:int}/cancel", api.cancel),
        ("/api/v1/runs/{run_id:int}/restart", api.restart),
    ]
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in get),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in post),
    ]


class Routes:
    """The endpoints; synchronous ones run in worker threads."""

    def __init__(self, door: Door) -> None:
        self.door = door

    @property
    def _is_live(self) -> bool:
        return self.door.scheduler.state in (State.RUNNING, State.DEGRADED, State.STOPPING)

    def health(self, request: Request) -> Response:
        """GET /healthz."""
        scheduler = self.door.scheduler
        status = 200 if scheduler.state is State.RUNNING else 503
        return answer(Health(scheduler.state, VERSION, scheduler.trouble), status)

    def dags(self, request: Request) -> Response:
        """GET /api/v1/dags?after=&limit=&tag=."""
        q = request.query_params
        return answer(Dags(self.door.reads.dags(after=q.get("after", ""), limit=_limit(q, 100), tag=q.get("tag"))))

    def dag(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}."""
        return answer(self.door.reads.dag(request.path_params["dag_id"]))

    def points(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/points?limit=."""
        dag = self.door.reads.dag(request.path_params["dag_id"])
        return answer(Points(self.door.reads.points(dag.dag_id, limit=_limit(request.query_params, 20))))

    def sources(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/tasks/{task_id}/sources."""
        path = request.path_params
        return answer(Sources(self.door.reads.sources(path["dag_id"], path["task_id"])))

    def runs(self, request: Request) -> Response:
        """GET /api/v1/runs?dag_id=&status=&before=&limit=."""
        q = request.query_params
        status = [_status(word) for word in q.getlist("status")]
        before = _integer(q, "before")
        runs = self.door.reads.runs(dag_id=q.get("dag_id"), status=status, before=before, limit=_limit(q, 20))
        return answer(Runs(runs))

    async def run(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}?wait=: waits up to so many seconds for the end of the run."""
        run_id, reads = request.path_params["run_id"], self.door.reads

        def ended() -> RunDetail | None:
            return reads.run_detail(run_id) if reads.run(run_id).status in RUN_FINAL else None

        detail = await self.door.runs_changed.until(ended, _wait(request))
        if detail is None:
            detail = await _in_thread(lambda: reads.run_detail(run_id))
        return answer(detail)

    async def logs(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/logs?task_id=&retry=&after=&limit=&level=&text=&tail=&wait=."""
        q, run_id = request.query_params, request.path_params["run_id"]
        run = await _in_thread(lambda: self.door.reads.run(run_id))
        retry, after, limit = _integer(q, "retry"), _integer(q, "after") or 0, _limit(q, 1_000)
        key = (run.dag_id, run.exec_ts, q.get("task_id"), retry)
        level, text = q.get("level"), q.get("text")

        def look() -> list[LogRow]:
            if "tail" in q:
                return self.door.logs.tail(*key, level=level, text=text, limit=_limit(q, 1_000, "tail"))
            return self.door.logs.read(*key, after=after, limit=limit, level=level, text=text)

        ended = run.status in RUN_FINAL
        if ended:
            await _in_thread(lambda: self.door.flush_logs(1.0))
        records = await self.door.logs_changed.until(look, 0.0 if ended else _wait(request))
        return answer(Logs(records, ended and len(records) < limit))

    def why_dag(self, request: Request) -> Response:
        """GET /api/v1/dags/{dag_id}/why."""
        dag = self.door.reads.dag(request.path_params["dag_id"])
        return answer(Why(why_dag(dag, self.door.clock.now().utc, self._is_live)))

    def why_run(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/why."""
        detail = self.door.reads.run_detail(request.path_params["run_id"])
        dag = self.door.reads.dag(detail.run.dag_id)
        return answer(Why(why_run(dag, detail, self.door.clock.now().utc, self._is_live)))

    def why_task(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/tasks/{task_id}/why."""
        detail = self.door.reads.run_detail(request.path_params["run_id"])
        task = next((task for task in detail.tasks if task.task_id == request.path_params["task_id"]), None)
        if task is None:
            raise NotFoundError(f"run {detail.run.run_id} has no task {request.path_params['task_id']!r}")
        return answer(Why(why_task(detail, task, self.door.clock.now().utc, self._is_live)))

    def result(self, request: Request) -> Response:
        """GET /api/v1/runs/{run_id}/tasks/{task_id}/result: the JSON that the task returned."""
        path = request.path_params
        text = self.door.reads.result(path["run_id"], path["task_id"])
        return Response(text or "null", media_type="application/json")

    async def trigger(self, request: Request) -> Response:
        """POST /api/v1/dags/{dag_id}/trigger {"params": {…}}."""
        body = await _body(request, Params)
        command = TriggerRun(request.path_params["dag_id"], body.params)
        return answer(_done(await _in_thread(lambda: self.door.command(command))), 201)

    def pause(self, request: Request) -> Response:
        """POST /api/v1/dags/{dag_id}/pause."""
        return answer(_done(self.door.command(PauseDag(request.path_params["dag_id"]))))

    def unpause(self, request: Request) -> Response:
        """POST /api/v1/dags/{dag_id}/unpause."""
        return answer(_done(self.door.command(UnpauseDag(request.path_params["dag_id"]))))

    def cancel(self, request: Request) -> Response:
        """POST /api/v1/runs/{run_id}/cancel."""
        return answer(_done(self.door.command(CancelRun(request.path_params["run_id"]))))

    def restart(self, request: Request) -> Response:
        """POST /api/v1/runs/{run_id}/restart."""
        return answer(_done(self.door.command(RestartRun(request.path_params["run_id"]))))


class BadRequest(Exception):
    """A request that cannot be understood; the message is the answer."""


def bad_request(request: Request, error: Exception) -> Response:
    """The answer to a BadRequest."""
    return problem(400, "bad_request", str(error))


async def _in_thread(work: Callable[[], T]) -> T:
    import asyncio

    return await asyncio.to_thread(work)


async def _body(request: Request, kind: type[T]) -> T:
    data = await request.body()
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise DagError(f"the request does not fit: {error}") from error
    except msgspec.DecodeError as error:
        raise BadRequest(f"the request body is not JSON: {error}") from error


def _done(value: Any) -> Done:
    if isinstance(value, RunRef):
        return Done(value.dag_id, value.run_id, value.exec_ts)
    return Done(str(value))


def _integer(query: Any, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def _limit(query: Any, default: int, name: str = "limit") -> int:
    value = _integer(query, name)
    return default if value is None else max(1, min(value, LIMIT_MAX))


def _wait(request: Request) -> float:
    value = _integer(request.query_params, "wait")
    return min(float(value or 0), WAIT_SECONDS_MAX)


def _status(word: str) -> RunStatus:
    try:
        return RunStatus(word.upper())
    except ValueError:
        raise BadRequest(f"{word[:40]!r} is no status of a run; there are {', '.join(RunStatus)}") from None
