"""Says in words why a dag, run or task is in its state, and what must happen next. Pure."""

from datetime import datetime

from ppacer.clock import in_words
from ppacer.engine import RunStatus, TaskStatus
from ppacer.store.views import DagView, RunDetail, TaskView

NAMES_MAX = 5


def why_dag(dag: DagView, now: datetime, is_live: bool) -> str:
    """Why the dag does or does not get new runs."""
    if dag.removed_at is not None:
        return f"{dag.dag_id} was not among the dags when the scheduler started last (since {_when(dag.removed_at)})."
    if dag.disabled_reason is not None:
        return (
            f"{dag.dag_id} is disabled, because its schedule failed: {dag.disabled_reason}. "
            f"Mend it and restart the scheduler, or try again with `ppacer unpause {dag.dag_id}`."
        )
    if dag.paused_at is not None:
        return (
            f"{dag.dag_id} is paused since {_when(dag.paused_at)}; points of its schedule are skipped until "
            f"`ppacer unpause {dag.dag_id}`. It can be triggered by hand."
        )
    if dag.schedule is None:
        return f"{dag.dag_id} has no schedule; it runs when triggered: `ppacer trigger {dag.dag_id}`."
    if dag.next_at is None:
        return f"{dag.dag_id}: its schedule ({dag.schedule}) has no more points."
    if dag.next_at > now:
        words = f"{dag.dag_id} runs next at {_when(dag.next_at)} (in {_span(dag.next_at - now)}), by {dag.schedule}."
        return words if is_live else f"{words} But no scheduler is running."
    if not is_live:
        return f"{dag.dag_id} was due at {_when(dag.next_at)}, but no scheduler is running; start it with `ppacer serve`."
    if dag.running >= dag.max_active_runs:
        return (
            f"{dag.dag_id} was due at {_when(dag.next_at)} and waits: {dag.running} runs are open and "
            f"max_active_runs is {dag.max_active_runs}. See `ppacer runs --dag {dag.dag_id} --status RUNNING`."
        )
    return f"{dag.dag_id} is due now ({_when(dag.next_at)})."


def why_run(dag: DagView, detail: RunDetail, now: datetime, is_live: bool) -> str:
    """Why the run is where it is."""
    run, name = detail.run, f"run {detail.run.run_id} of {detail.run.dag_id}"
    match run.status:
        case RunStatus.SUCCESS:
            return f"{name} succeeded: all {len(detail.tasks)} tasks did, in {_duration(detail)}."
        case RunStatus.FAILED:
            return f"{name} failed: {_failures(detail)}. Try again what failed with `ppacer restart {run.run_id}`."
        case RunStatus.CANCELLED:
            return f"{name} was cancelled. Let it go on with `ppacer restart {run.run_id}`."
        case RunStatus.SCHEDULED:
            return (
                f"{name} waits for room: {dag.running} runs of {run.dag_id} are RUNNING and max_active_runs is "
                f"{dag.max_active_runs}."
            )
    words = f"{name} is running: {_progress(detail)}."
    if run.cancel_requested_at is not None:
        words = f"{name} is being cancelled; it ends when its running tasks have ended: {_progress(detail)}."
    waiting = [task for task in detail.tasks if task.status == TaskStatus.FAILED_PENDING_RETRY]
    if waiting:
        words += f" {waiting[0].task_id} failed and {_retry(waiting[0], now)}."
    return words if is_live else f"{words} But no scheduler is running; start it with `ppacer serve`."


def why_task(detail: RunDetail, task: TaskView, now: datetime, is_live: bool) -> str:
    """Why the task is where it is."""
    name = f"{task.task_id} in run {detail.run.run_id} of {detail.run.dag_id}"
    dead = "" if is_live else " But no scheduler is running; start it with `ppacer serve`."
    match task.status:
        case TaskStatus.NO_STATUS:
            return f"{name} waits for {_parents(detail, task)}.{dead}"
        case TaskStatus.SCHEDULED:
            since = f" since {_when(task.inserted_at)}" if task.inserted_at else ""
            return f"{name} is ready{since} and waits for a free slot of an executor.{dead}"
        case TaskStatus.RUNNING if task.lost_at is not None:
            return f"{name} was lost with its executor {task.executor}; it is started anew at the next free slot.{dead}"
        case TaskStatus.RUNNING:
            since = f" since {_when(task.started_at)}" if task.started_at else ""
            return f"{name} is running{since} on executor {task.executor} (attempt {task.retry}).{dead}"
        case TaskStatus.SUCCESS:
            return f"{name} succeeded at attempt {task.retry}{_took(task)}."
        case TaskStatus.FAILED:
            return f"{name} failed at attempt {task.retry} ({task.reason}), with no attempt left: {_last_line(task.error)}"
        case TaskStatus.FAILED_PENDING_RETRY:
            return f"{name} failed at attempt {task.retry} ({task.reason}) and {_retry(task, now)}.{dead}"
        case TaskStatus.UPSTREAM_FAILED:
            return f"{name} was not started, because {_failed_ancestors(detail, task)} failed."
        case TaskStatus.CANCELLED:
            return f"{name} was cancelled with its run."
    return f"{name} was skipped."


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _span(span: object) -> str:
    from datetime import timedelta

    assert isinstance(span, timedelta), span
    return in_words(timedelta(seconds=round(span.total_seconds()))) if span.total_seconds() >= 1 else in_words(span)


def _retry(task: TaskView, now: datetime) -> str:
    if task.retry_at is None or task.retry_at <= now:
        return "is tried again now"
    return f"is tried again at {_when(task.retry_at)} (in {_span(task.retry_at - now)})"


def _took(task: TaskView) -> str:
    if task.started_at is None or task.ended_at is None:
        return ""
    return f" in {_span(task.ended_at - task.started_at)}"


def _duration(detail: RunDetail) -> str:
    run = detail.run
    return "no time" if run.started_at is None or run.ended_at is None else _span(run.ended_at - run.started_at)


def _names(tasks: list[TaskView]) -> str:
    shown = ", ".join(task.task_id for task in tasks[:NAMES_MAX])
    return shown if len(tasks) <= NAMES_MAX else f"{shown} and {len(tasks) - NAMES_MAX} more"


def _progress(detail: RunDetail) -> str:
    done = sum(task.status == TaskStatus.SUCCESS for task in detail.tasks)
    words = f"{done} of {len(detail.tasks)} tasks have succeeded"
    running = [task for task in detail.tasks if task.status == TaskStatus.RUNNING]
    ready = [task for task in detail.tasks if task.status == TaskStatus.SCHEDULED]
    words += f", running: {_names(running)}" if running else ""
    return words + (f", waiting for a slot: {_names(ready)}" if ready else "")


def _failures(detail: RunDetail) -> str:
    failed = [task for task in detail.tasks if task.status == TaskStatus.FAILED]
    if not failed:
        return "a task failed"
    first = failed[0]
    words = f"{first.task_id} failed at attempt {first.retry} ({first.reason}): {_last_line(first.error)}"
    others = f"; so did {_names(failed[1:])}" if failed[1:] else ""
    return words.rstrip(".") + others


def _parents(detail: RunDetail, task: TaskView) -> str:
    states = {other.task_id: other.status for other in detail.tasks}
    waiting = [f"{parent} ({states[parent]})" for parent in task.parents if states[parent] != TaskStatus.SUCCESS]
    if not waiting:
        return "its run to begin"
    shown = ", ".join(waiting[:NAMES_MAX])
    return shown if len(waiting) <= NAMES_MAX else f"{shown} and {len(waiting) - NAMES_MAX} more"


def _failed_ancestors(detail: RunDetail, task: TaskView) -> str:
    tasks = {other.task_id: other for other in detail.tasks}
    todo, seen, failed = list(task.parents), set(task.parents), []
    for parent in todo:
        if tasks[parent].status == TaskStatus.FAILED:
            failed.append(tasks[parent])
        for grand in tasks[parent].parents:
            if grand not in seen:
                seen.add(grand)
                todo.append(grand)
    return _names(failed) or "something upstream"


def _last_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else "no error text"
