"""`ppacer serve`. Imports little: task processes are forked from what is loaded here."""

from typing import Any

import click

from ppacer.cli.options import executor_options, scheduler_options


@click.command("serve")
@click.argument("target", metavar="FILE[:NAME]")
@scheduler_options
@executor_options
def serve_command(target: str, **flags: Any) -> None:
    """Run the dags of FILE on schedule, with web page and API, until Ctrl-C or SIGTERM.

    NAME is a dag's id, or a variable of the file that holds a Dag or a Registry; without it all dags of the
    file are served. The options can stand in ppacer.toml or in PPACER_* as well.
    """
    from ppacer.app import serve
    from ppacer.cli.target import load_target

    file, registry = load_target(target)
    serve(registry, file=file, flags=flags)
