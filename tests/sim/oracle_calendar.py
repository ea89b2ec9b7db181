"""The points of a schedule, computed the slow and obvious way: no cronsim, no cleverness, days cached.

Where clocks change (docs/dags.md): a job at fixed times runs at the first of two equal
wall times, and at the end of a gap that swallowed it, once; a job whose minute or hour begins with `*` runs
at every instant at which the clock on the wall shows its time.
"""

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ppacer.schedule import Cron, Fixed, Schedule

Minutes = tuple[tuple[datetime, ...], ...]  # of tuples, which the collector of garbage looks at once only

TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
OFFSET_MAX = timedelta(hours=15)  # between a zone and UTC, and one more
YEARS_MAX = 41  # 29 February is each day of the week once in 40 years (between 1901 and 2099)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def next_point(schedule: Schedule, after: datetime) -> datetime | None:
    """The first point strictly after `after`; None when there is no more."""
    if isinstance(schedule, Fixed):
        return _next_fixed(schedule.start, schedule.interval, after)
    if isinstance(schedule, Cron):
        if schedule.start is not None and after < schedule.start:
            after = schedule.start - TICK
        return _next_cron(schedule.expression, schedule.tz, after)
    return None if breaks_after(schedule, after) else _next_own(schedule, after)


def breaks_after(schedule: Schedule, after: datetime) -> bool:
    """Whether a schedule of the user's own raises, or does not advance, when asked for what comes next."""
    if isinstance(schedule, Fixed | Cron):
        return False
    try:
        found = _next_own(schedule, after)
    except Exception:
        return True
    return found is not None and found <= after


def is_point(schedule: Schedule, instant: datetime) -> bool:
    """Whether the schedule has a point exactly here."""
    return next_point(schedule, instant - TICK) == instant


def _next_own(schedule: Schedule, after: datetime) -> datetime | None:
    """An object of the user's own is its own definition."""
    found = schedule.next(after, after)
    return None if found is None else found.astimezone(UTC)


def _next_fixed(start: datetime, interval: timedelta, after: datetime) -> datetime:
    if after < start:
        return start
    return start + ((after - start) // interval + 1) * interval


class _Fields(NamedTuple):
    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # Sunday is 0
    by_the_wall: bool
    both_days: bool

    def has_day(self, day: date) -> bool:
        month_day, weekday = day.day in self.month_days, day.isoweekday() % 7 in self.weekdays
        fits = (month_day and weekday) if self.both_days else (month_day or weekday)
        return fits and day.month in self.months


@lru_cache(maxsize=1000)
def _fields(expression: str) -> _Fields:
    minute, hour, month_day, month, weekday = expression.split()
    return _Fields(
        _values(minute, 0, 59),
        _values(hour, 0, 23),
        _values(month_day, 1, 31),
        _values(month, 1, 12, MONTHS, 1),
        frozenset(day % 7 for day in _values(weekday, 0, 7, DAYS)),
        minute.startswith("*") or hour.startswith("*"),
        month_day.startswith("*") or weekday.startswith("*"),
    )


def _values(text: str, low: int, high: int, names: tuple[str, ...] = (), base: int = 0) -> frozenset[int]:
    """The numbers of one field: lists of `*`, `a`, `a-b`, each perhaps with `/step`; no L and no #."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, 6 if high == 7 else high
        else:
            start = _number(first, names, base)
            end = _number(last, names, base) if dash else (high if step else start)
        found |= set(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, names: tuple[str, ...], base: int) -> int:
    return names.index(text.upper()) + base if text.upper() in names else int(text)


def _next_cron(expression: str, tz: str, after: datetime) -> datetime | None:
    day = after.astimezone(ZoneInfo(tz)).toordinal()
    for at in range(day, day + YEARS_MAX * 366):
        points = _around(expression, tz, at)
        index = bisect_right(points, after)
        if index < len(points):
            return points[index]
    return None


@lru_cache(maxsize=100_000)
def _around(expression: str, tz: str, day: int) -> tuple[datetime, ...]:
    """All points whose wall time is on this day, the one before or the one after, in order, each once."""
    return tuple(sorted({point for at in (day - 1, day, day + 1) for point in _on(expression, tz, at)}))


@lru_cache(maxsize=100_000)
def _on(expression: str, tz: str, day: int) -> tuple[datetime, ...]:
    fields = _fields(expression)
    if not fields.has_day(date.fromordinal(day)):
        return ()
    return tuple(
        point
        for minute, points in enumerate(_minutes(tz, day, fields.by_the_wall))
        if minute // 60 in fields.hours and minute % 60 in fields.minutes
        for point in points
    )


@lru_cache(maxsize=1000)
def _minutes(tz: str, day: int, by_the_wall: bool) -> Minutes:
    """The points of every minute of the day, and nothing clever; one table for all expressions."""
    shown = _shown(tz, day)
    if by_the_wall:
        return shown
    zone, at = ZoneInfo(tz), date.fromordinal(day)
    return tuple(
        found[:1] or (_end_of_gap(datetime.combine(at, time(*divmod(minute, 60)), zone)),)
        for minute, found in enumerate(shown)
    )


@lru_cache(maxsize=1000)
def _shown(tz: str, day: int) -> Minutes:
    """For every minute of the day the instants at which the wall shows it: none in a gap, two in a repeated
    hour. Found by a look at the wall in every minute that may be on this day anywhere.
    """
    zone, instant = ZoneInfo(tz), datetime.combine(date.fromordinal(day), time(0), UTC) - OFFSET_MAX
    shown: list[list[datetime]] = [[] for _ in range(1440)]
    for _ in range(1440 + 2 * (OFFSET_MAX // MINUTE)):
        wall = instant.astimezone(zone)
        if wall.toordinal() == day:
            shown[60 * wall.hour + wall.minute].append(instant)
        instant += MINUTE
    return tuple(map(tuple, shown))


def _end_of_gap(wall: datetime) -> datetime:
    """When the clock on the wall had skipped this time."""
    # With the offset from before the gap the instant comes out after it: walk back to where it ended.
    instant = wall.astimezone(UTC)
    offset = instant.astimezone(wall.tzinfo).utcoffset()
    while (instant - MINUTE).astimezone(wall.tzinfo).utcoffset() == offset:
        instant -= MINUTE
    return instant


def count_points(schedule: Schedule, start: datetime, end: datetime, enough: int) -> int:
    """How many points lie in [start, end]; stops at `enough`."""
    count, at = 0, next_point(schedule, start - TICK)
    while at is not None and at <= end and count < enough:
        count, at = count + 1, next_point(schedule, at)
    return count
