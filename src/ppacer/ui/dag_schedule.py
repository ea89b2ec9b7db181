"""The points of a dag's schedule: those to come, with what clocks do to them, and what became of others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from ppacer.api.door import Door, dag_of
from ppacer.api.parameters import moment
from ppacer.clock import to_text
from ppacer.engine import ScheduleEvent
from ppacer.schedule import Cron, Fixed, Schedule, clock_notes, next_change
from ppacer.schedule.points import TICK
from ppacer.store.views import AuditView, DagView, PointView, RunView
from ppacer.ui.dag import head_of
from ppacer.ui.filters import plural
from ppacer.ui.page import Page
from ppacer.ui.points import points_after

COMING_MAX, PAST_MAX = 20, 25
AROUND = timedelta(hours=25)  # of a change of the clocks: what comes daily has a point on each side
CLOSE = timedelta(hours=1)  # to it: where what comes often is touched
AROUND_MAX = 200  # points that are looked at there
POINTS_AT_CHANGE = 8
COUNTED_MAX = 100  # points of a stretch; beyond, it is `more than`
SAME_MOMENT = timedelta(seconds=1)  # a stretch is recorded in the same step in which the pause ends
EVENTS = {
    ScheduleEvent.REGULAR: "on time",
    ScheduleEvent.CAUGHT_UP: "caught up",
    ScheduleEvent.SKIPPED: "skipped",
    ScheduleEvent.OUT_OF_BAND: "failed",
    ScheduleEvent.MANUALLY_TRIGGERED: "by hand",
}
PAUSED = "The dag was paused or disabled."
TAKEN = "A run with this execution time was there already."
UNWATCHED = (
    "No scheduler was running, or it was more than a minute late, and catch_up says to leave such points."
)
OUT_OF_BAND = "The schedule itself failed here, so the dag was disabled."


@dataclass(frozen=True, slots=True)
class Coming:
    """A point to come, on the clock of its zone."""

    at: datetime
    local: datetime
    note: str


@dataclass(frozen=True, slots=True)
class Change:
    """The next change of the clocks, what they show right before and after it, and the points it touches."""

    before: datetime
    after: datetime
    points: list[Coming]
    is_cut: bool  # there are more points near it than were looked at


@dataclass(frozen=True, slots=True)
class Past:
    """What became of a point, or of a stretch of skipped ones: how many, and why."""

    point: PointView
    word: str
    local: datetime
    end: datetime | None
    count: str
    run: RunView | None
    why: str


def show(door: Door, now: datetime, dag_id: str, before: datetime | None) -> dict[str, Any]:
    """Both lists."""
    head = head_of(door, now, dag_id, "Schedule")
    dag, zone = head["dag"], ZoneInfo(head["zone"])
    served = door.scheduler.registry.get(dag_id)
    schedule = None if served is None else served.schedule
    points = door.reads.points(dag_id, before=before, limit=PAST_MAX + 1)
    past = points[:PAST_MAX]
    return {
        **head,
        "coming": _coming(dag, schedule, zone, now),
        "clocks": _next_change(schedule, zone, now) if dag.next_at is not None else None,
        "is_own": schedule is not None and not isinstance(schedule, Cron | Fixed),
        "past": _past(door, dag_id, past, schedule, zone),
        "older": _older(dag_id, past[-1]) if len(points) > PAST_MAX else None,
        "newest": f"/dags/{dag_id}/schedule" if before else None,
    }


def _older(dag_id: str, last: PointView) -> str:
    return f"/dags/{dag_id}/schedule?{urlencode({'before': to_text(last.schedule_ts)})}"


def _coming(dag: DagView, schedule: Schedule | None, zone: ZoneInfo, now: datetime) -> list[Coming]:
    if dag.next_at is None or dag.removed_at is not None or dag.disabled_reason is not None:
        return []
    points = [dag.next_at]
    if isinstance(schedule, Cron | Fixed):  # of the user's own nobody knows what it costs
        points += points_after(schedule, dag.next_at, COMING_MAX - 1)
    notes = clock_notes(points, zone, now)
    return [Coming(at, at.astimezone(zone), note) for at, note in zip(points, notes, strict=True)]


def _next_change(schedule: Schedule | None, zone: ZoneInfo, now: datetime) -> Change | None:
    """What will become of the points around it; of those some hours away there is nothing to say."""
    if not isinstance(schedule, Cron) or (change := _change_after(zone, now.date())) is None:
        return None
    begin, found = _around(schedule, change)
    points = [at for at in found if at <= change + AROUND]
    notes = clock_notes(points, zone, begin)
    touched = [Coming(at, at.astimezone(zone), note) for at, note in zip(points, notes, strict=True) if note]
    before = (change - TICK).astimezone(zone) + TICK
    is_cut = len(found) == AROUND_MAX and found[-1] <= change + AROUND
    return Change(before, change.astimezone(zone), touched[:POINTS_AT_CHANGE], is_cut)


def _around(schedule: Cron, change: datetime) -> tuple[datetime, tuple[datetime, ...]]:
    """From when on points are looked at, and these: of what comes often, those right at the change."""
    found = points_after(schedule, change - AROUND, AROUND_MAX)
    if len(found) == AROUND_MAX and found[-1] < change + CLOSE:
        return change - CLOSE, points_after(schedule, change - CLOSE, AROUND_MAX)
    return change - AROUND, found


@lru_cache(maxsize=1_000)
def _change_after(zone: ZoneInfo, day: date) -> datetime | None:
    return next_change(zone, datetime.combine(day, time(), UTC))


def _past(
    door: Door, dag_id: str, points: Sequence[PointView], schedule: Schedule | None, zone: ZoneInfo
) -> list[Past]:
    runs = {run.exec_ts: run for run in door.reads.runs_at(dag_id, [point.schedule_ts for point in points])}
    is_skipped = any(point.event == ScheduleEvent.SKIPPED for point in points)
    ends = door.reads.audit(dag_id=dag_id, command="unpause", limit=100) if is_skipped else []
    return [_one(point, runs.get(point.schedule_ts), ends, schedule, zone) for point in points]


def _one(
    point: PointView,
    run: RunView | None,
    ends: Sequence[AuditView],
    schedule: Schedule | None,
    zone: ZoneInfo,
) -> Past:
    word, local = EVENTS[ScheduleEvent(point.event)], point.schedule_ts.astimezone(zone)
    is_asked = point.event == ScheduleEvent.MANUALLY_TRIGGERED
    if is_asked and run is not None and run.backfill_id is not None:
        word = f"by backfill {run.backfill_id}"
    if point.event != ScheduleEvent.SKIPPED:
        why = OUT_OF_BAND if point.event == ScheduleEvent.OUT_OF_BAND else ""
        return Past(point, word, local, None, "", run, why)
    end = None if point.next_schedule_ts is None else point.next_schedule_ts.astimezone(zone)
    return Past(point, word, local, end, _count(point, schedule), None, _why(point, run, ends))


def _why(point: PointView, run: RunView | None, ends: Sequence[AuditView]) -> str:
    """Rows do not say it, but what else happened at the same moment does."""
    if any(abs(end.at - point.inserted_at) < SAME_MOMENT for end in ends):
        return PAUSED
    return UNWATCHED if run is None else TAKEN


def _count(point: PointView, schedule: Schedule | None) -> str:
    """How many points a stretch has by the schedule of now."""
    if not isinstance(schedule, Cron | Fixed):
        return ""
    rest = points_after(schedule, point.schedule_ts, COUNTED_MAX)
    count = 1 + sum(1 for at in rest if point.next_schedule_ts is None or at < point.next_schedule_ts)
    return f"more than {COUNTED_MAX} points" if count > COUNTED_MAX else plural(count, "point")


BEFORE = moment("before", "Only points before this one: the page behind the last one.", UTC)
PAGE = Page(
    "/dags/{dag_id}/schedule", "dag_schedule.html", show, lambda dag_id, **_: (dag_of(dag_id),),
    query=(BEFORE,),
)  # fmt: skip
