"""A point every so often, counted from a start."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ppacer.clock import ZERO, in_words
from ppacer.errors import ScheduleError
from ppacer.schedule.points import as_utc


@dataclass(frozen=True, slots=True)
class Fixed:
    """Points at `start`, `start + interval`, `start + 2 * interval` and so on, in exact microseconds.

    The interval is elapsed time, so a day is 24 hours also when clocks change; for "every day at 3:00"
    use Cron. However long ago it started, the next point is one division away.
    """

    start: datetime
    interval: timedelta

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", as_utc(self.start, "the start of a Fixed schedule"))
        if not isinstance(self.interval, timedelta):
            raise ScheduleError(
                f"the interval of a Fixed schedule must be a timedelta, not {type(self.interval).__name__}"
            )
        if self.interval <= ZERO:
            raise ScheduleError(
                f"the interval of a Fixed schedule must be more than zero, not {in_words(self.interval)}"
            )

    def next(self, current: datetime, previous: datetime | None = None) -> datetime | None:
        """The first point after `current`; `start` itself is one; None after the year 9999."""
        current = as_utc(current, "the current time")
        if current < self.start:
            return self.start
        steps = (current - self.start) // self.interval + 1
        try:
            return self.start + steps * self.interval
        except OverflowError:
            return None

    def __str__(self) -> str:
        return f"FixedSchedule: {in_words(self.interval)}"
