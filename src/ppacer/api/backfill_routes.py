"""The routes of backfills: what one would do, starting one, and looking after it as one thing."""

from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool as in_thread
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Permission
from ppacer.api.door import Door, end_of_backfill
from ppacer.api.parameters import instant, limit, read_instant, text, wait, whole
from ppacer.api.route import Route, answer, check_depth, gone, origin_of
from ppacer.api.why_backfill import why_backfill
from ppacer.api.wire import BackfillDone, BackfillPlan, Backfills, BackfillWanted, Nothing, Why
from ppacer.errors import ConflictError
from ppacer.scheduler import CancelBackfill, Command, PauseBackfill, StartBackfill, UnpauseBackfill
from ppacer.scheduler.span import span_of
from ppacer.store.backfills import BackfillRef
from ppacer.store.views import BackfillDetail

VIEW, COMMAND = Permission.VIEW, Permission.COMMAND
RANGE = (
    instant(
        "from", "The begin of the range; without a zone on the clock of the dag's schedule.", required=True
    ),
    instant("to", "Its end, which does not belong to it; now when not given."),
)
LIST = (
    text("dag_id", "Only backfills of this dag."),
    whole("before", "Only backfills with a lower number: the page behind the last one."),
    limit(20),
)
IMPOSSIBLE = ("not_found", "conflict", "not_possible", "schedule_failed")


def backfill_routes(door: Door) -> list[Route]:
    """All of them over `door`."""
    api = BackfillRoutes(door)
    dag, one = "/api/v1/dags/{dag_id}", "/api/v1/backfills/{backfill_id}"
    command = partial(Route, "POST", permission=COMMAND, answer=BackfillDone)
    change = partial(command, body=Nothing, problems=("not_found", "conflict"))
    read = partial(Route, "GET", permission=VIEW)
    return [
        read(f"{dag}/backfill", api.plan_backfill, query=RANGE, answer=BackfillPlan, problems=IMPOSSIBLE),
        command(f"{dag}/backfills", api.start_backfill, body=BackfillWanted, status=201, problems=IMPOSSIBLE),
        read("/api/v1/backfills", api.backfills, query=LIST, answer=Backfills),
        read(
            one,
            api.backfill,
            query=(wait("Seconds to wait for the end of the backfill."),),
            answer=BackfillDetail,
            problems=("not_found",),
        ),
        read(f"{one}/why", api.why_backfill, answer=Why, problems=("not_found",)),
        change(f"{one}/pause", api.pause_backfill),
        change(f"{one}/unpause", api.unpause_backfill),
        change(f"{one}/cancel", api.cancel_backfill),
    ]


class BackfillRoutes:
    """The endpoints."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def plan_backfill(self, request: Request, dag_id: str, **given: Any) -> BackfillPlan:
        """What a backfill of a range would do."""
        self.door.reads.dag(dag_id)
        dag = self.door.scheduler.registry.get(dag_id)
        if dag is None:
            raise ConflictError(
                f"dag {dag_id!r} is not served any more; `ppacer why {dag_id}` says since when"
            )
        begin, end, points = span_of(dag, given["from"], given["to"], self.door.clock.now().utc)
        free = self.door.reads.without_runs(dag_id, points)
        bounds = (free[0], free[-1]) if free else (None, None)
        return BackfillPlan(dag_id, begin, end, len(points), len(points) - len(free), len(free), *bounds)

    async def start_backfill(self, request: Request, dag_id: str, body: BackfillWanted) -> Response:
        """Starts a backfill: the points of a range get their runs, unless they have one."""
        check_depth(body.params)
        end = None if body.end is None else read_instant("to", body.end)
        command = StartBackfill(
            dag_id,
            read_instant("from", body.begin),
            end,
            body.max_active_runs,
            body.newest_first,
            body.params,
        )
        done = await self._obey(command, request)
        return answer(done, 201, location=f"/api/v1/backfills/{done.backfill_id}")

    def backfills(self, request: Request, dag_id: str | None, before: int | None, limit: int) -> Backfills:
        """Backfills, newest first."""
        found = self.door.reads.backfills(dag_id=dag_id, before=before, limit=limit)
        return Backfills(found, found[-1].backfill_id if len(found) == limit else None)

    async def backfill(self, request: Request, backfill_id: int, wait: float) -> Response:
        """One backfill with the counts of its runs; can wait for its end."""
        reads = self.door.reads

        async def look() -> BackfillDetail | None:
            detail = await in_thread(reads.backfill, backfill_id)
            return detail if detail.backfill.ended_at is not None else None

        subjects = [end_of_backfill(backfill_id)]
        detail = await self.door.news.until(look, subjects, wait, partial(gone, request))
        return await in_thread(lambda: answer(detail or reads.backfill(backfill_id)))

    def why_backfill(self, request: Request, backfill_id: int) -> Why:
        """Why a backfill is where it is."""
        detail = self.door.reads.backfill(backfill_id)
        dag = self.door.reads.dag(detail.backfill.dag_id)
        return Why(why_backfill(dag, detail, self.door.clock.now().utc, self.door.is_live))

    async def pause_backfill(self, request: Request, backfill_id: int, body: Nothing) -> BackfillDone:
        """Begins no more runs of a backfill for now."""
        return await self._obey(PauseBackfill(backfill_id), request)

    async def unpause_backfill(self, request: Request, backfill_id: int, body: Nothing) -> BackfillDone:
        """Lets a backfill go on."""
        return await self._obey(UnpauseBackfill(backfill_id), request)

    async def cancel_backfill(self, request: Request, backfill_id: int, body: Nothing) -> BackfillDone:
        """Ends a backfill together with its open runs."""
        return await self._obey(CancelBackfill(backfill_id), request)

    async def _obey(self, command: Command, request: Request) -> BackfillDone:
        ref: BackfillRef = await self.door.command(command, origin_of(request))
        return BackfillDone(ref.backfill_id, ref.dag_id)
