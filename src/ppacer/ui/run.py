"""One run: what it is, why it is where it is, its tasks, and what can be done about it."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ppacer.api.door import Door, run_of
from ppacer.api.why import way_on, why_run, why_task
from ppacer.engine import RUN_FINAL, RunStatus, TaskStatus
from ppacer.store.views import AttemptView, RunDetail, TaskView
from ppacer.ui.charts import Bar, attempts
from ppacer.ui.filters import plural
from ppacer.ui.page import Page

TASKS_MAX = 300  # on the page
WHY_MAX = 50  # of the tasks that are explained in words: one may cost a look at all others
SILENT = (TaskStatus.SUCCESS, TaskStatus.NO_STATUS)
AGAIN = (TaskStatus.FAILED, TaskStatus.UPSTREAM_FAILED, TaskStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Row:
    """A task with what is drawn and said of it."""

    task: TaskView
    bars: list[Bar]
    attempts: int
    why: str


def show(door: Door, now: datetime, run_id: int) -> dict[str, Any]:
    """The run with the first of its tasks."""
    detail = door.reads.run_detail(run_id)
    run = detail.run
    dag = door.reads.dag(run.dag_id)
    is_final = run.status in RUN_FINAL
    return {
        "run": run,
        "why": why_run(dag, detail, now, door.is_live),
        "tasks": _rows(detail, now, door.is_live),
        "more": max(0, len(detail.tasks) - TASKS_MAX),
        "counts": _counts(detail),
        "can_cancel": not is_final and run.cancel_requested_at is None,
        "can_restart": is_final and run.status != RunStatus.SUCCESS,
        "cancel_words": _cancel_words(detail),
        "restart_words": _restart_words(detail),
    }


def _rows(detail: RunDetail, now: datetime, is_live: bool) -> list[Row]:
    by_task: dict[str, list[AttemptView]] = {}
    for attempt in detail.attempts:
        by_task.setdefault(attempt.task_id, []).append(attempt)
    begin = detail.run.started_at or now
    end = detail.run.ended_at or now
    rows, explained = [], 0
    for task in detail.tasks[:TASKS_MAX]:
        tried = by_task.get(task.task_id, [])
        explains = task.status not in SILENT and explained < WHY_MAX
        explained += explains
        why = _why(detail, task, now, is_live) if explains else ""
        begun = sum(one.started_at is not None for one in tried)
        rows.append(Row(task, attempts(tried, begin, end, now), begun, why))
    return rows


def _why(detail: RunDetail, task: TaskView, now: datetime, is_live: bool) -> str:
    """In fewer words than elsewhere: the page says which run it is, and has a button to try again."""
    words = why_task(detail, task, now, is_live)
    return words.removeprefix(
        f"{task.task_id} in run {detail.run.run_id} of {detail.run.dag_id} "
    ).removesuffix(way_on(detail))


def _counts(detail: RunDetail) -> str:
    counts = Counter(task.status for task in detail.tasks)
    return ", ".join(
        f"{counts[status]} {status}".replace("_", " ") for status in TaskStatus if counts[status]
    )


def _cancel_words(detail: RunDetail) -> str:
    counts = Counter(task.status for task in detail.tasks)
    running = counts[TaskStatus.RUNNING]
    waiting = sum(counts[status] for status in (TaskStatus.SCHEDULED, TaskStatus.NO_STATUS))
    waiting += counts[TaskStatus.FAILED_PENDING_RETRY]
    return (
        f"{plural(running, 'running task')} will be told to end, {plural(waiting, 'task')} will not begin. "
        f"What has succeeded stays, and a cancelled run can be restarted."
    )


def _restart_words(detail: RunDetail) -> str:
    counts = Counter(task.status for task in detail.tasks)
    again = sum(counts[status] for status in (*AGAIN, TaskStatus.NO_STATUS))
    return (
        f"{plural(again, 'task')} will run again, with a new budget of retries; "
        f"{plural(counts[TaskStatus.SUCCESS], 'task')} that succeeded will not."
    )


PAGE = Page("/runs/{run_id}", "run.html", show, lambda run_id: (run_of(run_id),))
