"""Everybody else who asks the scheduler for something: people with commands, the postman of the outbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ppacer.engine.changes import AlertQueued, AlertTried, Change
from ppacer.errors import ScheduleError
from ppacer.schedule import points_in
from ppacer.scheduler import (
    CancelBackfill,
    CancelRun,
    Command,
    PauseBackfill,
    PauseDag,
    RestartRun,
    StartBackfill,
    TriggerRun,
    UnpauseBackfill,
    UnpauseDag,
)
from sim.dags import seconds
from sim.wires import Call, Link

if TYPE_CHECKING:
    from sim.world import World

PATIENCE = 30.0
TRIES_MAX = 4
ROUND = 2.0  # seconds between two looks of the postman
OPEN_MAX = 30  # runs; nobody starts more while so many are not done
ASKS_MAX = 4  # times for the same thing
BACKFILLED_MAX = 12  # points of one backfill


class People:
    """They trigger, cancel, restart, pause. Whoever gets no answer asks again for the same thing."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.link = Link(world, is_far=True)
        self.rng = world.chance.stream("people")
        self.pace = self.rng.choice([3.0, 8.0, 20.0])  # seconds between triggers
        self._trigger()
        for kind in ("cancel", "restart", "pause", "nonsense", "backfill"):
            self._next(kind)

    def _next(self, kind: str) -> None:
        wait = self.world.chance.wait(kind)
        if wait is not None:
            self.world.timeline.after(wait * self._calm(), self._disturb, kind)

    def _trigger(self) -> None:
        if not self.world.chance.faulty:
            return
        dag_id, exec_ts = self.rng.choice(self.world.scenario.ids), None
        if self.rng.random() < 0.3:
            exec_ts = self.world.now().utc + seconds(self.rng.choice([-1000, 0, 0.5, 30]))
        elif self.rng.random() < 0.1:  # somebody is ahead of the schedule
            row = self.world.shelf.fold.tables.dags.get(dag_id)
            exec_ts = None if row is None else row["NextScheduleAt"]
        if self._is_busy():
            self.ask(TriggerRun(dag_id, {}, exec_ts))
        self.world.timeline.after(self.rng.expovariate(1 / self.pace) * self._calm(), self._trigger)

    def _disturb(self, kind: str) -> None:
        if not self.world.chance.faulty:
            return
        if self._is_busy():
            self.ask(self._command(kind))
        self._next(kind)

    def _is_busy(self) -> bool:
        """Few try their luck with a program that is known to be away, or has enough to do."""
        world = self.world
        if world.is_asleep or world.scheduler is None:
            return self.rng.random() < 0.5
        return len(world.scheduler.memory.engine.runs) < OPEN_MAX

    def _calm(self) -> float:
        """How much longer than usual they leave a program alone that is known to be away."""
        return 10.0 if self.world.is_away else 1.0

    def _command(self, kind: str) -> Command:
        """One command; half of all go to the newest runs."""
        rng, world = self.rng, self.world
        newest = world.shelf.fold.newest_run_id()
        run_id = rng.randint(max(1, newest - rng.choice([3, 30])), newest + 1)
        dag_id = rng.choice(world.scenario.ids)
        match kind:
            case "cancel":
                return CancelRun(run_id)
            case "restart":
                return RestartRun(run_id)
            case "pause":
                return PauseDag(dag_id) if rng.random() < 0.3 else UnpauseDag(dag_id)
            case "backfill":
                return self._backfill(dag_id)
        nonsense: list[Command] = [TriggerRun("nobody"), TriggerRun(dag_id, {"no": 1}), CancelRun(0)]
        return rng.choice([*nonsense, RestartRun(10**12), PauseDag("")])

    def _backfill(self, dag_id: str) -> Command:
        """A new one, or something with one of the newest."""
        rng, newest = self.rng, self.world.shelf.fold.newest_backfill_id()
        if newest and rng.random() < 0.5:
            number = rng.randint(max(1, newest - 3), newest + 1)
            pauses: list[Command] = [PauseBackfill(number), UnpauseBackfill(number), UnpauseBackfill(number)]
            return rng.choice([*pauses, CancelBackfill(number)])
        now = self.world.now().utc
        begin = now - seconds(rng.choice([60, 600, 7200, 200_000]) * rng.random())
        end = self._few(dag_id, begin, now)
        return StartBackfill(dag_id, begin, end, rng.choice([1, 2, 5]), rng.random() < 0.5)

    def _few(self, dag_id: str, begin: datetime, now: datetime) -> datetime | None:
        """The end of a range with few points; None where there are few up to now."""
        schedule = next((spec.schedule for spec in self.world.scenario.specs if spec.id == dag_id), None)
        try:
            points = [] if schedule is None else points_in(schedule, begin, now, BACKFILLED_MAX)
        except ScheduleError:
            return None
        return points[-1] if len(points) > BACKFILLED_MAX else None

    def ask(self, command: Command, tries: int = ASKS_MAX) -> None:
        """Asks, and asks again when there is no answer and it can do no harm."""
        world = self.world
        world.oracle.asked(command)
        Call(
            world,
            self.link,
            command,
            PATIENCE,
            lambda value: world.oracle.answered(command, value),
            lambda error: self._failed(command, error, tries - 1),
        )

    def _failed(self, command: Command, error: Any, left: int) -> None:
        """Only what the scheduler itself has said is an answer; a broken connection is none."""
        world = self.world
        if isinstance(error, Exception) and not _is_broken(error):
            world.oracle.answered(command, error)
        elif left and not _is_new_each_time(command):
            world.timeline.after(1.0 + 9.0 * self.rng.random(), self.ask, command, left)


def _is_new_each_time(command: Command) -> bool:
    """Whether the same command again is another one."""
    return isinstance(command, StartBackfill) or (isinstance(command, TriggerRun) and command.exec_ts is None)


def _is_broken(error: Exception) -> bool:
    return str(error) in ("connection refused", "connection reset", "no answer")


class Postman:
    """What `ppacer.scheduler.Outbox` does, without threads: tries due alerts, records what became of them."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.link = Link(world, is_far=False)
        self.busy: set[int] = set()
        self.unrecorded: dict[int, AlertTried] = {}
        self._is_awake = False
        self.wake()

    def wake(self) -> None:
        """It looks every two seconds, until nothing is left to try."""
        if not self._is_awake:
            self._is_awake = True
            time = self.world.timeline.time
            self.world.timeline.after(ROUND - time % ROUND, self._round)

    def heard(self, changes: Sequence[Change]) -> None:
        """The listener of the scheduler."""
        for change in changes:
            if type(change) is AlertQueued:
                self.wake()

    def _round(self) -> None:
        self._is_awake = False
        if self.world.scheduler is None:
            return  # its start wakes the postman
        now = self.world.now()
        for alert_id, row in self.world.shelf.fold.tables.outbox.items():
            if row["NextTryAt"] is None:
                continue
            self.wake()
            if row["NextTryAt"] <= now.utc and alert_id not in self.busy:
                self._try(alert_id, row["Tries"] + 1)

    def _try(self, alert_id: int, tries: int) -> None:
        """What was sent is not sent again as long as this program lives: only the record is tried again."""
        tried = self.unrecorded.get(alert_id) or self._send(alert_id, tries)
        self.unrecorded[alert_id] = tried
        self.busy.add(alert_id)
        failed = lambda error: self.busy.discard(alert_id)  # noqa: E731 - it is one line of the call
        Call(self.world, self.link, tried, 30.0, lambda value: self._recorded(alert_id), failed)

    def _send(self, alert_id: int, tries: int) -> AlertTried:
        now = self.world.now().utc
        if not self.world.chance.strikes("unsent"):
            return AlertTried(alert_id, now)
        again = None if tries >= TRIES_MAX else now + seconds(5.0 * tries)
        return AlertTried(alert_id, now, "the server is away", again)

    def _recorded(self, alert_id: int) -> None:
        self.busy.discard(alert_id)
        self.unrecorded.pop(alert_id, None)

    def forget(self) -> None:
        """The program has died."""
        self.busy.clear()
        self.unrecorded.clear()
