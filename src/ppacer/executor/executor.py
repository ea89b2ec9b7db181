"""The executor: claims attempts up to its free slots, runs them, reports how they ended, and never gives up.

Four threads at most: one waits for work (a long poll), one reports (its answers carry new work, so a chain
of tasks needs no other round trip), one keeps the lease alive; the runners have their own.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice

import msgspec

from ppacer.clock import Clock
from ppacer.errors import (
    ConfigError,
    DagError,
    ExecutorRefusedError,
    NotAdmittedError,
    NotFoundError,
    NotTakenError,
    PpacerError,
    SchedulerUnavailable,
    StandsBy,
    UnknownExecutorError,
)
from ppacer.executor.execute import conclude
from ppacer.executor.runner import Outcome, Runner
from ppacer.executor.spool import Spool
from ppacer.executor.words import shorten, unbegun
from ppacer.pace import ExponentialBackoff
from ppacer.protocol import HEARTBEAT_SECONDS, LOCAL, Answer, Client, End, Grant, Hello, Report
from ppacer.tasklog import LogRecord

log = logging.getLogger("ppacer.executor")

POLL_SECONDS = 20.0
DRAIN_POLL_SECONDS = 0.1
REPORTS_MAX = 500  # in one message
REPORTS_BYTES_MAX = 8 * 1024 * 1024  # of results and errors in one message, but for the last report in it
TOGETHER_SECONDS = 0.001  # that the ends of tasks which have begun together are waited for
IN_THREADS = ("thread", "async")  # the others' tasks run beside us, and go on while we report
DRAIN_SECONDS = 10.0
AWAY_SECONDS = 2.0  # without an answer of the scheduler, until that is said
REFUSALS_MAX = 5  # of one report, before it is told in another way
WARNINGS_MAX = 100  # different ones that are said once each

NOT_LET_IN = (NotAdmittedError, NotFoundError, ConfigError)
"""A first hello that is answered so will always be: a wrong token, role, name or address."""


class Executor:
    """Runs attempts by `runners` (name → Runner, made on first use); the first name is the default."""

    def __init__(
        self,
        client: Client,
        runners: Mapping[str, Callable[["Executor"], Runner]],
        *,
        clock: Clock,
        slots: int,
        default_runner: str,
        name: str = LOCAL,
        hello: Hello,
        spool: Spool | None = None,
        heartbeat: float = HEARTBEAT_SECONDS,
        mask: Callable[[str], str] = lambda text: text,
    ) -> None:
        self.name = name
        self.slots = slots
        self.refusal: PpacerError | None = None  # why the scheduler will never take it
        self._hello = hello
        self._is_known = False
        self._met = threading.Event()  # set after the first hello
        self._warned: set[str] = set()
        self._refusals = 0  # of the report that is to be told next
        self._away_since: float | None = None  # monotonic: since when the scheduler does not answer
        self._is_away_told = False
        self._client = client
        self._make = dict(runners)
        self._runners: dict[str, Runner] = {}
        self._default = default_runner
        self._clock = clock
        self._heartbeat = heartbeat
        self._mask = mask
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Grant, Runner]] = {}
        self._spool = spool  # where reports outlive this program
        self._reports = {report.token: report for report in (spool.left if spool else ())}
        self._news = threading.Condition(self._lock)  # a report came, or everything was delivered
        self._together: set[str] = set()  # begun by the last answer: while one of them runs, no end is news
        self._stopping = threading.Event()
        self._draining = False
        self._is_draining_told = False  # a hurried drain begins before anybody is told of it
        self._hurried = False
        self._threads = [
            threading.Thread(target=target, name=f"ppacer-{target.__name__.strip('_')}", daemon=True)
            for target in (self._claim_loop, self._report_loop, self._heartbeat_loop)
        ]

    def start(self) -> None:
        """Begins to claim."""
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> int:
        """How many attempts run."""
        return len(self._running)

    def is_alive(self) -> bool:
        """False when one of its threads has ended by itself."""
        return all(thread.is_alive() for thread in self._threads)

    def _try(self, what: str, action: Callable[[], None]) -> bool:
        """Whether it went well. Nothing that goes wrong may end one of our threads."""
        try:
            action()
        except (UnknownExecutorError, StandsBy) as error:
            log.debug("%s has to wait: %s", what, error)
        except SchedulerUnavailable as error:
            self._is_away(error)
        except PpacerError as error:
            self._warn_once(f"{what} failed: {error}")
        except Exception:
            log.exception("%s failed, which nobody expected; please report it", what)
        else:
            return True
        return False

    def _warn_once(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < WARNINGS_MAX:
            self._warned.add(text)
            log.warning("%s", text)

    def _is_away(self, error: SchedulerUnavailable) -> None:
        """Says once that the scheduler does not answer, if that lasts."""
        now = self._clock.now().mono
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= AWAY_SECONDS and not self._is_away_told:
            self._is_away_told = True
            log.warning("%s; what runs goes on, and its end is kept until it can be reported", error)

    def _is_back(self) -> None:
        """It has done something for us; a heartbeat is answered also by one that only stands by."""
        if self._is_away_told:
            log.warning("the scheduler answers again")
        self._away_since, self._is_away_told = None, False

    # -- getting work ----------------------------------------------------------------------------------------

    def _claim_loop(self) -> None:
        backoff = ExponentialBackoff(timedelta(milliseconds=100), timedelta(seconds=5))
        while not self._stopping.is_set():
            if self._try("claiming", self._claim_or_greet):
                backoff.reset()
            else:
                self._stopping.wait(backoff.next().total_seconds())

    def _claim_or_greet(self) -> None:
        try:
            if not self._is_known:
                self._greet()
            self._claim()
        except UnknownExecutorError:
            self._is_known = False
            raise
        except ExecutorRefusedError as error:
            self._is_refused(error)
        except NOT_LET_IN as error:
            if self._met.is_set():  # it was let in before: somebody may be at work on the other side
                raise
            self._is_refused(error)

    def _is_refused(self, error: PpacerError) -> None:
        self.refusal = error
        self._end_threads()

    def _greet(self) -> None:
        welcome = self._client.hello(msgspec.structs.replace(self._hello, tokens=self._tokens()))
        self._is_back()
        self._heartbeat = welcome.lease / 3
        self._is_known = True
        self._warned.clear()
        self._met.set()

    def _claim(self) -> None:
        # short while draining: `close` comes soon, and must not wait for a long poll to end
        slots, wait = (0, DRAIN_POLL_SECONDS) if self._draining else (self.slots, POLL_SECONDS)
        answer = self._client.claim(self.name, slots, wait)
        self._is_back()
        self._take(answer)

    def _take(self, answer: Answer) -> None:
        for grant in answer.grants:
            self._begin(grant)
        for token in answer.cancel:
            self._end(token, End.CANCELLED)

    def _begin(self, grant: Grant) -> None:
        if self._has(grant.token):  # it was told twice
            return
        if grant.problem is not None:
            conclude(grant, Outcome(End.FAILED, grant.problem, begun=False), self)
            return
        if self._draining:  # it was on its way
            conclude(grant, unbegun(End.HANDED_BACK), self)
            return
        is_begun = False
        try:
            runner = self._runner(grant.runner or self._default)
            with self._lock:
                if grant.token in self._running:
                    return
                self._running[grant.token] = (grant, runner)
            is_begun = True  # perhaps, if this fails
            runner.start(grant)
        except Exception as error:  # whatever it is, it concerns this attempt alone
            log.error("task %s cannot be started: %s", grant.task_id, error)
            words = str(error) or type(error).__name__
            conclude(grant, Outcome(End.REFUSED, words, begun=is_begun), self)

    def _has(self, token: str) -> bool:
        """Whether this attempt runs here, or has ended and is to be reported."""
        with self._lock:
            return token in self._running or token in self._reports

    def _runner(self, name: str) -> Runner:
        runner = self._runners.get(name)
        if runner is None:
            with self._lock:
                runner = self._runners.get(name)
                if runner is None:
                    if name not in self._make:
                        raise PpacerError(
                            f"this executor has no runner {name!r}, only {', '.join(self._make)}"
                        )
                    runner = self._runners[name] = self._make[name](self)
        return runner

    def _end(self, token: str, end: End) -> None:
        with self._lock:
            found = self._running.get(token)
        if found is not None:
            found[1].cancel(token, end)

    # -- what runners say (the Sink) -------------------------------------------------------------------------

    def done(self, grant: Grant, outcome: Outcome) -> None:
        """An attempt has ended; it is reported until the scheduler has it."""
        report = Report(
            grant.run_id,
            grant.task_id,
            grant.retry,
            grant.token,
            outcome.end,
            None if outcome.error is None else shorten(self._mask(outcome.error)),
            outcome.result,
            outcome.peak_memory,
            outcome.begun,
            outcome.is_unfit,
            outcome.body_hash,
            outcome.cpu_seconds,
        )
        with self._news:  # at no moment is it neither running nor waiting to be reported
            self._running.pop(grant.token, None)
            self._reports[report.token] = report
            if self._spool is not None:
                self._spool.keep(report)
            self._together.discard(report.token)
            if not self._together:
                self._news.notify_all()

    def log(self, records: Sequence[LogRecord]) -> None:
        """Hands log records over; never blocks, never fails."""
        self._client.log(records)

    # -- reporting -------------------------------------------------------------------------------------------

    def _report_loop(self) -> None:
        backoff = ExponentialBackoff(timedelta(milliseconds=50), timedelta(seconds=5))
        while batch := self._next_reports():
            if self._try("reporting", partial(self._report, batch)):
                backoff.reset()
            elif self._stopping.wait(backoff.next().total_seconds()):
                return

    def _next_reports(self) -> list[Report]:
        """The ends that are to be told next; none when the executor stops.

        Short tasks in threads that begin together are reported together: a request costs as much as ten.
        """
        with self._news:
            self._news.wait_for(lambda: not self._together, TOGETHER_SECONDS)
            self._together.clear()
            while not self._reports and not self._stopping.is_set():
                self._news.wait()
            return _within(islice(self._reports.values(), REPORTS_MAX), REPORTS_BYTES_MAX)

    def _report(self, batch: Sequence[Report]) -> None:
        try:
            answer = self._client.report(self.name, batch)
        except (NotTakenError, DagError) as error:
            if len(batch) > 1:
                self._report(batch[: len(batch) // 2])
            else:
                self._is_not_taken(batch[0], error)
            return
        self._is_back()
        self._refusals = 0
        with self._news:
            self._together.update(
                grant.token for grant in answer.grants if (grant.runner or self._default) in IN_THREADS
            )
        self._take(answer)  # first: a drain waits for what this begins
        with self._news:
            self._delivered(batch)

    def _delivered(self, batch: Sequence[Report]) -> None:
        for report in batch:
            del self._reports[report.token]
        if self._spool is not None:
            self._spool.drop(batch)
        self._news.notify_all()

    def _is_not_taken(self, report: Report, error: PpacerError) -> None:
        """One that is refused again and again holds up no other: it is told without its result, or not."""
        self._refusals += 1
        if self._refusals < REFUSALS_MAX:
            raise error
        self._refusals = 0
        log.error("the end of task %s is refused by the scheduler: %s", report.task_id, error)
        end = End.FAILED if report.end is End.SUCCESS else report.end
        words = f"its end ({report.end}) could not be reported as it was: {error}"
        poorer = msgspec.structs.replace(report, end=end, result=None, error=words)
        with self._news:
            if report == poorer:
                self._delivered([report])
                return
            self._reports[poorer.token] = poorer
            if self._spool is not None:
                self._spool.keep(poorer)

    def _heartbeat_loop(self) -> None:
        self._met.wait()
        while not self._stopping.wait(self._heartbeat):
            self._try("the heartbeat", self._beat)

    def _beat(self) -> None:
        self._take(self._client.heartbeat(self.name, self._tokens()))

    def _tokens(self) -> list[str]:
        """The attempts it has: an end that is not delivered yet is not missing."""
        with self._lock:
            return [*self._running, *self._reports]

    # -- stopping --------------------------------------------------------------------------------------------

    def stop_claiming(self) -> None:
        """Takes no more work, and tells the scheduler so, once."""
        if not self._is_draining_told:
            self._draining = self._is_draining_told = True
            self._try("the last claim", lambda: self._take(self._client.claim(self.name, 0, 0.0)))

    def drain(self, grace: float = DRAIN_SECONDS) -> None:
        """Claims nothing more, lets what runs finish within `grace` seconds, hands the rest back.

        Returns when the scheduler has heard of everything, or does not answer any more.
        """
        self.stop_claiming()
        if not self._wait_idle(grace, lambda: self._hurried):
            self._hand_back()
            self._wait_idle(DRAIN_SECONDS)

    def hurry(self) -> None:
        """A drain, under way or to come, hands back at once what runs."""
        with self._news:
            self._draining = self._hurried = True
            self._news.notify_all()

    def _hand_back(self) -> None:
        """Ends what runs; it costs no retry and is granted again by the next program."""
        with self._lock:
            rest = list(self._running)
        for token in rest:
            self._end(token, End.HANDED_BACK)

    def _wait_idle(self, seconds: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        end = self._clock.now().mono + seconds
        with self._news:
            while self._running or (self._reports and not self._is_safe()):
                left = end - self._clock.now().mono
                if left <= 0 or give_up():
                    return False
                self._news.wait(min(left, 0.5))
        return True

    def _is_safe(self) -> bool:
        """Whether what is to be reported can wait for the next program, because this one cannot tell it."""
        return self._spool is not None and self._away_since is not None

    def close(self) -> None:
        """Ends everything that still runs, at once."""
        self._end_threads()
        for runner in self._runners.values():
            runner.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2.0)
        if self._is_known and not self._reports:  # else they are still to come
            self._try("the goodbye", lambda: self._client.goodbye(self.name))

    def _end_threads(self) -> None:
        self._stopping.set()
        self._met.set()
        with self._news:
            self._news.notify_all()


def _within(reports: Iterable[Report], size: int) -> list[Report]:
    """The first reports, up to the one with which they have so many bytes."""
    taken: list[Report] = []
    for report in reports:
        taken.append(report)
        size -= len(report.result or "") + len(report.error or "")
        if size <= 0:
            break
    return taken
