"""36: a backfill gives each of its points one run, in its order, unless the point has one by then.

It has never more runs open than it may when it begins one, begins none while it is paused, cancelled or its
dag has points of its own that are due, and has ended exactly when nothing is left.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ppacer.clock import Now
from ppacer.engine.changes import (
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
    RunCreated,
)
from sim.oracle_calendar import TICK, breaks_after, next_point
from sim.oracle_model import RUN_ENDED, Run, wrong
from sim.oracle_points import DagState, Points


class Backfill:
    """One backfill, folded from its changes."""

    def __init__(self, change: BackfillCreated) -> None:
        self.made = change
        self.position = self.passed = 0
        self.paused_at: datetime | None = None
        self.pause_reason: str | None = None
        self.cancel_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.pause_marks = self.unpause_marks = 0
        self.runs: list[Run] = []

    def __str__(self) -> str:
        return f"backfill {self.made.backfill_id} of {self.made.dag_id!r} at {self.position}"

    @property
    def open(self) -> int:
        """How many of its runs have not ended."""
        return sum(run.status not in RUN_ENDED for run in self.runs)

    @property
    def facts(self) -> tuple[Any, ...]:
        """What its row says of it."""
        made = self.made
        return (
            *(made.dag_id, made.from_ts, made.to_ts, made.newest_first, made.max_active_runs, made.params),
            *(len(made.points), self.position, self.passed, made.at, made.created_by),
            *(self.paused_at, self.pause_reason, self.cancel_at, self.ended_at),
        )


class Backfills:
    """All of them. `by_ts` are all runs there ever were."""

    def __init__(self, points: Points, by_ts: Mapping[tuple[str, Any], Run]) -> None:
        self.points, self.by_ts = points, by_ts
        self.all: dict[int, Backfill] = {}
        self._owed: dict[tuple[int, datetime], bool] = {}  # in this transaction: whether it was passed over
        self._fresh: set[tuple[str, datetime]] = set()  # runs of this transaction
        self._cancelled: list[tuple[Backfill, list[tuple[Run, int]]]] = []  # with their open runs

    def _open(self, backfill_id: int) -> Backfill:
        one = self.all.get(backfill_id)
        if one is None or one.ended_at is not None:
            wrong(36, f"backfill {backfill_id} is {'unknown' if one is None else 'over'}, and changes")
        return one

    def created(self, change: BackfillCreated, now: Now) -> None:
        """A new one: its points are those of the range that have no run."""
        if change.backfill_id in self.all:
            wrong(36, f"{change} is the second with its number")
        state = self.points.dags.get(change.dag_id)
        if state is None or state.is_removed:
            wrong(36, f"dag {change.dag_id!r} is not deployed, and gets {change}")
        if change.to_ts > now.utc:
            wrong(36, f"{change} goes beyond now, {now.utc}")
        points = change.points[::-1] if change.newest_first else change.points
        wanted = [at for at in _points(state, change) if (change.dag_id, at) not in self.by_ts]
        # A run of the same transaction has no row yet when the points are looked for.
        late = {at for dag_id, at in self._fresh if dag_id == change.dag_id}
        if [at for at in points if at not in late] != wanted:
            wrong(36, f"{change} has the points {points}, and {wanted} are without a run")
        self.all[change.backfill_id] = Backfill(change)

    def moved(self, change: BackfillMoved, now: Now) -> None:
        """A point is dealt with."""
        one = self._open(change.backfill_id)
        points = one.made.points
        if change.position != one.position or one.position == len(points):
            wrong(36, f"{one} goes on from {change.position}")
        if one.paused_at is not None or one.cancel_at is not None:
            wrong(36, f"{one} is paused or cancelled, and goes on")
        self._owed[change.backfill_id, points[one.position]] = change.is_passed
        one.position += 1
        one.passed += change.is_passed

    def run_created(self, change: RunCreated, run: Run, now: Now) -> None:
        """A run; one of a backfill must be that of the point at which it is."""
        self._fresh.add((change.ref.dag_id, change.ref.exec_ts))
        if change.backfill_id is None:
            return
        one = self._open(change.backfill_id)
        if self._owed.pop((change.backfill_id, change.ref.exec_ts), None) is not False:
            wrong(36, f"{one} begins {run}, which is not its turn")
        if one.open >= one.made.max_active_runs:
            wrong(36, f"{one} begins {run}, with {one.open} of {one.made.max_active_runs} open")
        state = self.points.dags[change.ref.dag_id]
        if state.idle_since is None and state.cursor is not None and state.cursor <= change.at:
            wrong(36, f"{one} begins {run}, and the dag's own point at {state.cursor} is due")
        one.runs.append(run)

    def marked(self, change: BackfillMarked, now: Now) -> None:
        """Paused, or free again."""
        one = self._open(change.backfill_id)
        one.pause_marks += change.paused_at is not None
        one.unpause_marks += change.paused_at is None
        one.paused_at, one.pause_reason = change.paused_at, change.pause_reason

    def cancelled(self, change: BackfillCancelled, now: Now) -> None:
        """It shall end."""
        one = self._open(change.backfill_id)
        if one.cancel_at is not None:
            wrong(26, f"{one} is cancelled twice")
        one.cancel_at = change.at
        self._cancelled.append((one, [(run, run.restart) for run in one.runs if run.status not in RUN_ENDED]))

    def ended(self, change: BackfillEnded, now: Now) -> None:
        """Nothing is left of it."""
        one = self._open(change.backfill_id)
        if one.open or (one.cancel_at is None and one.position < len(one.made.points)):
            wrong(36, f"{one} ends with {one.open} open runs, of {len(one.made.points)} points")
        one.ended_at = change.at

    def settled(self) -> None:
        """At the end of a transaction: with a backfill its runs are cancelled; they may be restarted then."""
        for (backfill_id, at), is_passed in self._owed.items():
            dag_id = self.all[backfill_id].made.dag_id
            if not is_passed or (dag_id, at) not in self.by_ts:
                wrong(36, f"{self.all[backfill_id]}: its point {at} has no run, and it goes on behind it")
        for one, runs in self._cancelled:
            for run, restart in runs:
                if run.status not in RUN_ENDED and run.cancel_at is None and run.restart == restart:
                    wrong(36, f"{one} is cancelled, and {run} is not")
        self._owed, self._fresh, self._cancelled = {}, set(), []

    def compare(self, tables: Any) -> None:
        """24: the rows."""
        if tables.backfills.keys() != self.all.keys():
            wrong(24, f"there are rows of the backfills {tables.backfills.keys() ^ self.all.keys()} …")
        for backfill_id, one in self.all.items():
            row = tables.backfills[backfill_id]
            if tuple(row[name] for name in _COLUMNS) != one.facts:
                wrong(24, f"the row of {one} is {row}, and should be {one.facts}")
            if tables.backfillpoints[backfill_id] != one.made.points:
                wrong(24, f"the points of {one} are {tables.backfillpoints[backfill_id]}")

    def judge_memory(self, memory: Any) -> None:
        """34: the open ones, how far they are, how many of their runs are open."""
        mine = {number: one for number, one in self.all.items() if one.ended_at is None}
        if memory.backfills.open.keys() != mine.keys():
            wrong(34, f"memory has the backfills {memory.backfills.open.keys()}, and open are {mine.keys()}")
        for number, one in mine.items():
            kept = memory.backfills.open[number]
            facts = (kept.position, kept.paused_at, kept.is_cancelled)
            if facts != (one.position, one.paused_at, one.cancel_at is not None):
                wrong(34, f"{one} is {facts} in memory")
        counts = {number: one.open for number, one in self.all.items() if one.open}
        if dict(memory.engine.backfilling) != counts:
            wrong(34, f"memory counts {memory.engine.backfilling} open runs, and there are {counts}")

    def judge_end(self) -> None:
        """10: every one has ended."""
        left = [one for one in self.all.values() if one.ended_at is None]
        if left:
            wrong(10, f"{len(left)} backfills have not ended: {left[0]}")


def _points(state: DagState, change: BackfillCreated) -> list[datetime]:
    """The points of the schedule in the range."""
    found: list[datetime] = []
    at: datetime | None = change.from_ts - TICK
    while at is not None and not breaks_after(state.schedule, at):
        at = next_point(state.schedule, at)
        if at is None or at >= change.to_ts:
            break
        found.append(at)
    return found


_COLUMNS = (
    *("DagId", "FromTs", "ToTs", "NewestFirst", "MaxActiveRuns", "Params", "PointCount", "Position"),
    *("Passed", "CreatedAt", "CreatedBy", "PausedAt", "PauseReason", "CancelRequestedAt", "EndedAt"),
)
