"""The scheduler: one thread that owns all writes. event → decide → commit → announce.

A step takes everything that came in meanwhile, decides it in memory, commits once, and only then answers.
After a failed commit nothing is known: memory is read back from the rows, and the same requests are decided
again one by one, so that one bad request fails alone.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from ppacer.clock import Clock, Now
from ppacer.dag import Dag
from ppacer.engine import RUN_FINAL, RunRef
from ppacer.engine.changes import AlertTried, Change, RunChanged
from ppacer.errors import CommandError, PpacerError, SchedulerUnavailable, StoreError, StoreUnavailable
from ppacer.protocol import LEASE_SECONDS, Answer, End, Grant, Report
from ppacer.scheduler.commands import Commands
from ppacer.scheduler.grants import take_grants
from ppacer.scheduler.inbox import BATCH_MAX, Inbox
from ppacer.scheduler.memory import Memory
from ppacer.scheduler.reports import event_of, unwritable, was_taken
from ppacer.scheduler.requests import (
    Ask,
    CancelRun,
    Claim,
    Command,
    FromExecutor,
    Heartbeat,
    Reports,
    Request,
    RestartRun,
    Unclear,
)
from ppacer.scheduler.task_scheduler import Session
from ppacer.scheduler.watcher import DAWN, GAP
from ppacer.store import Store
from ppacer.store.retention import Old
from ppacer.store.sync import sync

log = logging.getLogger("ppacer.scheduler")

IDLE_SECONDS = 20.0  # at least one step in this time, so that a longer silence means a stopped program
RETRY_SECONDS = 1.0  # between attempts to reach a database that refuses

Listener = Callable[[Sequence[Change]], None]


class State(StrEnum):
    """What the scheduler as a whole is doing; DEGRADED: the database refuses, it waits for it."""

    STARTED = "STARTED"
    SYNCHRONIZING = "SYNCHRONIZING"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class Work:
    """What one round has decided and not yet committed."""

    __slots__ = ("changes", "later", "old", "reachable", "replies", "taken")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.later: list[Request] = []  # what can only be decided when this is committed
        self.old: list[Request] = []  # what is to be deleted when everything else is done
        self.replies: list[tuple[Request, Any]] = []
        self.reachable: set[str] = set()  # executors that this round answers anyway
        self.taken: dict[str, End] = {}  # the ends that this round has accepted, by token

    def ended(self) -> Iterator[RunRef]:
        """The runs that end in this round, in the order of their ends."""
        return (c.ref for c in self.changes if isinstance(c, RunChanged) and c.status in RUN_FINAL)

    def has_ended(self, run_id: int) -> bool:
        """Whether this run is one of them."""
        return any(ref.run_id == run_id for ref in self.ended())


class Scheduler:
    """Memory (engine, watcher, task scheduler) in front of a store. Only one thread may call `step`."""

    def __init__(
        self,
        store: Store,
        registry: Mapping[str, Dag],
        clock: Clock,
        *,
        lease: float = LEASE_SECONDS,
        new_token: Callable[[], str] = lambda: secrets.token_hex(8),
        mask: Callable[[str], str] = lambda text: text,
        scheduled: bool = True,
    ) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.trouble: str | None = None  # why the state is DEGRADED
        self.listeners: list[Listener] = []
        self.memory = Memory(store, registry, new_token, lease)
        self.memory.watcher.is_watching = scheduled
        self._commands = Commands(self.memory)
        self._mask = mask
        self.inbox = Inbox()
        self._kept: list[Request] = []  # what waits for the database to come back
        self._retry_at = 0.0  # monotonic
        self._last: Now | None = None
        self._planned_at = DAWN  # up to here every point is accounted for, or waits its turn
        self._phase = State.STARTED
        self._stopping = threading.Event()

    @property
    def state(self) -> State:
        """What it is doing now; `trouble` says why it is DEGRADED."""
        is_degraded = self._phase is State.RUNNING and self.trouble is not None
        return State.DEGRADED if is_degraded else self._phase

    # -- the outside -----------------------------------------------------------------------------------------

    def submit(self, ask: Ask) -> Request:
        """Asks for something, from any thread; its future is answered after the commit."""
        return self.inbox.submit(ask)

    def start(self, now: Now) -> None:
        """Brings the tables in line with the registry and loads what is open: start is recovery."""
        self._phase = State.SYNCHRONIZING
        sync(self.store, self.registry, now.utc, self._mask)
        self.memory.watcher.missed(DAWN, now.utc)
        self._last, self._planned_at = now, now.utc
        self._recover(now)
        self._phase = State.RUNNING

    def run(self) -> None:
        """Steps until `stop`; sleeps until the next timer or request. Stops loudly when it meets a bug."""
        try:
            while not self._stopping.is_set():
                requests = self.inbox.take(self._pause(self.clock.now()))
                self.step(self.clock.now(), requests)
        except Exception:
            log.critical("the scheduler has failed and stops", exc_info=True)
        finally:
            self.close()

    def refuse_commands(self) -> None:
        """The program is ending: executors may still report, but nothing new is begun."""
        if not self.inbox.is_closed:
            self._phase = State.STOPPING

    def stop(self) -> None:
        """Makes `run` return soon; requests that come later are refused."""
        self.refuse_commands()
        self._stopping.set()
        self.inbox.wake()

    def close(self) -> None:
        """Refuses what is still to be decided."""
        self.inbox.close()
        self._phase = State.STOPPED
        self.memory.tasks.close()
        for request in self._kept:
            request.answer(SchedulerUnavailable("the scheduler has stopped"))

    def _pause(self, now: Now) -> float:
        """How long nothing is due, in seconds."""
        if self.trouble is not None:
            return RETRY_SECONDS
        timers = self.memory.engine.next_due(), self.memory.watcher.next_wake()
        waits = [IDLE_SECONDS, *((at - now.utc).total_seconds() for at in timers if at is not None)]
        mono = self.memory.tasks.next_wake(now)
        if mono is not None:
            waits.append(mono - now.mono)
        return max(0.0, min(waits))

    # -- one step --------------------------------------------------------------------------------------------

    def step(self, now: Now, requests: Sequence[Request] = ()) -> None:
        """Everything that is due at `now`, and these requests. Never raises for what the world does."""
        self._watch_clock(now)
        for request in requests:
            if isinstance(request.ask, FromExecutor):
                self.memory.tasks.heard(request.ask, now)
        if not self._has_database(now):
            self._do_without(requests, now)
            return
        self._together(now, requests)
        if self.trouble is None:
            self._planned_at = now.utc

    def _watch_clock(self, now: Now) -> None:
        """Notices that the program or the whole machine was stopped, or the clock was set."""
        last, self._last = self._last, now
        if last is None:
            return
        self.memory.tasks.prolong(now.mono - last.mono)
        if now.utc < last.utc:
            self._planned_at = min(self._planned_at, now.utc)
            self.memory.watcher.set_back(now.utc)
        if self.trouble is None:
            self._note_missed(now)

    def _note_missed(self, now: Now) -> None:
        """Points that fell due while nothing could be planned for long are missed, and not just late."""
        gap = now.utc - self._planned_at
        if gap > GAP:
            log.warning("no runs could be planned for %s: points in this time count as missed", gap)
            self.memory.watcher.missed(self._planned_at, now.utc)

    def _together(self, now: Now, requests: Sequence[Request]) -> None:
        """All that is due and all requests in one transaction; if that fails, each for itself."""
        dag_ids = self.memory.watcher.due(now.utc)
        try:
            self._round(now, requests, dag_ids, timers=True)
        except StoreError as error:
            log.warning("a batch of %d requests did not commit: %s", len(requests), error)
            self._one_by_one(now, requests)
        except Exception:
            log.exception("a batch of %d requests could not be decided", len(requests))
            self._one_by_one(now, requests)

    def _round(
        self, now: Now, requests: Iterable[Request] = (), dag_ids: Iterable[str] = (), timers: bool = False
    ) -> None:
        """Decides, commits once, announces. When it raises, memory is ahead of the rows."""
        work, memory = Work(), self.memory
        if timers:
            for due in (*memory.engine.due(now.utc), *memory.tasks.overdue(now)):
                work.changes += memory.engine.handle(due, now.utc)
        work.changes += memory.plan(dag_ids, now.utc)
        for request in requests:
            self._decide(request, now, work)
        self._commit(work, now)
        if work.later:
            self._round(now, work.later)

    def _commit(self, work: Work, now: Now) -> None:
        work.changes += self.memory.tasks.grant(work.reachable, now)
        if work.changes:
            self.store.apply(work.changes)
        self.memory.committed(work.changes, now)
        self._announce(work, now)
        self._forget(work.old)

    def _announce(self, work: Work, now: Now) -> None:
        """After the commit: answers with what executors shall hear, then news."""
        tasks = self.memory.tasks
        for request, reply in work.replies:
            self._reply(request, reply, now)
        for session in tasks.sessions.values():
            poll = session.take_poll() if session.is_waiting and (session.untold or session.cancels) else None
            if poll is not None:
                poll.answer(Answer(self._grants(session, now), session.take_cancels()))
        tasks.expire_polls(now)
        self.memory.watcher.unblock({ref.dag_id for ref in work.ended()})
        self._tell(work.changes)

    def _forget(self, requests: Iterable[Request]) -> None:
        """Deletes slices of the past, each in a transaction of its own; one that fails is asked for again.

        Memory knows nothing of it: it holds open runs, and those are not old.
        """
        for request in requests:
            if request.take():
                assert isinstance(request.ask, Old)
                try:
                    request.answer(self.store.forget(request.ask))
                except StoreError as error:
                    request.answer(error)

    def _reply(self, request: Request, reply: Any, now: Now) -> None:
        """Answers one request; nothing is told to somebody who has given up."""
        if not request.take():
            return
        match request.ask:
            case Reports(executor):
                session = self.memory.tasks.sessions.get(executor)  # None: given up while the report waited
                news = (self._grants(session, now), session.take_cancels()) if session else ([], [])
                reply = Answer(*news, reply)
            case Heartbeat(executor):
                reply = Answer(cancel=self.memory.tasks.sessions[executor].take_cancels())
        request.answer(reply)

    def _grants(self, session: Session, now: Now) -> list[Grant]:
        """The grants that the executor has not been told; none when their inputs cannot be read now."""
        try:
            return take_grants(self.store, self.memory.engine, session)
        except StoreError as error:
            self._degrade(error, now)
            return []

    def _tell(self, changes: Sequence[Change]) -> None:
        """News for listeners; one that raises is logged, because everything is committed already."""
        for listener in self.listeners if changes else ():
            try:
                listener(changes)
            except Exception:
                log.exception("a listener failed")

    # -- requests --------------------------------------------------------------------------------------------

    def _decide(self, request: Request, now: Now, work: Work) -> None:
        match request.ask:
            case Claim() as ask:
                self.memory.tasks.poll(request, ask, now)
            case Reports(executor, reports):
                flags = [self._report(executor, report, now, work) for report in reports]
                work.replies.append((request, flags))
                if request.is_awaited:
                    work.reachable.add(executor)
            case Heartbeat():
                work.replies.append((request, None))
            case AlertTried() as tried:
                work.changes.append(tried)
                work.replies.append((request, None))
            case Old():
                work.old.append(request)
            case CancelRun(run_id) | RestartRun(run_id) if work.has_ended(run_id):
                work.later.append(request)  # memory has forgotten the run, and the rows do not know it yet
            case command:
                work.replies.append((request, self._command(request, command, now, work)))

    def _report(self, executor: str, report: Report, now: Now, work: Work) -> bool:
        """Decides one report; False when the attempt was replaced or is unknown: it changes nothing then.

        The same report again, because its answer was lost, is answered as the first time.
        """
        changes = self.memory.engine.handle(event_of(report), now.utc)
        if not changes:
            return work.taken.get(report.token) is report.end or was_taken(self.store, report)
        work.changes += changes
        work.taken[report.token] = report.end
        self.memory.tasks.ends(executor, report.token)
        return True

    def _command(self, request: Request, command: Command, now: Now, work: Work) -> Any:
        """The reply to a command, or the reason why it cannot be carried out."""
        if request.unclear is not None and request.unclear.happened():
            return request.unclear.reply
        if request.trouble is not None:
            return _refusal(request.trouble)
        if self._phase is State.STOPPING:
            return SchedulerUnavailable("the scheduler is stopping")
        try:
            decision = self._commands.obey(command, now)
        except StoreError:
            raise
        except PpacerError as error:
            return error
        request.unclear = Unclear(decision.reply, decision.happened)
        work.changes += decision.changes
        return decision.reply

    # -- when the database refuses ---------------------------------------------------------------------------

    def _one_by_one(self, now: Now, requests: Sequence[Request]) -> None:
        """Reads memory back and replays what the failed batch held, so that one bad piece fails alone."""
        left = deque(request for request in requests if not request.is_answered)
        try:
            self._recover(now)
            self._round(now, timers=True)
            for dag_id in self.memory.watcher.due(now.utc):
                self._plan_alone(dag_id, now)
            while left:
                self._decide_alone(left[0], now)
                left.popleft()
        except StoreError as error:
            self._degrade(error, now)
            self._do_without(left, now)

    def _plan_alone(self, dag_id: str, now: Now) -> None:
        try:
            self._round(now, dag_ids=(dag_id,))
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("the points of dag %s cannot be recorded", dag_id)
            self._recover(now)
            if self.memory.watcher.is_due(dag_id, now.utc):
                self.store.apply([self.memory.watcher.disable(dag_id, error, now.utc)])

    def _decide_alone(self, request: Request, now: Now) -> None:
        try:
            if isinstance(request.ask, Reports):
                self._reports_alone(request, request.ask, now)
            else:
                self._round(now, (request,))
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("a request failed by itself: %s", type(request.ask).__name__)
            self._recover(now)
            done = request.unclear
            request.answer(done.reply if done is not None and done.happened() else _in_words(error))

    def _reports_alone(self, request: Request, ask: Reports, now: Now) -> None:
        """Each report for itself: what was refused is told again by the executor, the others are not."""
        work, refused = Work(), None
        flags: list[bool] = []
        for report in ask.reports:
            try:
                flags.append(self._report_alone(ask.executor, report, now))
            except StoreUnavailable:
                raise
            except StoreError as error:
                self._recover(now)
                refused = error
            except Exception as error:
                log.exception("the end of task %s of run %d cannot be stored", report.task_id, report.run_id)
                self._recover(now)
                flags.append(self._report_alone(ask.executor, unwritable(report, error), now))
        if refused is not None:
            raise refused
        work.reachable.add(ask.executor)
        work.replies.append((request, flags))
        self._commit(work, now)

    def _report_alone(self, executor: str, report: Report, now: Now) -> bool:
        work = Work()
        accepted = self._report(executor, report, now, work)
        self._commit(work, now)
        return accepted

    def _degrade(self, error: StoreError, now: Now) -> None:
        """The database is left alone for a while."""
        if self.trouble is None:
            log.error("the database refuses, waiting for it: %s", error)
        self.trouble, self._retry_at = str(error), now.mono + RETRY_SECONDS

    def _do_without(self, requests: Iterable[Request], now: Now) -> None:
        """What needs no database goes on, what executors report is kept, new work is refused and told why."""
        tasks = self.memory.tasks
        for request in requests:
            match request.ask:
                case Claim() as ask:
                    tasks.poll(request, ask, now)
                case Heartbeat() as ask:
                    self._reply(request, None, now)
                case ask if request.unclear is not None or self._may_keep(ask):
                    request.trouble = self.trouble
                    self._kept.append(request)
                case _:
                    request.answer(_refusal(self.trouble))
        tasks.expire_polls(now)

    def _may_keep(self, ask: Ask) -> bool:
        return isinstance(ask, Reports | AlertTried) and len(self._kept) < BATCH_MAX

    def _has_database(self, now: Now) -> bool:
        """False while it refuses, or is no longer where it was: that is asked before every commit."""
        if self.trouble is not None:
            return self._reconnect(now)
        try:
            self.store.look()
        except StoreUnavailable as error:
            self._degrade(error, now)
        return self.trouble is None

    def _reconnect(self, now: Now) -> bool:
        """Tries now and then whether the database works again: what was kept is decided first."""
        if now.mono < self._retry_at:
            return False
        kept, self._kept = self._kept, []
        try:
            self.store.probe()
            self._recover(now)
        except StoreError as error:
            self._kept = [request for request in kept if request.is_awaited]  # the others are told again
            self._degrade(error, now)
            return False
        self.memory.tasks.forgive()
        self._note_missed(now)
        self._together(now, kept)
        if now.mono < self._retry_at:
            return False  # it refused again
        log.warning("the database is back")
        self.trouble = None
        return True

    def _recover(self, now: Now) -> None:
        """Memory is a cache of rows: throws it away and reads it back, at start and after any trouble."""
        changes = self.memory.read_back(now)
        if changes:
            self.store.apply(changes)
            self.memory.committed(changes, now)
            self._tell(changes)


def _refusal(trouble: str | None) -> SchedulerUnavailable:
    return SchedulerUnavailable(f"the scheduler is waiting for its database: {trouble}")


def _in_words(error: Exception) -> PpacerError:
    if isinstance(error, PpacerError):
        return error
    return CommandError(f"this failed in an unexpected way ({type(error).__name__}); see the scheduler's log")
