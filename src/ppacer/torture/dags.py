"""The dags under torture. A campaign serves a copy of this file; its tasks write beside it what they do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import random

from ppacer import Dag, TaskContext, task
from ppacer.schedule import Fixed

LEDGER = Path(__file__).with_name("ledger")
NAP_MAX = 0.06


def note(word: str, ctx: TaskContext) -> None:
    """A line that is on the disk when this returns; empty lines keep one that a kill has torn apart."""
    line = f"\n{word} {ctx.run.run_id} {ctx.task_id} {ctx.retry} {ctx.attempt_token}\n"
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC, 0o644)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


def work(ctx: TaskContext, middle: Callable[[], None] = lambda: None) -> int:
    """What every task does: begins, takes a moment, ends."""
    note("began", ctx)
    print(f"{ctx.task_id} of run {ctx.run.run_id} begins")
    time.sleep(random() * NAP_MAX)
    middle()
    note("went_on", ctx)
    time.sleep(random() * NAP_MAX)
    note("did", ctx)
    return ctx.run.run_id


def check(ctx: TaskContext, *results: int) -> None:
    """What parents returned must be of this run."""
    assert all(result == ctx.run.run_id for result in results), results


@task
def first(ctx: TaskContext) -> int:
    """Begins the dag."""
    return work(ctx)


@task(runner="pool")
def pooled(number: int, ctx: TaskContext) -> int:
    """Runs in the pool."""
    check(ctx, number)
    return work(ctx)


@task(retries=1, retry_delay=timedelta(milliseconds=100), alert_on_retry=True)
def flaky(number: int, ctx: TaskContext) -> int:
    """Fails sometimes, often enough that some runs fail for good."""
    check(ctx, number)

    def fail() -> None:
        if random() < 0.4:
            raise ConnectionError("the service does not answer")

    return work(ctx, fail)


@task
def family(number: int, ctx: TaskContext) -> int:
    """Starts programs: one in its process group, one in a session of its own."""
    check(ctx, number)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    daemon: list[subprocess.Popen[bytes]] = []

    def multiply() -> None:
        daemon.append(subprocess.Popen(sleep, start_new_session=True))
        daemon.append(subprocess.Popen(sleep))

    done = work(ctx, multiply)
    for process in daemon:
        process.kill()
        process.wait()
    return done


@task(at_most_once=True)
def once(number: int, ctx: TaskContext) -> int:
    """May run once only."""
    check(ctx, number)
    return work(ctx)


@task(runner="pool")
def last(numbers: list[int], ctx: TaskContext) -> None:
    """Waits for all but `once`."""
    check(ctx, *numbers)
    work(ctx)


@task(runner="pool")
def tick(ctx: TaskContext) -> None:
    """Every second."""
    work(ctx)


with Dag("torture") as torture:
    begun = first()
    middles = [pooled(begun), pooled.with_options(id="pooled_too")(begun), flaky(begun), family(begun)]
    last(middles)
    once(begun)

with Dag("ticks", schedule=Fixed(datetime(2024, 3, 11, tzinfo=UTC), timedelta(seconds=1))) as ticks:
    tick()
