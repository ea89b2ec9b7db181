"""Waiting for something at a scheduler, also over its restart."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from ppacer.cli.exits import INTERRUPTED
from ppacer.clock import SystemClock
from ppacer.errors import SchedulerUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.store.views import RunDetail

WAIT_SECONDS = 25.0  # of one question; the server allows 30
PATIENCE = 60.0  # seconds without an answer until we give up: a restart takes less
PAUSE = 0.5
FINAL = ("SUCCESS", "FAILED", "CANCELLED")

T = TypeVar("T")


@contextmanager
def ended_by_ctrl_c(words: str = "") -> Iterator[None]:
    """In this block Ctrl-C ends the program at once, with `words` on stderr.

    A KeyboardInterrupt may be raised while a destructor runs, which swallows it, and then the next answer is
    half a minute away. There is nothing to clean up: all that was printed is flushed.
    """
    message = f"\n{words}\n".encode() if words else b""

    def end(number: int, frame: object) -> None:
        os.write(2, message)
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def until_ended(backend: "Backend", run_id: int) -> "RunDetail":
    """The run when it has ended. Raises SchedulerUnavailable when nobody answers for a minute."""
    while True:
        detail = patiently(lambda: backend.run(run_id, wait=WAIT_SECONDS))
        if detail.run.status in FINAL:
            return detail


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, once somebody answers."""
    import time

    now = SystemClock().now
    since = None
    while True:
        try:
            return ask()
        except (SchedulerUnavailable, StoreUnavailable) as error:
            if since is None:
                since = now().mono
                click.echo(f"{error}; waiting for it …", err=True)
            if now().mono - since > PATIENCE:
                raise
            time.sleep(PAUSE)
