"""What stands behind the routes: readers, the scheduler's inbox, news from other threads."""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool as in_thread
from starlette.types import Receive

from ppacer.api.access import Tokens
from ppacer.clock import Clock
from ppacer.engine import RUN_FINAL, TaskStatus
from ppacer.engine.changes import (
    AttemptCreated,
    AttemptEnded,
    AttemptFound,
    AttemptGranted,
    AttemptLost,
    Audited,
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
    CancelRequested,
    Change,
    DagMarked,
    DrainAsked,
    ExecutorDraining,
    ExecutorGone,
    ExecutorGreeted,
    ExecutorHeard,
    PointRecorded,
    RunChanged,
    RunCreated,
    RunRestarted,
)
from ppacer.errors import NoAnswerError, SchedulerUnavailable
from ppacer.scheduler import Command, Origin, Scheduler, Standby, State
from ppacer.scheduler.audit import forbidden
from ppacer.scheduler.requests import Claim, FromExecutor
from ppacer.store.reads import Reads
from ppacer.store.views import PAGE_MAX, ExecutorView, RunView, TasksAt, TaskView
from ppacer.tasklog import LogReader, LogRecord, LogRow

COMMAND_SECONDS = 30.0
EXECUTOR_SECONDS = 50.0  # less than an executor waits
FLUSH_SECONDS = 1.0  # log records are written within 50 ms; longer only when their database refuses
T = TypeVar("T")


class News:
    """Lets coroutines wait for what other threads do to their subjects. Nobody polls, no thread waits.

    A subject is any hashable value. Telling news that nobody waits for costs a look into a dict; who was
    told waits no more until it listens again, so many who are slow to look cost a busy program nothing.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[_Ear]] = {}  # changed by the event loop's thread only
        self._ears: set[_Ear] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_over = False  # the server is about to end

    def tell(self, subjects: Iterable[Hashable]) -> None:
        """There is news of these; from any thread, and after it can be read."""
        if self._waiting and (told := {subject for subject in subjects if subject in self._waiting}):
            self._call(self._wake, told)

    def close(self) -> None:
        """Ends all waiting, now and later; from any thread."""
        self.is_over = True
        self._call(self._end)

    def _call(self, wake: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the server has ended
                self._loop.call_soon_threadsafe(wake, *arguments)

    def _wake(self, subjects: set[Hashable]) -> None:
        for subject in subjects:
            for ear in [*self._waiting.get(subject, ())]:
                ear.set()

    def _end(self) -> None:
        for ear in [*self._ears]:
            ear.set()

    @contextmanager
    def watch(self, subjects: Collection[Hashable]) -> Iterator[asyncio.Event]:
        """An event that is set at news of a subject, and when all waiting ends; who waits clears it."""
        self._loop = asyncio.get_running_loop()
        with self._event(subjects) as event:
            yield event

    async def until(
        self,
        look: Callable[[], Awaitable[T]],
        subjects: Collection[Hashable],
        seconds: float,
        gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> T:
        """What `look` finds: something true, at once or after news of a subject; at last whatever it finds.

        `gone()` ends when nobody is interested in the answer any more.
        """
        if seconds <= 0:
            return await look()
        self._loop = asyncio.get_running_loop()
        end = self._loop.time() + seconds
        left = self._loop.create_task(gone())
        with self._event(subjects) as event:
            left.add_done_callback(lambda _: event.set())
            try:
                while True:
                    event.clear()
                    found = await look()
                    remaining = end - self._loop.time()
                    if found or remaining <= 0 or self.is_over or left.done():
                        return found
                    with suppress(TimeoutError):
                        await asyncio.wait_for(event.wait(), remaining)
            finally:
                left.cancel()

    @contextmanager
    def _event(self, subjects: Collection[Hashable]) -> Iterator[asyncio.Event]:
        """An event that is set at news of one of the subjects."""
        ear = _Ear(self._waiting, subjects)
        self._ears.add(ear)
        try:
            yield ear
        finally:
            ear.set()
            self._ears.discard(ear)


class _Ear(asyncio.Event):
    """Is among those who wait for its subjects as long as it is not set."""

    def __init__(self, waiting: dict[Hashable, set["_Ear"]], subjects: Collection[Hashable]) -> None:
        super().__init__()
        self._all, self._subjects = waiting, subjects
        self.clear()

    def set(self) -> None:
        """Has heard something."""
        super().set()
        for subject in self._subjects:
            ears = self._all.get(subject, set())
            ears.discard(self)
            if not ears:
                self._all.pop(subject, None)

    def clear(self) -> None:
        """Listens again."""
        super().clear()
        for subject in self._subjects:
            self._all.setdefault(subject, set()).add(self)


def end_of(run_id: int) -> Hashable:
    """The subject of the end of a run."""
    return "end", run_id


RUNS, DAGS, EXECUTORS, AUDIT, BACKFILLS = "runs", "dags", "executors", "audit", "backfills"
"""The subjects of all lists: a row is new, or has changed its state."""


def run_of(run_id: int) -> Hashable:
    """The subject of everything that happens in a run."""
    return "run", run_id


def dag_of(dag_id: str) -> Hashable:
    """The subject of everything that happens to a dag and to its runs."""
    return "dag", dag_id


def end_of_backfill(backfill_id: int) -> Hashable:
    """The subject of the end of a backfill."""
    return "backfill", backfill_id


def logs_of(entry: RunView | LogRow) -> Hashable:
    """The subject of the log records of a run."""
    return "logs", entry.dag_id, entry.exec_ts


def _subjects(change: Change) -> Iterator[Hashable]:
    """What a change is news of."""
    match change:
        case RunChanged(ref=ref, status=status):
            yield from (RUNS, run_of(ref.run_id), dag_of(ref.dag_id))
            if status in RUN_FINAL:
                yield end_of(ref.run_id)
        case RunCreated(ref=ref) | RunRestarted(ref=ref) | CancelRequested(ref=ref):
            yield from (RUNS, run_of(ref.run_id), dag_of(ref.dag_id))
        case AttemptCreated(ref=ref) | AttemptGranted(ref=ref) | AttemptEnded(ref=ref):
            yield from (run_of(ref.run_id), dag_of(ref.dag_id))
        case AttemptLost(ref=ref) | AttemptFound(ref=ref):
            yield from (run_of(ref.run_id), dag_of(ref.dag_id))
        case PointRecorded(dag_id=dag_id) | DagMarked(dag_id=dag_id):
            yield from (DAGS, dag_of(dag_id))
        case ExecutorGreeted() | ExecutorHeard() | ExecutorDraining() | DrainAsked() | ExecutorGone():
            yield EXECUTORS
        case BackfillEnded(backfill_id=backfill_id):
            yield from (BACKFILLS, end_of_backfill(backfill_id))
        case BackfillCreated() | BackfillMoved() | BackfillMarked() | BackfillCancelled():
            yield BACKFILLS
        case Audited():
            yield AUDIT


class Door:
    """Everything the routes need; made by `app`."""

    def __init__(
        self,
        scheduler: Scheduler | Standby,
        reads: Reads,
        logs: LogReader,
        flush_logs: Callable[[float], bool],
        clock: Clock,
        code_note: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.scheduler = scheduler  # replaced when the program begins or ceases to lead
        self.reads = reads
        self.logs = logs
        self.logs_trouble: Callable[[], str | None] = lambda: None
        self.clock = clock
        self.code_note = code_note  # what somebody who has mended the code should know, if anything
        self.take_records: Callable[[Sequence[LogRecord]], None] = lambda records: None
        self.news = News()
        self._birth = int(clock.now().utc.timestamp() * 1000)
        self._changes = 0  # how many batches were committed
        self._polls: set[Future[Any]] = set()
        self.tokens = Tokens(reads.tokens, clock)
        self._flush_logs = flush_logs
        self._flushing = asyncio.Lock()

    @property
    def is_live(self) -> bool:
        """Whether there is a scheduler that will do something about what is open."""
        if isinstance(self.scheduler, Standby):
            return self.scheduler.leader is not None
        return self.scheduler.state in (State.RUNNING, State.DEGRADED, State.STOPPING)

    def executors_for(self, tasks: Iterable[TaskView | TasksAt]) -> list[ExecutorView] | None:
        """Those that could take what waits for a slot; None when nothing does, or nobody would give it."""
        is_waiting = self.is_live and any(task.status == TaskStatus.SCHEDULED for task in tasks)
        return self.reads.executors(limit=PAGE_MAX) if is_waiting else None

    @property
    def trouble(self) -> str | None:
        """Why the scheduler does not work just now, in words; None when it does."""
        match self.scheduler.state:
            case State.RUNNING:
                return None
            case State.DEGRADED:
                return f"the scheduler waits for its database: {self.scheduler.trouble or 'it is back'}"
            case State.STANDBY:
                return self.scheduler.trouble
            case State.STOPPING:
                return "the scheduler is stopping: running tasks may finish, nothing new begins"
            case State.STOPPED:
                return "the scheduler has stopped"
        return "the scheduler is starting"

    @property
    def moment(self) -> str:
        """A name for all that is committed by now: as long as it stays the same nothing has changed."""
        return f"{self._birth:x}-{self._changes:x}"

    def changed(self, changes: Sequence[Change]) -> None:
        """Hears of everything that is committed, in the scheduler's thread."""
        self.tokens.changed(changes)
        self._changes += 1
        self.news.tell(subject for change in changes for subject in _subjects(change))

    def logged(self, rows: Sequence[LogRow]) -> None:
        """Hears of every log record that is committed, in the writer's thread."""
        self.news.tell(logs_of(row) for row in rows)

    def close(self) -> None:
        """Answers all who wait: the server is about to end."""
        self.news.close()
        for poll in list(self._polls):
            poll.cancel()

    async def ask(self, ask: FromExecutor) -> Any:
        """What the scheduler answers to an executor, after the commit; raises what it raises."""
        future = self.submit(ask)
        await _done(future, EXECUTOR_SECONDS)
        if not future.done() and future.cancel():  # so that nothing is told to nobody
            raise SchedulerUnavailable("the scheduler did not answer in time")
        return await _heard(future)

    async def poll(self, claim: Claim, seconds: float, receive: Receive) -> Any:
        """The answer to a long poll; None when the client has left, or the server ends. Holds no thread.

        A client that leaves takes its poll back: what is granted then waits for its next one.
        """
        future = self.submit(claim)
        left = asyncio.ensure_future(receive())  # after the body there is only the end to be heard of
        self._polls.add(future)
        try:
            if self.news.is_over and future.cancel():
                raise SchedulerUnavailable("the scheduler is stopping")
            await _done(future, seconds + EXECUTOR_SECONDS, left)
            return None if not future.done() and future.cancel() else await _heard(future)
        finally:
            left.cancel()
            self._polls.discard(future)

    def submit(self, ask: FromExecutor) -> Future[Any]:
        """Executors elsewhere outlive a change of the leader: who stands by has nothing to tell them."""
        if isinstance(self.scheduler, Standby):
            raise SchedulerUnavailable(self.scheduler.trouble)
        return self.scheduler.submit(ask).future

    def forbidden(self, command: str, origin: Origin, ids: Mapping[str, str]) -> None:
        """Has it written down that somebody wanted more than he may; nobody waits for that."""
        self.scheduler.submit(forbidden(command, origin, ids, self.clock.now().utc))

    async def command(self, command: Command, origin: Origin) -> Any:
        """Gives a command to the scheduler and waits until it is committed; raises what it raises."""
        answer = asyncio.wrap_future(self.scheduler.submit(command, origin).future)
        await asyncio.wait([answer], timeout=COMMAND_SECONDS)
        if not answer.done():
            raise NoAnswerError("the scheduler did not answer in time; the command may still be carried out")
        return answer.result()

    async def read(self, read: Callable[..., T], *arguments: Any) -> T:
        """What a reader answers; in another thread, because it may take its time."""
        return await in_thread(read, *arguments)

    async def flushed(self) -> bool:
        """Whether all that was logged up to now can be read; waits a second for it at most.

        One thread waits for everybody, so that a hundred followers do not take all threads from the others.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + FLUSH_SECONDS
        async with self._flushing:
            return await asyncio.to_thread(self._flush_logs, max(0.0, end - loop.time()))


async def _done(future: Future[Any], seconds: float, *others: "asyncio.Future[Any]") -> None:
    """Waits until the scheduler has answered, or one of the others is done, or the time is over.

    By hand, because `wrap_future` and `wait` take three more rounds of the loop, for each request.
    """
    loop = asyncio.get_running_loop()
    news: asyncio.Future[None] = loop.create_future()

    def tell(_: object = None) -> None:
        if not news.done():
            news.set_result(None)

    def tell_loop(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has ended
            loop.call_soon_threadsafe(tell)

    timer = loop.call_later(seconds, tell)
    future.add_done_callback(tell_loop)
    for other in others:
        other.add_done_callback(tell)
    try:
        await news
    finally:
        timer.cancel()


async def _heard(future: Future[Any]) -> Any:
    """The answer, which is there or, in rare cases, on its way; None when it was taken back."""
    if future.cancelled():
        return None
    return future.result() if future.done() else await asyncio.wrap_future(future)
