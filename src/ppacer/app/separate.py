"""The two halves as programs of their own: one scheduler, and executors on this or other machines.

Imports little: task processes are forked from what is loaded here.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppacer.app import StopSignals, configure_logging, make_warm_parent, say_what_begins, say_what_ends
from ppacer.app.code import LoadedCode
from ppacer.config import Settings, load, make_mask
from ppacer.dag import Registry
from ppacer.notify import LogSender

if TYPE_CHECKING:
    from ppacer.executor.executor import Executor
    from ppacer.executor.warm import WarmParent

log = logging.getLogger("ppacer")

AT_ONCE = 130  # the exit code of a scheduler that was told to end twice


def run_scheduler(registry: Registry, file: Path, flags: Mapping[str, Any]) -> None:
    """Runs a scheduler without an executor until SIGINT or SIGTERM. Raises PpacerError.

    A second signal ends it at once: a database that hangs would hold it up for a minute.
    """
    settings = load({}, flags, os.environ, Path.cwd())
    configure_logging(settings.level)
    code = LoadedCode(file)
    code.remember_lines()
    from ppacer.app.interpreter import quick_switches
    from ppacer.app.scheduler_half import SchedulerHalf

    mask = make_mask(os.environ, settings.secrets)
    half = SchedulerHalf(registry, settings, LogSender(), mask, code=code, ready=say_what_begins)
    with StopSignals() as stop, quick_switches(), half.running():
        stop.at_once = _end_at_once
        stop.wait(half.is_alive)
        log.info("stopping: executors keep what they run, and report it to the next scheduler")


def _end_at_once() -> None:
    """Nothing is lost by that: what was answered is committed, and no task runs here."""
    log.warning("stopping at once")
    os._exit(AT_ONCE)


def run_executor(
    registry: Registry, url: str, token: str | None, file: Path, flags: Mapping[str, Any]
) -> None:
    """Runs an executor for the scheduler at `url` until SIGINT or SIGTERM; then drains and returns.

    A second signal stops at once. Raises PpacerError, also when the scheduler refuses it.
    """
    settings = load({}, flags, os.environ, Path.cwd())
    configure_logging(settings.level)
    warm = make_warm_parent(registry, LogSender(), file, settings.level)
    _execute(registry, settings, url, token, warm)


def _execute(
    registry: Registry, settings: Settings, url: str, token: str | None, warm: "WarmParent | None"
) -> None:
    from ppacer.api.link import Link  # after the fork: see `make_warm_parent`
    from ppacer.api.remote import HttpExecutorClient
    from ppacer.app.executor_half import ExecutorHalf
    from ppacer.app.interpreter import quick_switches
    from ppacer.executor.folder import Folder
    from ppacer.executor.spool import Spool

    mask = make_mask(os.environ, settings.secrets)
    half = ExecutorHalf(registry, settings, LogSender(), mask, warm)
    with StopSignals() as stop, half, quick_switches(), Folder(Path(settings.dir).absolute()) as folder:
        half.outlive(folder.path / "executor", stop.asked.is_set)
        name = settings.name or folder.usual_name
        with Spool(folder.reports) as spool, HttpExecutorClient(Link(url, token), name, mask) as client:
            log.info("executor %s offers %d slot(s) to %s", name, settings.slots_or_default, url)
            if left := len(spool.left):
                log.info("%d attempt(s) of an earlier life are still to be reported", left)
            with half.at_work(client, name, folder.identity, spool, settings.labels) as executor:
                stop.at_once = executor.hurry
                stop.wait(lambda: _works(executor))
                half.expect_end()
                say_what_ends(executor.busy, settings.drain)


def _works(executor: "Executor") -> bool:
    """Whether it is alive. Raises why the scheduler does not take it."""
    if executor.refusal is not None:
        raise executor.refusal
    return executor.is_alive()
