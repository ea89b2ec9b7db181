"""The code of a dag's tasks: the source of each version, and what has changed between two of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ppacer.api.door import Door, dag_of
from ppacer.api.parameters import text, whole
from ppacer.errors import NotFoundError
from ppacer.store.views import SourceView
from ppacer.ui.dag import head_of
from ppacer.ui.diff import difference, numbered
from ppacer.ui.page import Page

TASKS_MAX = 500  # to choose from; of more, one is named
VERSIONS_MAX = 50  # in the list


def show(
    door: Door, now: datetime, dag_id: str, task: str | None, version: int | None, base: int | None
) -> dict[str, Any]:
    """A version of the source of a task; with `base`, what has changed since that version."""
    head = head_of(door, now, dag_id, "Code")
    ids = door.reads.dag_pages.task_ids(dag_id)
    task_id = task or (ids[0] if ids else None)
    sources = door.reads.sources(dag_id, task_id) if task_id is not None else []
    if task and not sources:
        raise NotFoundError(f"dag {dag_id!r} has no task {task[:200]!r}")
    chosen = _find(sources, version) if sources else None
    against = None if base is None or chosen is None else _find(sources, base)
    lines: Sequence[Any] = ()
    if chosen is not None:
        lines = difference(against.source, chosen.source) if against else numbered(chosen.source)
    return {
        **head,
        "task_id": task_id,
        "task_ids": ids if len(ids) <= TASKS_MAX else [],
        "is_gone": task_id is not None and task_id not in ids,
        "versions": sources[:VERSIONS_MAX],
        "chosen": chosen,
        "base": against,
        "lines": lines,
    }


def _find(sources: Sequence[SourceView], version: int | None) -> SourceView:
    """The version with this number, or the newest. Raises NotFoundError."""
    if version is None:
        return sources[0]
    for source in sources:
        if source.revision == version:
            return source
    raise NotFoundError(f"there is no version {version} of the code of {sources[0].task_id}")


QUERY = (
    text("task", "The task; the first one when not given."),
    whole("version", "Which version of its code; the newest when not given."),
    whole("base", "What has changed since this version."),
)
PAGE = Page(
    "/dags/{dag_id}/code", "dag_code.html", show, lambda dag_id, **_: (dag_of(dag_id),), query=QUERY
)  # fmt: skip
