"""A scheduler on a real SQLite file, moved by hand: manual clock, fake executors, a store that can fail.

`World.send(*asks)` is one step. After every step the oracle looks at the rows, and at whether memory is
what the rows say.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from ppacer.clock import Now
from ppacer.dag import Dag, Node, Registry, TaskConfig
from ppacer.engine.changes import Audited, Change, ReplyKept
from ppacer.errors import StoreUnavailable
from ppacer.protocol import Answer, End, Grant, Report
from ppacer.scheduler import RestartRun, Scheduler, State, TriggerRun
from ppacer.scheduler.requests import Ask, Claim, Heartbeat, Reports, Request
from ppacer.store import Store
from scheduler import oracle

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)
PATIENCE = 120.0  # seconds that a test waits for another thread
STEP = 5.0  # seconds between two steps of `World.run`: far less than a lease


def at(seconds: float) -> datetime:
    """An instant so many seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class Step:
    """A task; what it would do does not matter here."""

    def __init__(self, id: str) -> None:
        self.id = id

    def execute(self, ctx: object) -> None:
        """Never called."""


def dag(
    id: str,
    *lines: str,
    configs: dict[str, dict[str, Any]] | None = None,
    default: TaskConfig | None = None,
    **options: Any,
) -> Dag:
    """`dag("d", "a", "b: a", "c: a b", configs={"b": {"retries": 2}})`: a line is a task and its parents."""
    with Dag(id, config=default or TaskConfig(timeout=None), **options) as made:
        nodes: dict[str, Node] = {}
        for line in lines:
            task_id, _, parents = line.partition(":")
            nodes[task_id] = Node(Step(task_id), **(configs or {}).get(task_id, {}))
            for parent in parents.split():
                nodes[parent] >> nodes[task_id]
    return made


class Faulty(Store):
    """A store whose next commits fail as told: before anything is written, or after all of it is."""

    def __init__(self, db: str | Path) -> None:
        self.faults: list[tuple[str, Exception] | None] = []
        self.fault: Callable[[list[Change]], tuple[str, Exception] | None] = lambda changes: None
        self.away = False  # writing fails
        self.gone = False  # reading too
        self.commits = 0
        self.touched = True  # something was tried since the last look
        super().__init__(db)
        driver = cast(sqlite3.Connection, self._connection.connection.driver_connection)
        driver.execute("PRAGMA synchronous=OFF")  # no test here cuts the power

    def apply(self, changes: Any) -> None:
        """As the real one, with the planned fault."""
        self.touched = True
        self._refuse(self.away or self.gone)
        fault = self.faults.pop(0) if self.faults else self.fault(list(changes))
        when, error = fault or ("", StoreUnavailable(""))
        if when == "before":
            raise error
        super().apply(changes)
        self.commits += 1
        if when == "after":
            raise error

    def probe(self) -> None:
        """As the real one, with the lasting faults."""
        self._refuse(self.away or self.gone)
        super().probe()

    def _rows(self, query: Any) -> Any:
        self._refuse(self.gone)
        return super()._rows(query)

    def _row(self, name: str, **key: Any) -> Any:
        self._refuse(self.gone)
        return super()._row(name, **key)

    def _refuse(self, refuses: bool) -> None:
        if refuses:
            raise StoreUnavailable("the disk is full: free some space")


class Executor:
    """An executor that does what the test says. It keeps what it was granted until it is told to report."""

    def __init__(self, world: "World", name: str, slots: int) -> None:
        self.world, self.name, self.slots = world, name, slots
        self.held: dict[str, Grant] = {}
        self.seen: list[Grant] = []  # everything ever granted, in order
        self.cancelled: list[str] = []
        self.asked: list[Request] = []  # not answered yet

    def absorb(self, answer: Answer) -> Answer:
        """Takes what an answer brings."""
        for grant in answer.grants:
            if grant.token not in self.held:
                self.held[grant.token] = grant
                self.seen.append(grant)
        self.cancelled += answer.cancel
        return answer

    def collect(self) -> None:
        """Looks what was answered."""
        for request in [request for request in self.asked if request.future.done()]:
            self.asked.remove(request)
            if not request.future.cancelled() and request.future.exception() is None:
                self.absorb(request.future.result())

    @property
    def polls(self) -> list[Request]:
        """Its open long polls."""
        return [request for request in self.asked if isinstance(request.ask, Claim)]

    def ask(self, ask: Ask) -> Request:
        """A request whose answer it takes, to be sent together with others."""
        self.asked.append(Request(ask))
        return self.asked[-1]

    def claim(self, wait: float = 20.0, slots: int | None = None) -> list[Grant]:
        """A long poll; the grants that came at once."""
        before = len(self.seen)
        self.world.send(self.claims(wait, slots))
        return self.seen[before:]

    def claims(self, wait: float = 20.0, slots: int | None = None) -> Request:
        """The request of a claim, to be sent together with others."""
        return self.ask(Claim(self.name, self.slots if slots is None else slots, wait))

    def life(self) -> Iterator[Request]:
        """What a living executor asks all the time: a heartbeat, and a long poll when it has none."""
        yield self.ask(Heartbeat(self.name, list(self.held)))
        if not self.polls:
            yield self.claims()

    def beat(self) -> Answer:
        """A heartbeat that names all it holds."""
        return self.absorb(self.world.do(Heartbeat(self.name, list(self.held))))

    def report(self, grant: Grant, end: End = End.SUCCESS, **facts: Any) -> Answer:
        """One end, delivered and answered."""
        self.held.pop(grant.token, None)
        return self.absorb(self.world.do(self.reports((grant, end), **facts)))

    def reports(self, *ends: tuple[Grant, End], **facts: Any) -> Reports:
        """The message about several ends; the attempts stay held."""
        error = facts.pop("error", "it went wrong")
        return Reports(
            self.name,
            [
                Report(
                    g.run_id, g.task_id, g.retry, g.token, end, None if end is End.SUCCESS else error, **facts
                )
                for g, end in ends
            ],
        )

    def holding(self, task_id: str) -> Grant:
        """The one attempt of this task that it holds."""
        [grant] = [grant for grant in self.held.values() if grant.task_id == task_id]
        return grant

    def finish(self, end: End = End.SUCCESS, rounds: int = 100) -> None:
        """Claims and reports until nothing more comes."""
        for _ in range(rounds):
            if not self.held and not self.claim(wait=0.0):
                return
            for grant in list(self.held.values()):
                self.report(grant, end)
        raise AssertionError(f"{self.name} never came to an end")


class World:
    """One database and the scheduler on it; the scheduler may die and come back, the database stays."""

    def __init__(
        self, folder: Path, *dags: Dag, lease: float = 30.0, begin: datetime = T0, start: bool = True
    ) -> None:
        self.path = folder / "scheduler.db"
        self.path.write_bytes(fresh_database())
        self.utc, self.mono = begin, 1000.0
        self.dags = list(dags)
        self.lease = lease
        self.executors: dict[str, Executor] = {}
        self.changes: list[Change] = []
        self.given = 0
        self.breaks = 0  # how often a schedule began anew, which leaves a hole in `schedules`
        self.checks = True
        self._reader = sqlite3.connect(self.path, check_same_thread=False)
        self._reader.row_factory = sqlite3.Row
        self.store = Faulty(self.path)
        if start:
            self.start()

    def close(self) -> None:
        """Closes the database."""
        self._reader.close()
        self.store.close()

    # -- time ------------------------------------------------------------------------------------------------

    def now(self) -> Now:
        return Now(self.utc, self.mono)

    def jump(self, by: float) -> None:
        """Time passes and nothing happens."""
        self.utc += seconds(by)
        self.mono += by

    def set_clock(self, by: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self.utc += seconds(by)

    def run(self, by: float, step: float = STEP, beat: Iterable[Executor] = ()) -> None:
        """Time passes in small steps, as in a program that runs; the executors in `beat` are alive."""
        beat, end = list(beat), self.mono + by
        while self.mono < end:
            self.jump(min(step, end - self.mono))
            self.send(*(request for each in beat for request in each.life()))

    def until(self, moment: datetime, step: float = STEP) -> None:
        """Steps up to exactly this instant."""
        self.run((moment - self.utc).total_seconds(), step)

    # -- the scheduler ---------------------------------------------------------------------------------------

    def token(self) -> str:
        self.given += 1
        return f"token-{self.given}"

    def start(self) -> None:
        """A new scheduler on the database, and its first step."""
        self.scheduler = Scheduler(
            self.store, Registry(self.dags), self, lease=self.lease, new_token=self.token
        )
        self.scheduler.listeners.append(self._hear)
        self.scheduler.start(self.now())
        self.send()

    def _hear(self, changes: Sequence[Change]) -> None:
        """What has happened to runs; that somebody has asked for it is another story."""
        self.changes += (one for one in changes if not isinstance(one, Audited | ReplyKept))

    def restart(self, *dags: Dag, after: float = 0.0, executors: bool = True) -> None:
        """The program is killed, and started again later; executors of other machines live on."""
        self.store.close()
        self.jump(after)
        self.executors.pop("local", None)
        if not executors:
            self.executors.clear()
        for executor in self.executors.values():
            executor.asked.clear()
        self.dags = list(dags) or self.dags
        self.store = Faulty(self.path)
        self.start()

    def send(self, *asks: Ask | Request) -> list[Request]:
        """One step with these requests."""
        requests = [ask if isinstance(ask, Request) else Request(ask) for ask in asks]
        self.scheduler.step(self.now(), requests)
        for executor in self.executors.values():
            executor.collect()
        if self.checks and self.store.touched:
            self.check()
        return requests

    def do(self, ask: Ask | Request) -> Any:
        """One step with one request, which must be answered in it; raises what the answer raises."""
        [request] = self.send(ask)
        assert request.future.done(), f"{ask} was not answered"
        return request.future.result(0)

    def refused(self, ask: Ask | Request) -> Exception:
        """The error with which a request is answered."""
        [request] = self.send(ask)
        error = request.future.exception(0)
        assert isinstance(error, Exception), f"{ask} was accepted"
        return error

    def trigger(self, dag_id: str = "d", **params: Any) -> int:
        """A manual run; its number."""
        return int(self.do(TriggerRun(dag_id, params)).run_id)

    def again(self, run_id: int) -> None:
        """A restart of a run by hand."""
        self.do(RestartRun(run_id))

    def executor(self, name: str = "remote", slots: int = 100) -> Executor:
        """An executor; the one called `local` dies with the scheduler."""
        return self.executors.setdefault(name, Executor(self, name, slots))

    @property
    def degraded(self) -> bool:
        return self.scheduler.state is State.DEGRADED

    # -- rows ------------------------------------------------------------------------------------------------

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What a user with sqlite3 would see."""
        return [dict(row) for row in self._reader.execute(query, values)]

    def write(self, statement: str, *values: Any) -> None:
        """Somebody changes the database by hand, behind the scheduler's back."""
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement, values)
        connection.close()

    def points(self, dag_id: str = "d") -> list[tuple[str, datetime, datetime | None]]:
        """The rows of `schedules` of a dag in the order of writing."""
        rows = self.rows("SELECT * FROM schedules WHERE DagId = ? ORDER BY rowid", dag_id)
        return [(r["Event"], instant(r["ScheduleTs"]), maybe(r["NextScheduleTs"])) for r in rows]

    def events(self, dag_id: str = "d") -> list[str]:
        return [event for event, _, _ in self.points(dag_id)]

    def runs(self, dag_id: str = "d") -> list[tuple[datetime, str]]:
        """Execution time and status of the dag's runs, in the order of creation."""
        rows = self.rows("SELECT ExecTs, Status FROM dagruns WHERE DagId = ? ORDER BY RunId", dag_id)
        return [(instant(row["ExecTs"]), row["Status"]) for row in rows]

    def exec_times(self, dag_id: str = "d") -> list[datetime]:
        return [exec_ts for exec_ts, _ in self.runs(dag_id)]

    def status(self, run_id: int) -> str:
        [row] = self.rows("SELECT Status FROM dagruns WHERE RunId = ?", run_id)
        return cast(str, row["Status"])

    def attempts(self, run_id: int, task_id: str | None = None) -> list[tuple[str, int, str, str | None]]:
        """(task, number, status, reason) of the attempts of a run."""
        rows = self.rows(
            "SELECT t.* FROM dagruntasks t JOIN dagruns r ON r.DagId = t.DagId AND r.ExecTs = t.ExecTs "
            "WHERE r.RunId = ? ORDER BY t.TaskId, t.Retry",
            run_id,
        )
        return [
            (r["TaskId"], r["Retry"], r["Status"], r["Reason"])
            for r in rows
            if task_id in (None, r["TaskId"])
        ]

    def dag_row(self, dag_id: str = "d") -> dict[str, Any]:
        [row] = self.rows("SELECT * FROM dags WHERE DagId = ?", dag_id)
        return row

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """All rows, to compare before and after something that must change nothing."""
        tables = (
            "dags",
            "dagruns",
            "dagruntasks",
            "dagrunresults",
            "dagrunrestarts",
            "schedules",
            "outbox",
            "backfills",
            "backfillpoints",
        )
        return {table: self.rows(f"SELECT * FROM {table}") for table in tables}

    # -- the oracle ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The invariants of docs/reliability.md on the rows, and memory against the rows."""
        oracle.check_rows(self.everything(), self.graphs(), {d.id: d for d in self.dags}, self.breaks)
        self.store.touched = False
        if not self.degraded:
            oracle.check_memory(self.scheduler, self.store)

    def graphs(self) -> dict[tuple[str, str], dict[str, list[str]]]:
        """The parents of every task, of every version of every dag."""
        from ppacer.dag import Graph

        found = {}
        for row in self.rows("SELECT * FROM dagversions"):
            graph = Graph.from_json(row["Graph"])
            found[row["DagId"], row["DagVersion"]] = {
                task.id: [graph.tasks[parent].id for parent in task.parents] for task in graph.tasks
            }
        return found


@cache
def fresh_database() -> bytes:
    """An empty database, as a file: making the tables takes longer than most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "scheduler.db")
        Store(path).close()
        return path.read_bytes()


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def maybe(text: str | None) -> datetime | None:
    return None if text is None else instant(text)


def failing(when: str, error: Exception | None = None, times: int = 1) -> Iterator[tuple[str, Exception]]:
    """So many faults of the same kind."""
    for _ in range(times):
        yield when, error or StoreUnavailable("the database is away")
