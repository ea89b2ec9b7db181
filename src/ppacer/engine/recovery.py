"""From rows back to memory: a run after a restart of the program is what it was before."""

from collections.abc import Iterable

from ppacer.dag import Graph
from ppacer.engine.model import TASK_FINAL, AttemptRow, Reason, RunRow, RunState, TaskState, TaskStatus
from ppacer.engine.retries import SPENDING, count_refusal


def run_from_rows(row: RunRow, graph: Graph, attempts: Iterable[AttemptRow]) -> RunState:
    """The run as it was when these rows were written; `attempts` ordered by number."""
    run = RunState(row.ref, graph, row.trigger, row.params, row.restart, row.backfill_id)
    run.status, run.cancelling = row.status, row.cancelling
    for attempt in attempts:
        _replay(run.tasks[graph.index[attempt.task_id]], attempt, row.restart)
    _count(run)
    return run


def _count(run: RunState) -> None:
    """What the engine counts as tasks end, of those that have ended."""
    for position, task in enumerate(run.tasks):
        if task.status in TASK_FINAL:
            run.open -= 1
            run.failed += task.status is TaskStatus.FAILED
            run.is_cancelled |= task.status is TaskStatus.CANCELLED
        if task.status is TaskStatus.SUCCESS:
            for child in run.graph.children[position]:
                run.tasks[child].unmet -= 1


def _replay(task: TaskState, row: AttemptRow, restart: int) -> None:
    """Brings a task to the state after one of its attempts, the earlier ones having been replayed."""
    task.retry = row.retry
    if row.restart < restart and row.status is not TaskStatus.SUCCESS:
        return  # a restart has wiped it out
    running = row.status is TaskStatus.RUNNING
    task.status, task.executor, task.has_result = row.status, row.executor, row.has_result
    task.token = row.token if running else None
    task.is_lost = running and row.is_lost
    task.retry_at = row.retry_at
    task.spent += row.status is TaskStatus.FAILED_PENDING_RETRY and row.reason in SPENDING
    task.lost += task.is_lost or row.reason is Reason.LOST
    if row.reason is Reason.REFUSED:
        count_refusal(task, row.executor)
