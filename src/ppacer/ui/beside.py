"""What a list says beside its runs: why the open ones are where they are, and the clocks of their dags.

Each is asked for once, for all rows of a page.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import chain

from ppacer.api.door import Door
from ppacer.api.why import why_open
from ppacer.engine import RUN_FINAL, RunStatus
from ppacer.store.views import RunView
from ppacer.ui.words import zone_of


def whys(door: Door, runs: Iterable[RunView | None], now: datetime) -> dict[int, str]:
    """By the number of a run; of what has ended there is nothing to say, and of what is too large here."""
    still_open = [run for run in runs if run is not None and run.status not in RUN_FINAL]
    if not still_open:
        return {}
    at = door.reads.tasks_at([run.run_id for run in still_open])
    waiting = {run.dag_id for run in still_open if run.status == RunStatus.SCHEDULED}
    dags = door.reads.dags_of(waiting)
    executors = door.executors_for(chain.from_iterable(at.values()))
    return {
        run.run_id: why_open(run, dags.get(run.dag_id), at[run.run_id], now, door.is_live, executors)
        for run in still_open
        if run.run_id in at
    }


def zones(door: Door, dag_ids: Iterable[str]) -> dict[str, str]:
    """The time zones by which the schedules of these dags go."""
    schedules = door.reads.schedules_of({*dag_ids})
    return {dag_id: zone_of(schedule) for dag_id, schedule in schedules.items()}
