"""Waiting for something at a scheduler, also over its restart."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

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
