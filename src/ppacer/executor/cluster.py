"""The runners `dask` and `ray`: attempts on the workers of a cluster that exists already.

start, cancel ──► one loop ──► submit, end ────► cluster ──► worker: cluster_job.run
                     ▲                                          │
sink ◄── log, done ──┴─── said, lost, cut off ◄── cluster ◄── messages
"""

import logging
import socket
import threading
from collections import deque
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from ppacer.dag import Registry
from ppacer.errors import PpacerError
from ppacer.executor.cluster_job import MESSAGES, Began, Finished, Job, Told, encode
from ppacer.executor.execute import conclude, with_code
from ppacer.executor.reactor import Reactor
from ppacer.executor.runner import GRACE, Outcome, Sink
from ppacer.executor.timers import Timer
from ppacer.executor.words import end_text, unbegun
from ppacer.pace import ExponentialBackoff
from ppacer.protocol import End, Grant

log = logging.getLogger("ppacer.executor")

WAIT_SECONDS = 300.0  # for a cluster that is away; then another executor may try
KNOCK_SECONDS = 3.0
LAST_WORDS_SECONDS = 2.0  # for messages that are still on their way when the end is known otherwise
END_SECONDS = 10.0  # beyond the grace time, for the worker to say that what was to end has ended
CLOSE_SECONDS = 70.0  # for a cluster that does not answer: more than its adapter takes to connect and close


class ClusterAwayError(PpacerError):
    """The cluster cannot be reached for now; the sentence says which and why."""


def knock(address: str) -> None:
    """Raises OSError when nobody listens there; the libraries of clusters would try for a long time."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


class Hearing(Protocol):
    """Who hears of what becomes of jobs; all this may come from any thread."""

    def said(self, token: str, data: bytes) -> None:
        """A message of the worker, in the order of being sent."""

    def lost(self, token: str, why: str, *, is_unfit: bool = False) -> None:
        """The job is gone from the cluster. `is_unfit`: the workers cannot run any."""

    def cut_off(self, why: str) -> None:
        """The connection is gone, and with it all jobs."""


class Cluster(Protocol):
    """A cluster of workers. Each job has the token of its attempt as name and is started at most once.

    No call waits long for a cluster that does not answer.
    """

    def connect(self, hearing: Hearing) -> None:
        """Connects, anew if need be. Raises ClusterAwayError."""

    def submit(self, token: str, job: bytes) -> None:
        """Gives a job to the cluster. Raises ClusterAwayError."""

    def end(self, token: str, end: End) -> None:
        """Has the job end, or not begin."""

    def forget(self, token: str, *, is_over: bool) -> None:
        """Frees what is held for a job. Unless it `is_over`, it must not begin any more."""

    def close(self) -> None:
        """Ends all jobs and disconnects."""


class _Attempt:
    """One attempt on its way through the cluster. Used by the loop's thread alone."""

    __slots__ = ("end", "grant", "has_begun", "is_submitted", "lost", "timer")

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.end: End | None = None  # how it shall end, once somebody wants it to end
        self.is_submitted = self.has_begun = False
        self.lost: Outcome | None = None  # once it is gone from the cluster
        self.timer: Timer | None = None  # until its end is decided without the worker


class ClusterRunner:
    """Runs attempts on a cluster; those that come while it is away wait for it.

    `file`: where the workers find the dags. An attempt whose worker dies is LOST: the cluster never repeats
    one by itself, so that a retry is always a new attempt with a token of its own.
    """

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        file: Path,
        sink: Sink,
        *,
        grace: float = GRACE,
        level: int = logging.INFO,
    ) -> None:
        self._cluster, self._registry, self._file, self._sink = cluster, registry, file, sink
        self._grace, self._level = grace, level
        self._live: dict[str, _Attempt] = {}
        self._waiting: deque[_Attempt] = deque()
        self._is_connected = self._is_pausing = False
        self._away = "the cluster is away"
        self._backoff = ExponentialBackoff(timedelta(seconds=0.5), timedelta(seconds=15))
        self._reactor = Reactor()
        self._thread = threading.Thread(target=self._run, name="ppacer-cluster", daemon=True)
        self._thread.start()

    def start(self, grant: Grant) -> None:
        """Hands the attempt to the cluster, as soon as that is there."""
        if not self._reactor.call(lambda: self._start(grant)):
            conclude(grant, unbegun(End.HANDED_BACK), self._sink)

    def cancel(self, token: str, end: End) -> None:
        """Ends the attempt: on its worker SIGTERM to its process group, and after the grace time SIGKILL."""
        self._reactor.call(lambda: self._cancel(token, end))

    def close(self) -> None:
        """Hands back what still runs; the workers end it when they see that we are gone."""
        self._reactor.call(self._reactor.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        self._reactor.run()
        for token, attempt in self._live.items():
            if attempt.is_submitted and attempt.end is None:
                self._try_to_end(token)
        self._cluster.close()
        self._reactor.close()  # which takes what was started meanwhile
        for attempt in list(self._live.values()):
            begun = attempt.is_submitted  # its first message may be on its way
            outcome = Outcome(End.HANDED_BACK, end_text(End.HANDED_BACK), begun=begun)
            if attempt.lost is not None and not attempt.lost.begun:  # its worker has refused it for certain
                outcome = attempt.lost
            self._decide(attempt, outcome)

    def _try_to_end(self, token: str) -> None:
        """Hands back an attempt, or workers would take our end for a cancel."""
        try:
            self._cluster.end(token, End.HANDED_BACK)
        except Exception:  # the others are handed back all the same
            log.exception("the cluster cannot be told to hand back an attempt")

    # -- to the cluster --------------------------------------------------------------------------------------

    def _start(self, grant: Grant) -> None:
        attempt = self._live[grant.token] = _Attempt(grant)
        self._waiting.append(attempt)
        self._submit()
        if not attempt.is_submitted:
            self._after(attempt, WAIT_SECONDS, self._refuse)

    def _submit(self) -> None:
        """Hands over what waits, unless the cluster is away."""
        if self._is_pausing:
            return
        try:
            if not self._is_connected:
                self._connect()
            while self._waiting:
                self._hand_over(self._waiting[0])
                self._waiting.popleft()
        except ClusterAwayError as error:
            if self._is_connected:
                self._lose_all(str(error))
            self._pause(str(error))

    def _connect(self) -> None:
        try:
            self._cluster.connect(self)
        except ClusterAwayError:
            raise
        except Exception as error:  # whatever its library raises: it is tried again
            raise ClusterAwayError(f"the cluster cannot be used: {type(error).__name__}: {error}") from error
        self._is_connected = True
        self._backoff.reset()

    def _hand_over(self, attempt: _Attempt) -> None:
        try:
            self._give(attempt)
        except ClusterAwayError:
            raise
        except Exception as error:  # it concerns this attempt alone
            log.exception("task %s cannot be given to the cluster", attempt.grant.task_id)
            attempt.is_submitted = True  # perhaps
            self._decide(attempt, Outcome(End.REFUSED, f"{type(error).__name__}: {error}"))

    def _give(self, attempt: _Attempt) -> None:
        grant = attempt.grant
        dag = self._registry.get(grant.dag_id)
        version = None if dag is None else dag.version
        job = Job(grant, str(self._file), version, self._grace, self._level)
        self._cluster.submit(grant.token, encode(job))
        attempt.is_submitted = True
        if attempt.timer is not None:
            attempt.timer.cancel()

    def _pause(self, why: str) -> None:
        self._is_pausing, self._away = True, why
        delay = self._backoff.next().total_seconds()
        log.warning("%s; %d attempt(s) wait for it", why, len(self._waiting))
        self._reactor.timers.add(self._reactor.mono() + delay, self._resume)

    def _resume(self) -> None:
        self._is_pausing = False
        if self._waiting:
            self._submit()

    def _refuse(self, attempt: _Attempt) -> None:
        self._waiting.remove(attempt)
        self._decide(attempt, Outcome(End.REFUSED, self._away, begun=False))

    def _cancel(self, token: str, end: End) -> None:
        attempt = self._live.get(token)
        if attempt is None or attempt.end is not None:
            return
        if not attempt.is_submitted:
            self._waiting.remove(attempt)
            self._decide(attempt, unbegun(end))
            return
        attempt.end = end
        self._expect_end(attempt)
        self._cluster.end(token, end)

    def _expect_end(self, attempt: _Attempt) -> None:
        """The worker has the last word, but not for ever; one that has not begun will hardly have any."""
        seconds = self._grace + END_SECONDS if attempt.has_begun else LAST_WORDS_SECONDS
        self._after(attempt, seconds, self._give_up)

    def _give_up(self, attempt: _Attempt) -> None:
        """That it has not begun only its worker can say: its first message may be on its way."""
        assert attempt.end is not None
        self._decide(attempt, Outcome(attempt.end, end_text(attempt.end)))

    # -- from the cluster (Hearing) --------------------------------------------------------------------------

    def said(self, token: str, data: bytes) -> None:
        """Takes a message of a worker."""
        self._reactor.call(lambda: self._said(token, data))

    def lost(self, token: str, why: str, *, is_unfit: bool = False) -> None:
        """Takes note that a job is gone; a moment later, so that its last messages are heard before."""
        self._reactor.call(lambda: self._lost(token, why, is_unfit))

    def cut_off(self, why: str) -> None:
        """Takes note that all jobs are gone, and connects anew for those that wait."""
        self._reactor.call(lambda: self._cut_off(why))

    def _said(self, token: str, data: bytes) -> None:
        attempt = self._live.get(token)
        if attempt is None:
            return
        match MESSAGES.decode(data):
            case Began():
                attempt.has_begun = True
                if attempt.end is not None:
                    self._expect_end(attempt)
            case Told(records):
                self._sink.log(records)
                if attempt.end is None and attempt.lost is not None:  # its end may be behind this
                    self._after(attempt, LAST_WORDS_SECONDS, self._decide_lost)
            case Finished(outcome):
                self._forget(attempt, is_over=True)
                self._sink.done(attempt.grant, with_code(attempt.grant, outcome, self._registry))

    def _lost(self, token: str, why: str, is_unfit: bool) -> None:
        attempt = self._live.get(token)
        if attempt is None or attempt.end is not None or attempt.lost is not None:
            return
        if is_unfit and not attempt.has_begun:
            attempt.lost = Outcome(End.REFUSED, why, begun=False, is_unfit=True)
        else:
            attempt.lost = Outcome(End.LOST, why)
        self._after(attempt, LAST_WORDS_SECONDS, self._decide_lost)

    def _decide_lost(self, attempt: _Attempt) -> None:
        assert attempt.lost is not None
        self._decide(attempt, attempt.lost)

    def _cut_off(self, why: str) -> None:
        if not self._is_connected:
            return
        log.warning("%s", why)
        self._lose_all(why)
        if self._waiting:
            self._submit()

    def _lose_all(self, why: str) -> None:
        self._is_connected = False
        self._cluster.close()  # first: there is nobody to be told of the following
        for attempt in [attempt for attempt in self._live.values() if attempt.is_submitted]:
            self._decide(attempt, Outcome(attempt.end or End.LOST, f"lost: {why}"))

    # -- ends ------------------------------------------------------------------------------------------------

    def _after(self, attempt: _Attempt, seconds: float, action: "_Action") -> None:
        """Does something about an attempt later, in place of what was to be done before."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.timer = self._reactor.timers.add(self._reactor.mono() + seconds, partial(action, attempt))

    def _decide(self, attempt: _Attempt, outcome: Outcome) -> None:
        """Ends an attempt without a word of its worker."""
        self._forget(attempt, is_over=False)
        conclude(attempt.grant, outcome, self._sink, self._registry)

    def _forget(self, attempt: _Attempt, *, is_over: bool) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        del self._live[attempt.grant.token]
        if attempt.is_submitted:
            try:
                self._cluster.forget(attempt.grant.token, is_over=is_over)
            except Exception:  # the end of the attempt is known all the same
                log.exception("the cluster does not let go of task %s", attempt.grant.task_id)


class _Action(Protocol):
    def __call__(self, attempt: _Attempt, /) -> None:
        """Does something about the attempt."""
