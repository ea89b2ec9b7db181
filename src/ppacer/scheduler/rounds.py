"""One round: decide in memory, commit once, announce. Every write of the scheduler is made here."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ppacer.clock import Now
from ppacer.engine.changes import AlertTried, Audited, Change
from ppacer.engine.events import LeaseExpired
from ppacer.errors import PpacerError, SchedulerUnavailable, StoreError
from ppacer.protocol import Answer, Grant, Hello, Report
from ppacer.scheduler.audit import audited
from ppacer.scheduler.commands import Commands
from ppacer.scheduler.grants import take_grants
from ppacer.scheduler.memory import Memory
from ppacer.scheduler.replies import earlier, keep
from ppacer.scheduler.reports import event_of, was_taken
from ppacer.scheduler.requests import (
    CancelRun,
    Claim,
    Command,
    Goodbye,
    Greeting,
    Heartbeat,
    Reports,
    Request,
    RestartRun,
    Unclear,
)
from ppacer.scheduler.task_scheduler import Session
from ppacer.scheduler.trouble import Trouble, refusal
from ppacer.scheduler.work import Work
from ppacer.store import Store
from ppacer.store.retention import Old, OldExecutors

log = logging.getLogger("ppacer.scheduler")

Listener = Callable[[Sequence[Change]], None]


class Rounds:
    """Decides what it is given, commits it in one transaction, and answers. May raise at any point."""

    def __init__(self, store: Store, memory: Memory, trouble: Trouble) -> None:
        self.store = store
        self.memory = memory
        self.listeners: list[Listener] = []
        self.is_stopping = False  # commands are refused
        self._trouble = trouble
        self._commands = Commands(memory)

    def make(
        self,
        now: Now,
        requests: Iterable[Request] = (),
        dag_ids: Sequence[str] = (),
        backfill_ids: Sequence[int] = (),
        timers: bool = False,
    ) -> None:
        """Decides, commits once, announces. When it raises, memory is ahead of the rows."""
        work = self._decided(now, requests, dag_ids, backfill_ids, timers)
        self.commit(work, now)
        while work.later:
            work = self._decided(now, work.later)
            self.commit(work, now)

    def _decided(
        self,
        now: Now,
        requests: Iterable[Request],
        dag_ids: Sequence[str] = (),
        backfill_ids: Sequence[int] = (),
        timers: bool = False,
    ) -> Work:
        work, memory = Work(), self.memory
        if timers:
            for due in (*memory.engine.due(now.utc), *memory.tasks.overdue(now)):
                work.changes += memory.engine.handle(due, now.utc)
        if dag_ids:
            work.changes += memory.plan(dag_ids, now.utc)
        if backfill_ids:
            work.changes += memory.plan_backfills(backfill_ids, now.utc)
        for request in requests:
            self._decide(request, now, work)
        work.changes += memory.roll.notes(now)
        return work

    def commit(self, work: Work, now: Now) -> None:
        """Grants what has become ready, writes it all in one transaction, then announces."""
        work.changes += self.memory.tasks.grant(work.reachable, now)
        if work.changes:
            self.store.apply(work.changes)
        self.memory.committed(work.changes, now)
        self._announce(work, now)
        if work.old:
            self._forget(work.old)

    def _announce(self, work: Work, now: Now) -> None:
        """After the commit: answers with what executors shall hear, then news."""
        tasks = self.memory.tasks
        for request, reply in work.replies:
            self.reply(request, reply, now)
        for session in tasks.sessions.values():
            if not (session.untold or session.cancels) or not session.is_waiting:
                continue
            if (poll := session.take_poll()) is not None:
                poll.answer(Answer(self._grants(session, now), session.take_cancels()))
        tasks.expire_polls(now)
        if work.changes:
            if ended := {ref.dag_id for ref in work.ended()}:
                self.memory.ended(ended)
            self.tell(work.changes)

    def _forget(self, requests: Iterable[Request]) -> None:
        """Deletes slices of the past, each in a transaction of its own; one that fails is asked for again.

        Memory holds open runs, and those are not old; of what is deleted it knows executors alone.
        """
        for request in requests:
            if request.take():
                assert isinstance(request.ask, Old)
                try:
                    request.answer(self.store.forget(request.ask))
                    if isinstance(request.ask, OldExecutors):
                        self.memory.roll.rows = dict(self.store.executor_rows())
                except StoreError as error:
                    request.answer(error)

    def reply(self, request: Request, reply: Any, now: Now) -> None:
        """Answers one request; nothing is told to somebody who has given up."""
        if not request.take():
            return
        match request.ask:
            case Reports() as ask if self.memory.tasks.is_past(ask):
                reply = Answer(accepted=reply)
            case Heartbeat(executor, tokens) as ask if self.memory.tasks.is_past(ask):
                tasks = self.memory.tasks
                reply = Answer(cancel=tasks.strangers(tasks.sessions[executor], tokens))
            case Reports(executor):
                session = self.memory.tasks.sessions.get(executor)  # None: given up while the report waited
                news = (self._grants(session, now), session.take_cancels()) if session else ([], [])
                reply = Answer(*news, reply)
            case Heartbeat(executor):
                session = self.memory.tasks.sessions.get(executor)  # None: it has said goodbye
                reply = Answer(cancel=session.take_cancels() if session else [])
        request.answer(reply)

    def _grants(self, session: Session, now: Now) -> list[Grant]:
        """The grants that the executor has not been told; none when their inputs cannot be read now."""
        try:
            return take_grants(self.store, self.memory.engine, session)
        except StoreError as error:
            self._trouble.begin(error, now)
            return []

    def tell(self, changes: Sequence[Change]) -> None:
        """News for listeners; one that raises is logged, because everything is committed already."""
        for listener in self.listeners:
            try:
                listener(changes)
            except Exception:
                log.exception("a listener failed")

    # -- deciding --------------------------------------------------------------------------------------------

    def _decide(self, request: Request, now: Now, work: Work) -> None:
        match request.ask:
            case Claim() as ask:
                self.memory.tasks.poll(request, ask, now)
            case Reports(executor, reports):
                flags = [self.report(executor, report, now, work) for report in reports]
                work.replies.append((request, flags))
                if request.is_awaited and not self.memory.tasks.is_past(request.ask):
                    work.reachable.add(executor)
            case Heartbeat(executor, tokens) as ask:
                if not self.memory.tasks.is_past(ask):
                    work.changes += self.memory.tasks.take_back(executor, tokens, now)
                work.replies.append((request, None))
            case Greeting(hello):
                work.replies.append((request, self._greet(hello, now, work)))
            case Goodbye(executor, life):
                work.changes += self._losses(self.memory.roll.part(executor, life), now)
                work.replies.append((request, None))
            case AlertTried() | Audited() as fact:
                work.changes.append(fact)
                work.replies.append((request, None))
            case Old():
                work.old.append(request)
            case CancelRun(run_id) | RestartRun(run_id) if work.has_ended(run_id):
                work.later.append(request)  # memory has forgotten the run, and the rows do not know it yet
            case command:
                work.replies.append((request, self._command(request, command, now, work)))

    def _greet(self, hello: Hello, now: Now, work: Work) -> Any:
        """The answer to a hello. What an earlier life of the executor was at begins again elsewhere."""
        reply, greeted = self.memory.roll.greet(hello, now)
        if greeted is not None:
            work.changes.append(greeted)
            work.changes += self._losses(self.memory.roll.orphans(hello), now)
            work.changes += self.memory.tasks.take_back(hello.name, hello.tokens, now)
        return reply

    def _losses(self, losses: Iterable[LeaseExpired], now: Now) -> list[Change]:
        return [change for lost in losses for change in self.memory.engine.handle(lost, now.utc)]

    def report(self, executor: str, report: Report, now: Now, work: Work) -> bool:
        """Decides one report; False when the attempt was replaced or is unknown: it changes nothing then.

        The same report again, because its answer was lost, is answered as the first time.
        """
        changes = self.memory.engine.handle(event_of(report), now.utc)
        if not changes:
            return work.taken.get(report.token) is report.end or was_taken(self.store, report)
        work.changes += changes
        work.taken[report.token] = report.end
        self.memory.tasks.ends(executor, report, now)
        return True

    def _command(self, request: Request, command: Command, now: Now, work: Work) -> Any:
        """The reply to a command, or the reason why it cannot be carried out."""
        if request.unclear is not None and request.unclear.happened():
            return request.unclear.reply
        if request.trouble is not None:
            return refusal(request.trouble)
        known = earlier(self.store, request, work)
        if known is not None:
            return known
        if self.is_stopping:
            return SchedulerUnavailable("the scheduler is stopping")
        reply = self._obey(request, command, now, work)
        work.changes.append(audited(command, request.origin, reply, now.utc))
        keep(request, reply, now.utc, work)
        return reply

    def _obey(self, request: Request, command: Command, now: Now, work: Work) -> Any:
        try:
            decision = self._commands.obey(command, request.origin.actor, now)
        except StoreError:
            raise
        except PpacerError as error:
            return error
        request.unclear = Unclear(decision.reply, decision.happened)
        work.changes += decision.changes
        return decision.reply
