"""One seed: the production scheduler between a database, a network, executors and people that all fail.

Nothing runs by itself and nothing sleeps. A turn is what `Scheduler.run` does in one round: wait for a timer
or a request (here: let the timeline happen until then), then one `Scheduler.step`. Phases: faults, until the
number of steps is reached; then all is healed and every run must end; then the oracle looks at everything.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from ppacer.clock import Now
from ppacer.dag import Registry
from ppacer.engine import TaskStatus
from ppacer.engine.changes import Change, RunCreated, RunRestarted
from ppacer.errors import ConflictError, StoreError
from ppacer.protocol import Grant, Report
from ppacer.scheduler import CancelBackfill, PauseDag, RestartRun, Scheduler, TriggerRun, UnpauseBackfill
from ppacer.scheduler import scheduler as scheduler_module
from ppacer.scheduler.requests import FromExecutor, Request
from ppacer.store import Store
from sim.chance import Chance
from sim.dags import Scenario, seconds
from sim.executors import Executor
from sim.oracle import Oracle, Violation
from sim.outside import People, Postman
from sim.shelf import Killed, Planned, Shelf, synchronize
from sim.wires import Call, Sent, Timeline, Waiting

BIRTH = 1_000.0  # the monotonic clock when it all begins
LEASES = (30.0, 30.0, 12.0)
DOWN = (0.1, 0.1, 1.0, 1.0, 1.0, 5.0, 5.0, 31.0, 31.0, 70.0, 400.0)
STALLS = (1.0, 10.0, 16.0, 31.0, 65.0, 200.0)
SLEEPS = (120.0, 120.0, 1800.0, 1800.0, 7200.0, 20_000.0)
JUMPS = (-400.0, -61.0, -5.0, -0.5, 0.5, 10.0, 61.0, 400.0, 4000.0)
BATCHES = (0.0, 0.0, 0.001, 0.03)  # seconds in which more requests come before the step takes them
EVERY = 100  # steps between two looks at everything
SPIN_MAX = 30
TICK = 1e-6  # seconds; no clock is finer, and no sleep is shorter
PATIENCE = 900.0  # seconds in which at least something must be committed when everything is healed
HEAL_STEPS = 20_000
NOTES = 60


class World:
    """Everything of one seed. `run` plays it, and raises Violation when a promise is broken."""

    def __init__(
        self,
        seed: int,
        steps_max: int,
        *,
        without: Sequence[str] = (),
        dags_max: int | None = None,
        path: Path | None = None,
    ) -> None:
        self.seed, self.steps_max = seed, steps_max
        self.steps = 0
        self.chance = Chance(seed, without)
        self.wires = self.chance.stream("wires")
        self.timeline = Timeline()
        self.scenario = Scenario(self.chance.stream("dags"), dags_max)
        self.lease = self.chance.stream("world").choice(LEASES)
        self.oracle = Oracle(self.lease)
        self.shelf = Shelf(self, path)
        self.scheduler: Scheduler | None = None
        self.inbox: list[Sent] = []
        self.answered: list[Sent] = []
        self.calls: dict[Call, None] = {}  # those that have come to the scheduler
        self._waiting: dict[float, Waiting] = {}  # calls, by their patience
        self.violation: Violation | None = None
        self.notes: deque[tuple[float, Any]] = deque(maxlen=NOTES)
        self._restarted: set[int] = set()  # in this step
        self._made: list[str] = []  # the dags of runs by hand in this step
        self.is_first = True
        self.is_asleep = False
        self._suspended = self._set = self._fell_asleep = self._committed_at = self._began_at = 0.0
        self._seen, self._seen_at = Now(self.scenario.begin, BIRTH), -1.0  # what `now` is, and when
        self._given = self._spins = self._spun_at = 0.0
        count = self.chance.stream("world").choice([0, 1, 1, 2, 3])
        self.executors = [Executor(self, name, slots) for name, slots in _EXECUTORS[: count + 1]]
        if count and self.chance.stream("world").random() < 0.5:
            self.executors[0].slots = 0  # all work is done elsewhere
        self.postman = Postman(self)
        self.people = People(self)

    # -- time ------------------------------------------------------------------------------------------------

    def now(self) -> Now:
        """What the scheduler's clocks show."""
        time = self.timeline.time
        if time == self._seen_at:
            return self._seen
        awake = self._fell_asleep if self.is_asleep else time
        self._seen_at = time
        utc = self.scenario.begin + timedelta(0, time + self._set)
        self._seen = Now(utc, BIRTH + awake - self._suspended)
        return self._seen

    @property
    def is_away(self) -> bool:
        """Whether nobody could hear what is sent to the scheduler at this moment."""
        return self.scheduler is None or self.is_asleep

    def waiting(self, patience: float) -> Waiting:
        """Where calls with this patience wait."""
        if patience not in self._waiting:
            self._waiting[patience] = Waiting(self.timeline, patience)
        return self._waiting[patience]

    def pass_by(self, span: float) -> None:
        """Time passes, everything happens but the scheduler's steps."""
        end = self.timeline.time + span
        self.timeline.happen_until(end)
        self.timeline.time = max(self.timeline.time, end)

    # -- the whole -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the first start to the end of every run."""
        with self._listening():
            try:
                self._play()
            except Violation as violation:
                self.violation = violation
            finally:
                self.shelf.close()
            if self.violation is not None:
                raise self.violation

    def _play(self) -> None:
        for executor in self.executors:
            if executor.link.is_far:
                executor.start()
        self.begin()
        while self.steps < self.steps_max:
            self.turn()
        self.heal()
        self.shelf.compare()
        self._judge()

    def heal(self) -> None:
        """No more faults: everything must come to its end."""
        self.note("healed")
        self.chance.faulty = False
        self.shelf.heal()
        for executor in self.executors:
            executor.heal()
        self._pause_all()
        self._committed_at, steps = self.timeline.time, self.steps
        while not self._is_quiet():
            if self.timeline.time - self._committed_at > PATIENCE or self.steps - steps > HEAL_STEPS:
                raise Violation(10, f"after all was healed these runs do not end: {self._open()}")
            self.turn()
        assert self.scheduler is not None
        self.oracle.check_everything(self.scheduler, self.shelf.fold.tables, self.now())
        self.oracle.check_end(self.scheduler, self.shelf.fold.tables, self.now())

    def _pause_all(self) -> None:
        """No new runs, until every dag is paused."""
        for row in self.shelf.fold.tables.dags.values():
            if row["PausedAt"] is None and row["RemovedAt"] is None:
                self.people.ask(PauseDag(row["DagId"]))
        for backfill in self.shelf.fold.open_backfills():
            number = backfill.ref.backfill_id
            if self.shelf.fold.tables.dags[backfill.ref.dag_id]["RemovedAt"] is not None:
                self.people.ask(CancelBackfill(number))
            elif backfill.paused_at is not None:
                self.people.ask(UnpauseBackfill(number))
        self.timeline.after(7.0, self._pause_all)

    def _open(self) -> list[Any]:
        return [self.shelf.fold.tables.dagruns[run_id] for run_id in self.shelf.fold.open]

    def _is_quiet(self) -> bool:
        scheduler = self.scheduler
        if scheduler is None or scheduler.trouble is not None or self.inbox:
            return False
        tables = self.shelf.fold.tables
        if self.shelf.fold.open_backfills():
            return False
        if any(row["PausedAt"] is None and row["RemovedAt"] is None for row in tables.dags.values()):
            return False
        return not any(ex.running or ex.spool for ex in self.executors) and not self.shelf.fold.open

    # -- one turn --------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Waits as `Scheduler.run` does, then one step."""
        while self.scheduler is None:
            self.timeline.happen()
        for kind in self.chance.befalling():
            self._befall(kind)
        if self.scheduler is not None:
            self._round(self.scheduler)
        self._judge()

    def _round(self, scheduler: Scheduler) -> None:
        timeline, now = self.timeline, self.now()
        pause = scheduler._pause(now)
        if scheduler.memory.engine.retries:
            self._check_sleep(scheduler, now, pause)
        until = timeline.time + pause
        timeline.happen_until(until, self.inbox)
        if not self.inbox:
            timeline.time = max(until, timeline.time + TICK)
        elif batch := BATCHES[int(self.wires.random() * len(BATCHES))]:
            self.pass_by(batch)
        if self.scheduler is scheduler:
            self._step(scheduler)

    def _check_sleep(self, scheduler: Scheduler, now: Now, pause: float) -> None:
        """A well scheduler does not sleep past the time of a retry (30)."""
        due = scheduler.memory.engine.retries[0]
        if scheduler.trouble is None and now.utc + seconds(pause - 0.01) > max(due[0], now.utc):
            raise Violation(30, f"it would sleep for {pause} s, and {due} is due")

    def _befall(self, kind: str) -> None:
        """One of what may befall the scheduler between two steps."""
        chance = self.chance
        match kind:
            case "outage":
                self.shelf.outage()
            case "kill":
                self.shelf.arm()
            case "clock":
                self._set_clock(chance.pick("clock", JUMPS))
            case "stall":
                self._stall(chance.pick("stall", STALLS))
            case "sleep":
                self._sleep(chance.pick("sleep", SLEEPS) * chance.stream("sleep").random())
            case "stop":
                self._stop()
            case "forget":
                self._forget()

    def _set_clock(self, by: float) -> None:
        self.note(f"the clock is set by {by} s")
        self._set += by
        self._seen_at = -1.0
        self.oracle.clock_set(by)

    def _stall(self, span: float) -> None:
        """The program is stopped; the world is not."""
        self.note(f"no step for {span} s")
        self.pass_by(span)
        span = min(span, self.timeline.time - self._began_at)  # it may have been started anew meanwhile
        if span > self.lease / 2:  # what came in a shorter one is heard in time
            self.oracle.slept(span)

    def _sleep(self, span: float) -> None:
        """The host is asleep, and its monotonic clock with it; other hosts are not."""
        self.note(f"asleep for {span} s")
        self._fell_asleep, self.is_asleep = self.timeline.time, True
        self.pass_by(span)
        self.is_asleep = False
        self._suspended += self.timeline.time - self._fell_asleep
        self._seen_at = -1.0

    def _forget(self) -> None:
        """Memory is a cache of rows: dropping it changes only timing."""
        scheduler = self.scheduler
        if scheduler is None or scheduler.trouble is not None:
            return
        self.note("memory is dropped")
        now = self.now()
        try:
            scheduler._recovery.read_back(now)
        except StoreError as error:
            scheduler._trouble.begin(error, now)
        except Killed:
            self.die("while it reads back")

    def _step(self, scheduler: Scheduler) -> None:
        requests, self.inbox = self.inbox, []
        now = self.now()
        self._watch_spins(now, requests)
        for request in requests:
            self.notes.append((self.timeline.time, request.ask))
            if isinstance(request.ask, FromExecutor):
                self.oracle.heard(request.ask.executor, request.ask, now)
        self.steps += 1
        heard = (*requests, *scheduler._recovery.kept)
        self._made, self._restarted = [], set()
        try:
            scheduler.step(now, requests)
        except Killed:
            self.die("in a step")
            return
        if self.answered:
            self._send_answers()
        self._judge()
        if self._made and Counter(self._made) - Counter(_triggers(heard)):
            raise Violation(26, f"runs by hand: {self._made} in one step, and asked for were {heard}")
        if self._restarted:
            self._check_conflicts(requests)
        self.oracle.check_touched(scheduler, now)
        if self.steps % EVERY == 0:
            self.oracle.check_everything(scheduler, self.shelf.fold.tables, now)
            if self.steps % (10 * EVERY) == 0:
                self.shelf.compare()

    def _check_conflicts(self, requests: Sequence[Sent]) -> None:
        """What was done in this step for one request alone is no conflict for it (26)."""
        asks = Counter(str(request.ask) for request in requests if isinstance(request.ask, RestartRun))
        for request in requests:
            ask = request.ask
            if not isinstance(ask, RestartRun) or not request.is_answered or asks[str(ask)] > 1:
                continue
            if ask.run_id in self._restarted and isinstance(request.future.outcome(), ConflictError):
                raise Violation(26, f"{ask} was carried out, and is answered with {request.future.outcome()}")

    def _watch_spins(self, now: Now, requests: Sequence[Sent]) -> None:
        """A scheduler that is woken for nothing burns the processor."""
        if requests or now.mono - self._spun_at > 0.001:
            self._spins, self._spun_at = 0, now.mono
        self._spins += 1
        if self._spins > SPIN_MAX:
            raise Violation(35, f"{SPIN_MAX} steps within a millisecond, and nobody has asked for anything")

    def _send_answers(self) -> None:
        answered, self.answered = self.answered, []
        for request in answered:
            if request.call is not None:
                request.call.reply(request)

    # -- the program -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The program is started, perhaps with other dags; it may fail to, or die while it recovers."""
        if self.is_asleep:
            self.timeline.after(10.0, self.begin)
            return
        if not self.is_first and self.chance.strikes("deploy"):
            self.note("deployed anew")
            self.scenario.change(self.now().utc)
        self.is_first = False
        now = self.now()
        registry = Registry(self.scenario.deployed())
        store = cast(Store, self.shelf)
        scheduler = Scheduler(store, registry, self, lease=self.lease, new_token=self._token)
        scheduler.listeners.append(self.postman.heard)
        if self.chance.strikes("kill_recovery"):
            self.shelf.arm()
        self.note("started")
        try:
            self.shelf.open()
            scheduler.start(now)
        except Killed:
            self.die("in its recovery")
        except StoreError:
            self.die("because the database refuses")
        else:
            self.scheduler, self._began_at = scheduler, self.timeline.time
            self.oracle.up(now)
            if self.chance.strikes("clock_at_start"):
                self._set_clock(self.chance.pick("clock_at_start", JUMPS))
            self.postman.wake()
            self.executors[0].start()

    def _token(self) -> str:
        self._given += 1
        return f"t{self._given:.0f}"

    def die(self, where: str) -> None:
        """The program ends without a word, and is started again later."""
        self.note(f"killed {where}")
        self.oracle.down()
        self.scheduler = None
        self.shelf.disarm()
        self.executors[0].die()
        self.postman.forget()
        self.answered = [request for request in self.answered if self.wires.random() < 0.5]
        self._send_answers()
        self.inbox.clear()
        calls, self.calls = self.calls, {}
        for call in calls:
            call.cut()
        self.timeline.after(self.wires.choice(DOWN), self.begin)

    def _stop(self) -> None:
        """SIGTERM: commands are refused, the local executor drains, then the program ends."""
        scheduler = self.scheduler
        if scheduler is None:
            return
        self.note("stopping")
        scheduler.refuse_commands()
        self.executors[0].drain()
        self.timeline.after(9.0, self._close, scheduler)

    def _close(self, scheduler: Scheduler) -> None:
        if self.is_asleep:
            self.timeline.after(10.0, self._close, scheduler)
        if self.scheduler is not scheduler or self.is_asleep:
            return
        with suppress(Killed):
            scheduler.close()
        self._send_answers()
        self.die("at its end")

    # -- what is seen ----------------------------------------------------------------------------------------

    def note(self, what: Any) -> None:
        """Something for the story of a failing seed."""
        self.notes.append((self.timeline.time, what))

    def committed(self, changes: Sequence[Change]) -> None:
        """This transaction has become rows."""
        self._committed_at = self.timeline.time
        for change in changes:
            if type(change) is RunCreated and change.trigger == "manual":
                self._made.append(change.ref.dag_id)
            elif type(change) is RunRestarted:
                self._restarted.add(change.ref.run_id)
        self.notes.append((self.timeline.time, changes))
        try:
            self.oracle.committed(changes, self.now())
        except Violation as violation:
            self.violation = self.violation or violation
            raise

    def convict(self, number: int, text: str) -> None:
        """A promise is broken; it is raised when the step is over, because the scheduler catches much."""
        self.violation = self.violation or Violation(number, text)

    def _judge(self) -> None:
        if self.violation is not None:
            raise self.violation

    def check_refusal(self, report: Report) -> None:
        """Only what was replaced is refused: then nobody runs under its token any more (26)."""
        row = self.shelf.fold.tables.dagruntasks[report.run_id].get((report.task_id, report.retry))
        if row is not None and row["Token"] == report.token and row["Status"] is TaskStatus.RUNNING:
            raise Violation(26, f"{report} is refused, and counts as running")

    def check_inputs(self, grant: Grant) -> None:
        """A grant brings the results of exactly those parents that have one (21)."""
        tables = self.shelf.fold.tables
        run = tables.dagruns[grant.run_id]
        graph = tables.dagversions[run["DagId"], run["DagVersion"]]
        parents = {graph.tasks[parent].id for parent in graph.tasks[graph.index[grant.task_id]].parents}
        rows = tables.dagrunresults[grant.run_id].values()
        results = {row["TaskId"]: row["Result"] for row in rows if row["TaskId"] in parents}
        if grant.results != results:
            raise Violation(21, f"{grant} should bring {results}")

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """While a seed plays: our sync, and an ear for exceptions that the scheduler survives."""
        log = logging.getLogger("ppacer")
        names = vars(scheduler_module)
        ear, before = _Ear(self), (log.level, log.propagate, names["sync"])
        log.setLevel(logging.ERROR)
        log.propagate = False
        log.addHandler(ear)
        names["sync"] = synchronize
        try:
            yield
        finally:
            log.removeHandler(ear)
            log.level, log.propagate = before[:2]
            names["sync"] = before[2]


def _triggers(requests: Iterable[Request]) -> Iterator[str]:
    return (request.ask.dag_id for request in requests if isinstance(request.ask, TriggerRun))


class _Ear(logging.Handler):
    """The scheduler logs what it did not expect; unless we planned it, it is a bug."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Hears one record."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, Planned | UnicodeEncodeError | Violation):
            self.world.convict(0, f"the code met what it did not expect: {error!r}{_place(error)}")


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


_EXECUTORS = (("local", 3), ("near", 2), ("far", 4), ("slow", 1))
