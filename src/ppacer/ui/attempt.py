"""One attempt of a task: how it stands, why, its log, what it returned, the source that ran, its siblings."""

from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ppacer.api.door import Door, run_of
from ppacer.api.parameters import LEVEL, text, whole
from ppacer.api.why import about, sentence, way_on, why_task
from ppacer.api.why_code import differs_from
from ppacer.choices import LEVELS
from ppacer.engine import TaskStatus
from ppacer.errors import NotFoundError
from ppacer.store.views import AttemptView, ResultView, RunDetail, TaskView
from ppacer.ui.attempt_code import code_of
from ppacer.ui.beside import zones
from ppacer.ui.logs import LOOKED_MAX, lines
from ppacer.ui.page import Page

ATTEMPTS_MAX = 30  # that have a tab; of more the latest, and the one that is shown
RESULT_CHARS_MAX = 20_000  # of a result on the page
OPEN = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)
QUERY = (
    text("text", "Only lines that contain this text."),
    LEVEL,
    whole("before", "Only lines with a lower log_id: the page before the first one."),
)

# Why an attempt ended, in words.
CAUSES = {
    "FAILED": "an error of the task",
    "TIMED_OUT": "its timeout",
    "LOST": "the loss of its executor, which was not heard of any more; that costs no retry",
    "HANDED_BACK": "the stop of its executor, which handed it back; that costs no retry",
    "REFUSED": "its executor, which could not run it; that costs no retry",
}


def show(
    door: Door, now: datetime, run_id: int, task_id: str, retry: int | None = None, **filters: Any
) -> dict[str, Any]:
    """One attempt; the latest one when it is not said which."""
    detail = door.reads.task_detail(run_id, task_id)
    task = next(one for one in detail.tasks if one.task_id == task_id)
    attempt = _attempt(detail, task_id, retry)
    is_open = attempt is None or attempt.status in OPEN
    tabs = _tabs(detail.attempts, attempt)
    return {
        "run": detail.run,
        "zone": zones(door, [detail.run.dag_id]).get(detail.run.dag_id, "UTC"),
        "task": task,
        "attempt": attempt,
        "status": task.status if attempt is None else attempt.status,
        "tabs_of": tabs,
        "differing": {one.retry for one in tabs if differs_from(detail.attempts, task_id, one.retry)},
        "hidden": max(0, len(detail.attempts) - ATTEMPTS_MAX),
        "why": _why(door, now, detail, task, attempt),
        "cause": "" if attempt is None else CAUSES.get(attempt.reason or "", ""),
        "result": _result(door, run_id, attempt),
        "code": code_of(door, detail, task_id, attempt, now),
        "is_open": is_open,
        "is_followed": is_open or task.status == TaskStatus.FAILED_PENDING_RETRY,
        "levels": LEVELS,
        "filters": filters,
        "looked_max": LOOKED_MAX,
        "lines": lambda: lines(door, detail.run, task_id, attempt, **filters),  # not for a live rendering
    }


def _attempt(detail: RunDetail, task_id: str, retry: int | None) -> AttemptView | None:
    if retry is None:
        return max(detail.attempts, key=lambda one: one.retry, default=None)
    for attempt in detail.attempts:
        if attempt.retry == retry:
            return attempt
    raise NotFoundError(f"{task_id} in run {detail.run.run_id} has no attempt {retry}; the first one is 0")


def _tabs(attempts: Sequence[AttemptView], shown: AttemptView | None) -> list[AttemptView]:
    return [one for at, one in enumerate(attempts) if at >= len(attempts) - ATTEMPTS_MAX or one == shown]


def _why(door: Door, now: datetime, detail: RunDetail, task: TaskView, attempt: AttemptView | None) -> str:
    """Of the latest attempt why its task is where it is; of an earlier one what came of it."""
    if attempt is not None and attempt.retry < task.retry:
        took = ""
        if attempt.started_at and attempt.ended_at:
            took = f" after {about(attempt.ended_at - attempt.started_at)}"
        return f"Attempt {attempt.retry + 1} of {task.retry + 1}; it ended{took}."
    executors = door.executors_for(detail.tasks)
    words = why_task(RunDetail(detail.run, detail.tasks, []), task, now, door.is_live, executors)
    name = f"{task.task_id} in run {detail.run.run_id} of {detail.run.dag_id} "
    short = words.removeprefix(name).removesuffix(way_on(detail)).strip()
    if attempt is not None and attempt.error:  # which stands below it
        short = short.replace(f": {sentence(attempt.error)}", ".", 1)
    return short[:1].upper() + short[1:]


def _result(door: Door, run_id: int, attempt: AttemptView | None) -> ResultView | None:
    """What it returned, with line breaks for people where it is all there."""
    if attempt is None or not attempt.result_bytes:
        return None
    found = door.reads.result_of(run_id, attempt.task_id, attempt.retry, chars_max=RESULT_CHARS_MAX)
    if found is None or not found.is_whole:
        return found
    return ResultView(msgspec.json.format(found.text, indent=2), is_whole=True)


def _watches(run_id: int, **question: Any) -> tuple[Hashable, ...]:
    return (run_of(run_id),)


TASK = Page("/runs/{run_id}/tasks/{task_id}", "attempt.html", show, _watches, QUERY, refreshes=False)
PAGE = Page("/runs/{run_id}/tasks/{task_id}/{retry}", "attempt.html", show, _watches, QUERY, refreshes=False)
