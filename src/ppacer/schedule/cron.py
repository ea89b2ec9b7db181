"""Points by the calendar and the clock on the wall, as cron has them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

from ppacer.errors import ScheduleError
from ppacer.schedule.cron_text import is_number, known_zone, normal_expression
from ppacer.schedule.points import TICK, as_utc, just_before
from ppacer.schedule.wall_clock import DAY, Find, between, next_at_fixed_times, next_by_the_wall

A_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - on the wall; any day, of which there is the time alone
DAWN = datetime(1, 1, 2, tzinfo=UTC)  # before it a wall clock west of Greenwich would show the year 0


class Weekday(IntEnum):
    """Days as cron counts them, which is also `date.isoweekday()`; cron writes Sunday as 0 or 7."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7


MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = Weekday


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields (or a nickname such as `@daily`) in a named time zone.

    `Cron()` is every minute. The fluent methods each give a new Cron with one field replaced:
    `Cron().at_minute(10).at_hours(8, 16).on_weekday(MONDAY)` is `Cron("10 8,16 * * 1")`. Where both days
    are restricted either suffices, unless one begins with `*`, as in Debian's cron. What happens when
    clocks are changed is told in `wall_clock`.
    """

    expression: str = "* * * * *"
    tz: str = "UTC"
    start: datetime | None = None
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", normal_expression(self.expression))
        object.__setattr__(self, "_zone", known_zone(self.tz))
        if self.start is not None:
            object.__setattr__(self, "start", as_utc(self.start, "the start of a Cron schedule"))

    def next(self, current: datetime, previous: datetime | None = None) -> datetime | None:
        """The first point after `current` and not before `start`, in UTC; None after the year 9999."""
        try:
            return self._find(self._walls, self._zone, self._after(current))
        except OverflowError:
            return None

    def between(self, after: datetime, end: datetime) -> Iterator[datetime]:
        """The points after one instant and before another: those that `next` gives, many times faster."""
        with suppress(OverflowError):
            yield from between(self._find, self._walls, self._many_walls, self._zone, self._after(after), end)

    def _after(self, current: datetime) -> datetime:
        """From when on points are looked for."""
        after = as_utc(current, "the current time")
        if self.start is not None and after < self.start:
            after = just_before(self.start)
        return max(after, DAWN)

    def at_minute(self, minute: int) -> "Cron":
        """Only in this minute (0-59) of an hour."""
        return self.at_minutes(minute)

    def at_minutes(self, *minutes: int) -> "Cron":
        """Only in these minutes (0-59) of an hour."""
        return self._with(0, _listed("minute", minutes, 0, 59))

    def at_hour(self, hour: int) -> "Cron":
        """Only in this hour (0-23); every minute of it, unless `at_minute` says which."""
        return self.at_hours(hour)

    def at_hours(self, *hours: int) -> "Cron":
        """Only in these hours (0-23); every minute of them, unless `at_minute` says which."""
        return self._with(1, _listed("hour", hours, 0, 23))

    def on_month_day(self, day: int) -> "Cron":
        """Only on this day (1-31) of a month; months without it have no point."""
        return self.on_month_days(day)

    def on_month_days(self, *days: int) -> "Cron":
        """Only on these days (1-31) of a month."""
        return self._with(2, _listed("month day", days, 1, 31))

    def in_month(self, month: int) -> "Cron":
        """Only in this month (1-12)."""
        return self.in_months(month)

    def in_months(self, *months: int) -> "Cron":
        """Only in these months (1-12)."""
        return self._with(3, _listed("month", months, 1, 12))

    def on_weekday(self, weekday: int) -> "Cron":
        """Only on this day of the week: MONDAY … SUNDAY, or cron's number 0-7."""
        return self.on_weekdays(weekday)

    def on_weekdays(self, *weekdays: int) -> "Cron":
        """Only on these days of the week: MONDAY … SUNDAY, or cron's numbers 0-7."""
        _listed("weekday", weekdays, 0, 7)
        return self._with(4, _listed("weekday", [day % 7 for day in weekdays], 0, 6))

    def starts(self, start: datetime) -> "Cron":
        """No point before this instant; one on it counts."""
        return replace(self, start=start)

    def __str__(self) -> str:
        return f"Cron: {self.expression} ({self.tz})"

    def _with(self, at: int, text: str) -> "Cron":
        fields = self.expression.split()
        fields[at] = text
        return replace(self, expression=" ".join(fields))

    @property
    def _find(self) -> Find:
        """Cronie's difference between jobs that run every so often and jobs at fixed times."""
        minute, hour, *_ = self.expression.split()
        is_every_so_often = minute.startswith("*") or hour.startswith("*")
        return next_by_the_wall if is_every_so_often else next_at_fixed_times

    def _walls(self, after: datetime) -> Iterator[datetime]:
        return CronSim(self.expression, after)

    def _many_walls(self, after: datetime) -> Iterator[datetime]:
        """The same for many of them: each day that has any has the same ones, so only days are looked for."""
        minute, hour, *days = self.expression.split()
        hours, minutes = _first(f"0 {hour} * * *", DAY), _first(f"{minute} * * * *", timedelta(hours=1))
        times = [past_midnight + past_hour for past_midnight in hours for past_hour in minutes]
        today = after.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in CronSim(f"0 0 {' '.join(days)}", today - TICK):
            yield from (day + time for time in times if day > today or day + time > after)


def _first(expression: str, span: timedelta) -> list[timedelta]:
    """How far behind the begin of a day its points are, as long as it is less than `span`."""
    return [
        wall - A_DAY
        for wall in takewhile(lambda wall: wall < A_DAY + span, CronSim(expression, A_DAY - TICK))
    ]


def _listed(what: str, values: Sequence[int], low: int, high: int) -> str:
    """The values as one field of an expression: in order, each once."""
    if not values:
        raise ScheduleError(f"name at least one {what}")
    for value in values:
        if not is_number(value, low, high):
            raise ScheduleError(f"{what} {value!r} is not a number from {low} to {high}")
    return ",".join(str(int(value)) for value in sorted(set(values)))
