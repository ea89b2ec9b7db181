"""The runners `process` and `pool`: an attempt in a child process of its own, or in one warm child of many.

               start, cancel ──► inbox ─┐          ┌─► job ──────────► child (forked from the warm
warm parent: forked, exited ────────────┤ one loop ├─► fork, kill ───► parent; takes one job, or
child: records, result; stdout, stderr ─┘ (thread) └─► log, done ────► sink      in the pool many)
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import count

import msgspec

from ppacer.executor import memory
from ppacer.executor.execute import conclude
from ppacer.executor.frames import Ended, Job
from ppacer.executor.reactor import Reactor
from ppacer.executor.runner import GRACE, Outcome, Sink
from ppacer.executor.staff import Staff
from ppacer.executor.warm import WarmParent
from ppacer.executor.words import end_text, exit_text, timeout_text, unbegun, with_details
from ppacer.executor.worker import Attempt, Worker, utc
from ppacer.protocol import End, Grant

SPARES = 2  # children forked ahead of need: they hide how long a fork takes
STRAY_SECONDS = 2.0  # after a SIGTERM that we have not sent, for the program to get one as well
STRAY_SIGTERM = "ended by SIGTERM, which ppacer has not sent: it came from the task itself or from outside"
IDLE_SECONDS = 60.0  # until a child of the pool without work leaves
LOST = "lost: the process from which task processes are forked has died, and all task processes with it"


class Children:
    """All child processes of this program, for the runners `process` and `pool`. Takes over the warm parent.

    `grace`: seconds between SIGTERM and SIGKILL. Deadlines run from the moment a job is sent. An attempt of
    `process` has ended when its process group is gone; in the pool, when its result and its output are here.
    """

    def __init__(
        self,
        warm: WarmParent,
        sink: Sink,
        *,
        grace: float = GRACE,
        spares: int = SPARES,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._sink, self._spares = sink, spares
        self._live: dict[str, Attempt] = {}
        self._numbers = count()
        self._waiting: tuple[deque[Attempt], deque[Attempt]] = (deque(), deque())  # process, pool
        self._oom = memory.OomWatch()
        self._terminated: deque[Attempt] = deque()  # by SIGTERM that we have not sent
        self._is_ending = self._is_handing_back = self._is_closing = False
        self._reactor = Reactor()
        self._staff = Staff(self._reactor, warm, self, grace=grace, idle=idle_seconds)
        self._thread = threading.Thread(target=self._run, name="ppacer-children", daemon=True)
        self._thread.start()

    @property
    def process(self) -> "ChildRunner":
        """The runner that gives every attempt a process of its own."""
        return ChildRunner(self, reuse=False)

    @property
    def pool(self) -> "ChildRunner":
        """The runner whose processes take one attempt after the other.

        What an attempt changes in its process (environment, working directory, modules), the next one finds.
        """
        return ChildRunner(self, reuse=True)

    def start(self, grant: Grant, *, reuse: bool) -> None:
        """Begins an attempt; from any thread."""
        if not self._reactor.call(lambda: self._accept(grant, reuse)):
            conclude(grant, unbegun(End.HANDED_BACK), self._sink)

    def cancel(self, token: str, end: End) -> None:
        """Ends an attempt; from any thread."""
        self._reactor.call(lambda: self._cancel(token, end))

    def close(self) -> None:
        """Kills everything, hands back what still ran, and frees all descriptors."""
        self._reactor.call(self._reactor.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        self._reactor.run()
        self._is_closing = True
        self._staff.close()
        self._reactor.close()  # which takes what was started meanwhile
        self._hand_back()
        self.refused(end_text(End.HANDED_BACK), End.HANDED_BACK)

    # -- from start to job -----------------------------------------------------------------------------------

    def _accept(self, grant: Grant, reuse: bool) -> None:
        attempt = Attempt(grant, reuse, next(self._numbers), self._sink)
        self._live[grant.token] = attempt
        self._waiting[reuse].append(attempt)
        self.look_round()

    def look_round(self) -> None:
        """Gives what waits to workers that are there, and orders those that are missing."""
        process, pool = self._waiting
        while process or pool:
            is_pool = not process or (bool(pool) and pool[0].number < process[0].number)
            worker = self._staff.take(only_fresh=not is_pool)
            if worker is None and pool and not is_pool:
                is_pool, worker = True, self._staff.take(only_fresh=False)
            if worker is None:
                break
            self._begin(worker, (pool if is_pool else process).popleft())
        if self._live and not self._is_closing:
            self._staff.order(len(process) + len(pool) + self._spares)

    def _begin(self, worker: Worker, attempt: Attempt) -> None:
        timeout, deadline = attempt.grant.timeout, None
        if timeout is not None:
            deadline = self._reactor.mono() + timeout
        if not self._staff.begin(worker, attempt, Job(attempt.grant, deadline, last=not attempt.reuse)):
            self._waiting[attempt.reuse].appendleft(attempt)
        elif deadline is not None:
            attempt.timer = self._reactor.timers.add(deadline, partial(self._end, attempt, End.TIMED_OUT))

    # -- from job to done ------------------------------------------------------------------------------------

    def _cancel(self, token: str, end: End) -> None:
        attempt = self._live.get(token)
        if attempt is None:
            return
        if attempt.worker is not None:
            self._end(attempt, end)
        elif attempt in self._waiting[attempt.reuse]:
            self._waiting[attempt.reuse].remove(attempt)
            self._finish(attempt, unbegun(end))

    def _end(self, attempt: Attempt, end: End) -> None:
        """Makes a running attempt end as `end`, unless its result is here or it is ending already."""
        if attempt.end is None and attempt.outcome is None and attempt.worker is not None:
            attempt.end = end
            self._staff.end(attempt.worker)

    def ended(self, worker: Worker, attempt: Attempt, message: Ended) -> bool:
        """Takes the word of the child. In the pool that is the end; else the end of the process is."""
        attempt.outcome, attempt.was_terminated = message.outcome, message.terminated
        if not attempt.reuse or attempt.end is not None or message.terminated:
            return False
        self._finish(attempt, message.outcome)
        return not message.leaving

    def gone(self, worker: Worker, attempt: Attempt, status: int | None, usage: memory.Usage | None) -> None:
        """Ends an attempt whose child is gone."""
        outcome = self._outcome(worker, attempt, status, usage)
        if status is not None and os.waitstatus_to_exitcode(status) == -signal.SIGTERM:
            attempt.was_terminated = True
        if attempt.was_terminated and attempt.end is None and outcome.end is End.FAILED:
            self._wait_for_end(attempt, outcome)
        else:
            self._finish(attempt, outcome)

    # -- SIGTERM that we have not sent -----------------------------------------------------------------------

    def expect_end(self) -> None:
        """The program is about to end; from any thread. What SIGTERM has ended is kept for `hand_back`."""
        self._reactor.call(self._expect_end)

    def hand_back(self) -> None:
        """Hands back what SIGTERM has ended, and will; from any thread, when nothing is claimed any more."""
        self._reactor.call(self._hand_back)

    def _wait_for_end(self, attempt: Attempt, outcome: Outcome) -> None:
        """Who stops the program may signal all its processes at once: then we hear of it in a moment."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.outcome = _changed(outcome, End.FAILED, with_details(STRAY_SIGTERM, outcome.error))
        self._terminated.append(attempt)
        if self._is_handing_back:
            self._hand_back()
        elif not self._is_ending:
            when = self._reactor.mono() + STRAY_SECONDS
            attempt.timer = self._reactor.timers.add(when, self._fail_terminated)

    def _expect_end(self) -> None:
        self._is_ending = True
        for attempt in self._terminated:
            if attempt.timer is not None:
                attempt.timer.cancel()

    def _hand_back(self) -> None:
        self._is_ending = self._is_handing_back = True
        while self._terminated:
            attempt = self._terminated.popleft()
            assert attempt.outcome is not None
            self._finish(attempt, _changed(attempt.outcome, End.HANDED_BACK, end_text(End.HANDED_BACK)))

    def _fail_terminated(self) -> None:
        """Nobody has stopped the program: the oldest of these attempts has failed by itself."""
        attempt = self._terminated.popleft()
        assert attempt.outcome is not None
        self._finish(attempt, attempt.outcome)

    def _outcome(
        self, worker: Worker, attempt: Attempt, status: int | None, usage: memory.Usage | None
    ) -> Outcome:
        said = attempt.outcome
        taken = said or _taken(usage, is_first=not attempt.reuse)
        if said is not None and attempt.end in (None, said.end):
            return said
        if attempt.end is not None:  # it may have stopped half-way because it was asked to
            timed_out = attempt.end is End.TIMED_OUT
            sentence = timeout_text(attempt.grant.timeout) if timed_out else end_text(attempt.end)
            return _changed(taken, attempt.end, with_details(sentence, taken.error))
        if status is None and self._is_closing:
            return Outcome(End.HANDED_BACK, end_text(End.HANDED_BACK))
        if status is None:  # perhaps not its own fault: it costs no retry, but is not forgiven for ever
            return Outcome(End.LOST, LOST)
        is_oom = self._is_oom(status)
        sentence = f"the process of the task {exit_text(status, is_oom)}"
        if worker.complaint is not None and not is_oom:  # when memory is short, its exit may be known late
            sentence = worker.complaint
        words = f"{sentence}; peak memory {(taken.peak_memory or 0) / 1e6:,.0f} MB"
        return _changed(taken, End.FAILED, words)

    def _is_oom(self, status: int) -> bool:
        was_killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        return was_killed and self._oom.explains(self._reactor.mono())

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        attempt.outcome = outcome
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.worker is not None:
            attempt.worker.attempt = None
        if not attempt.has_output:
            self._conclude(attempt, outcome)
        elif attempt.output.is_long:
            self._reactor.do_slowly(self._finish_slowly(attempt, outcome))
        else:
            for _ in self._finish_slowly(attempt, outcome):
                pass

    def _finish_slowly(self, attempt: Attempt, outcome: Outcome) -> Iterator[None]:
        for records in attempt.output.finish(utc()):
            self._sink.log(records)
            yield
        self._conclude(attempt, outcome)

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        if self._live.get(attempt.grant.token) is attempt:
            del self._live[attempt.grant.token]
        conclude(attempt.grant, outcome, self._sink, self._staff.registry)

    def refused(self, why: str, end: End = End.REFUSED) -> None:
        """Ends what waits for a worker."""
        for waiting in self._waiting:
            while waiting:
                self._finish(waiting.popleft(), Outcome(end, why, begun=False))


def _taken(usage: memory.Usage | None, *, is_first: bool) -> Outcome:
    """What is known of an attempt that said nothing; the time of its process, if that had no other."""
    if usage is None:
        return Outcome(End.FAILED)
    return Outcome(End.FAILED, peak_memory=usage.peak, cpu_seconds=usage.cpu if is_first else None)


def _changed(outcome: Outcome, end: End, error: str) -> Outcome:
    """What the attempt took and which code it ran, with another end."""
    return msgspec.structs.replace(outcome, end=end, error=error, result=None)


class ChildRunner:
    """One of the two runners; both share the children."""

    def __init__(self, children: Children, *, reuse: bool) -> None:
        self._children, self._reuse = children, reuse

    def start(self, grant: Grant) -> None:
        """Begins the attempt."""
        self._children.start(grant, reuse=self._reuse)

    def cancel(self, token: str, end: End) -> None:
        """Ends the attempt: SIGTERM to its process group, and after the grace time SIGKILL."""
        self._children.cancel(token, end)

    def close(self) -> None:
        """Ends the attempts of both runners."""
        self._children.close()
