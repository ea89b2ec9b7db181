"""Options that several commands share, and the values in them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

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
insecure_option = click.option(
    "--insecure", is_flag=True, default=None,
    help="Let everybody in who can reach HOST, without access tokens.",
)  # fmt: skip
slots_option = click.option(
    "--slots", type=click.IntRange(0, 10_000), help="Attempts at once (0: twice the cores)."
)
runner_option = click.option(
    "--runner", type=click.Choice(RUNNERS), metavar="RUNNER",
    help=f"How tasks run that do not choose themselves: {', '.join(RUNNERS)} (process).",
)  # fmt: skip
cluster_option = click.option(
    "--cluster", metavar="ADDRESS",
    help="The cluster of the runner dask (tcp://host:8786) or ray (auto, host:6379, ray://host:10001).",
)  # fmt: skip
label_option = click.option(
    "--label", "labels", multiple=True, metavar="WORD", callback=lambda _, __, words: words or None,
    help="What this machine has, for tasks that need it. Repeatable.",
)  # fmt: skip
drain_option = click.option(
    "--drain", type=click.FloatRange(0, 86_400), help="Seconds that running tasks get at a stop (10)."
)
retention_option = click.option(
    "--retention-days", type=click.FloatRange(0, 36_500), help="How long runs are kept (90; 0: for ever)."
)
quiet_option = click.option(
    "--no-echo", "echo", is_flag=True, callback=lambda _, __, is_given: False if is_given else None,
    help="Do not print what tasks say; it is in the logs anyway.",
)  # fmt: skip
url_option = click.option(
    "--url",
    help="Ask the scheduler at this address, or the first at one of several that are separated by commas "
    "and leads (else PPACER_URL, else the one on --db).",
)
token_option = click.option(
    "--token-file", metavar="FILE", help="A file with the access token (else PPACER_TOKEN)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def scheduler_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what can be set for a scheduler."""
    return _with(
        function,
        db_option,
        logs_db_option,
        host_option,
        port_option,
        insecure_option,
        retention_option,
        quiet_option,
    )


def executor_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what can be set for an executor."""
    return _with(function, slots_option, runner_option, cluster_option, label_option, drain_option)


def _with(function: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    """The function with these options, which `--help` shows in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def asking(function: Callable[..., Any], *, makes: bool = False) -> Callable[..., Any]:
    """Adds --db, --logs-db, --url and --token-file, which mean the open `backend`, and --json."""

    @wraps(function)
    def with_backend(
        db: str | None, logs_db: str | None, url: str | None, token_file: str | None, **rest: Any
    ) -> Any:
        if makes and url is None:
            make_database(db)
        with opened(db, logs_db, url, token_file) as backend:
            return function(backend=backend, **rest)

    return db_option(logs_db_option(url_option(token_option(json_option(with_backend)))))


def asking_or_making(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `asking`; a database that is not there is made."""
    return asking(function, makes=True)


def make_database(db: str | None) -> None:
    """Makes the database, unless it is there or another scheduler is meant by PPACER_URL."""
    from ppacer.config import load

    settings = load({}, {"db": db}, os.environ, Path.cwd())
    file = settings.db_file
    if (file is not None and file.exists()) or (db is None and os.environ.get("PPACER_URL")):
        return
    from ppacer.store import FileLock, Store

    if file is None:
        Store(settings.db).close()  # on a server the tables, however many begin at once
        return
    lock = FileLock(file).acquire()
    try:
        Store(file).close()
    finally:
        lock.release()


@contextmanager
def opened(
    db: str | None, logs_db: str | None, url: str | None, token_file: str | None = None
) -> "Iterator[Backend]":
    """The backend that the options mean, closed afterwards."""
    from ppacer.cli.backend import open_backend

    backend = open_backend(db, logs_db, url, token_file)
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


def client_token(file: str | None) -> str | None:
    """The access token of a file, or else of PPACER_TOKEN. Never an argument: other users see those.

    Raises ConfigError, without the token in it.
    """
    if file is None:
        token, where = os.environ.get("PPACER_TOKEN", ""), "PPACER_TOKEN"
    else:
        token, where = _content(file), f"the file {file}"
    token = token.strip()
    if not token:
        return _nothing_in(where) if file is not None else None
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"{where} does not hold an access token; one looks like ppt_ and 43 characters")
    return token


def _content(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"the token file {file} cannot be read: {reason}") from error


def _nothing_in(where: str) -> NoReturn:
    raise ConfigError(f"{where} is empty; it should hold an access token")


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
