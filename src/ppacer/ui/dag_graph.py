"""The graph of a dag, with the states of its latest run."""

from collections import Counter
from datetime import datetime
from typing import Any

from ppacer.api.door import Door, dag_of
from ppacer.store.dag_pages import tasks_of
from ppacer.store.views import TaskView
from ppacer.ui.dag import attempt_url, head_of
from ppacer.ui.graph import WORST_FIRST, picture
from ppacer.ui.page import Page


def show(door: Door, now: datetime, dag_id: str) -> dict[str, Any]:
    """The graph with which the latest run began; without a run that of now."""
    head = head_of(door, now, dag_id, "Graph")
    dag, run = head["dag"], head["dag"].latest
    graph = door.reads.graph(dag_id, dag.version if run is None else run.version)
    cells = {} if run is None else door.reads.dag_pages.cells([run])
    tasks = tasks_of(graph, run, cells)

    def url(task: TaskView) -> str:
        if run is None:
            return f"/dags/{dag_id}/code?task={task.task_id}"
        return attempt_url(run.run_id, task.task_id, task.retry)

    drawing = picture(tasks, url)
    counts = Counter(task.status for task in tasks)
    return {
        **head,
        "run": run,
        "is_old": run is not None and run.version != dag.version,
        "picture": drawing,
        "counts": [(state, counts[state]) for state in WORST_FIRST if counts[state]],
        "is_collapsed": len(drawing.nodes) < len(tasks),
    }


PAGE = Page("/dags/{dag_id}/graph", "dag_graph.html", show, lambda dag_id: (dag_of(dag_id),))
