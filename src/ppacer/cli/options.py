"""Options that several commands share, and the values in them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ppacer.choices import RUNNERS
from ppacer.errors import ConfigError

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend

RUN_STATUSES = ("SCHEDULED", "RUNNING", "SUCCESS", "FAILED", "CANCELLED")
"""A copy of engine.RunStatus (a test compares them), which imports slowly."""

db_option = click.option(
    "--db", metavar="FILE", help="The database: a SQLite file (./scheduler.db) or a URL."
)
logs_db_option = click.option(
    "--logs-db", metavar="FILE", help="The file of the task logs (logs.db, beside the database)."
)
host_option = click.option("--host", help="The address to listen on (127.0.0.1).")
port_option = click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port of page and API (9321; 0: any free one)."
)
slots_option = click.option(
    "--slots", type=click.IntRange(0, 10_000), help="Attempts at once (0: twice the cores)."
)
runner_option = click.option(
    "--runner", type=click.Choice(RUNNERS), metavar="RUNNER",
    help=f"How tasks run that do not choose themselves: {', '.join(RUNNERS)} (process).",
)  # fmt: skip
drain_option = click.option(
    "--drain", type=click.FloatRange(0, 86_400), help="Seconds that running tasks get at a stop (10)."
)
retention_option = click.option(
    "--retention-days", type=click.FloatRange(0, 36_500), help="How long runs are kept (90; 0: for ever)."
)
quiet_option = click.option(
    "--no-echo", is_flag=True, help="Do not print what tasks say; it is in the logs anyway."
)
url_option = click.option(
    "--url", help="Ask the scheduler at this address (else PPACER_URL, else the one on --db)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def asking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --db, --logs-db, --url and --json; for the first three the function gets an open `backend`."""

    @wraps(function)
    def with_backend(db: str | None, logs_db: str | None, url: str | None, **rest: Any) -> Any:
        with opened(db, logs_db, url) as backend:
            return function(backend=backend, **rest)

    return db_option(logs_db_option(url_option(json_option(with_backend))))


@contextmanager
def opened(db: str | None, logs_db: str | None, url: str | None) -> "Iterator[Backend]":
    """The backend that the options mean, closed afterwards."""
    from ppacer.cli.backend import open_backend

    backend = open_backend(db, logs_db, url)
    try:
        yield backend
    finally:
        backend.close()


def param_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --param and --params; see `params_of`."""
    one = click.option(
        "--param", "-p", "pairs", multiple=True, metavar="NAME=VALUE",
        help="A parameter of the run; the value is JSON if it can be read as such, else text. Repeatable.",
    )  # fmt: skip
    many = click.option(
        "--params", "document", metavar="JSON", help="Parameters of the run as a JSON object."
    )
    return one(many(function))


def params_of(pairs: tuple[str, ...], document: str | None) -> dict[str, Any]:
    """The parameters of --params, with those of --param above them. Raises ConfigError."""
    import msgspec

    params: dict[str, Any] = {}
    if document is not None:
        try:
            params = msgspec.json.decode(document, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ConfigError(f"--params is not a JSON object such as '{{\"day\": 1}}': {error}") from error
    for pair in pairs:
        name, is_pair, text = pair.partition("=")
        if not is_pair or not name:
            raise ConfigError(f"--param {pair} is not of the form NAME=VALUE")
        try:
            params[name] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            params[name] = text
    return params


def print_json(value: Any) -> None:
    """One JSON document on stdout, as the HTTP API would answer it."""
    click.echo(json_text(value))


def json_text(value: Any) -> str:
    """A value as JSON."""
    import msgspec

    return msgspec.json.encode(value).decode()


def run_id_of(backend: "Backend", run: str) -> int:
    """The number of a run; a dag id means its newest run. Raises NotFoundError."""
    from ppacer.errors import NotFoundError

    if run.isascii() and run.isdigit():
        return int(run) if len(run) <= 18 else 10**18
    dag = backend.dag(run)
    if dag.latest is None:
        raise NotFoundError(f"there is no run of {run} yet: ppacer trigger {run}")
    return dag.latest.run_id
