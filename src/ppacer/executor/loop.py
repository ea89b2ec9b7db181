"""The runner `async`: all `async def` tasks of an executor on one event loop, in one thread.

Timeouts and cancellation reach a task at its next `await`. One that swallows them is reported after the grace
time and left to itself; one that never awaits holds up all others, timeouts included: that is the bargain.
"""

import asyncio
import contextlib
import logging
import threading
from contextvars import copy_context
from datetime import timedelta

from ppacer.clock import SystemClock, in_words
from ppacer.dag import Registry
from ppacer.executor.capture import Capture, Captured, current
from ppacer.executor.execute import conclude, execute_on_loop
from ppacer.executor.runner import GRACE, Outcome, Sink
from ppacer.executor.words import end_text, timeout_text, unbegun, with_details
from ppacer.notify import Sender
from ppacer.protocol import End, Grant

log = logging.getLogger("ppacer.executor")
_now = SystemClock().now


class _Attempt:
    """One attempt on the loop; also the cancel signal that its task sees. Used by the loop's thread alone."""

    __slots__ = ("captured", "deadline", "end", "grant", "task", "timer")

    def __init__(self, grant: Grant, captured: Captured) -> None:
        self.grant, self.captured = grant, captured
        self.end: End | None = None  # how it shall end, once somebody wants it to end
        self.deadline: float | None = None
        self.task: asyncio.Task[Outcome] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def is_set(self) -> bool:
        """Whether the task shall end."""
        return self.end is not None


class AsyncRunner:
    """Runs any number of attempts on an event loop of its own."""

    def __init__(
        self,
        registry: Registry,
        sink: Sink,
        notifier: Sender,
        *,
        grace: float = GRACE,
        level: int = logging.INFO,
    ) -> None:
        self._registry, self._sink, self._notifier, self._grace = registry, sink, notifier, grace
        self._live: dict[str, _Attempt] = {}
        self._lock = threading.Lock()
        self._is_closed = self._has_stopped = False
        self._capture = Capture(level)
        self._capture.install()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ppacer-async", daemon=True)
        self._thread.start()

    def start(self, grant: Grant) -> None:
        """Begins the attempt at the loop's next turn."""
        with self._lock:  # or the loop could close between the question and the call
            if not self._is_closed:
                self._loop.call_soon_threadsafe(self._begin, grant)
                return
        conclude(grant, unbegun(End.HANDED_BACK), self._sink)

    def cancel(self, token: str, end: End) -> None:
        """Cancels the task; when the grace time is over the attempt has ended in any case."""
        with self._lock:
            if not self._is_closed:
                self._loop.call_soon_threadsafe(self._cancel, token, end)

    def close(self) -> None:
        """Cancels and hands back what still runs, and ends the loop."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(self._grace + 1.0)
        if self._thread.is_alive():
            log.warning("a task holds up the event loop, which is left to itself")
        for attempt in list(self._live.values()):
            self._report(attempt, Outcome(End.HANDED_BACK, end_text(End.HANDED_BACK)))
        self._capture.remove()

    # -- in the thread of the loop ---------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._has_stopped:  # a task may stop the loop, which is not the end of the others
            try:
                self._loop.run_forever()
            except BaseException:  # SystemExit of something that a task started beside itself
                log.warning("a task raised through the event loop", exc_info=True)
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _begin(self, grant: Grant) -> None:
        attempt = self._live[grant.token] = _Attempt(grant, Captured(grant, self._sink.log))
        if grant.timeout is not None:
            attempt.deadline = _now().mono + grant.timeout
            attempt.timer = self._loop.call_later(grant.timeout, self._end, attempt, End.TIMED_OUT)
        context = copy_context()
        context.run(current.set, attempt.captured)
        attempted = execute_on_loop(grant, self._registry, self._notifier, attempt, attempt.deadline)
        attempt.task = self._loop.create_task(attempted, context=context)
        attempt.task.add_done_callback(lambda task: self._ended(attempt, task))

    def _cancel(self, token: str, end: End) -> None:
        attempt = self._live.get(token)
        if attempt is not None and attempt.end is None:
            self._end(attempt, end)

    def _end(self, attempt: _Attempt, end: End) -> None:
        assert attempt.task is not None
        attempt.end = end
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.timer = self._loop.call_later(self._grace, self._give_up, attempt)
        attempt.task.cancel()

    def _give_up(self, attempt: _Attempt) -> None:
        sentence = (
            f"{_sentence(attempt)}; the task did not end within {in_words(timedelta(seconds=self._grace))}"
        )
        log.warning("a task on the event loop does not end", extra={"task_id": attempt.grant.task_id})
        self._report(attempt, Outcome(attempt.end or End.CANCELLED, sentence))

    def _ended(self, attempt: _Attempt, task: "asyncio.Task[Outcome]") -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        is_new = task.cancelled()  # so early that it has not begun
        outcome = unbegun(attempt.end or End.CANCELLED) if is_new else task.result()
        if attempt.end not in (None, outcome.end):  # it may have stopped half-way because it was asked to
            outcome = Outcome(attempt.end, with_details(_sentence(attempt), outcome.error))
        self._report(attempt, outcome)

    def _report(self, attempt: _Attempt, outcome: Outcome) -> None:
        if self._live.pop(attempt.grant.token, None) is attempt:
            attempt.captured.finish()
            conclude(attempt.grant, outcome, self._sink, self._registry)

    def _stop(self) -> None:
        for attempt in list(self._live.values()):
            if attempt.end is None:
                self._end(attempt, End.HANDED_BACK)
        running = [attempt.task for attempt in self._live.values() if attempt.task is not None]
        self._stopping = self._loop.create_task(self._stop_after(running))

    async def _stop_after(self, running: "list[asyncio.Task[Outcome]]") -> None:
        if running:
            await asyncio.wait(running, timeout=min(self._grace, 1.0))
        self._has_stopped = True
        self._loop.stop()


def _sentence(attempt: _Attempt) -> str:
    if attempt.end is End.TIMED_OUT:
        return timeout_text(attempt.grant.timeout)
    return end_text(attempt.end or End.CANCELLED)
