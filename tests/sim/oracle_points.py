"""Judges the schedule of every dag: 7, 18, 27, 28, 29. Expected points come from `oracle_calendar` alone.

The records of a dag tile the time from its first point to its cursor. A segment begins with the dag, with a
changed schedule, or when a removed dag is back; the last two begin now, whatever `catch_up` says. A point is
late when it fell due between two steps of this life that lie at most 60 s apart, and missed otherwise
(docs/guarantees.md): a late point must run, of the missed ones `catch_up` decides.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ppacer.clock import ZERO, Now
from ppacer.dag import Dag, Graph
from ppacer.engine.changes import DagMarked, PointRecorded
from ppacer.engine.model import ScheduleEvent
from ppacer.schedule import Schedule
from sim.oracle_calendar import TICK, breaks_after, count_points, is_point, next_point
from sim.oracle_model import wrong

DAWN = datetime.min.replace(tzinfo=UTC)
RECENT = timedelta(seconds=60)
STRETCHES_MAX = 200


class DagState:
    """A dag as it is deployed, and where its schedule stands."""

    def __init__(self, dag: Dag, cursor: datetime | None) -> None:
        self.dag = dag
        self.versions: dict[str, Graph] = {}
        self.cursor = cursor
        self.last: datetime | None = None  # the latest point recorded in this segment
        self.is_removed = False
        self.paused_at: datetime | None = None
        self.disabled_at: datetime | None = None
        self.pauses: list[tuple[datetime, datetime]] = []  # those that are over
        self.idle_end: datetime | None = None  # the latest end of a pause, or of being disabled
        self.idle_since: datetime | None = None
        self.pause_marks = 0  # how often it was paused, and
        self.unpause_marks = 0  # was set free again

    @property
    def schedule(self) -> Schedule:
        """The schedule, of a dag that has one."""
        assert self.dag.schedule is not None
        return self.dag.schedule

    @property
    def key(self) -> tuple[str | None, str | None]:
        """What makes a schedule another one."""
        return self.dag.schedule_text, self.dag.start_text

    def idle_until(self, now: Now) -> datetime | None:
        """Until when points need not have run, because the dag was paused or disabled."""
        return now.utc if self.idle_since else self.idle_end


class Points:
    """All dags that were ever deployed, and when the scheduler was stepping in this life."""

    def __init__(self) -> None:
        self.dags: dict[str, DagState] = {}
        self._step_at: datetime | None = None
        self._planned_at = DAWN  # the last step after which the scheduler was well
        self._stepping: list[tuple[datetime, datetime]] = []  # (start, end] without a gap
        self._now: list[tuple[datetime, datetime]] = []  # the one up to this step, while it is not done
        self._gaps: list[tuple[datetime, datetime]] = []  # (start, end] in which nothing could be planned

    # -- what happens around -----------------------------------------------------------------------------

    def up(self, now: Now) -> None:
        """A new life: whatever fell due before is missed."""
        self._step_at = self._planned_at = now.utc
        self._stepping.clear()
        self._now.clear()
        self._gaps = [(DAWN, now.utc)]

    def step(self, now: Now) -> None:
        """A step of the scheduler at this time; telling it twice is telling it once."""
        at, before = now.utc, self._step_at
        if at == before:
            return
        self._step_at = at
        assert before is not None
        if at < before:  # clocks were set back: a gap is over now, what it has not reached yet is to come
            self._gaps += [(start, at) for start, end in self._gaps if start < at < end]
            self._planned_at = min(self._planned_at, at)
        since = self._planned_at
        self._now = [(since, at)] if ZERO < at - since <= RECENT else []
        if at - since > RECENT:
            self._gaps.append((since, at))
        del self._stepping[:-STRETCHES_MAX], self._gaps[:-STRETCHES_MAX]

    def planned(self, now: Now) -> None:
        """The step at this time was done, and the database did what it was asked for."""
        self._planned_at = now.utc
        if not self._now:
            return
        stepping, (start, end) = self._stepping, self._now[0]
        if stepping and stepping[-1][1] == start:
            stepping[-1] = (stepping[-1][0], end)  # one stretch goes on
        else:
            stepping.append((start, end))
        self._now = []

    def deployed(self, registry: Mapping[str, Dag], now: Now) -> None:
        """A scheduler started with these dags."""
        for dag in registry.values():
            state = self.dags.get(dag.id)
            if state is None:
                state = self.dags[dag.id] = DagState(dag, _first(dag, now, bool(dag.catch_up)))
            elif state.is_removed or state.key != (dag.schedule_text, dag.start_text):
                state.cursor, state.last, state.idle_end = _first(dag, now, False), None, None
                state.pauses.clear()
            state.dag, state.is_removed = dag, False
            state.versions[dag.version] = dag.graph
            if state.disabled_at is not None:  # another chance
                self._mark(state, state.paused_at, None, now)
        for dag_id, state in self.dags.items():
            state.is_removed = state.is_removed or dag_id not in registry

    def marked(self, change: DagMarked, now: Now) -> None:
        """Paused, disabled or free again."""
        state = self.dags.get(change.dag_id)
        if state is None:
            wrong(18, f"{change} is about a dag that was never deployed")
        if (
            change.paused_at is not None
            and state.paused_at is not None
            and change.paused_at != state.paused_at
        ):
            wrong(26, f"dag {change.dag_id!r}, paused at {state.paused_at}, is paused again")
        state.pause_marks += change.paused_at is not None
        state.unpause_marks += change.paused_at is None
        self._mark(state, change.paused_at, change.disabled_at, now)

    def _mark(
        self, state: DagState, paused_at: datetime | None, disabled_at: datetime | None, now: Now
    ) -> None:
        if state.paused_at is not None and paused_at is None:
            state.pauses.append((state.paused_at, now.utc))
        state.paused_at, state.disabled_at = paused_at, disabled_at
        is_idle = paused_at is not None or disabled_at is not None
        if is_idle and state.idle_since is None:
            state.idle_since = now.utc
        elif not is_idle and state.idle_since is not None:
            state.idle_end = max(now.utc, state.idle_end or now.utc)
            state.idle_since = None

    # -- judging -----------------------------------------------------------------------------------------

    def may_run(self, dag_id: str, exec_ts: datetime, now: Now) -> None:
        """A scheduled run is being created."""
        state = self.dags[dag_id]
        if exec_ts > now.utc:  # 28
            wrong(28, f"a scheduled run of {dag_id!r} at {exec_ts}, which is after now ({now.utc})")
        if state.idle_since is not None:  # 18
            word = "paused" if state.paused_at else "disabled"
            wrong(18, f"dag {dag_id!r} is {word} and gets a scheduled run at {exec_ts}")

    def recorded(self, change: PointRecorded, has_run: bool, now: Now) -> None:
        """A row of `schedules`; `has_run`: a run with this ExecTs exists."""
        state = self.dags.get(change.dag_id)
        if state is None or state.is_removed:  # 18
            wrong(18, f"dag {change.dag_id!r} is not deployed and gets {change}")
        if change.event is ScheduleEvent.MANUALLY_TRIGGERED:
            return
        if state.dag.schedule is None:
            wrong(7, f"dag {change.dag_id!r} has no schedule and gets {change}")
        if change.event is ScheduleEvent.OUT_OF_BAND:
            if not any(breaks_after(state.schedule, at) for at in (state.cursor, now.utc) if at is not None):
                wrong(7, f"schedule {state.dag.schedule_text} of {change.dag_id!r} is said to be out of band")
            return
        if change.ts > now.utc:  # 28
            wrong(28, f"dag {change.dag_id!r}: {change.ts} is recorded as {change.event} before it has come")
        self._judge_tile(state, change)
        if change.event is not ScheduleEvent.SKIPPED:
            self._judge_run(state, change)
        elif not (has_run and change.next_ts == next_point(state.schedule, change.ts)):
            # A point on which a run stands already (by hand, clocks having been set back) has its run.
            self._judge_skip(state, change, now)
        state.cursor, state.last = change.next_ts, change.ts

    def _judge_tile(self, state: DagState, change: PointRecorded) -> None:
        """27 and 7: it begins where the last one ended, and ends at a point."""
        dag_id, ts, next_ts = change.dag_id, change.ts, change.next_ts
        if state.cursor is None:
            wrong(7, f"dag {dag_id!r} has no more points and gets {change}")
        if ts < state.cursor:
            wrong(27, f"the cursor of {dag_id!r} goes back from {state.cursor} to {ts}")
        if ts > state.cursor:
            wrong(7, f"dag {dag_id!r}: the point {state.cursor} is left out, the next record is of {ts}")
        if next_ts is not None and next_ts <= ts:
            wrong(27, f"the cursor of {dag_id!r} goes from {ts} to {next_ts}")
        if change.event is not ScheduleEvent.SKIPPED:
            expected = next_point(state.schedule, ts)
            if next_ts != expected or breaks_after(state.schedule, ts):
                wrong(7, f"dag {dag_id!r}: the point after {ts} is {expected}, and recorded is {next_ts}")
        elif next_ts is not None and not is_point(state.schedule, next_ts):
            wrong(7, f"dag {dag_id!r}: skipped until {next_ts}, which is no point of its schedule")

    def _judge_run(self, state: DagState, change: PointRecorded) -> None:
        """29: it was late, or among the missed ones that the policy wants; and it fell in no pause."""
        for start, end in state.pauses:
            if start < change.ts < end:
                wrong(
                    29, f"dag {change.dag_id!r}: {change.ts} fell in a pause ({start} to {end}) and has a run"
                )
        if any(start < change.ts <= end for start, end in (*self._stepping, *self._now)):
            return
        policy = state.dag.catch_up
        if not any(_keeps(state.schedule, policy, change.ts, end) for _, end in self._gaps):
            wrong(29, f"dag {change.dag_id!r}: {change.ts} was missed, and catch_up={policy} gives it no run")

    def _judge_skip(self, state: DagState, change: PointRecorded, now: Now) -> None:
        """29: no skipped point had a right to its run; 28: none is still to come."""
        start, end, dag_id = change.ts, change.next_ts, change.dag_id
        future = next_point(state.schedule, now.utc)
        if start > now.utc or (future is not None and (end is None or end > future)):
            wrong(28, f"dag {dag_id!r}: {start} to {end} is skipped, and {future} is still to come")
        idle_until = state.idle_until(now)
        first = start if idle_until is None or start > idle_until else next_point(state.schedule, idle_until)
        if first is None or (end is not None and first >= end):
            return
        for low, high in (*self._stepping, *self._now):
            late = next_point(state.schedule, max(low, first - TICK))
            while late is not None and self._was_missed(late, now):
                late = next_point(state.schedule, late)
            if late is not None and late <= high and (end is None or late < end):
                wrong(29, f"dag {dag_id!r}: {late} fell due while the scheduler was stepping, and is skipped")
        self._judge_policy(state, change, first, now)

    def _was_missed(self, point: datetime, now: Now) -> bool:
        """Whether it fell into a gap, too: clocks that are set back let an hour pass twice.

        A gap that ends after now is over only once that time has come again.
        """
        return any(start < point <= end <= now.utc for start, end in self._gaps)

    def _judge_policy(self, state: DagState, change: PointRecorded, first: datetime, now: Now) -> None:
        policy, schedule, end = state.dag.catch_up, state.schedule, change.next_ts
        where = f"dag {change.dag_id!r}: {first} to {end} is skipped"
        if policy is True:
            wrong(29, f"{where}, and catch_up=True skips nothing")
        if isinstance(policy, timedelta):
            kept = next_point(schedule, max(first - TICK, now.utc - policy))
            if kept is not None and kept <= now.utc and (end is None or kept < end):
                wrong(29, f"{where}, and {kept} is not older than {policy}")
        elif policy and (end is None or count_points(schedule, end, now.utc, int(policy)) < policy):
            wrong(29, f"{where}, and fewer than {policy} points are left to run")
        recent = next_point(schedule, max(first - TICK, now.utc - RECENT))
        is_newest = end is None or end > now.utc
        if is_newest and recent is not None and recent <= now.utc:
            wrong(29, f"{where}, and its newest point is not older than 60 s")


def _keeps(schedule: Schedule, policy: object, point: datetime, at: datetime) -> bool:
    """Whether a point that was missed when the scheduler stepped again `at` this time gets a run."""
    if point > at:
        return False
    if at - point <= RECENT and count_points(schedule, point + TICK, at, 1) == 0:
        return True  # the newest one
    if isinstance(policy, bool):
        return policy
    if isinstance(policy, timedelta):
        return point >= at - policy
    assert isinstance(policy, int)
    return count_points(schedule, point + TICK, at, policy) < policy


def _first(dag: Dag, now: Now, with_catch_up: bool) -> datetime | None:
    """The first point: that of `start` with catch-up, otherwise the first from now on.

    "After registration" and "begins now" leave a point exactly now open: it counts.
    """
    if dag.schedule is None:
        return None
    if with_catch_up and dag.schedule.start is not None:
        return next_point(dag.schedule, dag.schedule.start.astimezone(now.utc.tzinfo) - TICK)
    return next_point(dag.schedule, now.utc - TICK)
