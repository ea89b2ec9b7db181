"""`ppacer runs`."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ppacer.cli.options import RUN_STATUSES, asking, json_text, print_json

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.cli.screen import Cell, Screen
    from ppacer.store.views import RunView


@click.command("runs")
@click.option("--dag", "dag_id", metavar="DAG", help="Only runs of this dag.")
@click.option(
    "--status", multiple=True, type=click.Choice(RUN_STATUSES, case_sensitive=False), metavar="STATUS",
    help=f"Only runs with this status: {', '.join(RUN_STATUSES)}. Repeatable.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many runs."
)
@asking
def runs_command(
    backend: "Backend", dag_id: str | None, status: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """List the latest runs, newest first."""
    runs = _newest(backend, dag_id, status, limit)
    if not runs and dag_id is not None:
        backend.dag(dag_id)  # a dag that does not exist is another answer than one without runs
    if as_json:
        print_json({"runs": runs})
        return
    from ppacer.cli.screen import Screen
    from ppacer.clock import SystemClock

    screen = Screen()
    if runs:
        show_runs(screen, runs, SystemClock().now().utc)
        tell_if_stuck(screen, backend, runs)
    else:
        screen.line(_no_runs(backend, dag_id, status))


def tell_if_stuck(screen: "Screen", backend: "Backend", runs: "Sequence[RunView]") -> None:
    """Says that open runs do not go on, when nobody is there for it."""
    if not backend.is_live and any(run.ended_at is None for run in runs):
        words = "No scheduler is running, so what is open does not go on: ppacer serve FILE"
        screen.line(screen.paint(words, "yellow"))


def _newest(backend: "Backend", dag_id: str | None, status: Sequence[str], limit: int) -> "list[RunView]":
    from ppacer.store.views import PAGE_MAX

    runs: list[RunView] = []
    while len(runs) < limit:
        before = runs[-1].run_id if runs else None
        page = backend.runs(
            dag_id=dag_id, status=status, before=before, limit=min(PAGE_MAX, limit - len(runs))
        )
        if not page:
            break
        runs += page
    return runs


def _no_runs(backend: "Backend", dag_id: str | None, status: Sequence[str]) -> str:
    of = f" of {dag_id}" if dag_id else ""
    if status:
        return f"no runs{of} with status {' or '.join(status)}"
    dags = [] if dag_id else backend.dags(limit=1)
    if not dag_id and not dags:
        return "no runs yet, and no dags: ppacer serve FILE"
    return f"no runs{of} yet: ppacer trigger {dag_id or dags[0].dag_id}"


def show_runs(screen: "Screen", runs: "Sequence[RunView]", now: datetime) -> None:
    """The table of runs."""
    from ppacer.cli.screen import Column, Row
    from ppacer.cli.words import relative, took

    columns = [
        Column("RUN", right=True),
        Column("DAG", flexible=True),
        Column("STATE"),
        Column("STARTED", keep=8),
        Column("TOOK", keep=7, right=True),
        Column("EXEC TS (UTC)", keep=6),
        Column("BY", keep=5),
        Column("PARAMS", keep=3, flexible=True),
    ]
    rows: list[Row] = [
        [
            str(run.run_id),
            run.dag_id,
            run_state(screen, run),
            relative(run.started_at, now) if run.started_at else "",
            took(run.started_at, run.ended_at, now),
            f"{run.exec_ts:%Y-%m-%d %H:%M:%S}",
            run.trigger,
            json_text(run.params) if run.params else "",
        ]
        for run in runs
    ]
    screen.table(columns, rows)


def run_state(screen: "Screen", run: "RunView") -> "Cell":
    """The state of a run; one that shall end but still runs is shown as such."""
    cell = screen.state(run.status)
    if run.cancel_requested_at is not None and run.ended_at is None:
        return cell._replace(text=f"{screen.shape('CANCELLED')} CANCELLING", style="yellow")
    return cell
