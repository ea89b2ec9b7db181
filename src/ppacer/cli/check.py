"""`ppacer check`."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ppacer.cli import exits
from ppacer.cli.options import json_option, print_json

if TYPE_CHECKING:
    from ppacer.dag import Dag

BACKLOG_TOLD = 100  # more missed points than these are told before anything begins


@click.command("check")
@click.argument("target", metavar="FILE[:NAME]")
@json_option
def check_command(target: str, as_json: bool) -> int:
    """Import FILE, validate its dags, and print them with their next points; for editors and CI.

    Exit code 1, with one sentence, when something is wrong; for a file that does not import, its own
    traceback comes first.
    """
    from ppacer.clock import SystemClock
    from ppacer.errors import LoadError, PpacerError

    now = SystemClock().now().utc
    try:
        from ppacer.cli.target import load_target

        registry = load_target(target, is_quiet=as_json)[1]
        rows = [(dag, _next(dag, now)) for dag in registry.values()]
    except PpacerError as error:
        traceback = error.traceback if isinstance(error, LoadError) else ""
        if as_json:
            print_json({"ok": False, "error": str(error), "traceback": traceback or None, "dags": []})
        else:
            click.echo(f"{traceback.rstrip()}\n" if traceback else "", err=True, nl=False)
            click.echo(f"ppacer: {error}", err=True)
        return exits.FAILED
    if as_json:
        print_json(
            {"ok": True, "error": None, "traceback": None, "dags": [_plain(dag, at) for dag, at in rows]}
        )
    else:
        _show(rows, now)
    return exits.OK


def _next(dag: "Dag", now: datetime, catch_up: Any = False) -> datetime | None:
    """The first point from now on. Raises ScheduleError when the schedule misbehaves."""
    from ppacer.errors import ScheduleError
    from ppacer.schedule import first_point

    if dag.schedule is None:
        return None
    try:
        return first_point(dag.schedule, now, catch_up)
    except ScheduleError as error:
        raise ScheduleError(f"dag {dag.id!r}: {error}") from error


def _remarks(dag: "Dag", now: datetime) -> "Iterator[str]":
    """What is possible, but perhaps not meant."""
    from ppacer.schedule import backlog

    if not dag.nodes:
        yield "has no tasks: its runs succeed at once, and do nothing"
    if dag.schedule is not None and dag.catch_up:
        first = _next(dag, now, dag.catch_up)
        runs = 0 if first is None else backlog(dag.schedule, first, now, dag.catch_up)
        if first is not None and runs > BACKLOG_TOLD:
            yield f"will catch up from {first.date()} where it is new: about {runs:,} runs"


def _plain(dag: "Dag", next_at: datetime | None) -> dict[str, Any]:
    return {
        "dag_id": dag.id,
        "tasks": len(dag.nodes),
        "schedule": dag.schedule_text,
        "next_at": next_at,
        "tags": dag.tags,
        "version": dag.version,
    }


def _show(rows: "Sequence[tuple[Dag, datetime | None]]", now: datetime) -> None:
    from ppacer.cli.screen import Column, Screen
    from ppacer.cli.words import plural, relative

    screen = Screen()
    columns = [
        Column("DAG", flexible=True),
        Column("TASKS", right=True),
        Column("NEXT", keep=8),
        Column("NEXT (UTC)", keep=5),
        Column("SCHEDULE", keep=7, flexible=True),
    ]
    screen.table(
        columns,
        [
            [
                dag.id,
                str(len(dag.nodes)),
                relative(at, now) if at else "no more" if dag.schedule else "by hand",
                f"{at:%Y-%m-%d %H:%M:%S}" if at else "",
                dag.schedule_text or "",
            ]
            for dag, at in rows
        ],
    )
    for dag, _ in rows:
        for remark in _remarks(dag, now):
            screen.line(f"{screen.paint(dag.id, 'yellow')} {remark}")
    mark = screen.paint(screen.shape("SUCCESS"), "green")
    screen.line(
        f"{mark} {plural(len(rows), 'dag')} with {plural(sum(len(dag.nodes) for dag, _ in rows), 'task')}"
    )
