"""The dags of the tests: each is there for one behaviour."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from api.live import Gate
from ppacer import Dag, TaskContext, task
from ppacer.errors import DagError
from ppacer.schedule import Cron, Fixed

GATE = Gate()
LONG_AGO, FAR = datetime(2020, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)
NASTY = "<script>alert('x')</script><img src=x onerror=alert(1)>&amp;\"'{{ 7*7 }}"


class Broken:
    """A schedule that raises what looks like HTML."""

    start = LONG_AGO

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        raise ValueError(NASTY)

    def __str__(self) -> str:
        return f"broken {NASTY}"


class Never:
    """A schedule whose text looks like HTML, and whose one point is far away."""

    start = FAR

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        return FAR if current < FAR else None

    def __str__(self) -> str:
        return f"never {NASTY}"


@dataclass
class Order:
    """The parameters of the dag `etl`."""

    country: str = "PL"
    rows: int = 3
    more: Any = None


@task
def extract(ctx: TaskContext) -> list[int]:
    """Says where it extracts, and returns as many numbers as asked for."""
    ctx.logger.info("extracting for %s", ctx.run.params.country, extra={"country": ctx.run.params.country})
    return list(range(ctx.run.params.rows))


@task
def load(ctx: TaskContext, rows: list[int]) -> int:
    """Counts."""
    ctx.logger.info("loading %d rows", len(rows))
    return len(rows)


@task
def nothing() -> None:
    """Returns nothing."""


@task
def hold(ctx: TaskContext) -> str:
    """Waits for the test."""
    ctx.logger.info("held")
    GATE.wait()
    ctx.logger.info("let go")
    return "held"


@task
def fail(ctx: TaskContext) -> None:
    """Fails as long as it is told to."""
    raise DagError(f"it failed: {NASTY}")


@task
def after_failure(value: Any) -> None:
    """Never runs."""


@task
def talk(ctx: TaskContext) -> None:
    """Says `count` things, of every level."""
    for number in range(ctx.run.params.rows):
        ctx.logger.log((number % 5 + 1) * 10, "line %d of %s", number, ctx.run.params.country)


def etl() -> Dag:
    """Two tasks with data, parameters, a schedule and tags."""
    with Dag("etl", schedule=Cron("15 3 * * *"), params=Order, tags=["nightly", "sales"]) as dag:
        load(extract())
    return dag


def held() -> Dag:
    """Waits at the gate, then does one thing more."""
    with Dag("held", tags=["sales"]) as dag:
        nothing.with_options(id="after")() << hold()
    return dag


def failing() -> Dag:
    """Fails, with a task behind it and one beside it."""
    with Dag("failing") as dag:
        after_failure(fail())
        nothing()
    return dag


def retrying() -> Dag:
    """Fails, and would be tried again in an hour."""
    with Dag("retrying") as dag:
        fail.with_options(retries=1, retry_delay=timedelta(hours=1))()
    return dag


def talking() -> Dag:
    """Writes as many records as asked for."""
    with Dag("talking", params=Order) as dag:
        talk()
    return dag


def broken() -> Dag:
    """Its schedule raises, so it is disabled."""
    with Dag("broken", schedule=Broken()) as dag:
        nothing()
    return dag


def hostile() -> Dag:
    """Everything that a user can write freely looks like HTML."""
    with Dag("hostile", schedule=Never(), tags=[NASTY], params=Order) as dag:
        fail()
    return dag


def rare() -> Dag:
    """Has had points and catches up with one of them; the next is years away, not while a test looks."""
    with Dag("rare", schedule=Fixed(LONG_AGO, timedelta(days=1000)), catch_up=1) as dag:
        nothing()
    return dag


def empty() -> Dag:
    """No tasks at all."""
    with Dag("empty") as dag:
        pass
    return dag


def all_dags() -> list[Dag]:
    """One of each."""
    return [etl(), held(), failing(), retrying(), talking(), broken(), hostile(), rare(), empty()]
