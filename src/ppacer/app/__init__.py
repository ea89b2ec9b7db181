"""Wiring: `serve` and `run_once`. Imports little: task processes are forked from what is loaded here."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ppacer.app.code import LoadedCode
from ppacer.config import Settings, load, make_mask
from ppacer.dag import Dag, Registry
from ppacer.errors import LoadError, PpacerError
from ppacer.load import is_loading
from ppacer.notify import LogSender, Sender

if TYPE_CHECKING:
    from ppacer.app.once import Once
    from ppacer.app.scheduler_half import SchedulerHalf
    from ppacer.executor.warm import WarmParent

Dags = Dag | Registry | Iterable[Dag]

log = logging.getLogger("ppacer")

FORKING = {"process", "pool", "dask", "ray"}
"""The runners that need a warm parent; those of clusters for its file, which their workers import, too."""
ENDED = "a part of the program has ended by itself; the log says why"
BACKLOG_TOLD = 100  # more missed points than these are told before they run
TASK_LOGGER = "ppacer.task"
"""A copy of executor.logs.TASK_LOGGER: nothing of the executor is needed before a fork."""


def as_registry(dags: Dags) -> Registry:
    """One dag, several, or a registry, as a registry."""
    if isinstance(dags, Registry):
        return dags
    return Registry([dags] if isinstance(dags, Dag) else dags)


def serve(
    dags: Dags,
    *,
    notifier: Sender | None = None,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Runs scheduler, executor and HTTP server until SIGINT or SIGTERM; then drains and returns.

    `options` are the fields of `ppacer.config.Settings` (db, logs_db, host, port, slots, runner …); they
    give way to ppacer.toml, PPACER_* and `flags`. `notifier` gets the alerts of tasks that have none of
    their own. A second signal stops at once. Raises PpacerError with a sentence when it cannot start.
    """
    refuse_import("serve")
    registry = as_registry(dags)
    settings = load(options, flags or {}, os.environ, Path.cwd())
    configure_logging(settings.level)
    sender, code = notifier or LogSender(), LoadedCode(file or _main_file())
    code.remember_lines()
    _serve(registry, settings, sender, make_warm_parent(registry, sender, file, settings.level), code)


def _serve(
    registry: Registry, settings: Settings, sender: Sender, warm: "WarmParent | None", code: LoadedCode
) -> None:
    from ppacer.app.program import Program  # after the fork: see `make_warm_parent`

    mask = make_mask(os.environ, settings.secrets)
    stop = StopSignals()
    options: Any = {"code": code, "ready": say_what_begins, "give_up": stop.asked.is_set}
    with stop, Program(registry, settings, sender, mask, warm, **options).running() as program:
        stop.at_once = program.stop_now
        stop.wait(program.is_alive)
        say_what_ends(program.executor.busy, settings.drain)


def say_what_begins(half: "SchedulerHalf") -> None:
    """Logs where it is to be found, and what it goes on with."""
    from ppacer.app.admission import url_for_others  # after the fork

    dags, db, url = len(half.registry), half.settings.db_shown, half.url and url_for_others(half.url)
    log.info("ppacer serves %d dag(s) at %s, database %s", dags, url, db)
    runs, attempts = half.reign.recovered
    if runs:
        log.info("%d open run(s) go on; %d attempt(s) that were running begin again", runs, attempts)
    for name in half.reign.drained:
        log.warning("executor %s is drained, it is given nothing new: ppacer undrain %s", name, name)
    for dag in half.registry.values():
        if dag.schedule is not None and dag.catch_up:
            _say_what_is_caught_up(half, dag)


def _say_what_is_caught_up(half: "SchedulerHalf", dag: Dag) -> None:
    from ppacer.schedule import backlog
    from ppacer.store.reads import Reads

    assert dag.schedule is not None
    reads = Reads(half.settings.db)
    first, now = reads.dag(dag.id).next_at, half.clock.now().utc
    reads.close()
    runs = 0 if first is None else backlog(dag.schedule, first, now, dag.catch_up)
    if first is not None and runs > BACKLOG_TOLD:
        log.warning("%s will catch up from %s: about %s runs", dag.id, first.date(), f"{runs:,}")


def say_what_ends(busy: int, drain: float) -> None:
    """Logs what the end waits for."""
    if busy:
        log.info("stopping: %d task(s) have %g s to finish; once more to stop at once", busy, drain)
    else:
        log.info("stopping: no task is running")


def refuse_import(name: str) -> None:
    """Raises LoadError when a file of dags is just being imported, perhaps by a task process of itself."""
    if is_loading():
        raise LoadError(
            f"ppacer.{name}(...) is called while the file is imported; "
            'put it below `if __name__ == "__main__":`, as its last lines'
        )


def make_warm_parent(
    registry: Registry, sender: Sender, file: Path | None, level: int = logging.INFO
) -> "WarmParent | None":
    """The parent of the task processes, forked before any thread, socket, database or server import exists.

    Where the user's program has started threads, a fork could inherit a lock that nobody frees: then a fresh
    interpreter imports the file of the dags instead. None where there is no fork at all.
    """
    if not hasattr(os, "fork"):
        return None
    from ppacer.executor.warm import WarmParent

    file = file or _main_file()
    if threading.active_count() == 1:
        return WarmParent.fork(registry, sender, file, level)
    if file is None:
        raise PpacerError("threads run already and the dags are in no file: start ppacer before them")
    warm = WarmParent.spawn(file, level)
    warm.wait_loaded()
    return warm


def _main_file() -> Path | None:
    """The file of the running script, where a fresh interpreter finds the dags again."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return None if file is None else Path(file).absolute()


class StopSignals:
    """SIGINT or SIGTERM sets `asked`; a second one calls `at_once`. To be entered by the main thread."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.at_once: Callable[[], None] = lambda: None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def wait(self, is_alive: Callable[[], bool]) -> None:
        """Returns when the end is asked for. Raises PpacerError when something has ended before."""
        while not self.asked.wait(1.0) and is_alive():
            pass
        if not is_alive():
            raise PpacerError(ENDED)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set():
            # Not from here: the main thread may hold a lock that `at_once` needs.
            threading.Thread(target=self.at_once, daemon=True).start()
        self.asked.set()


def configure_logging(level: int, *, quiet: bool = False) -> None:
    """The scheduler's own log goes to stderr, unless the program has set up logging itself.

    `quiet`: at the usual level, INFO, only warnings, for a terminal that shows what happens anyway.
    """
    if quiet and level == logging.INFO:
        level = logging.WARNING
    logger = logging.getLogger("ppacer")
    logger.setLevel(level)
    if not logging.getLogger().handlers and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
        handler.addFilter(lambda record: not _is_of_a_task(record.name))
        logger.addHandler(handler)


def _is_of_a_task(logger: str) -> bool:
    """What tasks say is in the task log, and echoed from there."""
    return logger == TASK_LOGGER or logger.startswith(f"{TASK_LOGGER}.")


def run_once(
    dag: Dag,
    *,
    params: dict[str, Any] | None = None,
    runner: str = "thread",
    slots: int = 0,
    cluster: str | None = None,
    notifier: Sender | None = None,
    on_progress: Any = None,
    file: Path | None = None,
) -> "Once":
    """Runs a dag to its end in this process, without a server, and returns the run with every attempt.

    `results` of what is returned holds what each task returned, as plain JSON values, by the id of the task.

    Everything is as in production (retries, timeouts, upstream failures), in a temporary database. With the
    default runner tasks run in threads, where timeouts are cooperative; `runner="process"` gives each attempt
    its own process, `"dask"` and `"ray"` take it to a `cluster`. Of ppacer.toml and PPACER_* counts what
    is no argument here. Raises ParamsError and ConfigError; a failed run is returned, not raised.
    """
    refuse_import("run_once")
    registry = Registry([dag])
    sender = notifier or LogSender()
    own = {"runner": runner, "slots": slots, "cluster": cluster, "echo": False, "drain": 0.0}
    settings = load({}, own, os.environ, Path.cwd())
    forks = FORKING & {runner, *(config.runner for config in dag.configs.values())}
    warm = make_warm_parent(registry, sender, file, settings.level) if forks else None
    from ppacer.app.once import run_to_end  # after the fork: see `make_warm_parent`

    return run_to_end(registry, settings, sender, warm, params or {}, on_progress)
