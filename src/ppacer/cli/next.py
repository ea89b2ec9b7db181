"""`ppacer next`: the points of a schedule, with what clock changes do to them."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import click

from ppacer.cli.options import db_option, json_option, logs_db_option, opened, print_json, url_option

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ppacer.schedule import Schedule
    from ppacer.store.views import DagView

CRON_TEXT = re.compile(r"Cron: (?P<expression>.+) \((?P<tz>[^()]+)\)")
SPAN = r"(\d+(?:\.\d+)?)(ms|[dhms])"
SPAN_PART = re.compile(SPAN)
FIXED_TEXT = re.compile(rf"FixedSchedule: (?P<interval>(?:{SPAN})+)")
TICK = timedelta(microseconds=1)
UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


class Point(NamedTuple):
    """A point on the clock of its zone, and what is odd about it."""

    at: datetime
    note: str


@click.command("next")
@click.argument("what", metavar='"CRON"|DAG')
@click.option("--tz", metavar="ZONE", help="The time zone, such as Europe/Warsaw (UTC; for a dag: its own).")
@click.option(
    "-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many points."
)
@db_option
@logs_db_option
@url_option
@json_option
def next_command(
    what: str, tz: str | None, count: int, db: str | None, logs_db: str | None, url: str | None, as_json: bool
) -> int:
    """Say when a cron expression (five fields in quotes, or @daily …) or a DAG runs next.

    Times are those of the schedule's own zone; what a change of the clocks does is said beside them.
    """
    from ppacer.clock import SystemClock
    from ppacer.schedule import Cron

    now = SystemClock().now().utc
    if " " in what.strip() or what.startswith("@"):
        cron = Cron(what, tz or "UTC")
        points, about = _points(cron, cron.tz, now, count), str(cron)
        facts = {"dag_id": None, "paused": False, "schedule": about}
    else:
        with opened(db, logs_db, url) as backend:
            dag = backend.dag(what)
        points, about = _points_of_dag(dag, tz, now, count)
        facts = {"dag_id": dag.dag_id, "paused": dag.paused_at is not None, "schedule": dag.schedule}
    if as_json:
        print_json({**facts, "points": [{"at": at, "note": note} for at, note in points]})
    else:
        _show(points, about, now)
    return 0


def _points(schedule: "Schedule", tz: str, now: datetime, count: int) -> list[Point]:
    from ppacer.schedule import next_point
    from ppacer.schedule.cron_text import known_zone

    zone, found, at = known_zone(tz), [], now
    for _ in range(count):
        point = next_point(schedule, at, None)
        if point is None:
            break
        found.append(Point(point.astimezone(zone), _note(point, at, zone)))
        at = point
    return found


def _note(point: datetime, before: datetime, zone: "ZoneInfo") -> str:
    """What the clocks do at this point, or between the one before and this one."""
    local, ago = point.astimezone(zone), (point - TICK).astimezone(zone)
    if local.utcoffset() != ago.utcoffset():
        return f"clocks go from {ago.replace(tzinfo=None) + TICK:%H:%M} to {local:%H:%M} at this moment"
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        which = "second" if local.fold else "first"
        return f"comes twice, this is the {which} time"
    if before.astimezone(zone).utcoffset() != local.utcoffset():
        return "clocks have changed"
    return ""


def _points_of_dag(dag: "DagView", tz: str | None, now: datetime, count: int) -> tuple[list[Point], str]:
    """All of them for a Cron or a Fixed, whose text says everything; of another schedule only the next."""
    from ppacer.errors import ConflictError

    if dag.removed_at is not None:
        raise ConflictError(f"{dag.dag_id} is not served any more; `ppacer why {dag.dag_id}` says since when")
    if dag.schedule is None or dag.next_at is None:
        raise ConflictError(f"{dag.dag_id} has no next run; `ppacer why {dag.dag_id}` says why")
    paused = f" (paused: skipped until `ppacer unpause {dag.dag_id}`)" if dag.paused_at else ""
    about = f"{dag.dag_id}, {dag.schedule}{paused}"
    found = _schedule_of(dag.schedule, dag.next_at)
    if found is None:
        return _only(dag.next_at, tz or "UTC", now), f"{about}; only its next point is known here"
    schedule, zone = found
    return _points(schedule, tz or zone, dag.next_at - TICK, count), about


def _schedule_of(text: str, next_at: datetime) -> "tuple[Schedule, str] | None":
    """The schedule that has this text, and its zone; None for one that only the scheduler knows."""
    from ppacer.schedule import Cron, Fixed

    if (cron := CRON_TEXT.fullmatch(text)) is not None:
        return Cron(cron["expression"], cron["tz"]), cron["tz"]
    if (fixed := FIXED_TEXT.fullmatch(text)) is not None:
        parts = SPAN_PART.findall(fixed["interval"])
        return Fixed(next_at, sum((float(count) * UNITS[unit] for count, unit in parts), timedelta(0))), "UTC"
    return None


def _only(at: datetime, tz: str, now: datetime) -> list[Point]:
    from ppacer.schedule.cron_text import known_zone

    zone = known_zone(tz)
    return [Point(at.astimezone(zone), _note(at, min(at, now), zone))]


def offset(at: datetime) -> str:
    """The offset from UTC as `+02:00`."""
    text = f"{at:%z}"
    return f"{text[:3]}:{text[3:5]}"


def _show(points: list[Point], about: str, now: datetime) -> None:
    from ppacer.cli.screen import Cell, Column, Row, Screen
    from ppacer.cli.words import relative

    screen = Screen()
    screen.line(screen.paint(about, "bold"))
    if not points:
        screen.line("never again")
        return
    columns = [
        Column("DAY"),
        Column("LOCAL TIME"),
        Column("OFFSET", keep=6),
        Column("IN", keep=7),
        Column("UTC", keep=5),
        Column("NOTE", keep=8, flexible=True),
    ]
    rows: list[Row] = [
        [
            f"{at:%a}",
            f"{at:%Y-%m-%d %H:%M:%S}",
            offset(at),
            relative(at, now),
            f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at.utcoffset() else "",
            Cell(note, "yellow"),
        ]
        for at, note in points
    ]
    screen.table(columns, rows)
