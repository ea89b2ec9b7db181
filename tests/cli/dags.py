"""The dags that the tests of the command line serve and run."""

import sys
import time
from dataclasses import dataclass
from datetime import timedelta

from ppacer import Dag, TaskContext, task
from ppacer.schedule import Cron


@dataclass
class Day:
    """Parameters."""

    day: int = 1
    name: str = "monday"


@task
def extract(ctx: TaskContext) -> list[int]:
    """Says something in every way."""
    ctx.logger.info("day %d, %s", ctx.run.params.day, ctx.run.params.name)
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return [1, 2, 3]


@task(retries=2, retry_delay=timedelta(milliseconds=100))
def flaky(ctx: TaskContext, rows: list[int]) -> int:
    """Fails once."""
    if ctx.retry == 0:
        raise ValueError("not yet")
    return sum(rows)


@task
def bad(n: int) -> None:
    """Fails always."""
    raise RuntimeError(f"cannot load {n}")


@task
def after(nothing: None) -> None:
    """Is never reached."""


@task
def sleep() -> None:
    """Says that it is here, then sleeps longer than any test."""
    print("good night", flush=True)
    time.sleep(600)


@task
def escape() -> None:
    """Tries to take over the terminal of who reads its log."""
    print("a\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jb\x08c")


@task
def big() -> str:
    """Returns more than a message."""
    return "x" * 2_000_000


with Dag("good", params=Day, tags=["nightly"], schedule=Cron("15 3 * * *", tz="Europe/Warsaw")) as good:
    flaky(extract())

with Dag("failing", params=Day) as failing:
    after(bad(flaky(extract())))

with Dag("sleeper") as sleeper:
    sleep()

with Dag("escaping") as escaping:
    escape()

with Dag("too_big") as too_big:
    big()

with Dag("yearly", schedule=Cron("0 0 1 1 *")) as yearly:
    escape()

with Dag("fails_daily", schedule=Cron("0 0 * * *")) as fails_daily:
    bad(1)

with Dag("sleeps_daily", schedule=Cron("0 0 * * *")) as sleeps_daily:
    sleep()

with Dag("new_year", schedule=Cron("0 0 1 1 *")) as new_year:
    escape()
