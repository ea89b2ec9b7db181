"""The range of a backfill as people give it, and the points of the schedule in it. Pure."""

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from ppacer.dag import Dag
from ppacer.errors import ConflictError, ParamsError
from ppacer.schedule import Cron, Schedule, points_in
from ppacer.schedule.cron_text import known_zone
from ppacer.scheduler.instants import in_utc

POINTS_MAX = 10_000  # finding so many takes 0.1 to 0.3 s with Cron


class Span(NamedTuple):
    """The range [begin, end) in UTC, with its points, oldest first."""

    begin: datetime
    end: datetime
    points: list[datetime]


def span_of(dag: Dag, begin: datetime, end: datetime | None, now: datetime) -> Span:
    """The points between two times; without an end: up to now.

    Times without a zone are on the clock of the schedule. Raises ConflictError for a dag without schedule,
    ParamsError for a range that cannot be, or has no points or too many, ScheduleError when it fails.
    """
    if dag.schedule is None:
        raise ConflictError(
            f"dag {dag.id!r} has no schedule, so it has no points to run; a run of any time begins with "
            f"`ppacer trigger {dag.id} --exec-ts TIME`"
        )
    zone = _zone_of(dag.schedule)
    start = _at("the begin of the range", begin, zone)
    stop = now if end is None else _at("the end of the range", end, zone)
    _check_range(start, stop, now)
    points = points_in(dag.schedule, start, stop, POINTS_MAX)
    if len(points) > POINTS_MAX:
        raise ParamsError(
            f"from {_text(start)} to {_text(stop)} there are more than {POINTS_MAX:,} points, too many for "
            f"one backfill; let it end at {_text(points[POINTS_MAX])}, and another one begin there"
        )
    if not points:
        raise ParamsError(
            f"from {_text(start)} to {_text(stop)} the schedule of dag {dag.id!r} ({dag.schedule_text}) "
            "has no points"
        )
    return Span(start, stop, points)


def _zone_of(schedule: Schedule) -> tzinfo:
    return known_zone(schedule.tz) if isinstance(schedule, Cron) else UTC


def _at(what: str, at: datetime, zone: tzinfo) -> datetime:
    return in_utc(what, at if at.tzinfo is not None else at.replace(tzinfo=zone))


def _check_range(start: datetime, stop: datetime, now: datetime) -> None:
    for name, at in (("begins", start), ("ends", stop)):
        if at > now:
            raise ParamsError(
                f"the range {name} at {_text(at)}, which is to come; points to come get their runs by "
                "themselves, so it may go up to now at most"
            )
    if start >= stop:
        raise ParamsError(f"the range begins at {_text(start)} and ends at {_text(stop)}, so it is empty")


def _text(at: datetime) -> str:
    """ISO 8601, short where it can be."""
    return at.isoformat().replace("+00:00", "Z")
