"""The points of a schedule in a range of time: thousands, for a backfill."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from ppacer.schedule.cron import Cron
from ppacer.schedule.points import Schedule, just_before, next_point


def points_in(schedule: Schedule, start: datetime, end: datetime, count_max: int) -> list[datetime]:
    """The points in [start, end), oldest first; one more than `count_max` tells that there are more."""
    after = just_before(start)
    if type(schedule) is Cron:  # a subclass may have a `next` of its own
        return list(islice(schedule.between(after, end), count_max + 1))
    return list(islice(_one_by_one(schedule, after, end), count_max + 1))


def _one_by_one(schedule: Schedule, after: datetime, end: datetime) -> Iterator[datetime]:
    point = next_point(schedule, after, None)
    while point is not None and point < end:
        yield point
        point = next_point(schedule, point, point)
