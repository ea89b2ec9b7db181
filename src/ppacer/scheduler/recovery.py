"""What happens when the database refuses: memory is read back, and what failed together is tried alone.

While nothing can be written, what needs no database goes on, and the ends of attempts are kept.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence

from ppacer.clock import Now
from ppacer.engine.changes import AlertTried, Change
from ppacer.errors import CommandError, PpacerError, StoreError, StoreUnavailable
from ppacer.protocol import Report
from ppacer.scheduler.inbox import BATCH_MAX
from ppacer.scheduler.reports import unwritable
from ppacer.scheduler.requests import Ask, Claim, Heartbeat, Reports, Request
from ppacer.scheduler.rounds import Rounds
from ppacer.scheduler.trouble import Trouble, refusal
from ppacer.scheduler.work import Work

log = logging.getLogger("ppacer.scheduler")


class Recovery:
    """The ways back, over the rounds that failed."""

    def __init__(self, rounds: Rounds, trouble: Trouble) -> None:
        self.kept: list[Request] = []  # what waits for the database to come back
        self._rounds = rounds
        self._store = rounds.store
        self._memory = rounds.memory
        self._trouble = trouble

    def one_by_one(self, now: Now, requests: Sequence[Request]) -> None:
        """Reads memory back and replays what the failed batch held, so that one bad piece fails alone."""
        left = deque(request for request in requests if not request.is_answered)
        try:
            self.read_back(now)
            self._rounds.make(now, timers=True)
            for dag_id in self._memory.watcher.due(now.utc):
                self._plan_alone(dag_id, now)
            for backfill_id in self._memory.backfills.due():
                self._backfill_alone(backfill_id, now)
            while left:
                self._decide_alone(left[0], now)
                left.popleft()
        except StoreError as error:
            self._memory.tasks.is_sure = False  # it may have decided what was not committed
            self._trouble.begin(error, now)
            self.do_without(left, now)

    def _plan_alone(self, dag_id: str, now: Now) -> None:
        try:
            self._rounds.make(now, dag_ids=(dag_id,))
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("the points of dag %s cannot be recorded", dag_id)
            self.read_back(now)
            if self._memory.watcher.is_due(dag_id, now.utc):
                self._write([self._memory.watcher.disable(dag_id, error, now.utc)], now)

    def _backfill_alone(self, backfill_id: int, now: Now) -> None:
        try:
            self._rounds.make(now, backfill_ids=(backfill_id,))
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("backfill %d cannot go on, and is paused", backfill_id)
            self.read_back(now)
            self._write(self._memory.backfills.give_up(backfill_id, error, now.utc), now)

    def _decide_alone(self, request: Request, now: Now) -> None:
        try:
            if isinstance(request.ask, Reports):
                self._reports_alone(request, request.ask, now)
            else:
                self._rounds.make(now, (request,))
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("a request failed by itself: %s", type(request.ask).__name__)
            self.read_back(now)
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
                self.read_back(now)
                refused = error
            except Exception as error:
                log.exception("the end of task %s of run %d cannot be stored", report.task_id, report.run_id)
                self.read_back(now)
                flags.append(self._report_alone(ask.executor, unwritable(report, error), now))
        if refused is not None:
            raise refused
        if not self._memory.tasks.is_past(ask):
            work.reachable.add(ask.executor)
        work.replies.append((request, flags))
        self._rounds.commit(work, now)

    def _report_alone(self, executor: str, report: Report, now: Now) -> bool:
        work = Work()
        accepted = self._rounds.report(executor, report, now, work)
        self._rounds.commit(work, now)
        return accepted

    def do_without(self, requests: Iterable[Request], now: Now) -> None:
        """What needs no database goes on, what executors report is kept, new work is refused and told why."""
        tasks = self._memory.tasks
        for request in requests:
            match request.ask:
                case Claim() as ask:
                    tasks.poll(request, ask, now)
                case Heartbeat() as ask:
                    self._rounds.reply(request, None, now)
                case ask if request.unclear is not None or self._may_keep(ask):
                    request.trouble = self._trouble.reason
                    self.kept.append(request)
                case _:
                    request.answer(refusal(self._trouble.reason))
        tasks.expire_polls(now)

    def _may_keep(self, ask: Ask) -> bool:
        return isinstance(ask, Reports | AlertTried) and len(self.kept) < BATCH_MAX

    def reconnect(self, now: Now) -> list[Request] | None:
        """What was kept, when the database answers again; None while it does not, or is left alone."""
        if self._trouble.is_to_wait(now):
            return None
        kept, self.kept = self.kept, []
        try:
            self._store.probe()
            self.read_back(now)
        except StoreError as error:
            self.kept = [request for request in kept if request.is_awaited]  # the others are told again
            self._trouble.begin(error, now)
            return None
        return kept

    def read_back(self, now: Now) -> None:
        """Memory is a cache of rows: throws it away and reads it back, at start and after any trouble."""
        self._write(self._memory.read_back(now), now)

    def _write(self, changes: Sequence[Change], now: Now) -> None:
        """Commits what nobody has asked for, and announces it."""
        if changes:
            self._store.apply(changes)
            self._memory.committed(changes, now)
            self._rounds.tell(changes)


def _in_words(error: Exception) -> PpacerError:
    if isinstance(error, PpacerError):
        return error
    return CommandError(f"this failed in an unexpected way ({type(error).__name__}); see the scheduler's log")
