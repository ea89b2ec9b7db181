"""`ppacer scheduler` and `ppacer executor`. Imports little: tasks are forked from what is loaded here."""

from typing import Any

import click

from ppacer.cli.options import client_token, executor_options, scheduler_options, token_option


@click.command("scheduler")
@click.argument("target", metavar="FILE[:NAME]")
@scheduler_options
def scheduler_command(target: str, **flags: Any) -> None:
    """Schedule the dags of FILE, with web page and API, and let executors run their tasks.

    No task runs in this program: start `ppacer executor FILE --scheduler URL` here or on other machines. NAME
    is a dag's id, or a variable of the file that holds a Dag or a Registry.
    """
    from ppacer.app.separate import run_scheduler
    from ppacer.cli.target import load_target

    file, registry = load_target(target)
    run_scheduler(registry, file, flags)


@click.command("executor")
@click.argument("target", metavar="FILE[:NAME]")
@click.option(
    "--scheduler", "url", envvar="PPACER_URL", required=True, metavar="URL",
    help="The address of the scheduler (else PPACER_URL), or of several, separated by commas, one of which "
    "leads.",
)  # fmt: skip
@token_option
@executor_options
@click.option("--name", help="Its name, which no other executor has (host name and folder).")
@click.option(
    "--dir", metavar="FOLDER", help="Where it keeps what it has not reported yet (./ppacer-executor)."
)
def executor_command(target: str, url: str, token_file: str | None, **flags: Any) -> None:
    """Run tasks of the dags of FILE for a scheduler elsewhere, until Ctrl-C or SIGTERM.

    FILE is the same file that the scheduler has. While the scheduler is away, what runs goes on; how it ended
    is kept in FOLDER and reported later, also by the next start. A second signal stops at once.
    """
    from ppacer.app.separate import run_executor
    from ppacer.cli.target import load_target

    token = client_token(token_file)
    file, registry = load_target(target)
    run_executor(registry, url, token, file, flags)
