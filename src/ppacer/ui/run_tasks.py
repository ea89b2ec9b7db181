"""The tasks of a run as rows: which are shown, when they ran, why they wait, how long they took before. Pure.

A run of many tasks is shown by pages, first what asks for somebody to look, last what has succeeded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ppacer.api.parameters import choice
from ppacer.api.why import about, way_on, why_task
from ppacer.engine import TaskStatus
from ppacer.store.views import AttemptView, ExecutorView, PastRun, RunDetail, TaskView
from ppacer.ui.charts import Bar, Spark, attempts, spark, typical
from ppacer.ui.graph import WORST_FIRST

TASKS_MAX = 100  # on one page
ANCESTORS_MAX = 20  # of the tasks that name what failed before them: each looks at all that do
SLOW, SLOW_SECONDS = 2.0, timedelta(seconds=1)  # times the median, and longer by this, is worth a word
PAST_MIN = 3  # runs that make a median
URGENCY = {status: place for place, status in enumerate(WORST_FIRST)}


STATE = choice("state", "Only tasks in this state.", [*TaskStatus])


@dataclass(frozen=True, slots=True)
class Part:
    """The tasks of a page, the place of the first, and of how many; `previous`, `next`: of other pages."""

    tasks: list[TaskView]
    first: int
    count: int
    previous: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """A task with what is drawn and said of it; `slow`: where it took much longer than before."""

    task: TaskView
    bars: list[Bar]
    attempts: int
    why: str
    spark: Spark | None
    slow: str


def chosen(tasks: Sequence[TaskView], state: TaskStatus | None, first: int) -> Part:
    """One page of the tasks: in the order of the graph, or of urgency when there are too many for one."""
    fitting = [task for task in tasks if state in (None, task.status)]
    if len(fitting) > TASKS_MAX:
        fitting.sort(key=lambda task: URGENCY[TaskStatus(task.status)])
    first = min(first, max(0, len(fitting) - 1))
    end = first + TASKS_MAX
    previous = max(0, first - TASKS_MAX) if first else None
    return Part(fitting[first:end], first, len(fitting), previous, end if end < len(fitting) else None)


def states(tasks: Sequence[TaskView], chosen: TaskStatus | None, path: str) -> list[tuple[str, str, bool]]:
    """The states that there are as choices, with how many tasks each has."""
    counts = Counter(task.status for task in tasks)
    found = [
        (f"{counts[one]:,} {one.replace('_', ' ').lower()}", f"{path}?state={one.lower()}", one == chosen)
        for one in WORST_FIRST
        if counts[one]
    ]
    return [(f"{len(tasks):,} in all", path, chosen is None), *found] if len(found) > 1 or chosen else []


def rows(
    detail: RunDetail,
    tasks: Sequence[TaskView],
    past: Sequence[PastRun],
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None,
) -> list[Row]:
    """Each of these tasks with what is said of it; `executors` as for `why_task`."""
    by_task: dict[str, list[AttemptView]] = {}
    for attempt in detail.attempts:
        by_task.setdefault(attempt.task_id, []).append(attempt)
    by_id = {task.task_id: task for task in detail.tasks}
    begin, end = detail.run.started_at or now, detail.run.ended_at or now
    found, looked = [], 0
    for task in tasks:
        tried = by_task.get(task.task_id, [])
        looked += task.status == TaskStatus.UPSTREAM_FAILED
        why = "" if looked > ANCESTORS_MAX else _why(detail, by_id, task, now, is_live, executors)
        begun = sum(one.started_at is not None for one in tried)
        before = [run.took[task.task_id] for run in past if task.task_id in run.took]
        found.append(Row(task, attempts(tried, begin, end, now), begun, why, *_compared(task, before, now)))
    return found


def _why(
    detail: RunDetail,
    by_id: Mapping[str, TaskView],
    task: TaskView,
    now: datetime,
    is_live: bool,
    executors: Sequence[ExecutorView] | None,
) -> str:
    """In fewer words than elsewhere: the page says which run it is, and has a button to try again."""
    if task.status == TaskStatus.SUCCESS:
        return ""
    if task.status != TaskStatus.UPSTREAM_FAILED:  # then the parents are enough
        detail = RunDetail(detail.run, [task, *(by_id[parent] for parent in task.parents)], [])
    words = why_task(detail, task, now, is_live, executors)
    name = f"{task.task_id} in run {detail.run.run_id} of {detail.run.dag_id} "
    return words.removeprefix(name).removesuffix(way_on(detail)).strip()


def _compared(task: TaskView, before: list[timedelta], now: datetime) -> tuple[Spark | None, str]:
    """The durations of earlier runs and of this one drawn, and a word where this one is much longer."""
    if not before or task.started_at is None:
        return None, ""
    took, usual = (task.ended_at or now) - task.started_at, typical(before)
    words = f"{about(took)}; {about(usual)} at the median of {len(before)} earlier runs"
    is_slow = len(before) >= PAST_MIN and took > SLOW * usual and took > usual + SLOW_SECONDS
    slow = f"{took / usual:.1f}× its usual {about(usual)}" if is_slow and usual else ""
    return spark(before, took, task.status, words), slow
