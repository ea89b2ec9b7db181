"""The scheduler: one thread that owns all writes. event → decide → commit → announce.

A step takes everything that came in meanwhile, decides it in memory, commits once, and only then answers.
After a failed commit nothing is known: memory is read back from the rows, and the same requests are decided
again one by one, so that one bad request fails alone.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum

from ppacer.clock import Clock, Now
from ppacer.dag import Dag
from ppacer.errors import SchedulerUnavailable, StoreError, StoreUnavailable
from ppacer.protocol import LEASE_SECONDS
from ppacer.scheduler.inbox import Inbox
from ppacer.scheduler.memory import Memory
from ppacer.scheduler.recovery import Recovery
from ppacer.scheduler.requests import HERE, Ask, FromExecutor, Origin, Request
from ppacer.scheduler.rounds import Listener, Rounds
from ppacer.scheduler.trouble import RETRY_SECONDS, Trouble
from ppacer.scheduler.watcher import DAWN, GAP
from ppacer.store import Store
from ppacer.store.sync import sync

log = logging.getLogger("ppacer.scheduler")

TOKEN_BYTES = 8
TOKENS_AT_ONCE = 256
IDLE_SECONDS = 20.0  # at least one step in this time, so that a longer silence means a stopped program


def new_tokens() -> Iterator[str]:
    """Random names of attempts. The system is asked for many at a time, because each asking lets go of the
    interpreter, which may come back late.
    """
    while True:
        digits = secrets.token_hex(TOKEN_BYTES * TOKENS_AT_ONCE)
        yield from (digits[at : at + 2 * TOKEN_BYTES] for at in range(0, len(digits), 2 * TOKEN_BYTES))


class State(StrEnum):
    """What the scheduler as a whole is doing.

    DEGRADED: the database refuses, it waits for it. STANDBY: another program leads on the same database.
    """

    STARTED = "STARTED"
    SYNCHRONIZING = "SYNCHRONIZING"
    STANDBY = "STANDBY"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class Scheduler:
    """Memory (engine, watcher, task scheduler) in front of a store. Only one thread may call `step`."""

    def __init__(
        self,
        store: Store,
        registry: Mapping[str, Dag],
        clock: Clock,
        *,
        lease: float = LEASE_SECONDS,
        new_token: Callable[[], str] | None = None,
        mask: Callable[[str], str] = lambda text: text,
        scheduled: bool = True,
    ) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.memory = Memory(store, registry, new_token or new_tokens().__next__, lease)
        self.memory.watcher.is_watching = scheduled
        self._trouble = Trouble()
        self._rounds = Rounds(store, self.memory, self._trouble)
        self._recovery = Recovery(self._rounds, self._trouble)
        self._mask = mask
        self.inbox = Inbox()
        self._last: Now | None = None
        self._planned_at = DAWN  # up to here every point is accounted for, or waits its turn
        self._phase = State.STARTED
        self._stopping = threading.Event()

    @property
    def state(self) -> State:
        """What it is doing now; `trouble` says why it is DEGRADED."""
        is_degraded = self._phase is State.RUNNING and self.trouble is not None
        return State.DEGRADED if is_degraded else self._phase

    @property
    def trouble(self) -> str | None:
        """Why the database cannot be used; None while it can."""
        return self._trouble.reason

    @property
    def listeners(self) -> list[Listener]:
        """Those who hear of all changes after their commit, in the scheduler's thread."""
        return self._rounds.listeners

    # -- the outside -----------------------------------------------------------------------------------------

    def submit(self, ask: Ask, origin: Origin = HERE) -> Request:
        """Asks for something, from any thread; its future is answered after the commit."""
        return self.inbox.submit(ask, origin)

    def start(self, now: Now) -> None:
        """Brings the tables in line with the registry and loads what is open: start is recovery."""
        self._phase = State.SYNCHRONIZING
        sync(self.store, self.registry, now.utc, self._mask)
        self.memory.watcher.missed(DAWN, now.utc)
        self._last, self._planned_at = now, now.utc
        self._recovery.read_back(now)
        self._phase = State.RUNNING

    def run(self) -> None:
        """Steps until `stop`, or until another one leads; sleeps until the next timer or request.

        Stops loudly when it meets a bug.
        """
        try:
            while not self._stopping.is_set() and not self.store.is_deposed:
                requests = self.inbox.take(self._pause(self.clock.now()))
                self.step(self.clock.now(), requests)
        except Exception:
            log.critical("the scheduler has failed and stops", exc_info=True)
        finally:
            self.close()

    def refuse_commands(self) -> None:
        """The program is ending: executors may still report, but nothing new is begun."""
        if not self.inbox.is_closed:
            self._phase = State.STOPPING
            self._rounds.is_stopping = True

    def stop(self) -> None:
        """Makes `run` return soon; requests that come later are refused."""
        self.refuse_commands()
        self._stopping.set()
        self.inbox.wake()

    def close(self) -> None:
        """Refuses what is still to be decided."""
        self.inbox.close()
        self._phase = State.STOPPED
        self.memory.tasks.close()
        for request in self._recovery.kept:
            request.answer(SchedulerUnavailable("the scheduler has stopped"))

    def _pause(self, now: Now) -> float:
        """How long nothing is due, in seconds."""
        if self._trouble.reason is not None:
            return RETRY_SECONDS
        if self.memory.backfills.are_due:
            return 0.0
        pause = IDLE_SECONDS
        for at in (self.memory.engine.next_due(), self.memory.watcher.next_wake()):
            if at is not None:
                pause = min(pause, (at - now.utc).total_seconds())
        mono = self.memory.tasks.next_wake(now)
        if mono is not None:
            pause = min(pause, mono - now.mono)
        return max(0.0, pause)

    # -- one step --------------------------------------------------------------------------------------------

    def step(self, now: Now, requests: Sequence[Request] = ()) -> None:
        """Everything that is due at `now`, and these requests. Never raises for what the world does."""
        self._watch_clock(now)
        for request in requests:
            if isinstance(request.ask, FromExecutor):
                self.memory.tasks.heard(request.ask, now)
        if not self._has_database(now):
            self._recovery.do_without(requests, now)
            return
        self._together(now, requests)
        if self._trouble.reason is None:
            self._planned_at = now.utc

    def _watch_clock(self, now: Now) -> None:
        """Notices that the program or the whole machine was stopped, or the clock was set."""
        last, self._last = self._last, now
        if last is None:
            return
        self.memory.tasks.prolong(now.mono - last.mono)
        if now.utc < last.utc:
            self._planned_at = min(self._planned_at, now.utc)
            self.memory.watcher.set_back(now.utc)
        if self._trouble.reason is None:
            self._note_missed(now)

    def _note_missed(self, now: Now) -> None:
        """Points that fell due while nothing could be planned for long are missed, and not just late."""
        gap = now.utc - self._planned_at
        if gap > GAP:
            log.warning("no runs could be planned for %s: points in this time count as missed", gap)
            self.memory.watcher.missed(self._planned_at, now.utc)

    def _together(self, now: Now, requests: Sequence[Request]) -> None:
        """All that is due and all requests in one transaction; if that fails, each for itself."""
        dag_ids = self.memory.watcher.due(now.utc)
        backfill_ids = self.memory.backfills.due(dag_ids)
        try:
            self._rounds.make(now, requests, dag_ids, backfill_ids, timers=True)
        except StoreError as error:
            log.warning("a batch of %d requests did not commit: %s", len(requests), error)
            self._recovery.one_by_one(now, requests)
        except Exception:
            log.exception("a batch of %d requests could not be decided", len(requests))
            self._recovery.one_by_one(now, requests)

    def _has_database(self, now: Now) -> bool:
        """False while it refuses, or is no longer where it was: that is asked before every commit."""
        if self._trouble.reason is not None:
            return self._reconnect(now)
        try:
            self.store.look()
        except StoreUnavailable as error:
            self._trouble.begin(error, now)
        return self._trouble.reason is None

    def _reconnect(self, now: Now) -> bool:
        """Tries now and then whether the database works again: what was kept is decided first."""
        kept = self._recovery.reconnect(now)
        if kept is None:
            return False
        self.memory.tasks.forgive()
        self._note_missed(now)
        self._together(now, kept)
        if self._trouble.is_to_wait(now):
            return False  # it refused again
        self._trouble.end()
        return True
