"""`ppacer serve`. Imports little: task processes are forked from what is loaded here."""

from typing import Any

import click

from ppacer.choices import RUNNERS
from ppacer.cli.options import db_option, logs_db_option


@click.command("serve")
@click.argument("target", metavar="FILE[:NAME]")
@db_option
@logs_db_option
@click.option("--host", help="The address to listen on (127.0.0.1).")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port of page and API (9321; 0: any free one)."
)
@click.option("--slots", type=click.IntRange(0, 10_000), help="Attempts at once (0: twice the cores).")
@click.option(
    "--runner", type=click.Choice(RUNNERS), metavar="RUNNER",
    help=f"How tasks run that do not choose themselves: {', '.join(RUNNERS)} (process).",
)  # fmt: skip
@click.option(
    "--drain", type=click.FloatRange(0, 86_400), help="Seconds that running tasks get at a stop (10)."
)
@click.option(
    "--retention-days", type=click.FloatRange(0, 36_500), help="How long runs are kept (90; 0: for ever)."
)
@click.option("--no-echo", is_flag=True, help="Do not print what tasks say; it is in the logs anyway.")
def serve_command(target: str, no_echo: bool, **flags: Any) -> None:
    """Run the dags of FILE on schedule, with web page and API, until Ctrl-C or SIGTERM.

    NAME is a dag's id, or a variable of the file that holds a Dag or a Registry; without it all dags of the
    file are served. The options can stand in ppacer.toml or in PPACER_* as well.
    """
    from ppacer.app import serve
    from ppacer.cli.target import load_target

    file, registry = load_target(target)
    serve(registry, file=file, flags={**flags, "echo": False if no_echo else None})
