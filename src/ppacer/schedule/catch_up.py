"""Which points missed during a downtime still run, and which are recorded as skipped. Pure.

A schedule may have millions of points in a downtime, so those that are skipped are never enumerated:
the newest are found by looking back from now through a window that grows until it holds enough.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ppacer.clock import ZERO
from ppacer.errors import ScheduleError
from ppacer.schedule.points import TICK, Schedule, as_utc, described, just_before, named, next_point

CatchUp = bool | int | timedelta
"""False: skip to the next point; True: run all; a number: the newest so many; a duration: those no older."""

RECENT = timedelta(seconds=60)
"""The newest missed point, if no older, runs under any policy: a deploy at 03:00:05 keeps the nightly job."""

CATCH_UP_MAX = 100_000  # points that a number may ask for; finding so many takes 2 to 4 s with Cron


COUNTED_MAX = 100


@dataclass(frozen=True, slots=True)
class Stretch:
    """The points in the half-open [start, end) are skipped; end None = the schedule has ended."""

    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Missed:
    """What becomes of missed points: `skipped` are recorded, and `resume` is the first point that stays.

    `resume` is to be run if it is due and waited for otherwise, as is every point after it; None = the
    schedule has no more points.
    """

    skipped: Stretch | None
    resume: datetime | None


def validate_catch_up(value: object) -> CatchUp:
    """The value, if it is a policy; ScheduleError with a sentence otherwise."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if 0 <= value <= CATCH_UP_MAX:
            return value
        raise ScheduleError(f"catch_up as a number takes 0 to {CATCH_UP_MAX}, not {value}; True runs all")
    if isinstance(value, timedelta):
        if value > ZERO:
            return value
        raise ScheduleError("catch_up as a duration must be more than zero; False runs no missed points")
    raise ScheduleError(f"catch_up takes True, False, a number or a timedelta, not {type(value).__name__}")


def first_point(schedule: Schedule, registered: datetime, catch_up: CatchUp) -> datetime | None:
    """The first point of a schedule that has just been registered; None = it has none.

    With catch-up it is the first at or after `start`; without, or where nothing bounds the past, the first
    at or after registration (one on that very instant counts). A start in the future holds either way.
    """
    start = _start(schedule)
    earliest = as_utc(registered, "the time of registration")
    if start is not None:
        earliest = start if catch_up else max(start, earliest)
    return next_point(schedule, just_before(earliest), None)


def settle_missed(schedule: Schedule, cursor: datetime, now: datetime, policy: CatchUp) -> Missed:
    """Divides the missed points in [cursor, now] by the policy; `cursor` is the first not accounted for.

    The cursor is a point by the word of the schedule when it was asked, and is not asked for again. The
    calls of `schedule.next` are a small multiple of the points a number keeps (none for True, a few for
    the others) plus the logarithm of the span; where points come in bursts at most the product of the two.
    """
    cursor, now = as_utc(cursor, "the cursor"), as_utc(now, "the current time")
    resume = cursor if cursor > now else _first_to_stay(schedule, cursor, now, policy)
    return Missed(None if resume == cursor else Stretch(cursor, resume), resume)


def backlog(schedule: Schedule, cursor: datetime, now: datetime, policy: CatchUp) -> int:
    """About how many missed points will run: counted up to 100, beyond that judged by how dense those are."""
    cursor = settle_missed(schedule, cursor, now, policy).resume or now
    if cursor > now:
        return 0
    points, more = _between(schedule, cursor, now, cursor, COUNTED_MAX)
    if not more:
        return 1 + len(points)
    return round(len(points) * ((now - cursor) / (points[-1] - cursor)))


def _first_to_stay(schedule: Schedule, cursor: datetime, now: datetime, policy: CatchUp) -> datetime | None:
    if policy is True:
        return cursor
    if isinstance(policy, timedelta):
        first = _first_within(schedule, cursor, now, policy)
        if first is not None and first <= now:
            return first
    elif policy:
        return _newest(schedule, cursor, now, policy)[0]
    recent = _first_within(schedule, cursor, now, RECENT)
    return recent if recent is None or recent > now else _newest(schedule, recent, now, 1)[0]


def _first_within(schedule: Schedule, cursor: datetime, now: datetime, age: timedelta) -> datetime | None:
    """The first point from the cursor on that is not older than `age`; it may lie in the future."""
    if now - cursor <= age:
        return cursor
    return next_point(schedule, just_before(now - age), cursor)


def _newest(schedule: Schedule, cursor: datetime, now: datetime, count: int) -> list[datetime]:
    """The newest `count` points in [cursor, now], or as many as there are, oldest first.

    Everything in (known, now] has been found. Each round looks at the window before it: one that holds
    far too many points is halved, any other becomes known and the next is twice as wide.
    """
    found: list[datetime] = []
    known = now
    following = next_point(schedule, cursor, cursor)
    window = now - cursor if following is None else following - cursor
    while known > cursor and len(found) < count:
        low = known - min(window, known - cursor)
        points, more = _between(schedule, low, known, cursor, 2 * count + 2)
        if more:
            window = max((known - points[-1]) // 2, TICK)
        else:
            found = points + found
            known = low
            window *= 2
    return found[-count:] if len(found) >= count else [cursor, *found]


def _between(
    schedule: Schedule, low: datetime, high: datetime, previous: datetime, points_max: int
) -> tuple[list[datetime], bool]:
    """The points in (low, high] from the oldest on, and whether there are more than `points_max`."""
    points: list[datetime] = []
    point = next_point(schedule, low, previous)
    while point is not None and point <= high:
        if len(points) == points_max:
            return points, True
        points.append(point)
        point = next_point(schedule, point, point)
    return points, False


def _start(schedule: Schedule) -> datetime | None:
    try:
        start = schedule.start
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ScheduleError(f"schedule {named(schedule)} has no start: {described(error)}") from error
    return None if start is None else as_utc(start, f"the start of schedule {named(schedule)}")
