"""`ppacer demo`. Imports little before the fork, as `serve`."""

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppacer.cli import exits
from ppacer.cli.options import db_option, logs_db_option
from ppacer.cli.words import plural

if TYPE_CHECKING:
    from ppacer.app.echo import Echo
    from ppacer.config import Settings
    from ppacer.tasklog import LogRecord

MAIN = "demo_etl"
SOURCE = Path(__file__).with_name("demo_dags.py")
HOST = "127.0.0.1"


@click.command("demo")
@click.option("--runs", type=click.IntRange(1), metavar="N", help=f"End after N successful runs of {MAIN}.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The port of page and API (9321, or a free one)."
)
@db_option
@logs_db_option
def demo_command(runs: int | None, port: int | None, db: str | None, logs_db: str | None) -> int:
    """Run two example dags with their web page, until Ctrl-C.

    Everything is in a temporary folder, which is removed at the end, unless --db names a file to be kept.
    """
    from ppacer.app import configure_logging, make_warm_parent
    from ppacer.load import load_registry
    from ppacer.notify import LogSender

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ppacer-demo-")))
        settings = _settings(folder, port, db, logs_db)
        configure_logging(settings.level, quiet=True)
        file = folder / SOURCE.name  # a copy: tracebacks leave out what is in the package
        shutil.copyfile(SOURCE, file)
        registry, sender = load_registry(file), LogSender()
        warm = make_warm_parent(registry, sender, file, settings.level)
        # from here on everything may be imported
        return _run(settings, registry, sender, warm, runs)


def _settings(folder: Path, port: int | None, db: str | None, logs_db: str | None) -> "Settings":
    """Flags for all that ppacer.toml or the environment could turn to somebody's real database."""
    import os

    from ppacer.config import load, logs_beside

    db = db or str(folder / "scheduler.db")
    flags = {
        "db": db,
        "logs_db": logs_db or logs_beside(db),
        "host": HOST,
        "echo": False,
        "drain": 3.0,
    }
    return load({}, {**flags, "port": _free_port() if port is None else port}, os.environ, folder)


def _free_port() -> int:
    """The usual port, or any (0) when another program has it: a demo should start."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, 9321))
        except OSError:
            return 0
    return 9321


def _run(settings: "Settings", registry: Any, sender: Any, warm: Any, runs: int | None) -> int:
    from ppacer.app import StopSignals
    from ppacer.app.echo import Echo
    from ppacer.app.program import Program
    from ppacer.clock import SystemClock

    begun_at, echo = SystemClock().now().utc, Echo()
    said = Said(echo)
    stop = StopSignals()
    program = Program(registry, settings, sender, str, warm, give_up=stop.asked.is_set)
    program.on_records(said)
    with closing(echo), stop, program.running():
        stop.at_once = program.stop_now
        assert program.url is not None
        _introduce(program.url, settings.db, runs)
        said.begin()
        ends = Ends(runs, stop.asked, echo.say)
        program.on_changes(ends)
        ends.look_back(settings.db, begun_at)
        stop.wait(program.is_alive)
        echo.say("stopping")
    return ends.code


class Said:
    """Echoes what tasks say, from `begin` on; the first task is faster than the introduction."""

    def __init__(self, echo: "Echo") -> None:
        self._echo = echo
        self._waiting: list[LogRecord] | None = []
        self._lock = threading.Lock()

    def __call__(self, records: "Sequence[LogRecord]") -> None:
        """Takes what was said."""
        with self._lock:
            if self._waiting is None:
                self._echo(records)
            else:
                self._waiting += records

    def begin(self) -> None:
        """Writes what was said so far, and everything after it at once."""
        with self._lock:
            self._echo(self._waiting or ())
            self._waiting = None


class Ends:
    """Tells of each run that has ended, and sets `stop` when there were enough of them, or one has failed."""

    def __init__(self, wanted: int | None, stop: threading.Event, say: Callable[[str], None]) -> None:
        self._wanted, self._stop, self._say = wanted, stop, say
        self._seen: dict[int, str] = {}
        self._lock = threading.Lock()

    def __call__(self, changes: Sequence[Any]) -> None:
        """Takes what the scheduler has committed."""
        from ppacer.engine.changes import RunChanged

        for change in changes:
            if isinstance(change, RunChanged):
                self._take(change.ref.run_id, change.ref.dag_id, change.status)

    def look_back(self, db: str, since: datetime) -> None:
        """Takes the runs that ended after `since` but before we listened."""
        from ppacer.store.reads import Reads

        reads = Reads(db)
        for run in reversed(reads.runs(dag_id=MAIN, limit=100)):
            if run.ended_at is not None and run.ended_at >= since:
                self._take(run.run_id, run.dag_id, run.status)
        reads.close()

    def _take(self, run_id: int, dag_id: str, status: str) -> None:
        with self._lock:
            if status not in ("SUCCESS", "FAILED", "CANCELLED") or run_id in self._seen:
                return
            self._say(f"         run {run_id} of {dag_id}: {status}")
            if dag_id != MAIN:
                return
            self._seen[run_id] = status
            if self._wanted is not None and (
                len(self._good) >= self._wanted or len(self._good) < len(self._seen)
            ):
                self._stop.set()

    @property
    def _good(self) -> list[int]:
        return [run_id for run_id, status in self._seen.items() if status == "SUCCESS"]

    @property
    def code(self) -> int:
        """The exit code: of a demo that was to end by itself, whether it did, and well."""
        if self._wanted is None:
            return exits.OK
        if len(self._good) < len(self._seen):
            return exits.FAILED
        return exits.OK if len(self._good) >= self._wanted else exits.INTERRUPTED


def _introduce(url: str, db: str, runs: int | None) -> None:
    until = "until Ctrl-C" if runs is None else f"until {plural(runs, 'run')} of {MAIN} succeeded, or Ctrl-C"
    me = "ppacer" if shutil.which("ppacer") else _myself()
    click.echo(f"""\
Two example dags are running here {until}.

  page      {url}/
  database  {db}
  dags      {SOURCE}

Try in another terminal:

  export PPACER_URL={url}
  {me} dags
  {me} runs
  {me} logs {MAIN} -f
  {me} why demo_flaky
  {me} trigger {MAIN} --param count=500 --wait

and for dags of your own copy that file, change it, and start `{me} serve FILE`.
""")


def _myself() -> str:
    """How this program was called, for those who have no `ppacer` on their PATH."""
    return f"{sys.executable} -m ppacer" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
