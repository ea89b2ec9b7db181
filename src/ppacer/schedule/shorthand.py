"""The everyday schedules by name; each is a Cron."""

from datetime import datetime

from ppacer.errors import ScheduleError
from ppacer.schedule.cron import MONDAY, Cron
from ppacer.schedule.cron_text import is_number


def every_minute(n: int = 1, *, tz: str = "UTC", start: datetime | None = None) -> Cron:
    """Every `n` minutes of the hour; `n` divides 60, so that the steps stay even over the full hour."""
    if not is_number(n, 1, 30) or 60 % n:
        raise ScheduleError(
            f"every_minute takes a divisor of 60 such as 5, 15 or 30, not {n!r}; "
            "for other steps use Fixed(start, timedelta(minutes=...))"
        )
    return Cron("* * * * *" if n == 1 else f"*/{n} * * * *", tz, start)


def hourly(minute: int = 0, *, tz: str = "UTC", start: datetime | None = None) -> Cron:
    """Once an hour, in this minute of it."""
    return Cron(tz=tz, start=start).at_minute(minute)


def daily(hour: int = 0, minute: int = 0, *, tz: str = "UTC", start: datetime | None = None) -> Cron:
    """Once a day, at this time of the zone."""
    return hourly(minute, tz=tz, start=start).at_hour(hour)


def weekly(
    weekday: int = MONDAY, hour: int = 0, minute: int = 0, *, tz: str = "UTC", start: datetime | None = None
) -> Cron:
    """Once a week: MONDAY … SUNDAY, at this time of the zone."""
    return daily(hour, minute, tz=tz, start=start).on_weekday(weekday)


def monthly(
    day: int = 1, hour: int = 0, minute: int = 0, *, tz: str = "UTC", start: datetime | None = None
) -> Cron:
    """Once a month; months that lack the day have no point (for the last day write `Cron("0 0 L * *")`)."""
    return daily(hour, minute, tz=tz, start=start).on_month_day(day)


def yearly(
    month: int = 1,
    day: int = 1,
    hour: int = 0,
    minute: int = 0,
    *,
    tz: str = "UTC",
    start: datetime | None = None,
) -> Cron:
    """Once a year, on this day of this month (29 February: once in four)."""
    return monthly(day, hour, minute, tz=tz, start=start).in_month(month)
