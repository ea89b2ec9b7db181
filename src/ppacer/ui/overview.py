"""The overview: what needs a look, what runs, what comes, and how the last day was."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ppacer.api.door import DAGS, EXECUTORS, RUNS, Door
from ppacer.engine import RUN_FINAL, RunStatus
from ppacer.schedule import Cron, Fixed
from ppacer.store.views import HourView, NextView
from ppacer.ui import charts
from ppacer.ui.attention import attention
from ppacer.ui.beside import whys, zones
from ppacer.ui.filters import plural
from ppacer.ui.page import Page
from ppacer.ui.points import points_after

DAGS_MAX = 999  # whose points are looked at; with one that tells of more it is a page of the store
RUNS_MAX = 12
LANES_MAX = 12
POINTS_MAX = 60  # of one lane; what comes more often is a band
HOURS_AHEAD = 6
HOURS_BACK = 24
RECOUNT = timedelta(
    seconds=60
)  # after which hours that are over are counted again: their runs may have ended


@dataclass(frozen=True, slots=True)
class Lane:
    """The points of one dag on the time axis."""

    dag_id: str
    next_at: datetime
    zone: str
    points: list[float]
    band: float | None  # where it begins, when there are too many points
    words: str


class Overview:
    """The page; it remembers how many runs there were in the hours that are over."""

    def __init__(self) -> None:
        self._hours: list[HourView] = []
        self._counted_at: datetime | None = None

    def show(self, door: Door, now: datetime) -> dict[str, Any]:
        """What the template needs."""
        reads = door.reads
        points = reads.next_points(now + timedelta(hours=HOURS_AHEAD), limit=DAGS_MAX + 1)
        running = reads.runs(status=[RunStatus.RUNNING, RunStatus.SCHEDULED], limit=RUNS_MAX)
        ended = reads.latest_ends(limit=RUNS_MAX)
        items = attention(door, now, points)
        return {
            "has_dags": bool(door.scheduler.registry) or bool(reads.dags(limit=1)),
            "attention": items,
            "running": running,
            "ended": ended,
            "whys": whys(door, running, now),
            "zones": zones(door, [run.dag_id for run in (*running, *ended)] + [item.name for item in items]),
            "axis": _axis(door, now, points),
            "day": self._day(door, now),
        }

    def _day(self, door: Door, now: datetime) -> dict[str, Any]:
        this_hour = now.replace(minute=0, second=0, microsecond=0)
        begin = this_hour - timedelta(hours=HOURS_BACK - 1)
        if self._counted_at is None or now - self._counted_at > RECOUNT or self._hours[0].begin != begin:
            self._hours, self._counted_at = door.reads.hours(begin, HOURS_BACK - 1), now
        hours = [*self._hours, *door.reads.hours(this_hour, 1)]
        drawing = charts.day(hours)
        counts = {status: sum(hour.runs.get(status, 0) for hour in hours) for status in RunStatus}
        ended = sum(counts[status] for status in RUN_FINAL)
        return {
            "bars": drawing.bars, "width": drawing.width, "height": drawing.height, "words": drawing.words,
            "total": sum(counts.values()), "ended": ended, "failed": counts[RunStatus.FAILED],
            "success": _percent(counts[RunStatus.SUCCESS], ended),
            "ticks": [begin + timedelta(hours=hours) for hours in (0, 6, 12, 18)],
        }  # fmt: skip


def _percent(part: int, whole: int) -> str:
    """Rounded down: it is 100 % only when it is."""
    return f"{1000 * part // whole / 10:g} %" if whole else ""


def _axis(door: Door, now: datetime, points: Sequence[NextView]) -> dict[str, Any]:
    coming = [point for point in points[:DAGS_MAX] if point.next_at > now]
    end = now + timedelta(hours=HOURS_AHEAD)
    return {
        "hours": HOURS_AHEAD,
        "lanes": [_lane(door, point, now, end) for point in coming[:LANES_MAX]],
        "more": max(0, len(coming) - LANES_MAX),
        "is_cut": len(points) > DAGS_MAX,
        "ticks": [now + timedelta(hours=hours) for hours in range(HOURS_AHEAD)],
    }


def _lane(door: Door, point: NextView, now: datetime, end: datetime) -> Lane:
    dag = door.scheduler.registry.get(point.dag_id)
    schedule = None if dag is None else dag.schedule
    times = [point.next_at]
    if isinstance(schedule, Cron | Fixed):  # of the user's own nobody knows what it costs
        times += [at for at in points_after(schedule, point.next_at, POINTS_MAX) if at <= end]
    at = [round(charts.TRACK * ((one - now) / (end - now)), 1) for one in times]
    is_band = len(at) > POINTS_MAX
    zone = schedule.tz if isinstance(schedule, Cron) else "UTC"
    words = "more often than can be drawn" if is_band else plural(len(at), "point")
    return Lane(point.dag_id, point.next_at, zone, [] if is_band else at, at[0] if is_band else None, words)


def overview() -> Page:
    """The page at the root."""
    return Page("/", "overview.html", Overview().show, lambda: (RUNS, DAGS, EXECUTORS), tab="Overview")
