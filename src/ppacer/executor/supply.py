"""Where children come from: the talk with the warm parent, and another warm parent when one dies."""

import contextlib
import logging
import os
import signal
from typing import Protocol

from ppacer.dag import Registry
from ppacer.executor.frames import (
    Exited,
    Fork,
    Forked,
    FromParent,
    Held,
    Hold,
    Kill,
    Loaded,
    NotForked,
    NotLoaded,
)
from ppacer.executor.memory import Usage
from ppacer.executor.reactor import Reactor
from ppacer.executor.survivors import end_survivors
from ppacer.executor.warm import Ends, WarmParent

FORK_PAUSE = 0.2  # seconds before the next try, when the system refuses a process
FORK_TRIES = 25
START_TRIES = 3
LIFE_MIN = 60.0  # seconds; a warm parent that dies sooner has a later successor
RESTART_DELAY = 0.5
RESTART_DELAY_MAX = 30.0
UNSENT_POLL = 0.01
NO_SUCCESSOR = "the process from which task processes are forked has died; this program must be started anew"

log = logging.getLogger("ppacer.executor")


class Customer(Protocol):
    """Who wants children, and hears of them."""

    def ready(self) -> None:
        """Orders are taken, again or for the first time."""

    def came(self, pid: int, ends: Ends) -> None:
        """A child, idle."""

    def went(self, pid: int, status: int, usage: Usage) -> None:
        """A child has ended, and with it its process group."""

    def lost(self) -> None:
        """The warm parent has died, which is the death of all children."""

    def refused(self, why: str) -> None:
        """There is no child for what waits."""


class Supply:
    """Orders children from a warm parent. In the thread of the loop only."""

    def __init__(self, reactor: Reactor, warm: WarmParent, customer: Customer) -> None:
        self._reactor, self._warm, self._customer = reactor, warm, customer
        self.ordered = 0  # children that are on their way
        self._is_ready = True
        self._is_pausing = self._is_flushing = False
        self._failures = 0
        self._began, self._delay = reactor.mono(), 0.0
        reactor.watch(warm.fileno(), self._listen)

    @property
    def registry(self) -> Registry | None:
        """That of the warm parent."""
        return self._warm.registry

    def order(self, missing: int) -> None:
        """Sees to it that so many children are on their way; those ordered before count."""
        if self._is_ready and not self._is_pausing and missing > self.ordered:
            self._send(Fork(missing - self.ordered))
            self.ordered = missing
        elif self._warm.file is None and not self._is_ready:
            self._customer.refused(NO_SUCCESSOR)

    def kill(self, pid: int, number: int) -> None:
        """Sends a signal to the process group of a child."""
        if self._is_ready:
            self._send(Kill(pid, number))
        else:  # the parent of this child is dead, and so is the child, or will be at once
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def is_good(self) -> None:
        """Takes note that a child does its work."""
        self._failures = 0

    def close(self) -> None:
        """Ends everything; returns when no child is left."""
        self._reactor.forget(self._warm.fileno())
        self._warm.close()

    # -- orders ----------------------------------------------------------------------------------------------

    def _send(self, message: Fork | Kill | Hold) -> None:
        self._warm.send(message)
        if not self._is_flushing:
            self._flush()

    def _flush(self) -> None:
        """Comes back until everything is sent: a warm parent that waits for the dying does not read."""
        self._is_flushing = not self._warm.flush()
        if self._is_flushing:
            self._reactor.timers.add(self._reactor.mono() + UNSENT_POLL, self._flush)

    def is_bad(self, why: str) -> None:
        """Waits before the next order; what waits for a child is refused when that does not help for long."""
        self._failures += 1
        log.warning("no new process for now: %s", why)
        if self._failures > FORK_TRIES:
            self._failures = 0
            self._customer.refused(why)
        if not self._is_pausing:
            self._is_pausing = True
            self._reactor.timers.add(self._reactor.mono() + FORK_PAUSE, self._resume)

    def _resume(self) -> None:
        self._is_pausing = False
        self._customer.ready()

    # -- answers ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        messages = self._warm.read()
        if messages is None:
            log.error("the warm parent, from which all task processes are forked, has died")
            self._replace()
            return
        for message, ends in messages:
            self._hear(message, ends)

    def _hear(self, message: FromParent, ends: Ends | None) -> None:
        match message:
            case Forked() if ends is not None:
                self.ordered -= 1
                self._customer.came(message.pid, ends)
            case Forked():
                self.ordered -= 1
                self._send(Kill(message.pid, signal.SIGKILL))
                self.is_bad("too many files are open in this program")
            case Exited():
                self._customer.went(message.pid, message.status, message.usage)
            case NotForked():
                self.ordered -= 1
                self.is_bad(message.why)
            case Loaded() if self._warm.lock_path is not None:
                self._send(Hold(self._warm.lock_path))
            case Loaded() | Held(error=None):
                self._is_ready = True
                self._failures = 0
                self._customer.ready()
            case Held(error=str(why)) | NotLoaded(message=why):
                log.error("no task process can be started: %s", why)
                self._customer.refused(why)
                self._replace()

    # -- another warm parent ---------------------------------------------------------------------------------

    def _replace(self) -> None:
        self._reactor.forget(self._warm.fileno())
        if not self._is_ready:  # it never was
            self._failures += 1
        self._is_ready = False
        self.ordered = 0
        self._customer.lost()
        if self._failures > START_TRIES:
            self._customer.refused("the process from which task processes are forked dies before it is ready")
        self._warm.close()
        if self._warm.lock_path is not None:  # they would hold it for ever, or run beside their successors
            end_survivors(self._warm.lock_path)
        if self._warm.file is None:
            self._customer.refused(NO_SUCCESSOR)
            return
        now = self._reactor.mono()
        is_first = now - self._began > LIFE_MIN
        self._delay = 0.0 if is_first else min(max(RESTART_DELAY, 2 * self._delay), RESTART_DELAY_MAX)
        self._reactor.timers.add(now + self._delay, self._restart)

    def _restart(self) -> None:
        self._began = self._reactor.mono()
        try:
            warm = self._warm.successor()
        except OSError as error:
            log.error("no warm parent: %s", error)
            self._reactor.timers.add(self._began + RESTART_DELAY_MAX, self._restart)
            return
        if warm is not None:
            self._warm = warm
            self._reactor.watch(warm.fileno(), self._listen)
