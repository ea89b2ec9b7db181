"""Forms that change something. They work without scripts: what was done is told on the page shown next.

A form that htmx has sent is answered with the sentence alone; the live page shows what has changed.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.problems import RequestError, status_of
from ppacer.api.route import Route, check_depth, origin_of
from ppacer.engine import RunRef
from ppacer.errors import DagError, PpacerError
from ppacer.scheduler import (
    CancelRun,
    Command,
    DrainExecutor,
    PauseDag,
    RestartRun,
    TriggerRun,
    UndrainExecutor,
    UnpauseDag,
)
from ppacer.store.views import DagView
from ppacer.ui.filters import plural
from ppacer.ui.forms import fields_of, filled
from ppacer.ui.login import SEE_OTHER, entrance
from ppacer.ui.notices import keep_notice

FIELDS_MAX = 1_000
SELECTED_MAX = 1_000  # runs of one form
Form = dict[str, str]
Trouble = Callable[[Request, Exception], Response]
AskAgain = Callable[[Request, DagView, Form, str], HTMLResponse]


class Actions:
    """The routes of all forms over one door. `ask_again` shows the form of a trigger with what is wrong."""

    def __init__(self, door: Door, trouble: Trouble, ask_again: AskAgain) -> None:
        self._door, self._trouble, self._ask_again = door, trouble, ask_again

    def routes(self) -> list[Route]:
        """One for each command."""
        dag, run = "/dags/{dag_id}", "/runs/{run_id}"
        return [
            self._route(f"{dag}/trigger", self.trigger),
            self._route(f"{dag}/pause", self.pause),
            self._route(f"{dag}/unpause", self.unpause),
            self._route("/executors/{executor_name}/drain", self.drain),
            self._route("/executors/{executor_name}/undrain", self.undrain),
            self._route("/runs/cancel", self.cancel_many),
            self._route("/runs/restart", self.restart_many),
            self._route(f"{run}/cancel", self.cancel),
            self._route(f"{run}/restart", self.restart),
        ]

    def _route(self, path: str, endpoint: Callable[..., Any]) -> Route:
        return Route("POST", path, endpoint, Permission.COMMAND, entrance=entrance, trouble=self.refused)

    def refused(self, request: Request, error: Exception) -> Response:
        """What cannot be done, as a sentence for a script and a page for a person."""
        if "hx-request" in request.headers:
            return _sentence(str(error), status_of(error))
        return self._trouble(request, error)

    async def trigger(self, request: Request, dag_id: str) -> Response:
        """Starts a run with the parameters of the form, and shows it."""
        form = await form_of(request)
        dag = await self._door.read(self._door.reads.dag, dag_id)
        try:
            params = filled(fields_of(dag.params_schema), form)
            check_depth(params)
            ref = await self._do(request, TriggerRun(dag_id, params))
        except DagError as error:
            return self._ask_again(request, dag, form, str(error))
        return back_with(request, form, f"Run {ref.run_id} of {dag_id} was started.", f"/runs/{ref.run_id}")

    async def pause(self, request: Request, dag_id: str) -> Response:
        """No new scheduled runs of a dag."""
        form = await form_of(request)
        await self._do(request, PauseDag(dag_id))
        return back_with(request, form, f"{dag_id} is paused: points of its schedule are skipped.", "/dags")

    async def unpause(self, request: Request, dag_id: str) -> Response:
        """Scheduled runs of a dag again, from now on."""
        form = await form_of(request)
        await self._do(request, UnpauseDag(dag_id))
        return back_with(request, form, f"{dag_id} runs by its schedule again.", "/dags")

    async def cancel(self, request: Request, run_id: int) -> Response:
        """Ends a run."""
        form = await form_of(request)
        await self._do(request, CancelRun(run_id))
        return back_with(request, form, f"Run {run_id} is being cancelled.", f"/runs/{run_id}")

    async def restart(self, request: Request, run_id: int) -> Response:
        """Lets a failed or cancelled run go on."""
        form = await form_of(request)
        await self._do(request, RestartRun(run_id))
        note = await self._door.read(self._door.code_note)
        words = f"Run {run_id} goes on." + (f" Mind that {note}." if note else "")
        return back_with(request, form, words, f"/runs/{run_id}")

    async def drain(self, request: Request, executor_name: str) -> Response:
        """Gives an executor nothing new."""
        form = await form_of(request)
        await self._do(request, DrainExecutor(executor_name))
        words = f"{executor_name} is given nothing new; what it runs it finishes."
        return back_with(request, form, words, "/executors")

    async def undrain(self, request: Request, executor_name: str) -> Response:
        """Gives an executor work again."""
        form = await form_of(request)
        await self._do(request, UndrainExecutor(executor_name))
        return back_with(request, form, f"{executor_name} is given work again.", "/executors")

    async def cancel_many(self, request: Request) -> Response:
        """Ends the runs whose numbers are in the form."""
        return await self._each(request, CancelRun, "being cancelled")

    async def restart_many(self, request: Request) -> Response:
        """Lets the runs whose numbers are in the form go on."""
        return await self._each(request, RestartRun, "going on")

    async def _each(self, request: Request, command: type[CancelRun | RestartRun], words: str) -> Response:
        """The same command for each of several runs: one that is refused stops no other."""
        form = await form_of(request)
        told = await asyncio.gather(
            *(self._do(request, command(run_id)) for run_id in _numbers(form)), return_exceptions=True
        )
        refused = [answer for answer in told if isinstance(answer, BaseException)]
        for error in refused:
            if not isinstance(error, PpacerError):
                raise error
        done = len(told) - len(refused)
        sentence = f"{plural(done, 'run')} {'is' if done == 1 else 'are'} {words}."
        if refused:
            sentence += f" {len(refused)} refused: {refused[0]}."
        return back_with(request, form, sentence, "/runs")

    async def _do(self, request: Request, command: Command) -> RunRef | Any:
        return await self._door.command(command, origin_of(request))


def _numbers(form: Form) -> list[int]:
    words = form.get("runs", "").split()[:SELECTED_MAX]
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        raise RequestError("no run was selected: tick some in the list of runs")
    return [int(word) for word in words]


async def form_of(request: Request) -> Form:
    """The fields of a form that was sent as browsers do it. Raises RequestError."""
    try:
        body = (await request.body()).decode()
        return dict(parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise RequestError(f"this is no form: {error}") from error


def back_with(request: Request, form: Form, words: str, there: str) -> Response:
    """Back to where the form was, or else `there`; with what was done in words."""
    if "hx-request" in request.headers:
        return _sentence(words, 200)
    back = form.get("back", "")
    return keep_notice(RedirectResponse(back if _is_ours(back) else there, SEE_OTHER), words)


def _sentence(words: str, status: int) -> Response:
    """What a script shows."""
    return Response(words, status, media_type="text/plain", headers={"cache-control": "no-store"})


def _is_ours(path: str) -> bool:
    """Whether this leads to a page of this server, and nowhere else."""
    return path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
