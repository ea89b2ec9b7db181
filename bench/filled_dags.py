"""The dags of `bench.filled`: of ten teams twenty each, with ten tasks and schedules of many kinds."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ppacer import Dag, Registry, task
from ppacer.schedule import Cron, Fixed

TEAMS = ("sales", "finance", "web", "ads", "risk", "stock", "mail", "geo", "people", "support")
THINGS = (
    "orders",
    "invoices",
    "events",
    "prices",
    "users",
    "returns",
    "sessions",
    "budget",
    "offers",
    "refunds",
)
KINDS = ("ingest", "report")
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@task(retries=2, retry_delay=timedelta(minutes=1))
def step(*before: Any) -> None:
    """Does nothing."""


def _dag(number: int, dag_id: str, team: str) -> Dag:
    with Dag(
        dag_id, schedule=_schedule(number), tags=[team, "nightly" if number % 4 == 3 else "often"]
    ) as dag:
        extract = named("extract")
        joined = named("join", *(named(f"clean_{part}", extract) for part in ("eu", "us", "asia")))
        models = [named(f"model_{kind}", joined) for kind in ("day", "week")]
        published = named("publish", named("report", *models))
        named("notify", published)
    return dag


def named(id: str, *before: Any) -> Any:
    """A step by that name."""
    return step.with_options(id=id)(*before)


def _schedule(number: int) -> Cron | Fixed | None:
    minute = number * 7 % 60
    match number % 8:
        case 0 | 1 | 2:
            return Cron(f"{minute} * * * *")
        case 3 | 7:
            tz = ("Europe/Warsaw", "America/New_York")[number % 16 == 3]
            return Cron(f"{minute} {number % 24} * * *", tz=tz)
        case 4:
            return Cron(f"{minute} 6 * * MON-FRI", tz="Europe/Copenhagen")
        case 5:
            return Fixed(EPOCH + timedelta(minutes=minute), timedelta(minutes=15))
    return Cron("*/5 * * * *") if number % 5 == 1 else None


DAGS = [
    _dag(number, f"{team}.{thing}.{kind}", team)
    for number, (team, thing, kind) in enumerate(
        (team, thing, kind) for team in TEAMS for thing in THINGS for kind in KINDS
    )
]
REGISTRY = Registry(DAGS)
