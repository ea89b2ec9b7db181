"""Says in words why a dag, run or task is in its state, and what must happen next. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ppacer.api.why_code import code_changed
from ppacer.clock import in_words
from ppacer.engine import RUN_FINAL, RunStatus, TaskStatus
from ppacer.store.views import LOST, DagView, ExecutorView, RunDetail, RunView, TasksAt, TaskView

NAMES_MAX = 5  # of tasks in one sentence
ERROR_CHARS_MAX = 500
NOBODY = " But no scheduler is running; start it with `ppacer serve`."

# How an attempt ended, by its reason, where that is no failure of the task; its error says the rest.
_ENDED = {"HANDED_BACK": "was interrupted", "REFUSED": "was refused"}

# What a task that holds up others is doing.
_DOING = {
    TaskStatus.NO_STATUS: "not started",
    TaskStatus.RUNNING: "running",
    TaskStatus.FAILED_PENDING_RETRY: "failed, to be tried again",
}

# What the tasks of an open run are at, one and several, in the order in which it is worth to be known.
_AT = {
    LOST: ("is lost and starts anew", "are lost and start anew"),
    TaskStatus.RUNNING: ("is running", "are running"),
    TaskStatus.FAILED_PENDING_RETRY: ("failed and is tried again", "failed and are tried again"),
    TaskStatus.SCHEDULED: ("waits", "wait"),
    TaskStatus.FAILED: ("failed", "failed"),
    TaskStatus.SUCCESS: ("succeeded", "succeeded"),
}


def why_dag(dag: DagView, now: datetime, is_live: bool) -> str:
    """Why the dag does or does not get new runs."""
    id, by_hand = dag.dag_id, f"`ppacer trigger {dag.dag_id}`"
    if dag.removed_at is not None:
        return (
            f"{id} gets no runs: since {when(dag.removed_at)} it is not among the dags that are served. "
            "To bring it back, put it into the file again and restart the scheduler."
        )
    if dag.disabled_reason is not None:
        return (
            f"{id} is disabled, because its schedule failed: {sentence(dag.disabled_reason)} "
            f"Mend it and restart the scheduler, or try again with `ppacer unpause {id}`. "
            f"Meanwhile it runs only by hand: {by_hand}."
        )
    if dag.paused_at is not None:
        what = "" if dag.schedule is None else ", and the points of its schedule are skipped"
        return (
            f"{id} is paused since {when(dag.paused_at)}{what}. "
            f"It goes on with `ppacer unpause {id}`, and runs by hand even now: {by_hand}."
        )
    if dag.schedule is None:
        return f"{id} has no schedule; it runs when triggered: {by_hand}." + _open_runs(dag, is_live)
    if dag.next_at is None:
        return f"{id} gets no more runs by its schedule ({dag.schedule}), which has come to its end."
    return _next_run(dag, dag.next_at, now) + ("" if is_live else NOBODY)


def why_latest(dag: DagView) -> str:
    """What the explanation of a dag says of its latest run, if that has failed."""
    run = dag.latest
    if run is None or run.status != RunStatus.FAILED:
        return ""
    return f" Its latest run, {run.run_id}, has failed; see `ppacer why {run.run_id}`."


def _open_runs(dag: DagView, is_live: bool) -> str:
    count = dag.running + dag.waiting
    if not count:
        return ""
    words = f" {count_of(count, 'run')} of it {be(count)} open; see `ppacer runs --dag {dag.dag_id}`."
    return words if is_live else words + NOBODY


def _next_run(dag: DagView, next_at: datetime, now: datetime) -> str:
    id, is_full = dag.dag_id, dag.running >= dag.max_active_runs
    room = (
        f"{count_of(dag.running, 'run')} of it {be(dag.running)} running, and max_active_runs is "
        f"{dag.max_active_runs}; see `ppacer runs --dag {id} --status RUNNING`"
    )
    if next_at > now:
        words = f"{id} runs next at {when(next_at)} (in {about(next_at - now)}), by {dag.schedule}."
        return f"{words} Until then one of its runs must end: {room}." if is_full else words
    if is_full:
        return f"{id} was due at {when(next_at)} and waits until one of its runs ends: {room}."
    return f"{id} is due since {when(next_at)}, and its run begins at the next step of the scheduler."


def why_run(
    dag: DagView,
    detail: RunDetail,
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None = None,
) -> str:
    """Why the run is where it is, and to which backfill it belongs; `executors` as for a task."""
    number = detail.run.backfill_id
    of = "" if number is None else f" It is one of backfill {number}: `ppacer backfill show {number}`."
    return _why_run(dag, detail, now, is_live, executors) + of


def _why_run(
    dag: DagView,
    detail: RunDetail,
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None,
) -> str:
    run, name = detail.run, f"run {detail.run.run_id} of {detail.run.dag_id}"
    dead = "" if is_live else NOBODY
    again = f"`ppacer restart {run.run_id}`"
    match run.status:
        case RunStatus.SUCCESS:
            return f"{name} succeeded{_after_restarts(detail)}: {_all_did(detail)}."
        case RunStatus.FAILED:
            return (
                f"{name} failed{_after_restarts(detail)}: {_failures(detail)} "
                f"Once the cause is mended, {again} tries again what failed and what comes after it."
                f"{_pinned(dag, detail)}"
            )
        case RunStatus.CANCELLED:
            at = f" at {when(run.cancel_requested_at)}" if run.cancel_requested_at else ""
            return f"{name} was cancelled{at}. It goes on with {again}.{_pinned(dag, detail)}"
        case RunStatus.SCHEDULED:
            return f"{name} {_begin(dag)}.{dead}"
    if run.cancel_requested_at is not None:
        since = when(run.cancel_requested_at)
        return (
            f"{name} is being cancelled since {since}; it ends when its running tasks have: "
            f"{_progress(detail, now, executors)}.{dead}"
        )
    return f"{name} is running: {_progress(detail, now, executors)}.{dead}"


def _begin(dag: DagView) -> str:
    """What a run waits for that has not begun."""
    if dag.running < dag.max_active_runs:
        return "begins at the next step of the scheduler"
    return (
        f"waits until another run ends: {count_of(dag.running, 'run')} of the dag {be(dag.running)} running, "
        f"and max_active_runs is {dag.max_active_runs}"
    )


def why_open(
    run: RunView,
    dag: DagView | None,
    tasks: Sequence[TasksAt],
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None = None,
) -> str:
    """Why a run that has not ended is where it is, in few words: for a list that says which run it is.

    `dag`: that of a run that has not begun. `executors` as for a task.
    """
    if not is_live:
        return "no scheduler is running"
    if dag is not None and run.status == RunStatus.SCHEDULED:
        return _begin(dag)
    if run.cancel_requested_at is not None:
        running = [one for one in tasks if one.status == TaskStatus.RUNNING]
        return f"ends when {_first_and_last(running[0])} {_has(running[0])}" if running else "is about to end"
    order = {status: place for place, status in enumerate(_AT)}
    at = sorted((one for one in tasks if one.status in _AT), key=lambda one: order[one.status])
    words = (_tasks_at(one, now, executors) for one in at)
    return "; ".join(words) or "goes on at the next step of the scheduler"


def short_slot(task: TaskView | TasksAt, executors: Sequence[ExecutorView] | None) -> str:
    """What a task that could begin waits for, in few words: a free slot, or why no executor takes it."""
    if executors is None or has_taker(task, executors):
        return "a free slot"
    drained = [executor.name for executor in drained_for(task, executors)]
    if drained:
        why = f"{_names(drained)} {be(len(drained))} drained"
    else:
        why = "none that is up does" if any(one.state == "UP" for one in executors) else "none is up"
    return f"an executor{_wanted(task)}: {why}"


def _tasks_at(tasks: TasksAt, now: datetime, executors: Sequence[ExecutorView] | None) -> str:
    one, many = _AT[tasks.status]
    if tasks.status == TaskStatus.SCHEDULED:
        slot = short_slot(tasks, executors)
        one, many = f"waits for {slot}", f"wait for {slot}"
    words = f"{_first_and_last(tasks)} {one if tasks.count == 1 else many}"
    if tasks.status != TaskStatus.FAILED_PENDING_RETRY or tasks.retry_at is None:
        return words
    return f"{words} now" if tasks.retry_at <= now else f"{words} in {about(tasks.retry_at - now)}"


def _has(tasks: TasksAt) -> str:
    return "has ended" if tasks.count == 1 else "have ended"


def _first_and_last(tasks: TasksAt) -> str:
    """`a`, `a and z`, `a, z and 5 more`; of those that are only counted, their number."""
    if tasks.status == TaskStatus.SUCCESS:
        return count_of(tasks.count, "task")
    return _names([tasks.first, tasks.last][: tasks.count], tasks.count)


def _pinned(dag: DagView, detail: RunDetail) -> str:
    """What a restart does not bring, to somebody who has mended not the code, but a timeout, say."""
    if detail.run.version == dag.version:
        return ""
    return (
        " It keeps the order, timeouts and retries with which it began; a new run "
        f"(`ppacer trigger {dag.dag_id}`) takes those of now."
    )


def why_task(
    detail: RunDetail,
    task: TaskView,
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None = None,
) -> str:
    """Why the task is where it is; `executors`: those that are known, if they were asked for."""
    words = _why_task(detail, task, now, is_live, executors)
    return words + code_changed(detail.attempts, task.task_id, task.retry)


def _why_task(
    detail: RunDetail,
    task: TaskView,
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None,
) -> str:
    run = detail.run
    name = f"{task.task_id} in run {run.run_id} of {run.dag_id}"
    match task.status:
        case TaskStatus.SUCCESS:
            return f"{name} succeeded {_tries(task)}{_took(task)}."
        case TaskStatus.FAILED:
            return f"{name} {_end(task)} and is not tried again: {sentence(task.error)} {way_on(detail)}"
        case TaskStatus.UPSTREAM_FAILED:
            causes = _failed_ancestors(detail, task)
            return f"{name} was not started, because {causes} failed. {way_on(detail)}"
        case TaskStatus.CANCELLED:
            began = f" {_tries(task)}" if task.started_at else " before it began"
            return f"{name} was cancelled with its run{began}. {way_on(detail)}"
        case TaskStatus.SKIPPED:
            return f"{name} was skipped."
    return _open_task(name, detail, task, now, executors) + ("" if is_live else NOBODY)


def _open_task(
    name: str, detail: RunDetail, task: TaskView, now: datetime, executors: Sequence[ExecutorView] | None
) -> str:
    match task.status:
        case TaskStatus.SCHEDULED:
            since = f" since {when(task.inserted_at)}" if task.inserted_at else ""
            return f"{name} is ready{since} and waits for {_slot(task, executors)}"
        case TaskStatus.RUNNING if task.lost_at is not None:
            return (
                f"{name} is lost since {when(task.lost_at)}: its executor {task.executor} was not heard of "
                "any more. It starts anew in the next free slot, which costs no retry."
            )
        case TaskStatus.RUNNING:
            since = ""
            if task.started_at is not None:
                since = f" since {when(task.started_at)} (for {about(now - task.started_at)})"
            end = " It was told to end." if detail.run.cancel_requested_at else ""
            return f"{name} is running{since} {_tries(task)}, on executor {task.executor}.{end}"
        case TaskStatus.FAILED_PENDING_RETRY:
            return f"{name} {_end(task)}: {sentence(task.error)} It is tried again {_retry(task, now)}."
    if detail.run.status == RunStatus.SCHEDULED:
        return f"{name} waits for its run to begin; see `ppacer why {detail.run.run_id}`."
    return f"{name} waits for {_unmet(detail, task, executors)}."


def _slot(task: TaskView, executors: Sequence[ExecutorView] | None) -> str:
    """What a task waits for that could begin: a free slot, or an executor that does not exist."""
    wanted = _wanted(task)
    if executors is None or has_taker(task, executors):
        return f"a free slot of an executor{wanted}."
    for executor in drained_for(task, executors):
        name = executor.name
        return f"an executor{wanted}; {name} is one, but drained: `ppacer undrain {name}` gives it work."
    up = [executor for executor in executors if executor.state == "UP"]
    options = "".join(f" --label {label}" for label in task.labels)
    options += f" --runner {task.runner}" if task.runner else ""
    start = f"start one with `ppacer executor FILE --scheduler URL{options}`."
    if not up:
        return f"an executor{wanted}, and none is up: {start}"
    none = (
        f"none of the {len(up)} that are up does" if len(up) > 1 else f"{up[0].name}, the only one, does not"
    )
    return f"an executor{wanted}; {none}: {start}"


def _wanted(task: TaskView | TasksAt) -> str:
    """What a task asks of an executor, as the end of "an executor"."""
    wanted = f" that carries {_names(task.labels)}" if task.labels else ""
    return wanted + (
        f"{' and has' if wanted else ' that has'} the runner {task.runner}" if task.runner else ""
    )


def has_taker(task: TaskView | TasksAt, executors: Iterable[ExecutorView]) -> bool:
    """Whether one of the executors would take a task as soon as it has a free slot."""
    return any(executor.state == "UP" and _can_run(executor, task) for executor in executors)


def drained_for(task: TaskView | TasksAt, executors: Iterable[ExecutorView]) -> list[ExecutorView]:
    """The executors that would take a task, had nobody asked for them to be given nothing new."""
    asked = [one for one in executors if one.state == "DRAINING" and one.drain_asked_at is not None]
    return [one for one in asked if _can_run(one, task)]


def _can_run(executor: ExecutorView, task: TaskView | TasksAt) -> bool:
    return {*task.labels} <= {*executor.labels} and task.runner in (None, *executor.runners)


def about(span: timedelta) -> str:
    """A duration for people: three digits or so, `37ms`, `1.25s`, `42s`, `1h30m`, `2d4h`; never negative."""
    seconds = max(0.0, span.total_seconds())
    unit = 0.001 if seconds < 1 else 0.01 if seconds < 10 else 1 if seconds < 3600 else 60
    if seconds >= 86_400:
        unit = 3_600
    return in_words(timedelta(microseconds=round(seconds / unit) * round(unit * 1_000_000)))


def when(at: datetime) -> str:
    """An instant."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def count_of(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def be(count: int) -> str:
    """`is` or `are`."""
    return "is" if count == 1 else "are"


def _names(tasks: Sequence[str], count: int | None = None) -> str:
    """`a`, `a and b`, `a, b and c`; of many the first five and how many more. `count`: if there are more."""
    shown = list(tasks[:NAMES_MAX])
    more = (len(tasks) if count is None else count) - len(shown)
    last = f"{more} more" if more > 0 else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last


def sentence(error: str | None) -> str:
    """The first line of an error, which says what happened, with a full stop."""
    line = ((error or "").strip().splitlines() or ["it left no text"])[0].strip()
    if len(line) > ERROR_CHARS_MAX:
        line = line[:ERROR_CHARS_MAX] + "…"
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."


def _tries(task: TaskView) -> str:
    """At which of its attempts: the number that `ppacer logs --retry` takes is the number of retries."""
    return "at its first attempt" if task.retry <= 0 else f"at retry {task.retry}"


def _end(task: TaskView) -> str:
    return f"{_ENDED.get(task.reason or '', 'failed')} {_tries(task)}"


def _retry(task: TaskView, now: datetime) -> str:
    if task.retry_at is None or task.retry_at <= now:
        return "now"
    return f"at {when(task.retry_at)} (in {about(task.retry_at - now)})"


def _took(task: TaskView) -> str:
    if task.started_at is None or task.ended_at is None:
        return ""
    return f", in {about(task.ended_at - task.started_at)}"


def way_on(detail: RunDetail) -> str:
    """What lets the tasks of a run that did not succeed be tried again."""
    again = f"`ppacer restart {detail.run.run_id}`"
    return (
        f"To try again: {again}." if detail.run.status in RUN_FINAL else f"When the run has ended: {again}."
    )


def _after_restarts(detail: RunDetail) -> str:
    count = detail.run.restarts
    return f" after {count_of(count, 'restart')}" if count else ""


def _all_did(detail: RunDetail) -> str:
    """What succeeded, and how long it took; with restarts the time would count the pauses too."""
    count, run = len(detail.tasks), detail.run
    if not count:
        return "its dag has no tasks"
    words = "its only task did" if count == 1 else f"all {count} tasks did"
    if run.restarts or run.started_at is None or run.ended_at is None:
        return words
    return f"{words}, in {about(run.ended_at - run.started_at)}"


def _failures(detail: RunDetail) -> str:
    failed = [task for task in detail.tasks if task.status == TaskStatus.FAILED]
    if not failed:
        return "one of its tasks did."
    words = f"{failed[0].task_id} {_end(failed[0])}: {sentence(failed[0].error)}"
    others = [task.task_id for task in failed[1:]]
    return f"{words} {_names(others)} failed too." if others else words


def _progress(detail: RunDetail, now: datetime, executors: Sequence[ExecutorView] | None) -> str:
    """How far the run is, and what each of its tasks that are not final is at."""
    by_status: dict[str, list[TaskView]] = {}
    for task in detail.tasks:
        is_lost = task.status == TaskStatus.RUNNING and task.lost_at is not None
        by_status.setdefault(LOST if is_lost else task.status, []).append(task)

    def of(status: str) -> list[str]:
        one, many = _AT[status]
        names = [task.task_id for task in by_status.get(status, ())]
        return [f"{_names(names)} {one if len(names) == 1 else many}"] if names else []

    words = [
        f"{len(by_status.get(TaskStatus.SUCCESS, ()))} of {count_of(len(detail.tasks), 'task')} succeeded"
    ]
    words += of(TaskStatus.RUNNING)
    words += of(LOST)
    alike: dict[tuple[str | None, ...], list[TaskView]] = {}
    for task in by_status.get(TaskStatus.SCHEDULED, ()):
        alike.setdefault((task.runner, *task.labels), []).append(task)
    for tasks in alike.values():
        slot, verb = _slot(tasks[0], executors).rstrip("."), _AT[TaskStatus.SCHEDULED][len(tasks) > 1]
        words.append(f"{_names([task.task_id for task in tasks])} {verb} for {slot}")
    for task in by_status.get(TaskStatus.FAILED_PENDING_RETRY, ())[:NAMES_MAX]:
        words.append(f"{task.task_id} failed and is tried again {_retry(task, now)}")
    words += of(TaskStatus.FAILED)
    return "; ".join(words)


def _unmet(detail: RunDetail, task: TaskView, executors: Sequence[ExecutorView] | None) -> str:
    tasks = {other.task_id: other for other in detail.tasks}
    parents = [tasks[parent] for parent in task.parents]
    unmet = [
        f"{parent.task_id} ({_doing(parent, executors)})"
        for parent in parents
        if parent.status != TaskStatus.SUCCESS
    ]
    return _names(unmet) if unmet else "the next step of the scheduler"


def _doing(task: TaskView, executors: Sequence[ExecutorView] | None) -> str:
    if task.status == TaskStatus.SCHEDULED:
        return f"waits for {short_slot(task, executors)}"
    return _DOING.get(TaskStatus(task.status), task.status)


def _failed_ancestors(detail: RunDetail, task: TaskView) -> str:
    tasks = {other.task_id: other for other in detail.tasks}
    todo, seen, failed = list(task.parents), set(task.parents), []
    for parent in todo:
        if tasks[parent].status == TaskStatus.FAILED:
            failed.append(parent)
        for grand in tasks[parent].parents:
            if grand not in seen:
                seen.add(grand)
                todo.append(grand)
    return _names(failed) if failed else "a task before it"
