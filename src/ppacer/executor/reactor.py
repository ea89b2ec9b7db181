"""A loop in one thread: descriptors, deadlines, and calls from other threads."""

import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable, Iterator

from ppacer.clock import mono
from ppacer.executor.timers import Timers

Action = Callable[[], None]

log = logging.getLogger("ppacer.executor")


class Reactor:
    """Calls what was asked for, one thing after the other; an exception ends none of the others."""

    def __init__(self) -> None:
        self.timers = Timers()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, tuple[Action, Action | None]] = {}
        self._inbox: deque[Action] = deque()
        self._slow: deque[Iterator[None]] = deque()
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        self._is_woken = self._is_stopped = self._is_closed = False
        self._lock = threading.Lock()
        self.watch(self._wake, self._woken)

    @staticmethod
    def mono() -> float:
        """Seconds on the clock of the timers."""
        return mono()

    def call(self, action: Action) -> bool:
        """Has the loop do something; from any thread. False when the loop has ended."""
        with self._lock:
            if self._is_closed:
                return False
            self._inbox.append(action)
            if not self._is_woken:
                self._is_woken = True
                os.write(self._waker, b"!")
            return True

    def watch(self, fd: int, on_readable: Action, on_writable: Action | None = None) -> None:
        """Calls `on_readable` when there is something to read, `on_writable` when there is room to write."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable else 0)
        change = self._selector.modify if fd in self._watched else self._selector.register
        actions = (on_readable, on_writable)
        change(fd, events, actions)
        self._watched[fd] = actions  # when that went well

    def forget(self, fd: int) -> None:
        """No longer watches a descriptor; before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def do_slowly(self, steps: Iterator[None]) -> None:
        """Takes one step in each round, so that others have their turn in between."""
        self._slow.append(steps)

    def stop(self) -> None:
        """Ends `run` after this round; from the loop or by `call`."""
        self._is_stopped = True

    def run(self) -> None:
        """Runs until `stop`."""
        while not self._is_stopped:
            busy = self._inbox or self._slow
            for key, events in self._selector.select(0 if busy else self.timers.wait(mono())):
                watched = self._watched.get(key.fd)
                if watched is None or watched is not key.data:
                    continue  # forgotten in this round; the number may even belong to another file by now
                on_readable, on_writable = watched
                if events & selectors.EVENT_READ:
                    self._do(on_readable)
                if on_writable and events & selectors.EVENT_WRITE and self._watched.get(key.fd) is watched:
                    self._do(on_writable)
            self._do(self._answer)
            self._do(lambda: self.timers.run(mono()))
            if self._slow:
                self._do(self._step)

    def close(self) -> None:
        """Frees what the loop holds, after `run`; does what was still asked for, and takes nothing more."""
        with self._lock:
            self._is_closed = True
        self._do(self._answer)
        while self._slow:
            self._do(self._step)
        self._selector.close()
        os.close(self._wake)
        os.close(self._waker)

    def _do(self, action: Action) -> None:
        try:
            action()
        except Exception:
            log.exception("an error in the loop of the runners; please report it")

    def _woken(self) -> None:
        os.read(self._wake, 64)
        self._is_woken = False  # before the inbox is looked at: who comes later wakes us again

    def _answer(self) -> None:
        while self._inbox:
            self._do(self._inbox.popleft())

    def _step(self) -> None:
        steps = self._slow[0]
        if next(steps, steps) is steps:
            self._slow.popleft()
