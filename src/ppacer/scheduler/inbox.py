"""Where requests from other threads wait for the scheduler's next step."""

import queue

from ppacer.errors import SchedulerUnavailable
from ppacer.scheduler.requests import HERE, Ask, Origin, Request

BATCH_MAX = 1_000  # requests decided in one transaction


class Inbox:
    """A queue that answers every request in the end: by a step, or by a refusal once it is closed."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.is_closed = False

    def submit(self, ask: Ask, origin: Origin = HERE) -> Request:
        """Puts a request in, from any thread; its future is answered after the commit."""
        request = Request(ask, origin)
        self._queue.put(request)
        if self.is_closed:  # looked at afterwards: `close` may have emptied the queue just before
            request.answer(_refusal())
        return request

    def wake(self) -> None:
        """Ends the wait of `take`."""
        self._queue.put(None)

    def take(self, wait: float) -> list[Request]:
        """Everything that has come, at most BATCH_MAX; waits up to `wait` seconds for the first."""
        requests: list[Request] = []
        try:
            first = self._queue.get(wait > 0, wait if wait > 0 else None)
            while True:
                if first is not None:
                    requests.append(first)
                if len(requests) >= BATCH_MAX:
                    break
                first = self._queue.get_nowait()
        except queue.Empty:
            pass
        return requests

    def close(self) -> None:
        """Refuses what is in it, and what comes later."""
        self.is_closed = True
        left = self.take(0.0)
        while left:
            for request in left:
                request.answer(_refusal())
            left = self.take(0.0)


def _refusal() -> SchedulerUnavailable:
    return SchedulerUnavailable("the scheduler has stopped")
