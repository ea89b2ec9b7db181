"""The dag of ten tasks for many machines; its tasks write into one ledger what they do."""

import os
import time
from datetime import timedelta
from pathlib import Path
from random import random

from ppacer import Dag, TaskContext, task

NAP_MAX = 0.15


def note(word: str, ctx: TaskContext) -> None:
    """A line that is on the disk when this returns; empty lines keep one that a kill has torn apart."""
    line = f"\n{word} {ctx.run.run_id} {ctx.task_id} {ctx.retry} {ctx.attempt_token}\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC
    ledger = os.open(Path(os.environ["MACHINES_LEDGER"]), flags, 0o644)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


def work(ctx: TaskContext, *results: int) -> int:
    """What every task does: begins, takes a moment, ends."""
    assert all(result == ctx.run.run_id for result in results), results
    note("began", ctx)
    print(f"{ctx.task_id} of run {ctx.run.run_id}")
    time.sleep(random() * NAP_MAX)
    note("did", ctx)
    return ctx.run.run_id


@task
def first(ctx: TaskContext) -> int:
    """Begins the dag."""
    return work(ctx)


@task(runner="pool")
def pooled(number: int, ctx: TaskContext) -> int:
    """Runs in the pool."""
    return work(ctx, number)


@task
def forked(number: int, ctx: TaskContext) -> int:
    """Runs in a process of its own."""
    return work(ctx, number)


@task(runner="thread")
def threaded(number: int, ctx: TaskContext) -> int:
    """Runs in the executor's own process, and dies with it."""
    return work(ctx, number)


@task(runner="pool", retries=2, retry_delay=timedelta(milliseconds=100))
def flaky(number: int, ctx: TaskContext) -> int:
    """Fails sometimes."""
    if random() < 0.2:
        note("began", ctx)
        raise ConnectionError("the service does not answer")
    return work(ctx, number)


@task(at_most_once=True, runner="pool")
def once(number: int, ctx: TaskContext) -> int:
    """May run once only."""
    return work(ctx, number)


@task(runner="pool")
def last(numbers: list[int], ctx: TaskContext) -> None:
    """Waits for all but `once`."""
    work(ctx, *numbers)


with Dag("torture", max_active_runs=1_000) as torture:
    begun = first()
    middles = [
        pooled(begun),
        pooled.with_options(id="pooled_too")(begun),
        pooled.with_options(id="pooled_also")(begun),
        forked(begun),
        threaded(begun),
        threaded.with_options(id="threaded_too")(begun),
        flaky(begun),
    ]
    last(middles)
    once(begun)
