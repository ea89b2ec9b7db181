"""`ppacer run`. Imports little before the fork, as `serve`."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppacer.choices import RUNNERS
from ppacer.cli import exits
from ppacer.cli.options import cluster_option, json_option, param_options, params_of, print_json

if TYPE_CHECKING:
    from ppacer.cli.progress import Progress
    from ppacer.dag import Dag
    from ppacer.notify import MsgData
    from ppacer.store.views import RunDetail

TASKS_MAX = 30  # in the table at the end


@click.command("run")
@click.argument("target", metavar="FILE[:DAG]")
@param_options
@click.option(
    "--runner", type=click.Choice(RUNNERS), metavar="RUNNER", default="process", show_default=True,
    help=f"How tasks run that do not choose themselves: {', '.join(RUNNERS)}.",
)  # fmt: skip
@cluster_option
@json_option
def run_command(
    target: str,
    pairs: tuple[str, ...],
    document: str | None,
    runner: str,
    cluster: str | None,
    as_json: bool,
) -> int:
    """Run one DAG of FILE once, here and now, without a scheduler, in a temporary database.

    What its tasks say is printed with their names. Retries, timeouts and results are as in production. With
    --json the run is printed at the end, and everything else goes to stderr. Ctrl-C or SIGTERM cancels it.
    """
    from ppacer.app import configure_logging, run_once
    from ppacer.cli.target import load_target, one_dag
    from ppacer.config import load

    file, registry = load_target(target, is_quiet=as_json)
    dag = one_dag(target, registry)
    params = dag.params.validate(params_of(pairs, document))
    configure_logging(load({}, {}, os.environ, Path.cwd()).level, quiet=True)
    with _sigterm_as_ctrl_c(), closing(_progress(dag, as_json)) as show:
        where: Any = {"runner": runner, "cluster": cluster, "file": file}
        detail = run_once(dag, params=params, notifier=Unsent(), on_progress=show, **where)
    if as_json:
        print_json(detail)
    else:
        _show_end(detail)
    match detail.run.status:
        case "SUCCESS":
            return exits.OK
        case "CANCELLED":
            return exits.INTERRUPTED
    return exits.FAILED


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """The end of a job's time in CI or systemd cancels the run, too, instead of leaving its folder behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Unsent:
    """Takes the alerts of tasks without a notifier of their own: who waits for the run sees what failed."""

    def send(self, template: str, data: "MsgData") -> None:
        """Does nothing."""


def _progress(dag: "Dag", as_json: bool) -> "Progress":
    """Lines, or on a terminal a board that is redrawn; it is made, and rich imported, at the first change."""
    from ppacer.cli.progress import Progress
    from ppacer.cli.screen import Screen

    return Progress(Screen(sys.stderr if as_json else sys.stdout), list(dag.nodes))


def _show_end(detail: "RunDetail") -> None:
    from ppacer.cli.screen import Screen
    from ppacer.cli.show import show_errors, show_tasks
    from ppacer.cli.words import plural, span
    from ppacer.clock import SystemClock

    screen, run = Screen(), detail.run
    if screen.can_redraw and len(detail.tasks) <= TASKS_MAX:  # the board is gone; lines are still there
        show_tasks(screen, detail, SystemClock().now().utc)
    show_errors(screen, detail)
    done = sum(task.status == "SUCCESS" for task in detail.tasks)
    time = span(run.ended_at - run.started_at) if run.started_at and run.ended_at else "no time"
    state = screen.painted(screen.state(run.status))
    screen.line(f"{state}  {run.dag_id}: {done} of {plural(len(detail.tasks), 'task')} succeeded, in {time}")
