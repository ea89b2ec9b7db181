"""`ppacer why`."""

from typing import TYPE_CHECKING

import click

from ppacer.cli.options import asking, print_json, run_id_of

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend


@click.command("why")
@click.argument("what", metavar="DAG|RUN")
@click.argument("task", required=False)
@asking
def why_command(backend: "Backend", what: str, task: str | None, as_json: bool) -> None:
    """Say why a dag, a run or a task of a run is where it is, and what must happen next.

    With a TASK, a dag means its newest run.
    """
    if task is not None:
        words = backend.why_task(run_id_of(backend, what), task)
    elif what.isascii() and what.isdigit():
        words = backend.why_run(run_id_of(backend, what))
    else:
        words = backend.why_dag(what)
    if as_json:
        print_json({"why": words})
        return
    from ppacer.cli.screen import Screen

    screen = Screen()
    screen.line(screen.clean(words))
