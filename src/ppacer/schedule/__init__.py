"""When a dag runs: Fixed, Cron and its shorthand, any object like them; and what becomes of missed points."""

from ppacer.schedule.catch_up import (
    RECENT,
    CatchUp,
    Missed,
    Stretch,
    backlog,
    first_point,
    settle_missed,
    validate_catch_up,
)
from ppacer.schedule.changes_of_clocks import clock_notes, next_change
from ppacer.schedule.cron import (
    FRIDAY,
    MONDAY,
    SATURDAY,
    SUNDAY,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    Cron,
    Weekday,
)
from ppacer.schedule.fixed import Fixed
from ppacer.schedule.points import Schedule, next_point, upcoming
from ppacer.schedule.ranges import points_in
from ppacer.schedule.shorthand import daily, every_minute, hourly, monthly, weekly, yearly

__all__ = [
    "FRIDAY",
    "MONDAY",
    "RECENT",
    "SATURDAY",
    "SUNDAY",
    "THURSDAY",
    "TUESDAY",
    "WEDNESDAY",
    "CatchUp",
    "Cron",
    "Fixed",
    "Missed",
    "Schedule",
    "Stretch",
    "Weekday",
    "backlog",
    "clock_notes",
    "daily",
    "every_minute",
    "first_point",
    "hourly",
    "monthly",
    "next_change",
    "next_point",
    "points_in",
    "settle_missed",
    "upcoming",
    "validate_catch_up",
    "weekly",
    "yearly",
]
