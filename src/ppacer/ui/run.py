"""One run: what it is and why, who did what to it, its tasks, and what can be done about it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ppacer.api.door import Door, run_of
from ppacer.api.parameters import whole
from ppacer.api.why import way_on, why_run
from ppacer.engine import RUN_FINAL, RunStatus, TaskStatus
from ppacer.store.views import PAGE_MAX, AuditView, PastRun, RunDetail, TaskView
from ppacer.ui.charts import typical
from ppacer.ui.filters import plural
from ppacer.ui.graph import picture
from ppacer.ui.page import Page
from ppacer.ui.run_tasks import STATE, chosen, rows, states
from ppacer.ui.words import zone_of

PAST = 10  # earlier runs that this one is compared with
NODES_MAX = 150  # boxes of the graph, which is sent anew at each change; beyond, a layer is one box
BESIDE = 640  # pixels up to which the graph stands beside the tasks; a wider one stands above
NAMES_MAX = 12  # of the tasks that a command concerns
FROM = whole("first", "The place of the first task that is shown.", 0)
COMMANDS = {"trigger": "triggered", "cancel": "cancelled", "restart": "restarted"}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a command does to some tasks: how many, what, and the names of the first."""

    count: int
    words: str
    names: list[str]


def show(door: Door, now: datetime, run_id: int, state: TaskStatus | None, first: int) -> dict[str, Any]:
    """The run with some of its tasks."""
    detail = door.reads.run_detail(run_id)
    run = detail.run
    dag = door.reads.dag(run.dag_id)
    is_final = run.status in RUN_FINAL
    can_restart = is_final and run.status != RunStatus.SUCCESS
    part = chosen(detail.tasks, state, first)
    past = door.reads.past_runs(run_id, [task.task_id for task in part.tasks], count=PAST)
    executors = door.executors_for(detail.tasks)
    shown = rows(detail, part.tasks, past, now, door.is_live, executors)
    drawing = picture(detail.tasks, partial(_url, run_id), NODES_MAX)
    has_graph = len(drawing.nodes) > 1  # a box alone says less than its row
    return {
        "run": run,
        "zone": zone_of(dag.schedule),
        "why": _why(why_run(dag, detail, now, door.is_live, executors), detail),
        "story": _story(door.reads.audit(run_id=run_id, limit=PAGE_MAX)),
        "usual": _usual(past),
        "before": past[-1].run_id if past else None,
        "picture": drawing,
        "has_graph": has_graph,
        "is_beside": has_graph and drawing.width <= BESIDE,
        "part": part,
        "chosen": state.lower() if state else "",
        "tasks": shown,
        "past": len(past) if any(row.spark for row in shown) else 0,
        "states": states(detail.tasks, state, f"/runs/{run_id}"),
        "tried_again": any(task.retry > 0 or task.retries for task in part.tasks),
        "elsewhere": any(task.executor not in (None, "local") for task in part.tasks),
        "can_cancel": not is_final and run.cancel_requested_at is None,
        "can_restart": can_restart,
        "cancel": _cancel(detail.tasks),
        "restart": _restart(detail.tasks),
        "code_note": door.code_note() if can_restart else None,
    }


def _url(run_id: int, task: TaskView) -> str:
    return f"/runs/{run_id}/tasks/{task.task_id}"


def _why(words: str, detail: RunDetail) -> str:
    """In fewer words than elsewhere: the page says which run it is."""
    name = f"run {detail.run.run_id} of {detail.run.dag_id} "
    short = words.removeprefix(name).removesuffix(way_on(detail)).strip()
    return short[:1].upper() + short[1:]


def _story(audit: Sequence[AuditView]) -> list[tuple[str, AuditView]]:
    """Who did what to the run, oldest first."""
    return [
        (COMMANDS[row.command], row)
        for row in audit[::-1]
        if row.command in COMMANDS and row.outcome == "done"
    ]


def _usual(past: Sequence[PastRun]) -> timedelta | None:
    """How long the runs before took that succeeded, at the median."""
    spans = [run.span for run in past if run.span is not None]
    return typical(spans) if spans else None


# -- what a command would do -------------------------------------------------------------------------------


def _cancel(tasks: Sequence[TaskView]) -> list[Effect]:
    running = [task for task in tasks if task.status == TaskStatus.RUNNING]
    waiting = (TaskStatus.SCHEDULED, TaskStatus.NO_STATUS, TaskStatus.FAILED_PENDING_RETRY)
    return _effects(
        ("will be told to end", running),
        ("will not begin", [task for task in tasks if task.status in waiting]),
        ("succeeded and stays so", [task for task in tasks if task.status == TaskStatus.SUCCESS]),
    )


def _restart(tasks: Sequence[TaskView]) -> list[Effect]:
    return _effects(
        ("will run again, with new retries", [task for task in tasks if task.status != TaskStatus.SUCCESS]),
        ("succeeded and will not", [task for task in tasks if task.status == TaskStatus.SUCCESS]),
    )


def _effects(*effects: tuple[str, list[TaskView]]) -> list[Effect]:
    found = [(len(tasks), words, [task.task_id for task in tasks[:NAMES_MAX]]) for words, tasks in effects]
    return [
        Effect(count, f"{plural(count, 'task')} {words}", names) for count, words, names in found if count
    ]


def _watches(run_id: int, **question: Any) -> tuple[Hashable, ...]:
    return (run_of(run_id),)


PAGE = Page("/runs/{run_id}", "run.html", show, _watches, (STATE, FROM))
