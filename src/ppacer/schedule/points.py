"""What a schedule is, and the one guarded door through which its points are asked for."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

from ppacer.clock import utc
from ppacer.errors import ScheduleError

TICK = timedelta(microseconds=1)  # the resolution of datetime: no two points lie closer together
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
SHOWN_MAX = 300  # characters of foreign text (a schedule's name, its exception) quoted in an error


class Schedule(Protocol):
    """Any object with these is a schedule; `start` may be a plain attribute or a property."""

    @property
    def start(self) -> datetime | None:
        """The first instant at which points may lie; None = no bound."""

    def next(self, current: datetime, previous: datetime | None, /) -> datetime | None:
        """The first point strictly after `current` and not before `start`; None = no more points.

        Both datetimes are aware and UTC; `previous` is the latest point accounted for, None before the
        first. The answer must be aware, in any zone, and depend on nothing but the arguments: the same
        question is asked again after a restart, and for instants far apart.
        """

    def __str__(self) -> str:
        """The text in `dags.Schedule`; a different text is a changed schedule."""
        ...


def next_point(schedule: Schedule, current: datetime, previous: datetime | None) -> datetime | None:
    """`schedule.next(current, previous)` in UTC, or ScheduleError when the schedule misbehaves.

    A schedule is the user's code inside the scheduler: whatever it raises or returns may disable its own
    dag only, so everything but KeyboardInterrupt is caught here. One that never returns is not.
    """
    try:
        point = schedule.next(current, previous)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a schedule does not end the scheduler
        raise ScheduleError(f"schedule {named(schedule)} raised {described(error)}") from error
    if point is None:
        return None
    moved = as_utc(point, f"the next point of schedule {named(schedule)}")
    if moved <= current:
        raise ScheduleError(
            f"schedule {named(schedule)} is out of band: asked for its first point after "
            f"{current.isoformat()} it answered {moved.isoformat()}"
        )
    return moved


def upcoming(schedule: Schedule, current: datetime, count: int) -> list[datetime]:
    """The first `count` points after `current`, which is one itself, or any instant; fewer when they end."""
    found: list[datetime] = []
    while len(found) < count and (point := next_point(schedule, current, current)) is not None:
        found.append(point)
        current = point
    return found


def as_utc(value: object, what: str) -> datetime:
    """`value` as a plain datetime in UTC; anything but an aware datetime is refused, `what` names it."""
    if not isinstance(value, datetime):
        raise ScheduleError(f"{what} must be a datetime, not {type(value).__name__}")
    try:
        if value.utcoffset() is None:
            raise ScheduleError(
                f"{what} is {value.isoformat()} without time zone; write datetime(..., tzinfo=timezone.utc)"
            )
        moved = utc(value)
        # A subclass may bring its own comparison and a finer resolution (pandas); plain ones go on.
        return moved if type(moved) is datetime else datetime.combine(moved.date(), moved.time(), UTC)
    except ScheduleError:
        raise
    except Exception as error:  # outside the years 1 to 9999 in UTC, or a tzinfo of the user that raises
        raise ScheduleError(f"{what} cannot be told in UTC: {described(error)}") from error


def just_before(instant: datetime) -> datetime:
    """The latest instant before this one: `next(just_before(x))` is the first point at or after `x`."""
    return instant - TICK if instant > EARLIEST else EARLIEST


def named(schedule: object) -> str:
    """The schedule's own text, for an error; its type where even that raises."""
    try:
        return repr(_shown(str(schedule)))
    except Exception:
        return f"of type {type(schedule).__name__}"


def described(error: BaseException) -> str:
    """An exception as `ValueError: its text`."""
    try:
        text = _shown(str(error))
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"
