"""The dags of a seed, and what deployments make of them: other edges, names, configurations, schedules."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from ppacer.dag import Dag, Node, TaskConfig
from ppacer.errors import DagError
from ppacer.schedule import Cron, Fixed, Schedule

# (zone, an instant at which its clocks change): spring, autumn, and half an hour on Lord Howe.
CHANGES = (
    ("Europe/Warsaw", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Warsaw", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("UTC", datetime(2026, 12, 31, 23, tzinfo=UTC)),
)
EXPRESSIONS = (
    *("* * * * *", "*/2 * * * *", "*/5 * * * *", "30 * * * *", "30 2 * * *", "15 3 * * *"),
    *("0 */2 * * *", "10 1-4 * * *", "*/20 1,2,3 * * *", "0 0 * * *"),
)
SHAPES = (
    (),
    ("a",),
    ("a",),
    ("a", "b"),
    ("a", "b: a"),
    ("a", "b: a", "c: b"),
    ("a", "b: a", "c: a", "d: b c"),
    ("a", "b", "c: a b"),
    ("a", "b: a", "c: a", "d: a", "e: b c d", "f: e"),
)
DAG_IDS = ("one", "two", "three", "four", "five")
RETRIES_MAX = 2


def seconds(value: float) -> timedelta:
    """Short for a duration."""
    return timedelta(seconds=value)


class Step:
    """A task; what it would do is decided by the executors of the simulation."""

    def __init__(self, id: str) -> None:
        self.id = id

    def execute(self, ctx: object) -> None:
        """Never called."""


class Squares:
    """A schedule of a user: points at start + n² · unit for n < last, then it is over."""

    def __init__(self, start: datetime, unit: timedelta, last: int) -> None:
        self.start, self.unit, self.last = start, unit, last

    def next(self, current: datetime, previous: datetime | None, /) -> datetime | None:
        """The first square after `current`."""
        points = (self.start + n * n * self.unit for n in range(self.last))
        return next((point for point in points if point > current), None)

    def __str__(self) -> str:
        return f"Squares: {self.unit} {self.last}"


class Breaks(Squares):
    """One that raises when it is asked for what comes after its last point."""

    def next(self, current: datetime, previous: datetime | None, /) -> datetime | None:
        """As `Squares`, until it breaks."""
        point = super().next(current, previous)
        if point is None:
            raise ValueError("no idea")
        return point

    def __str__(self) -> str:
        return f"Breaks: {self.unit} {self.last}"


class Spec:
    """One dag as it would be written in a file; `build` makes the Dag."""

    def __init__(self, id: str, rng: random.Random, begin: datetime, zone: str) -> None:
        self.id, self.rng, self.begin, self.zone = id, rng, begin, zone
        self.is_there = True
        self.generation = 0
        self.shape()
        self.plan()
        self.dag = self.build()

    def shape(self) -> None:
        """New tasks with new edges and configurations."""
        rng = self.rng
        self.generation += 1
        lines = rng.choice(SHAPES)
        suffix = rng.choice(["", "", "2"])  # renamed tasks
        self.lines = [" ".join(word + suffix for word in _words(line)) for line in lines]
        self.configs = {line.split()[0]: _config(rng) for line in self.lines}
        if self.lines and rng.random() < 0.1:
            self.lines.append("poison")
            self.configs["poison"] = rng.choice([{}, {"retries": 1}])
        self.default = TaskConfig(
            timeout=rng.choice([None, seconds(20), seconds(45)]),
            alert_on_failure=rng.random() < 0.6,
        )

    def plan(self) -> None:
        """A new schedule."""
        rng = self.rng
        self.schedule = _schedule(rng, self.begin, self.zone)
        self.catch_up = rng.choice([False, False, True, 1, 3, seconds(180), seconds(3600)])
        self.cap = rng.choice([1, 2, 3, 16])

    def change(self, now: datetime) -> None:
        """What a deployment changes about this dag."""
        dice = self.rng.random()
        self.begin = now
        if dice < 0.2 or not self.is_there:
            self.is_there = not self.is_there
        elif dice < 0.6:
            self.shape()
        elif dice < 0.8:
            self.plan()
        else:
            self.cap = self.rng.choice([1, 2, 3])
        self.dag = self.build()

    def build(self) -> Dag:
        """The dag as it is now."""
        options = {"catch_up": self.catch_up, "max_active_runs": self.cap, "config": self.default}
        with Dag(self.id, schedule=self.schedule, **options) as dag:  # type: ignore[arg-type]  # by name
            nodes: dict[str, Node] = {}
            for line in self.lines:
                task_id, *parents = line.split()
                nodes[task_id] = _node(task_id, self.configs[task_id])
                for parent in parents:
                    nodes[parent] >> nodes[task_id]
        return dag


def _words(line: str) -> list[str]:
    return line.replace(":", "").split()


def _node(task_id: str, config: dict[str, Any]) -> Node:
    try:
        return Node(Step(task_id), **config)
    except DagError as error:
        raise AssertionError(f"{config} is no configuration: {error}") from error


def _config(rng: random.Random) -> dict[str, Any]:
    dice = rng.random()
    if dice < 0.3:
        return {}
    if dice < 0.45:
        return {"at_most_once": True}
    if dice < 0.55:
        return {"timeout": seconds(rng.choice([3, 8, 15]))}
    return {
        "retries": rng.randint(1, RETRIES_MAX),
        "retry_delay": seconds(rng.choice([0, 0, 2.5, 7, 20])),
        "retry_backoff": rng.choice([1.0, 2.0, 3.0]),
        "retry_delay_max": seconds(rng.choice([30, 50])),
        "retry_jitter": rng.choice([0.0, 0.0, 0.5]),
        "alert_on_retry": rng.random() < 0.3,
    }


def _schedule(rng: random.Random, begin: datetime, zone: str) -> Schedule | None:
    dice = rng.random()
    start = begin + seconds(rng.choice([-100_000, -500.5, -3, 0, 7.25, 90]))
    if dice < 0.3:
        return None
    if dice < 0.6:
        return Fixed(start, seconds(rng.choice([15, 25.5, 40, 90, 200, 1800])))
    if dice < 0.9:
        bound = rng.choice([None, start])
        return Cron(rng.choice(EXPRESSIONS), tz=zone, start=bound)
    kind = rng.choice([Squares, Squares, Breaks])
    return kind(max(start, begin), seconds(rng.choice([1, 5])), rng.choice([4, 12, 40]))


class Scenario:
    """All dags of a seed, and the zone and hour in which it plays."""

    def __init__(self, rng: random.Random, dags_max: int | None = None) -> None:
        self.rng = rng
        self.zone, change = rng.choice(CHANGES)
        self.begin = change - seconds(rng.choice([10, 300, 1800, 3600, 10_000]) * rng.random())
        count = rng.randint(1, len(DAG_IDS))
        ids = DAG_IDS[: count if dags_max is None else min(count, dags_max)]
        self.specs = [Spec(id, random.Random(f"{rng.random()}/{id}"), self.begin, self.zone) for id in ids]

    @property
    def ids(self) -> list[str]:
        """The names of all dags, deployed or not."""
        return [spec.id for spec in self.specs]

    def deployed(self) -> list[Dag]:
        """The dags of the present deployment."""
        return [spec.dag for spec in self.specs if spec.is_there]

    def change(self, now: datetime) -> None:
        """A new version of the program's file."""
        for spec in self.rng.sample(self.specs, self.rng.randint(1, len(self.specs))):
            spec.change(now)
