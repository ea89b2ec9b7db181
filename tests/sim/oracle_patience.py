"""13: what waits for a time does not wait for long after it. Judged by what is overdue at two looks in a row.

A step may fail to commit, so one look proves nothing; between two looks lie ten steps, and after each look
the scheduler says that it is well.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ppacer.clock import Now
from sim.oracle_leases import NEVER, Leases
from sim.oracle_model import S, wrong
from sim.oracle_points import Points
from sim.oracle_runs import Runs

LOOK_EVERY = 10  # steps
MARGIN = 5.0  # seconds; timers are looked at once a second


class Patience:
    """What was overdue at the last look."""

    def __init__(self, points: Points, leases: Leases, runs: Runs) -> None:
        self.points, self.leases, self.runs = points, leases, runs
        self._overdue: set[Any] = set()

    def look(self, scheduler: Any, now: Now) -> None:
        """Raises for what is still overdue."""
        if scheduler is None or scheduler.trouble is not None:
            self._overdue.clear()
            return
        found = {*self._points(now), *self._attempts(now)}
        still = found & self._overdue
        if still:
            wrong(13, f"these are overdue, and nothing happens: {sorted(map(str, still))}")
        self._overdue = found

    def _points(self, now: Now) -> Iterator[Any]:
        """Points that have come, of dags that may run and have room."""
        late = now.utc - timedelta(seconds=MARGIN)
        for dag_id, state in self.points.dags.items():
            may_run = not state.is_removed and state.idle_since is None
            has_room = self.runs.running.get(dag_id, 0) < state.dag.max_active_runs
            if may_run and has_room and state.cursor is not None and state.cursor <= late:
                yield "point", dag_id, state.cursor

    def _attempts(self, now: Now) -> Iterator[Any]:
        """Retries that are due, and attempts of which nobody has heard for longer than a lease."""
        late, awake = now.utc - timedelta(seconds=MARGIN), self.leases.awake(now)
        for run in self.runs.opened.values():
            for task in run.tasks:
                last = task.attempts[-1] if task.attempts else None
                if last is None:
                    continue
                if task.status is S.FAILED_PENDING_RETRY:
                    if last.retry_at is not None and last.retry_at <= late:
                        yield "retry", run.ref.run_id, task.spec.id, last.retry
                elif task.status is S.RUNNING and last.lost_at is None:
                    heard = max(self.leases.heard_at.get(str(last.executor), NEVER), self.leases.up_at)
                    if awake - max(heard, last.awake) > self.leases.lease + MARGIN:
                        yield "lease", run.ref.run_id, task.spec.id, last.retry
