"""When clocks are changed, and what that does to the points of a schedule, in words."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from itertools import pairwise

from ppacer.schedule.points import TICK
from ppacer.schedule.wall_clock import DAY, change_between

DAYS_AHEAD = 370


def clock_notes(points: Sequence[datetime], zone: tzinfo, now: datetime) -> list[str]:
    """What is odd, in that zone, about each of these points, which follow each other; mostly nothing."""
    line = [min([now, *points[:1]]), *points]
    return [_note(at, before, zone) for before, at in pairwise(line)]


def _note(point: datetime, before: datetime, zone: tzinfo) -> str:
    """What the clocks do at this point, or between the one before and this one."""
    local, ago = point.astimezone(zone), (point - TICK).astimezone(zone)
    if local.utcoffset() != ago.utcoffset():
        return f"clocks go from {ago.replace(tzinfo=None) + TICK:%H:%M} to {local:%H:%M} at this moment"
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        which = "second" if local.fold else "first"
        return f"comes twice, this is the {which} time"
    if before.astimezone(zone).utcoffset() != local.utcoffset():
        return "clocks have changed"
    return ""


def next_change(zone: tzinfo, now: datetime) -> datetime | None:
    """When the clocks of a zone are changed next, if that is within a year or so."""
    for days in range(DAYS_AHEAD):
        if (found := change_between(zone, now + days * DAY, now + (days + 1) * DAY)) is not None:
            return found
    return None
