"""The points of a schedule as pages show them: a schedule that fails shows those that it gave before."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from itertools import islice

from ppacer.errors import ScheduleError
from ppacer.schedule import Cron, Fixed, next_point

KEPT_MAX = 512  # lists that are remembered; each has some dozens of points, at most two hundred


@lru_cache(maxsize=KEPT_MAX)
def points_after(schedule: Cron | Fixed, after: datetime, count: int) -> tuple[datetime, ...]:
    """The first `count` points after an instant; fewer when they end, or when the schedule raises.

    Also a subclass of the user's may raise: the scheduler will say so when it comes to that point, and until
    then no page is refused because of it.
    """
    return tuple(islice(_until_it_fails(schedule, after), count))


def _until_it_fails(schedule: Cron | Fixed, current: datetime) -> Iterator[datetime]:
    try:
        while (point := next_point(schedule, current, current)) is not None:
            yield point
            current = point
    except ScheduleError:
        return
