"""`ppacer serve`. Imports little: task processes are forked from what is loaded here."""

from typing import Any

import click

from ppacer.cli.options import (
    cluster_option,
    db_option,
    drain_option,
    host_option,
    insecure_option,
    label_option,
    logs_db_option,
    port_option,
    quiet_option,
    retention_option,
    runner_option,
    slots_option,
)


@click.command("serve")
@click.argument("target", metavar="FILE[:NAME]")
@db_option
@logs_db_option
@host_option
@port_option
@insecure_option
@slots_option
@runner_option
@cluster_option
@label_option
@drain_option
@retention_option
@quiet_option
def serve_command(target: str, no_echo: bool, labels: tuple[str, ...], **flags: Any) -> None:
    """Run the dags of FILE on schedule, with web page and API, until Ctrl-C or SIGTERM.

    NAME is a dag's id, or a variable of the file that holds a Dag or a Registry; without it all dags of the
    file are served. The options can stand in ppacer.toml or in PPACER_* as well.
    """
    from ppacer.app import serve
    from ppacer.cli.target import load_target

    file, registry = load_target(target)
    serve(registry, file=file, flags={**flags, "labels": labels or None, "echo": False if no_echo else None})
