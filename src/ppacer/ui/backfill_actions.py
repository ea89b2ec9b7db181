"""Forms that start a backfill, pause it, let it go on, or end it."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.parameters import read_instant
from ppacer.api.problems import RequestError
from ppacer.api.route import Route, check_depth, origin_of
from ppacer.scheduler import CancelBackfill, Command, PauseBackfill, StartBackfill, UnpauseBackfill
from ppacer.ui.actions import Form, back_with, form_of
from ppacer.ui.forms import fields_of, filled
from ppacer.ui.login import entrance


class BackfillActions:
    """The routes of these forms over one door; `refused` answers what cannot be done."""

    def __init__(self, door: Door, refused: Callable[[Request, Exception], Response]) -> None:
        self._door, self._refused = door, refused

    def routes(self) -> list[Route]:
        """One for each command."""
        one = "/backfills/{backfill_id}"
        return [
            self._route("/dags/{dag_id}/backfill", self.start_backfill),
            self._route(f"{one}/pause", self.pause_backfill),
            self._route(f"{one}/unpause", self.unpause_backfill),
            self._route(f"{one}/cancel", self.cancel_backfill),
        ]

    def _route(self, path: str, endpoint: Callable[..., Any]) -> Route:
        return Route("POST", path, endpoint, Permission.COMMAND, entrance=entrance, trouble=self._refused)

    async def start_backfill(self, request: Request, dag_id: str) -> Response:
        """Creates the runs of the points of a range that have none."""
        form = await form_of(request)
        dag = await self._door.read(self._door.reads.dag, dag_id)
        params = filled(fields_of(dag.params_schema), form)
        check_depth(params)
        ref = await self._door.command(_start(dag_id, form, params), origin_of(request))
        there = f"/dags/{dag_id}/backfill"
        return back_with(request, form, f"Backfill {ref.backfill_id} of {dag_id} was started.", there)

    async def pause_backfill(self, request: Request, backfill_id: int) -> Response:
        """Begins no more runs of a backfill for now."""
        words = f"Backfill {backfill_id} is paused: it begins no more runs for now."
        return await self._do(request, PauseBackfill(backfill_id), words)

    async def unpause_backfill(self, request: Request, backfill_id: int) -> Response:
        """Lets a backfill go on."""
        return await self._do(request, UnpauseBackfill(backfill_id), f"Backfill {backfill_id} goes on.")

    async def cancel_backfill(self, request: Request, backfill_id: int) -> Response:
        """Ends a backfill together with its open runs."""
        words = f"Backfill {backfill_id} is being cancelled."
        return await self._do(request, CancelBackfill(backfill_id), words)

    async def _do(self, request: Request, command: Command, words: str) -> Response:
        form = await form_of(request)
        ref = await self._door.command(command, origin_of(request))
        return back_with(request, form, words, f"/dags/{ref.dag_id}/backfill")


def _start(dag_id: str, form: Form, params: dict[str, Any]) -> StartBackfill:
    end, at_once = form.get("to", ""), form.get("at_once", "")
    if not (at_once.isascii() and at_once.isdecimal() and len(at_once) < 10):
        raise RequestError("how many runs at once must be a whole number")
    return StartBackfill(
        dag_id,
        read_instant("from", form.get("from", "")),
        read_instant("to", end) if end else None,
        int(at_once),
        form.get("order") == "newest",
        params,
    )
