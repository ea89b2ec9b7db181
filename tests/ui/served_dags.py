"""The dags that browser tests look at."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ppacer import Dag, TaskContext, task
from ppacer.schedule import Cron

NASTY = "<img src=x onerror=alert(1)>"


@dataclass
class Order:
    """What a run is about."""

    country: Literal["PL", "DK"] = "PL"
    rows: int = 3
    note: str = NASTY


@task
def say(ctx: TaskContext) -> int:
    """Says a little."""
    ctx.logger.info("hello %s", ctx.run.params)
    return 1


@task
def wait_for_file(before: Any, ctx: TaskContext) -> None:
    """Runs until the file `go` is there."""
    while not Path("go").exists():
        time.sleep(0.02)


@task
def fail(before: Any) -> None:
    """Fails."""
    raise RuntimeError(NASTY)


NEW_YEAR = Cron("0 0 1 1 *", tz="Europe/Warsaw")

with Dag("orders", schedule=NEW_YEAR, params=Order, tags=["sales"]) as orders:
    say()
with Dag("patient", schedule=NEW_YEAR, tags=["slow"]) as patient:
    wait_for_file(say())
with Dag("broken.always") as broken:
    fail(say())
