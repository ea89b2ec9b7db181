"""What the pages of one dag share: its head, and the ways from one to the other."""

from datetime import datetime
from typing import Any

from ppacer.api.door import Door
from ppacer.api.why import why_dag
from ppacer.engine import RunStatus
from ppacer.store.views import DagView
from ppacer.ui.beside import whys
from ppacer.ui.filters import next_run
from ppacer.ui.words import zone_of

SECTIONS = (
    ("Grid", ""),
    ("Graph", "/graph"),
    ("Schedule", "/schedule"),
    ("Code", "/code"),
    ("Settings", "/settings"),
    ("Backfill", "/backfill"),
)


def head_of(door: Door, now: datetime, dag_id: str, section: str) -> dict[str, Any]:
    """The dag, what is not well with it in words, and its pages, of which this is one."""
    dag = door.reads.dag(dag_id)
    return {
        "dag": dag,
        "zone": zone_of(dag.schedule),
        "why": why_dag(dag, now, door.is_live) if _needs_words(dag, now, door) else "",
        "whys": whys(door, [dag.latest], now),
        "failed": dag.latest if dag.latest is not None and dag.latest.status == RunStatus.FAILED else None,
        "sections": [(word, f"/dags/{dag_id}{end}", word == section) for word, end in SECTIONS],
    }


def _needs_words(dag: DagView, now: datetime, door: Door) -> bool:
    """Whether there is more to say than when it runs next."""
    if not door.is_live or dag.removed_at is not None:
        return True
    label, words = next_run(dag, now)
    return bool(label) or words == "no more points" or dag.running >= dag.max_active_runs


def attempt_url(run_id: int, task_id: str, retry: int) -> str:
    """Where an attempt is shown; a task that has none is shown with its run."""
    return f"/runs/{run_id}" if retry < 0 else f"/runs/{run_id}/tasks/{task_id}/{retry}"
