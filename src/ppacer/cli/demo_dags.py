"""The dags of `ppacer demo`, as a first example: copy this file, change it, then `ppacer serve FILE`."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from ppacer import Dag, TaskContext, task
from ppacer.schedule import Fixed

COUNTRIES = ["dk", "pl", "pt"]


def every(seconds: int) -> Fixed:
    """So many seconds apart, counted from the beginning of 2024."""
    return Fixed(datetime(2024, 1, 1, tzinfo=UTC), timedelta(seconds=seconds))


# 1. Extract, transform, load: data passes from task to task, one step fans out, the last one joins.


@dataclass
class Orders:
    """Parameters of a run: `ppacer trigger demo_etl --param count=500`."""

    count: int = 30


class Order(TypedDict):
    """What travels between the tasks: anything that JSON can hold, dataclasses too."""

    country: str
    amount: int


@task
def extract(ctx: TaskContext) -> list[Order]:  # `ctx` is passed when a task asks for it
    """Pretends to fetch orders; what a task returns goes to the tasks that take it."""
    ctx.logger.info("%d orders for the run of %s", ctx.run.params.count, f"{ctx.run.exec_ts:%H:%M:%S}")
    return [{"country": COUNTRIES[n % 3], "amount": 10 + n} for n in range(ctx.run.params.count)]


@task
def total(orders: list[Order], country: str) -> int:
    """The sum of one country."""
    time.sleep(0.3)
    return sum(order["amount"] for order in orders if order["country"] == country)


@task
def report(totals: dict[str, int]) -> None:
    """What a task prints is kept in its log."""
    for country, amount in totals.items():
        print(f"{country}: {amount:>6}")


# catch_up=1: the newest point missed while nothing ran is made up for, so the first run begins at once.
with Dag("demo_etl", schedule=every(5), catch_up=1, params=Orders, tags=["demo"]) as demo_etl:
    orders = extract()  # inside a Dag, calling a task places it there
    report({country: total.with_options(id=f"total_{country}")(orders, country) for country in COUNTRIES})


# 2. A service that answers only when asked for the third time: the task is tried again.


@task(retries=3, retry_delay=timedelta(seconds=1))
def ask_service(ctx: TaskContext) -> str:
    """Fails twice. An exception is a failure; `ctx.retry` counts the attempts from 0."""
    if ctx.retry < 2:
        raise ConnectionError("the service does not answer")
    return "all is well"


@task
def greet(answer: str) -> None:
    """Runs after the other, because it takes its result."""
    print("the service says:", answer)


with Dag("demo_flaky", schedule=every(15), catch_up=1, tags=["demo"]) as demo_flaky:
    greet(ask_service())
