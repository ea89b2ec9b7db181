"""The runner `thread`: light, cooperative tasks in the threads of this program.

A thread cannot be ended from outside. At its deadline, or when it is cancelled, a task sees `ctx.cancelled`.
If it has not returned when the grace time is over it is reported, and its thread left to itself, with another
in its place; what such a thread still does, prints or returns counts for nothing.
"""

import logging
import math
import threading
from contextvars import copy_context
from datetime import timedelta
from queue import SimpleQueue

from ppacer.clock import in_words, mono
from ppacer.dag import Registry
from ppacer.executor.capture import Capture, Captured, current
from ppacer.executor.execute import conclude, execute
from ppacer.executor.runner import GRACE, Outcome, Sink
from ppacer.executor.words import end_text, timeout_text, unbegun
from ppacer.notify import Sender
from ppacer.protocol import End, Grant

JOIN_SECONDS = 0.2  # for free threads at the end; one that is not free then is not waited for

log = logging.getLogger("ppacer.executor")


class _Attempt:
    """One attempt in a thread; also the cancel signal that its task sees."""

    __slots__ = ("captured", "deadline", "end", "gives_up", "grant")

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.end: End | None = None  # how it shall end, once somebody wants it to end
        self.deadline: float | None = None
        self.gives_up: float | None = None  # when it is reported even though its task still runs
        self.captured: Captured | None = None

    def is_set(self) -> bool:
        """Whether the task shall end."""
        return self.end is not None


class ThreadRunner:
    """Runs up to `slots` attempts at a time; threads are started when first needed, and used again.

    No locks on the way of an attempt: who takes it out of a dict has it, and taking out is atomic.
    """

    def __init__(
        self,
        slots: int,
        registry: Registry,
        sink: Sink,
        notifier: Sender,
        *,
        grace: float = GRACE,
        level: int = logging.INFO,
    ) -> None:
        self._slots, self._registry, self._sink, self._notifier = slots, registry, sink, notifier
        self._grace = grace
        self._queue: SimpleQueue[_Attempt | None] = SimpleQueue()
        self._waiting: dict[str, _Attempt] = {}  # whoever takes an attempt out begins it, or lets it be
        self._live: dict[str, _Attempt] = {}  # whoever takes an attempt out reports it
        self._workers = 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._watch = _Watch(self)
        self._is_closed = False
        self._capture = Capture(level)
        self._capture.install()

    def start(self, grant: Grant) -> None:
        """Begins the attempt in a free thread, or as soon as there is one."""
        attempt = _Attempt(grant)
        self._live[grant.token] = self._waiting[grant.token] = attempt
        if self._is_closed:
            self._let_be(attempt, unbegun(End.HANDED_BACK))
            return
        self._queue.put(attempt)
        self._see_to_workers()

    def cancel(self, token: str, end: End) -> None:
        """Asks the task to return; when the grace time is over the attempt has ended in any case."""
        attempt = self._live.get(token)
        if attempt is None or attempt.end is not None:
            return
        attempt.end = end
        if not self._let_be(attempt, unbegun(end)):
            self._watch_over(attempt, mono() + self._grace)

    def close(self) -> None:
        """Hands back what still runs. Free threads end now, busy ones after their task."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for attempt in list(self._live.values()):
            attempt.end = attempt.end or End.HANDED_BACK
            if not self._let_be(attempt, unbegun(attempt.end)):
                self._report(attempt, Outcome(attempt.end, end_text(attempt.end)))
        for _ in range(self._workers):
            self._queue.put(None)
        until = mono() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - mono()))
        self._watch.close()
        self._capture.remove()

    def give_up_late(self, now: float) -> float:
        """Reports attempts whose grace time is over; the instant of the next, or infinity."""
        soonest = math.inf
        for attempt in list(self._live.values()):
            when = math.inf if attempt.gives_up is None else attempt.gives_up
            if when <= now:
                self._give_up(attempt)
            else:
                soonest = min(soonest, when)
        return soonest

    def _give_up(self, attempt: _Attempt) -> None:
        sentence = timeout_text(attempt.grant.timeout) if attempt.end is None else end_text(attempt.end)
        grace = in_words(timedelta(seconds=self._grace))
        sentence += f"; the task did not return within {grace}, and its thread was left to itself"
        if self._report(attempt, Outcome(attempt.end or End.TIMED_OUT, sentence)):
            log.warning("a thread is stuck", extra={"task_id": attempt.grant.task_id})
            with self._lock:
                self._workers -= 1
                self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._see_to_workers()

    def _see_to_workers(self) -> None:
        """Adds a thread if one is missing; where not even one can be had, nothing that waits is begun."""
        if self._workers >= self._slots or self._workers >= len(self._live):
            return
        try:
            self._add_worker()
        except RuntimeError as error:  # the system has no more threads for us; later it may
            log.warning("no new thread for tasks: %s", error)
            for attempt in list(self._waiting.values()) if self._workers == 0 else ():
                self._let_be(attempt, Outcome(End.REFUSED, f"no thread for the task: {error}", begun=False))

    def _add_worker(self) -> None:
        with self._lock:
            if self._workers >= self._slots or self._is_closed:
                return
            thread = threading.Thread(target=self._work, name="ppacer-task", daemon=True)
            thread.start()
            self._workers += 1
            self._threads.append(thread)

    def _work(self) -> None:
        while (attempt := self._queue.get()) is not None:
            if self._waiting.pop(attempt.grant.token, None) is attempt and not self._run_safely(attempt):
                return  # this thread was given up and has a successor

    def _run_safely(self, attempt: _Attempt) -> bool:
        """Makes the attempt, and reports it even where our own code cannot."""
        try:
            return self._run(attempt)
        except Exception as error:  # no thread for the watch, say
            log.exception("task %s cannot be run", attempt.grant.task_id)
            return self._report(attempt, Outcome(End.REFUSED, str(error)))

    def _run(self, attempt: _Attempt) -> bool:
        """Makes the attempt; False if it was reported before it came to its end."""
        timeout = attempt.grant.timeout
        if timeout is not None:
            attempt.deadline = mono() + timeout
            self._watch_over(attempt, attempt.deadline + self._grace)
        attempt.captured = Captured(attempt.grant, self._sink.log)
        outcome = copy_context().run(self._execute, attempt, attempt.captured)
        if attempt.end is not None:  # it may have stopped half-way because it was asked to
            outcome = Outcome(attempt.end, end_text(attempt.end))
        return self._report(attempt, outcome)

    def _execute(self, attempt: _Attempt, captured: Captured) -> Outcome:
        current.set(captured)
        return execute(attempt.grant, self._registry, self._notifier, attempt, attempt.deadline)

    def _watch_over(self, attempt: _Attempt, gives_up: float) -> None:
        attempt.gives_up = gives_up
        self._watch.look_at(gives_up)

    def _let_be(self, attempt: _Attempt, outcome: Outcome) -> bool:
        """Reports an attempt that was not begun; False if it was."""
        if self._waiting.pop(attempt.grant.token, None) is not attempt:
            return False
        return self._report(attempt, outcome)

    def _report(self, attempt: _Attempt, outcome: Outcome) -> bool:
        if self._live.pop(attempt.grant.token, None) is not attempt:
            return False
        if attempt.captured is not None:
            attempt.captured.finish()
        conclude(attempt.grant, outcome, self._sink, self._registry)
        return True


class _Watch:
    """A thread that sleeps until the next attempt has to be given up: as a rule none ever has to be.

    It is woken only for an instant before the one it sleeps for. Timeouts are minutes and attempts are not,
    so that almost no attempt costs more than a comparison.
    """

    def __init__(self, runner: ThreadRunner) -> None:
        self._runner = runner
        self._next = math.inf
        self._news = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def look_at(self, when: float) -> None:
        """Sees to it that somebody looks at this instant."""
        if when < self._next:
            with self._lock:
                self._next = min(self._next, when)
                if self._thread is None and not self._is_closed:
                    thread = threading.Thread(target=self._run, name="ppacer-watch", daemon=True)
                    thread.start()
                    self._thread = thread
            self._news.set()

    def close(self) -> None:
        """Ends the thread."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        self._news.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _run(self) -> None:
        while not self._is_closed:
            now = mono()
            if self._next <= now:
                self._look(now)
            self._news.wait(None if self._next == math.inf else self._next - now)
            self._news.clear()

    def _look(self, now: float) -> None:
        self._next = math.inf  # before looking: an attempt that comes meanwhile is not overlooked
        soonest = self._runner.give_up_late(now)
        with self._lock:
            self._next = min(self._next, soonest)
