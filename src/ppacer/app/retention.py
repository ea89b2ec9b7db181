"""Retention: one thread that has the scheduler delete the past, and keeps the task logs within their limit.

It looks once an hour, and asks for one small slice after the other, with pauses that leave the scheduler most
of its time: the busier that is, the longer a slice takes, and the longer is the pause after it.
"""

import logging
import threading
from datetime import timedelta
from itertools import chain

from ppacer.clock import Clock
from ppacer.config import Settings
from ppacer.errors import PpacerError
from ppacer.scheduler import Scheduler
from ppacer.store.retention import Old, OldRuns, Past
from ppacer.tasklog import LogWriter

log = logging.getLogger("ppacer.retention")

FIRST_SECONDS = 30.0  # a start has other things to do
LOGS_SECONDS = 60.0  # a task can write much in an hour
SWEEP_SECONDS = 3_600.0
SLICE_SECONDS = 30.0  # after which a slice is given up
REST = 4  # times as long as a slice took: at most a fifth of the scheduler's time
REST_MIN_SECONDS = 0.02
MEGABYTE = 1_000_000
EXECUTORS_KEPT = timedelta(days=1)  # after they are gone: on a server each start has a name of its own
REPLIES_KEPT = timedelta(days=2)  # somebody may ask again whose network was away for a night


class Retention:
    """`step` is one round; where it fails it begins anew in the next one. Nothing of it is in memory."""

    def __init__(
        self, past: Past, scheduler: Scheduler, logs: LogWriter, settings: Settings, clock: Clock
    ) -> None:
        self.past = past
        self.scheduler = scheduler
        self.logs = logs
        self.settings = settings
        self.clock = clock
        self._sweep_at = 0.0  # monotonic
        self._in_trouble = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppacer-retention", daemon=True)

    def start(self) -> None:
        """Begins, after a while."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stops after the slice at hand."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        wait = FIRST_SECONDS
        while not self._stopped.wait(wait):
            self.step()
            wait = LOGS_SECONDS

    def step(self) -> None:
        """One round. What fails is told once, and tried again in the next round."""
        try:
            self._bound_logs()
            if self.clock.now().mono >= self._sweep_at:
                self._sweep()
                self._sweep_at = self.clock.now().mono + SWEEP_SECONDS
        except (PpacerError, TimeoutError) as error:
            if not self._in_trouble and not self._stopped.is_set():
                log.warning("what is old cannot be deleted now, it is tried again: %s", error)
            self._in_trouble = True
        else:
            self._in_trouble = False

    def _bound_logs(self) -> None:
        """The oldest records go, until the rest is within the limit."""
        limit = self.settings.logs_max * MEGABYTE
        while limit and not self._stopped.is_set() and self.logs.prune(bytes_max=limit):
            self._stopped.wait(REST_MIN_SECONDS)

    def _sweep(self) -> None:
        """Everything that is old now. The logs of a run go first: so nothing is left without its run."""
        now = self.clock.now().utc
        for old in chain(self.past.replies(now - REPLIES_KEPT), self.past.executors(now - EXECUTORS_KEPT)):
            if self._stopped.is_set():
                return
            self._forget(old)
        before = self.settings.retention_before(now)
        if before is None:
            return
        runs = 0
        for old in self.past.slices(before, self.settings.retention_runs):
            if self._stopped.is_set():
                break
            if isinstance(old, OldRuns):
                self._forget_logs(old)
            runs += self._forget(old) * isinstance(old, OldRuns)
        if runs:
            log.info("%d runs that ended before %s were deleted", runs, f"{before:%Y-%m-%d}")

    def _forget_logs(self, old: OldRuns) -> None:
        while not self._stopped.is_set() and self.logs.forget(old.dag_id, old.exec_tss):
            self._stopped.wait(REST_MIN_SECONDS)

    def _forget(self, old: Old) -> int:
        """Has the scheduler delete a slice, then leaves it alone for a while."""
        began = self.clock.now().mono
        future = self.scheduler.submit(old).future
        try:
            count: int = future.result(SLICE_SECONDS)
        except TimeoutError:
            future.cancel()
            raise
        took = self.clock.now().mono - began
        self._stopped.wait(max(took * REST, REST_MIN_SECONDS))
        return count
