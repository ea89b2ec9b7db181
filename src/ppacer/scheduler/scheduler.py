"""The scheduler: one thread that owns all writes. event → decide → commit → announce.

A step takes everything that came in meanwhile, decides it in memory, commits once, and only then answers.
After a failed commit nothing is known: memory is read back from the rows, and the same requests are decided
again one by one, so that one bad request fails alone.
"""

import logging
import queue
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from ppacer.clock import Clock, Now
from ppacer.dag import Dag
from ppacer.dag.values import dumps
from ppacer.engine import RUN_FINAL, Engine, Reason, RunRef
from ppacer.engine.changes import AlertQueued, AlertTried, AttemptGranted, CancelRequested, Change, DagMarked, RunChanged
from ppacer.engine.events import Cancel, Event, Failed, Restart, RoomChanged, Succeeded, Triggered
from ppacer.errors import (
    CommandError,
    ConflictError,
    NotFoundError,
    PpacerError,
    SchedulerUnavailable,
    StoreError,
    StoreUnavailable,
)
from ppacer.protocol import LEASE_SECONDS, Answer, End, Grant, Report
from ppacer.scheduler.requests import (
    Ask,
    CancelRun,
    Claim,
    Command,
    Heartbeat,
    PauseDag,
    Reports,
    Request,
    RestartRun,
    TriggerRun,
    UnpauseDag,
)
from ppacer.scheduler.task_scheduler import SUSPENDED, TaskScheduler, make_grant
from ppacer.scheduler.watcher import GAP, DagRunWatcher
from ppacer.store import Store
from ppacer.store.sync import sync

log = logging.getLogger("ppacer.scheduler")

BATCH_MAX = 1_000  # requests decided in one transaction
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

    __slots__ = ("changes", "reachable", "replies")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.replies: list[tuple[Request, Any]] = []
        self.reachable: set[str] = set()  # executors that this round answers anyway


class Scheduler:
    """Memory (engine, watcher, task scheduler) in front of a store. `step` may be called by one thread only."""

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
        self._is_watching = scheduled
        self.store = store
        self.registry = registry
        self.clock = clock
        self.state = State.STARTED
        self.trouble: str | None = None  # why the state is DEGRADED
        self.listeners: list[Listener] = []
        self._mask = mask
        self._lease = lease
        self._new_token = new_token
        self._inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._kept: list[Request] = []  # requests that wait for the database to come back
        self._last: Now | None = None
        self._stopping = threading.Event()
        self._forget()

    def _forget(self) -> None:
        """Empty memory; executors are remembered, because they are not in the rows."""
        sessions = self.tasks.sessions if hasattr(self, "tasks") else {}
        missed = self.watcher.missed_before if hasattr(self, "watcher") else None
        self._fresh: set[tuple[str, datetime]] = set()  # runs created in this round
        self.engine = Engine()
        self.watcher = DagRunWatcher(self.registry)
        self.watcher.missed_before = missed
        self.watcher.is_watching = self._is_watching
        self.tasks = TaskScheduler(self.engine, self._new_token, self._lease)
        self.tasks.sessions = sessions

    # -- the outside -----------------------------------------------------------------------------------------

    def submit(self, ask: Ask) -> Request:
        """Puts a request into the inbox, from any thread; its future is answered after the commit."""
        request = Request(ask)
        if self.state is State.STOPPED:
            request.answer(SchedulerUnavailable("the scheduler has stopped"))
        else:
            self._inbox.put(request)
        return request

    def wake(self) -> None:
        """Makes `run` take a step at once."""
        self._inbox.put(None)

    def start(self, now: Now) -> None:
        """Brings the tables in line with the registry and loads what is open: start is recovery."""
        self.state = State.SYNCHRONIZING
        sync(self.store, self.registry, now.utc, self._mask)
        self.watcher.missed_before = now.utc
        self._last = now
        self._recover(now)
        self.state = State.RUNNING

    def run(self) -> None:
        """Steps until `stop`; sleeps until the next timer or request. An error here is a bug: all stops, loudly."""
        try:
            while not self._stopping.is_set():
                requests = self._take(self._pause(self.clock.now()))
                self.step(self.clock.now(), requests)
        except Exception:
            log.critical("the scheduler has failed and stops", exc_info=True)
        finally:
            self.close()

    def refuse_commands(self) -> None:
        """The program is ending: executors may still report, but nothing new is begun."""
        self.state = State.STOPPING

    def stop(self) -> None:
        """Makes `run` return soon; requests that come later are refused."""
        self._stopping.set()
        self.wake()

    def close(self) -> None:
        """Refuses what is still in the inbox."""
        self.state = State.STOPPED
        self.tasks.close()
        for request in [*self._kept, *self._take(0.0)]:
            request.answer(SchedulerUnavailable("the scheduler has stopped"))

    def _take(self, wait: float) -> list[Request]:
        """Everything in the inbox, at most BATCH_MAX; waits up to `wait` seconds for the first."""
        requests: list[Request] = []
        try:
            first = self._inbox.get(wait > 0, wait if wait > 0 else None)
            while True:
                if first is not None:
                    requests.append(first)
                if len(requests) >= BATCH_MAX:
                    break
                first = self._inbox.get_nowait()
        except queue.Empty:
            pass
        return requests

    def _pause(self, now: Now) -> float:
        """How long nothing is due, in seconds."""
        if self.state is State.DEGRADED:
            return RETRY_SECONDS
        waits = [IDLE_SECONDS]
        for at in (self.engine.next_due(), self.watcher.next_wake()):
            if at is not None:
                waits.append((at - now.utc).total_seconds())
        mono = self.tasks.next_wake()
        if mono is not None:
            waits.append(mono - now.mono)
        return max(0.0, min(waits))

    # -- one step --------------------------------------------------------------------------------------------

    def step(self, now: Now, requests: Sequence[Request] = ()) -> None:
        """Everything that is due at `now`, and these requests. Never raises for what the world does."""
        self._watch_clock(now)
        if self.state is State.DEGRADED and not self._reconnect(now, requests):
            return
        requests = [*self._kept, *requests]
        self._kept = []
        try:
            self._round(now, requests, self.watcher.due(now.utc))
        except StoreError as error:
            log.warning("a batch of %d requests did not commit: %s", len(requests), error)
            self._one_by_one(now, requests, error)

    def _watch_clock(self, now: Now) -> None:
        """Notices that the program or the whole machine was stopped, or the clock was set."""
        last, self._last = self._last, now
        if last is None:
            return
        if now.mono - last.mono > IDLE_SECONDS + SUSPENDED:
            self.tasks.prolong(now.mono - last.mono)
        if now.utc - last.utc > GAP:
            log.warning("no step for %s: points in this time count as missed", now.utc - last.utc)
            self.watcher.missed_before = now.utc

    def _round(self, now: Now, requests: Sequence[Request], dag_ids: Iterable[str], timers: bool = True) -> None:
        """Decides, commits once, announces. Raises StoreError with memory ahead of the rows."""
        work = Work()
        if timers:
            for due in (*self.engine.due(now.utc), *self.tasks.overdue(now)):
                work.changes += self.engine.handle(due, now.utc)
        self._plan(now, dag_ids, work)
        for request in requests:
            self._decide(request, now, work)
        work.changes += self.tasks.grant(work.reachable, now)
        if work.changes:
            self.store.apply(work.changes)
        self._fresh.clear()
        self.tasks.committed(work.changes, now)
        self._announce(work, now)

    def _plan(self, now: Now, dag_ids: Iterable[str], work: Work) -> None:
        for dag_id in dag_ids:
            for event in self.watcher.plan(dag_id, now.utc, self.engine.has_room, self._new_ref):
                if isinstance(event, DagMarked):
                    work.changes.append(event)
                else:
                    work.changes += self.engine.handle(event, now.utc)

    def _new_ref(self, dag_id: str, exec_ts: datetime) -> RunRef | None:
        """The next run number; None when the dag has a run with this execution time."""
        if (dag_id, exec_ts) in self._fresh or self.store.has_run(dag_id, exec_ts):
            return None
        self._fresh.add((dag_id, exec_ts))
        self._run_id += 1
        return RunRef(self._run_id, dag_id, exec_ts)

    def _announce(self, work: Work, now: Now) -> None:
        """After the commit: grants, answers, news."""
        grants = self._grants([change for change in work.changes if isinstance(change, AttemptGranted)])
        for request, reply in work.replies:
            if isinstance(request.ask, Reports):
                session = self.tasks.sessions[request.ask.executor]
                reply = Answer(grants.pop(session.name, []), session.take_cancels(), reply)
            elif isinstance(request.ask, Heartbeat):
                reply = Answer(cancel=self.tasks.sessions[request.ask.executor].take_cancels())
            request.answer(reply)
        self.tasks.answer_polls(grants)
        for poll in self.tasks.expired_polls(now):
            poll.answer(Answer())
        ended = {c.ref.dag_id for c in work.changes if isinstance(c, RunChanged) and c.status in RUN_FINAL}
        self.watcher.unblock(ended)
        if work.changes:
            self._tell(work.changes)

    def _grants(self, changes: Sequence[AttemptGranted]) -> dict[str, list[Grant]]:
        """The messages for the attempts that were granted, by executor."""
        grants: dict[str, list[Grant]] = {}
        try:
            for change in changes:
                grants.setdefault(change.executor, []).append(self._grant(change))
        except StoreError as error:  # results could not be read: nobody gets these attempts, they are lost
            self.tasks.drop(changes)
            self._degrade((), error)
            return {}
        return grants

    def _grant(self, change: AttemptGranted) -> Grant:
        run = self.engine.runs[change.ref.run_id]
        spec = run.graph.tasks[change.position]
        ids = [run.graph.tasks[parent].id for parent in spec.parents if run.tasks[parent].has_result]
        results = self.store.results(change.ref, ids) if ids else {}
        params = msgspec.json.decode(run.params) if run.params else {}
        return make_grant(change, spec, run.trigger, params, results)

    # -- when the database refuses ---------------------------------------------------------------------------

    def _one_by_one(self, now: Now, requests: Sequence[Request], error: StoreError) -> None:
        """Reads memory back and replays what the failed batch held, so that one bad piece fails alone."""
        try:
            self._recover(now)
            self._round(now, (), ())
        except StoreError as again:
            self._degrade(requests, again)
            return
        for dag_id in self.watcher.due(now.utc):
            self._alone(now, (), dag_id, requests)
        for position, request in enumerate(requests):
            if self.state is State.DEGRADED:
                self._degrade(requests[position:], error)
                return
            self._alone(now, (request,), None, ())

    def _alone(self, now: Now, requests: Sequence[Request], dag_id: str | None, later: Sequence[Request]) -> None:
        try:
            self._round(now, requests, () if dag_id is None else (dag_id,), timers=False)
        except StoreUnavailable as error:
            self._degrade(requests, error)
        except StoreError as error:
            log.error("a request failed by itself: %s", error)
            self._recover(now)
            for request in requests:
                request.answer(error)
            if dag_id is not None:
                self.store.apply([self.watcher.disable(dag_id, error, now.utc)])

    def _degrade(self, requests: Sequence[Request], error: StoreError) -> None:
        """New work is refused with the reason; reports and claims wait until the database is back."""
        if self.state is not State.DEGRADED:
            log.error("the database refuses, waiting for it: %s", error)
        self.state, self.trouble = State.DEGRADED, str(error)
        self._keep(requests)

    def _keep(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if isinstance(request.ask, Claim | Reports | Heartbeat) and len(self._kept) < BATCH_MAX:
                self._kept.append(request)
            else:
                request.answer(SchedulerUnavailable(f"the scheduler is waiting for its database: {self.trouble}"))

    def _reconnect(self, now: Now, requests: Sequence[Request]) -> bool:
        """Tries whether the database works again; memory is read back then."""
        try:
            self._recover(now)
            self._round(now, (), ())
        except StoreError as error:
            self.trouble = str(error)
            self._keep(requests)
            return False
        log.warning("the database is back")
        self.state, self.trouble = State.RUNNING, None
        return True

    def _recover(self, now: Now) -> None:
        """Memory is a cache of rows: throws it away and reads it back; the same at start and after trouble."""
        self._forget()
        self._run_id = self.store.newest_run_id()
        for dag in self.registry.values():
            self.engine.room[dag.id] = dag.max_active_runs
        for row, graph, attempts in self.store.open_runs():
            self.engine.restore(row, graph, attempts)
        changes: list[Change] = list(self.watcher.load(self.store.dag_rows(), now.utc))
        for lost in self.tasks.adopt(now):
            changes += self.engine.handle(lost, now.utc)
        for dag in self.registry.values():
            changes += self.engine.handle(RoomChanged(dag.id, dag.max_active_runs), now.utc)
        if changes:
            self.store.apply(changes)
            self._tell(changes)

    def _tell(self, changes: Sequence[Change]) -> None:
        """News for listeners; one that raises is logged, because everything is committed already."""
        for listener in self.listeners:
            try:
                listener(changes)
            except Exception:
                log.exception("a listener failed")

    # -- requests --------------------------------------------------------------------------------------------

    def _decide(self, request: Request, now: Now, work: Work) -> None:
        ask = request.ask
        if isinstance(ask, Claim):
            session = self.tasks.heard_of(ask.executor, now)
            session.slots = ask.slots
            before = self.tasks.poll(session, request, ask.wait, now)
            if before is not None:
                before.answer(Answer())
        elif isinstance(ask, Reports):
            self.tasks.heard_of(ask.executor, now)
            work.reachable.add(ask.executor)
            work.replies.append((request, [self._report(ask.executor, report, now, work) for report in ask.reports]))
        elif isinstance(ask, Heartbeat):
            self.tasks.heard_of(ask.executor, now)
            work.replies.append((request, None))
        elif isinstance(ask, AlertTried):
            work.changes.append(ask)
            work.replies.append((request, None))
        else:
            self._command(request, ask, now, work)

    def _report(self, executor: str, report: Report, now: Now, work: Work) -> bool:
        """Decides one report; False when the attempt was replaced or is unknown: it changes nothing then."""
        changes = self.engine.handle(_event_of(report), now.utc)
        work.changes += changes
        self.tasks.release(executor, report.token)
        return bool(changes)

    def _command(self, request: Request, command: Command, now: Now, work: Work) -> None:
        try:
            if self.state is State.STOPPING:
                raise SchedulerUnavailable("the scheduler is stopping")
            if request.decided is not None and self._was_done(command, request.decided):
                work.replies.append((request, request.decided))
                return
            changes, reply = self._obey(command, now)
            request.decided = reply if isinstance(reply, RunRef) else None
        except PpacerError as error:
            if isinstance(error, StoreError):
                raise
            request.answer(error)
            return
        work.changes += changes
        work.replies.append((request, reply))

    def _was_done(self, command: Command, ref: RunRef) -> bool:
        """After a commit of unknown end: the rows tell whether this command has taken effect."""
        rows = self.store.run(ref.run_id)
        if rows is None or rows[0].ref != ref:
            return False
        match command:
            case CancelRun():
                return rows[0].cancelling or rows[0].status in RUN_FINAL
            case RestartRun():
                return rows[0].status not in RUN_FINAL
            case _:
                return True

    def _obey(self, command: Command, now: Now) -> tuple[list[Change], Any]:
        match command:
            case TriggerRun():
                return self._trigger(command, now)
            case CancelRun(run_id):
                run = self.engine.runs.get(run_id)
                if run is None:
                    raise self._not_open(run_id, "cancelled")
                changes = self.engine.handle(Cancel(run_id), now.utc)
                if any(isinstance(change, CancelRequested) for change in changes):
                    self.tasks.cancel(run_id)
                return changes, run.ref
            case RestartRun(run_id):
                return self._restart(run_id, now)
            case PauseDag(dag_id):
                return list(self.watcher.pause(self._known(dag_id), now.utc)), dag_id
            case UnpauseDag(dag_id):
                changes = []
                for event in self.watcher.unpause(self._known(dag_id), now.utc):
                    changes += [event] if isinstance(event, DagMarked) else self.engine.handle(event, now.utc)
                return changes, dag_id

    def _trigger(self, command: TriggerRun, now: Now) -> tuple[list[Change], RunRef]:
        dag = self.registry[self._known(command.dag_id)]
        params = dag.params.validate(command.params)
        exec_ts = command.exec_ts or now.utc
        ref = self._new_ref(dag.id, exec_ts)
        if ref is None and command.exec_ts is not None:
            raise ConflictError(f"dag {dag.id!r} has a run with the execution time {exec_ts.isoformat()}")
        while ref is None:
            exec_ts += timedelta(microseconds=1)
            ref = self._new_ref(dag.id, exec_ts)
        event = Triggered(ref, dag.graph, dag.version, dumps(params) if params else None)
        return self.engine.handle(event, now.utc), ref

    def _restart(self, run_id: int, now: Now) -> tuple[list[Change], RunRef]:
        open_run = self.engine.runs.get(run_id)
        if open_run is not None:
            raise ConflictError(f"run {run_id} is {open_run.status}; only failed or cancelled runs can be restarted")
        rows = self.store.run(run_id)
        if rows is None:
            raise NotFoundError(f"there is no run {run_id}")
        run = self.engine.restore(*rows)
        changes = self.engine.handle(Restart(run_id), now.utc)
        if not changes:
            self.engine.forget(run_id)
            raise ConflictError(f"run {run_id} is {run.status}; only failed or cancelled runs can be restarted")
        return changes, run.ref

    def _known(self, dag_id: str) -> str:
        if dag_id in self.watcher.cursors:
            return dag_id
        from difflib import get_close_matches

        near = get_close_matches(dag_id, self.watcher.cursors, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; `ppacer dags` lists them"
        raise NotFoundError(f"there is no dag {dag_id!r}{hint}")

    def _not_open(self, run_id: int, verb: str) -> CommandError:
        rows = self.store.run(run_id)
        if rows is None:
            return NotFoundError(f"there is no run {run_id}")
        return ConflictError(f"run {run_id} has ended with {rows[0].status}; it cannot be {verb}")


def _event_of(report: Report) -> Event:
    if report.end is End.SUCCESS:
        return Succeeded(
            report.run_id, report.task_id, report.retry, report.token, report.result, report.peak_memory
        )
    reason = Reason(report.end.value)
    return Failed(
        report.run_id, report.task_id, report.retry, report.token, reason, report.error, report.peak_memory
    )


def has_alert(changes: Iterable[Change]) -> bool:
    """True when the outbox has something new."""
    return any(isinstance(change, AlertQueued) for change in changes)
