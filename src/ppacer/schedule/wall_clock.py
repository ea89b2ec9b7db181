"""From wall-clock times to instants: what happens to a cron job when clocks are changed, by cronie's rules.

A job at fixed times (neither its minute nor its hour begins with `*`) runs once right after a gap that
swallowed it, and at the first of two equal wall times. Any other job follows the clock on the wall:
nothing in a gap, and both times in a repeated hour."""

# cronsim could do this itself when given a time zone, but then it loses points where clocks change by half
# an hour (Lord Howe) or at midnight (Cairo loses a whole day), and answers with the past when asked in a
# repeated hour (2.8). So it only finds wall times, in naive datetimes, and their instants are found here.

from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from ppacer.schedule.points import TICK

DAY = timedelta(days=1)  # no zone ever changed its offset by more

Walls = Callable[[datetime], Iterator[datetime]]
"""All wall times (naive) of a job strictly after a given one, ascending."""

Find = Callable[[Walls, tzinfo, datetime], datetime | None]
"""One of the two functions that follow."""


def next_at_fixed_times(walls: Walls, zone: tzinfo, current: datetime) -> datetime | None:
    """The first instant after `current` of a job that runs at fixed times; each wall time has one."""
    for wall in walls(_wall(zone, current)):
        point = _first_instant(zone, wall)
        if point > current:  # not so in the second pass of a repeated hour, where the first has run
            return point
    return None


def next_by_the_wall(walls: Walls, zone: tzinfo, current: datetime) -> datetime | None:
    """The first instant after `current` at which the clock on the wall shows a time of the job.

    Between two changes of the clock it is subtraction. So look for a change before the point, and if
    there is one, look again from the change on. Only changes within a day of where we stand or of the
    point can matter: those between repeat or skip wall times at which the job has nothing to do.
    """
    at, after = current, _wall(zone, current)
    while (wall := next(walls(after), None)) is not None:
        point = (wall - _offset(zone, at)).replace(tzinfo=UTC)
        horizon = min(point, at + DAY)
        change = change_between(zone, at, horizon)
        if change is not None:
            at, after = change, _wall(zone, change) - TICK  # a point on the change itself counts
        elif horizon == point:
            return point
        else:
            at = max(horizon, point - 2 * DAY)
            after = _wall(zone, at)
    return None


def between(
    find: Find, walls: Walls, many_walls: Walls, zone: tzinfo, after: datetime, end: datetime
) -> Iterator[datetime]:
    """The points after one instant and before another. `many_walls`: the same walls, but faster for many.

    As long as the clock is not changed, nor was on the day before, it is subtraction, whatever the job; on
    the days of a change each point is found by itself.
    """
    at: datetime | None = after
    while at is not None and at < end:
        is_calm = _offset(zone, at - DAY) == _offset(zone, at) == _offset(zone, at + DAY)
        at = yield from (
            _calm_days(many_walls, zone, at, end) if is_calm else _day(find, walls, zone, at, end)
        )


def _calm_days(
    walls: Walls, zone: tzinfo, at: datetime, end: datetime
) -> Generator[datetime, None, datetime | None]:
    """The points until the day of a change; returns from when on to look for more, None if there are none."""
    offset, here, calm_until = _offset(zone, at), _wall(zone, at), at + DAY
    for wall in walls(here):
        point = at + (wall - here)  # many times faster than to replace the time zone
        while calm_until < point and _offset(zone, calm_until + DAY) == offset:
            calm_until += DAY
        if point > calm_until:
            return calm_until
        if point >= end:
            return None
        yield point
    return None


def _day(
    find: Find, walls: Walls, zone: tzinfo, at: datetime, end: datetime
) -> Generator[datetime, None, datetime | None]:
    """The points of a day; returns as above."""
    stop = at + DAY
    while (point := find(walls, zone, at)) is not None and point < end:
        if point > stop:
            return point - TICK
        yield point
        at = point
    return None


def _first_instant(zone: tzinfo, wall: datetime) -> datetime:
    """When the wall shows this for the first time; for a time in a gap, the end of the gap."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(zone, instant) == wall:
        return instant
    # In a gap fold=0 means the offset before it, which gives an instant after it, and fold=1 the reverse.
    end = change_between(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant)
    assert end is not None, (zone, wall)
    return end


def change_between(zone: tzinfo, low: datetime, high: datetime) -> datetime | None:
    """The first instant in (low, high] with another offset than `low`, if `high` has another."""
    offset = _offset(zone, low)
    if _offset(zone, high) == offset:
        return None
    while high - low > TICK:
        middle = low + (high - low) // 2
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return _wall(zone, instant) - instant.replace(tzinfo=None)


def _wall(zone: tzinfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)
