"""Deadlines of a loop: a heap from which what was cancelled is swept out in time."""

import heapq
from collections.abc import Callable
from itertools import count

SWEEP_MIN = 64  # below this many entries the dead ones do not matter


class Timer:
    """Something to do at an instant; `cancel` it when it is no longer needed."""

    __slots__ = ("_timers", "action")

    def __init__(self, timers: "Timers", action: Callable[[], None]) -> None:
        self._timers = timers
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Makes the timer do nothing; any number of times."""
        if self.action is not None:
            self.action = None
            self._timers.count_dead()


class Timers:
    """All timers of one loop, in seconds of the monotonic clock. Not safe for several threads.

    Almost every attempt has a timeout of minutes and ends in milliseconds, so that nearly all timers are
    cancelled: when they are the majority the heap is built anew, which costs O(1) for each of them.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._number = count()
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def add(self, when: float, action: Callable[[], None]) -> Timer:
        """Calls `action` in the first `run` at or after `when`."""
        timer = Timer(self, action)
        heapq.heappush(self._heap, (when, next(self._number), timer))
        return timer

    def run(self, now: float) -> None:
        """Does what is due, earliest first."""
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is None:
                self._dead -= 1
            else:
                action()

    def wait(self, now: float) -> float | None:
        """Seconds until something is due, at least 0; None when nothing will be."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
            self._dead -= 1
        return max(0.0, self._heap[0][0] - now) if self._heap else None

    def count_dead(self) -> None:
        """Takes note that one more timer in the heap was cancelled."""
        self._dead += 1
        if self._dead > SWEEP_MIN and 2 * self._dead > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._dead = 0
