"""`ppacer dags`."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from ppacer.cli.options import asking, print_json

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.cli.screen import Cell, Screen
    from ppacer.store.views import DagView


@click.command("dags")
@click.option("--tag", help="Only dags with this tag.")
@asking
def dags_command(backend: "Backend", tag: str | None, as_json: bool) -> None:
    """List the dags, with their next and their latest run."""
    dags = _all(backend, tag)
    if as_json:
        print_json({"dags": dags})
        return
    from ppacer.cli.screen import Screen
    from ppacer.clock import SystemClock

    screen = Screen()
    if not dags:
        screen.line(
            f"no dags with the tag {tag!r}: ppacer dags lists all"
            if tag
            else "no dags yet: ppacer serve FILE"
        )
        return
    show_dags(screen, dags, SystemClock().now().utc)
    if not backend.is_live:
        screen.line(
            screen.paint("No scheduler is running, so nothing will start: ppacer serve FILE", "yellow")
        )


def show_dags(screen: "Screen", dags: "list[DagView]", now: datetime) -> None:
    """The table, and a line for each dag that is disabled."""
    from ppacer.cli.screen import Column, Row
    from ppacer.cli.words import relative

    columns = [
        Column("DAG", flexible=True),
        Column("NEXT", keep=8),
        Column("LATEST RUN", keep=7),
        Column("OPEN", keep=5, right=True),
        Column("SCHEDULE", keep=6, flexible=True),
        Column("TAGS", keep=3, flexible=True),
    ]
    rows: list[Row] = []
    for dag in dags:
        latest = screen.state(dag.latest.status) if dag.latest else None
        when = (
            relative(dag.latest.ended_at or dag.latest.started_at or dag.latest.inserted_at, now)
            if dag.latest
            else ""
        )
        rows.append(
            [
                dag.dag_id,
                next_of(dag, now),
                latest._replace(text=f"{latest.text} {when}") if latest else "",
                str(dag.running + dag.waiting) if dag.running + dag.waiting else "",
                dag.schedule or "",
                ", ".join(dag.tags),
            ]
        )
    screen.table(columns, rows)
    for dag in dags:
        if dag.disabled_reason is not None:
            screen.line(f"{screen.paint(dag.dag_id, 'red')} is disabled: {screen.clean(dag.disabled_reason)}")


def next_of(dag: "DagView", now: datetime) -> "Cell":
    """When the dag runs next, or why it does not."""
    from ppacer.cli.screen import Cell
    from ppacer.cli.words import relative

    if dag.disabled_reason is not None:
        return Cell("disabled", "red")
    if dag.paused_at is not None:
        return Cell("paused", "yellow")
    if dag.schedule is None:
        return Cell("by hand", "dim")
    if dag.next_at is None:
        return Cell("no more", "dim")
    return Cell("due" if dag.next_at <= now else relative(dag.next_at, now))


def _all(backend: "Backend", tag: str | None) -> "list[DagView]":
    from ppacer.store.views import PAGE_MAX

    dags = page = backend.dags(limit=PAGE_MAX, tag=tag)
    while len(page) == PAGE_MAX:
        page = backend.dags(after=page[-1].dag_id, limit=PAGE_MAX, tag=tag)
        dags += page
    return dags
