"""Where the threads of the program and the writer's thread meet: the backlog, under one lock."""

import threading

from ppacer.tasklog.backlog import Backlog, Batch
from ppacer.tasklog.records import Entry

BATCH_RECORDS = 2000
BATCH_BYTES = 4 * 1024 * 1024
"""One transaction. Larger ones gain nothing more, and delay their first record."""

REPORT_SECONDS = 5.0
"""While the queue never empties, losses are reported so often."""

NEVER = 1 << 62


class Mailbox:
    """Callers `put`, `flush`, `wait` and `kick`; the rest is for the writer. The lock is held briefly."""

    def __init__(self, records_max: int, bytes_max: int) -> None:
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # wakes the writer
        self._news = threading.Condition(lock)  # wakes those who wait for it
        self._backlog = Backlog(records_max, bytes_max)
        self._newest_id = 0
        self._wake_at = NEVER  # so many pending records end the writer's pause
        self._kicked = False  # ends it too
        self._hurry = 0  # how many ask the writer not to gather
        self._closed = False
        self._ended = False
        self._losing_since: float | None = None

    @property
    def dropped(self) -> int:
        return self._backlog.dropped

    @property
    def given_up(self) -> int:
        return self._backlog.given_up

    @property
    def pending(self) -> int:
        return self._backlog.pending

    @property
    def newest_id(self) -> int:
        return self._newest_id

    @property
    def ended(self) -> bool:
        return self._ended

    # What callers do

    def put(self, entries: list[Entry], invalid: int) -> None:
        with self._work:
            if self._closed:
                self._backlog.refuse(entries, invalid)
            else:
                self._backlog.offer(entries)
                self._backlog.refuse((), invalid)
            if self._backlog.pending >= self._wake_at:
                self._work.notify()

    def flush(self, timeout: float) -> bool:
        with self._work:
            accepted, given_up = self._backlog.accepted, self._backlog.given_up
            self._hurry += 1
            self._wake()
            self._news.wait_for(lambda: self._ended or self._backlog.is_settled(accepted), timeout)
            self._hurry -= 1
            return self._backlog.is_settled(accepted) and self._backlog.given_up == given_up

    def wait(self, after_id: int, timeout: float) -> int:
        with self._work:
            self._news.wait_for(lambda: self._ended or self._newest_id > after_id, timeout)
            return self._newest_id

    def kick(self) -> None:
        """End the writer's present pause."""
        with self._work:
            self._wake()

    def close(self) -> None:
        """Take nothing more; what is here is written without gathering."""
        with self._work:
            self._closed = True
            self._hurry += 1
            self._wake()

    # What the writer does

    def take(self, now: float) -> Batch | None:
        """The next batch; with reports about losses once the queue is empty, or has not been for a while."""
        with self._work:
            if not self._backlog.drops:
                self._losing_since = None
            elif self._losing_since is None:
                self._losing_since = now
            report = self._losing_since is not None and now - self._losing_since >= REPORT_SECONDS
            return self._backlog.take(BATCH_RECORDS, BATCH_BYTES, report=report)

    def settle(self, batch: Batch, newest_id: int) -> None:
        with self._work:
            self._backlog.settle(batch)
            self._newest_id = newest_id
            self._news.notify_all()

    def give_up(self, batch: Batch) -> None:
        with self._work:
            self._backlog.give_up(batch)
            self._news.notify_all()

    def opened(self, newest_id: int) -> None:
        """The file is open, and this is what was committed before."""
        with self._work:
            self._newest_id = newest_id
            self._news.notify_all()

    def pause(self, seconds: float | None, *, gather: bool) -> None:
        """Wait for a kick, for `seconds`, or for work: any record (None) or a full batch (`gather`)."""
        with self._work:
            self._wake_at = self.ends_pause(seconds, gather=gather)
            self._work.wait_for(lambda: self._kicked or self._backlog.pending >= self._wake_at, seconds)
            self._wake_at, self._kicked = NEVER, False

    def ends_pause(self, seconds: float | None, *, gather: bool) -> int:
        """How many pending records end such a pause."""
        if seconds is None or (gather and self._hurry):
            return 1
        return BATCH_RECORDS if gather else NEVER

    def end(self) -> None:
        """Nothing will be written any more: what is left is lost, and everybody who waits returns."""
        with self._work:
            self._closed = self._ended = True
            self._backlog.abandon()
            self._news.notify_all()

    def _wake(self) -> None:
        self._kicked = True
        self._work.notify()
