"""The grid of a dag: its tasks, and what became of each in the latest runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ppacer.api.door import Door, dag_of
from ppacer.api.parameters import text, whole
from ppacer.api.why import about
from ppacer.engine import TaskStatus
from ppacer.store.views import CellView, RunView
from ppacer.ui.addresses import address
from ppacer.ui.beside import whys
from ppacer.ui.charts import span_of
from ppacer.ui.dag import attempt_url, head_of
from ppacer.ui.filters import plural, spoken
from ppacer.ui.page import Page

RUNS_MAX = 25  # columns
TASKS_MAX = 100  # rows; a page of them is as much as a browser shows without a pause
VERSIONS_MAX = 4  # whose tasks are looked up: those that are gone are rows, too
FILTERED_FROM = 20  # tasks, from which on it helps to look for some
ERROR_CHARS_MAX = 200
TALL, LOW = 44, 3  # pixels of the highest bar and of the lowest

Cells = Mapping[tuple[int, str], CellView]
WITH_ERROR = (TaskStatus.FAILED, TaskStatus.FAILED_PENDING_RETRY)
WAITING = (TaskStatus.NO_STATUS, TaskStatus.SCHEDULED, TaskStatus.FAILED_PENDING_RETRY)
NOT_YET = CellView(-1, TaskStatus.NO_STATUS, None, None)


@dataclass(frozen=True, slots=True)
class Column:
    """A run: its bar, and what it says when pointed at. `is_new`: it began with other code than before."""

    run: RunView
    height: float
    took: str
    words: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Square:
    """What became of a task in a run."""

    state: str
    url: str
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """A task: a square for each run, None where the run lacks it; its newest attempt with its error."""

    task_id: str
    is_gone: bool
    squares: list[Square | None]
    newest: CellView | None
    error: str


def show(
    door: Door, now: datetime, dag_id: str, before: int | None, task: int, text: str | None
) -> dict[str, Any]:
    """The newest runs below a number, and some tasks from one on."""
    head = head_of(door, now, dag_id, "Grid")
    newest_first = door.reads.runs(dag_id=dag_id, before=before, limit=RUNS_MAX + 1)
    runs = newest_first[:RUNS_MAX][::-1]
    graphs = _graphs(door, dag_id, head["dag"].version, runs)
    ids = [id for id in _every_task(graphs) if (text or "").lower() in id.lower()]
    shown = ids[task : task + TASKS_MAX]
    cells = door.reads.dag_pages.cells(runs, shown)
    bad = [id for id in shown if runs and cells.get((runs[-1].run_id, id), NOT_YET).status in WITH_ERROR]
    errors = door.reads.dag_pages.errors(runs[-1], bad) if runs else {}
    current = graphs[head["dag"].version]
    why = whys(door, runs, now)
    rows = [_row(id, id not in current, runs, graphs, cells, errors.get(id, ""), now, why) for id in shown]
    return {
        **head,
        "columns": _columns(runs, now),
        "longest": about(max((span_of(run, now) for run in runs), default=timedelta())),
        "rows": rows,
        "by_tab": _by_tab(rows),
        "text": text,
        "filters": bool(text) or len(ids) > FILTERED_FROM,
        "range": _range(task, len(shown), len(ids)),
        "newer": _url(dag_id, task=task, text=text) if before is not None else None,
        "older": _url(dag_id, runs[0].run_id, task, text) if len(newest_first) > RUNS_MAX else None,
        "fewer": _url(dag_id, before, max(0, task - TASKS_MAX), text) if task else None,
        "more": _url(dag_id, before, task + TASKS_MAX, text) if task + TASKS_MAX < len(ids) else None,
    }


def _url(dag_id: str, before: int | None = None, task: int = 0, text: str | None = None) -> str:
    return address(f"/dags/{dag_id}", before=before, task=task, text=text)


def _range(first: int, shown: int, every: int) -> str:
    if shown == every:
        return plural(every, "task")
    return (
        f"{first + 1:,} to {first + shown:,} of {plural(every, 'task')}" if shown else plural(every, "task")
    )


def _graphs(door: Door, dag_id: str, current: str, runs: Sequence[RunView]) -> dict[str, dict[str, int]]:
    """The tasks of the current version, and of the newest that the runs have."""
    versions = dict.fromkeys([current, *(run.version for run in reversed(runs))])
    kept = [*versions][:VERSIONS_MAX]
    return {version: dict(door.reads.graph(dag_id, version).index) for version in kept}


def _every_task(graphs: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [*dict.fromkeys(id for tasks in graphs.values() for id in tasks)]


def _columns(runs: Sequence[RunView], now: datetime) -> list[Column]:
    spans = [span_of(run, now) for run in runs]
    longest = max(spans, default=timedelta()) or timedelta(seconds=1)
    before = [None, *(run.version for run in runs)]
    columns = []
    for run, span, version in zip(runs, spans, before, strict=False):
        height = round(LOW + (TALL - LOW) * min(1.0, span / longest), 1)
        took = about(span) if run.started_at else ""
        is_new = version not in (None, run.version)
        words = f"run {run.run_id}: {run.status}" + (f", {took}" if took else "")
        columns.append(Column(run, height, took, words + (", the first of its version" * is_new), is_new))
    return columns


def _row(
    task_id: str,
    is_gone: bool,
    runs: Sequence[RunView],
    graphs: Mapping[str, Mapping[str, int]],
    cells: Cells,
    error: str,
    now: datetime,
    by_run: Mapping[int, str],
) -> Row:
    found = [_cell(task_id, run, graphs, cells) for run in runs]
    squares = [
        None if cell is None else _square(task_id, run, cell, now, by_run.get(run.run_id, ""))
        for run, cell in zip(runs, found, strict=True)
    ]
    return Row(
        task_id,
        is_gone,
        squares,
        found[-1] if found else None,
        error.strip().partition("\n")[0][:ERROR_CHARS_MAX],
    )


def _by_tab(rows: Sequence[Row]) -> Square | None:
    """The one square that the key Tab reaches: the newest of the first task that has any."""
    return next((square for row in rows for square in reversed(row.squares) if square is not None), None)


def _cell(
    task_id: str, run: RunView, graphs: Mapping[str, Mapping[str, int]], cells: Cells
) -> CellView | None:
    """What became of the task; None where the run is known not to have it."""
    has_it = task_id in graphs.get(run.version, (task_id,))
    return cells.get((run.run_id, task_id), NOT_YET if has_it else None)


def _square(task_id: str, run: RunView, cell: CellView, now: datetime, why: str) -> Square:
    """`why`: how it stands with its run, told of the tasks that wait."""
    took = f", {about(span_of(cell, now))}" if cell.started_at else ""
    tries = f", attempt {cell.retry + 1}" if cell.retry > 0 else ""
    words = f"{task_id} in run {run.run_id}: {spoken(cell.status)}{took}{tries}"
    if why and cell.status in WAITING:
        words += f"; its run: {why}"
    return Square(cell.status, attempt_url(run.run_id, task_id, cell.retry), words)


QUERY = (
    whole("before", "Only runs with a lower number: the page behind the last one."),
    whole("task", "From which task on, in the order of the graph.", 0),
    text("text", "Only tasks with this text in their id."),
)
PAGE = Page("/dags/{dag_id}", "dag_grid.html", show, lambda dag_id, **_: (dag_of(dag_id),), query=QUERY)
