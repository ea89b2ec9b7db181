"""`ppacer next`: the points of a schedule, with what clock changes do to them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import click

from ppacer.cli.options import (
    db_option,
    json_option,
    logs_db_option,
    opened,
    print_json,
    token_option,
    url_option,
)

if TYPE_CHECKING:
    from ppacer.store.views import DagView


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
@token_option
@json_option
def next_command(
    what: str,
    tz: str | None,
    count: int,
    db: str | None,
    logs_db: str | None,
    url: str | None,
    token_file: str | None,
    as_json: bool,
) -> int:
    """Say when a cron expression (five fields in quotes, or @daily …) or a DAG runs next.

    Times are those of the schedule's own zone; what a change of the clocks does is said beside them.
    """
    from ppacer.clock import SystemClock
    from ppacer.schedule import Cron, upcoming

    now = SystemClock().now().utc
    if not what.strip():
        raise click.UsageError('which? It takes a cron expression, such as "0 3 * * *", or a dag')
    if " " in what.strip() or what.startswith("@"):
        cron = Cron(what, tz or "UTC")
        points, about = _noted(upcoming(cron, now, count), cron.tz, now), str(cron)
        facts = {"dag_id": None, "paused": False, "schedule": about}
    else:
        with opened(db, logs_db, url, token_file) as backend:
            dag = backend.dag(what)
            about = _about(dag)
            found = backend.next(what, count=count)
            if count > 1 and not backend.is_live:
                about += "; no scheduler is running, so only its next point is known"
        points = _noted(found.points, tz or found.tz, now)
        facts = {"dag_id": dag.dag_id, "paused": dag.paused_at is not None, "schedule": dag.schedule}
    if as_json:
        print_json({**facts, "points": [{"at": at, "note": note} for at, note in points]})
    else:
        _show(points, about, now)
    return 0


def _noted(points: list[datetime], tz: str, now: datetime) -> list[Point]:
    from ppacer.schedule import clock_notes
    from ppacer.schedule.cron_text import known_zone

    zone = known_zone(tz)
    notes = clock_notes(points, zone, now)
    return [Point(at.astimezone(zone), note) for at, note in zip(points, notes, strict=True)]


def _about(dag: "DagView") -> str:
    """The head of the table. Raises ConflictError for a dag that has no next run."""
    from ppacer.errors import ConflictError

    if dag.removed_at is not None:
        raise ConflictError(f"{dag.dag_id} is not served any more; `ppacer why {dag.dag_id}` says since when")
    if dag.schedule is None or dag.next_at is None:
        raise ConflictError(f"{dag.dag_id} has no next run; `ppacer why {dag.dag_id}` says why")
    paused = f" (paused: skipped until `ppacer unpause {dag.dag_id}`)" if dag.paused_at else ""
    return f"{dag.dag_id}, {dag.schedule}{paused}"


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
